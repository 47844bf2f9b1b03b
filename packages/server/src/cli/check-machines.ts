// Checks what machines depend on: the platforms that vouch for workloads, and the gateway's own accounts at upstreams.
import { access, constants } from 'node:fs/promises'
import { issuerKeys } from '../clients/issuer-keys.ts'
import { remoteKeys } from '../clients/remote-keys.ts'
import type { WorkloadIdentity } from '../clients/workload.ts'
import type { Config } from '../config/load.ts'
import { machineSettings, preRegisteredClients, upstreamSettings } from '../config/settings.ts'
import type { Outbound } from '../http/outbound.ts'
import type { ClientCredentialsSettings } from '../upstreams/connectors/client-credentials/settings.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { checkAuthorization } from './check-reach.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

export async function checkMachines(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  const ownerless = machineSettings(config).filter(({ owner }) => owner === undefined)
  return [
    ...ownerless.map(({ clientId }) => warning(`client ${clientId}`, 'nobody answers for this machine', 'name its owner')),
    ...(await checkPlatforms(config, outbound)),
    ...(await Promise.all(upstreamSettings(config).map((upstream) => checkAccount(upstream, outbound)))).flat(),
  ]
}

/** Each set of keys is asked for once, however many clients it vouches for. */
async function checkPlatforms(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  const identities = preRegisteredClients(config).flatMap(({ workloadIdentities = [] }) => workloadIdentities)
  const asked = new Map(identities.filter(({ jwks }) => jwks === undefined).map((identity) => [`${identity.issuer} ${identity.jwksUri ?? ''}`, identity]))
  const keys = issuerKeys(outbound, remoteKeys(outbound, Date.now), Date.now)
  return Promise.all(
    [...asked.values()].map(async ({ issuer, jwksUri }: WorkloadIdentity) => {
      const check = `workloads of ${issuer}`
      const found = await keys.find({ issuer, ...(jwksUri === undefined ? {} : { jwksUri }) }, undefined)
      if (found !== undefined && found.keys.length > 0) return ok(check, `${found.keys.length} keys verify what it signs`)
      const where = jwksUri === undefined ? 'by its metadata (RFC 8414, OpenID Connect Discovery)' : `at ${jwksUri}`
      return failed(check, `no keys were found ${where}`, 'see whether it can be reached from here and "outbound.allow" names its network; or name a jwksUri, or pin its jwks')
    }),
  )
}

async function checkAccount(upstream: Upstream, outbound: Outbound): Promise<readonly Finding[]> {
  const { connector } = upstream
  if (connector.type !== 'client-credentials') return []
  const check = `upstream ${upstream.id}`
  return [
    warning(check, `whoever may use it does so by one account of the gateway's own, "${connector.clientId}"`, 'use the connector "oauth" where it should tell people apart'),
    ...(connector.tokenEndpoint === undefined ? [await checkAuthorization(check, upstream, outbound)] : []),
    ...(await checkTokenFile(check, connector)),
  ]
}

async function checkTokenFile(check: string, { tokenFile }: ClientCredentialsSettings): Promise<readonly Finding[]> {
  if (tokenFile === undefined) return []
  const readable = await access(tokenFile, constants.R_OK).then(() => true, () => false)
  return [readable ? ok(check, `the platform's token is in ${tokenFile}`) : failed(check, `${tokenFile} cannot be read`, 'see whether the platform projects a token there, for an audience of the authorization server')]
}
