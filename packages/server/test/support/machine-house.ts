// The whole product with machine clients of every kind, and the platforms that vouch for some of them.
import { exportPKCS8, generateKeyPair, exportJWK, SignJWT, type JWTPayload } from 'jose'
import { randomUUID } from 'node:crypto'
import { startGateway, SCRIPT, type RunningGateway } from './gateway.ts'
import { gitHubActions, kubernetes, spiffe, type GitHub, type Kubernetes, type Spiffe } from './platforms.ts'
import type { Variant } from './variants.ts'

export const SECRET = 'the secret of a nightly job: 0123456789'
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

export interface TokenAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

export interface MachineHouse {
  readonly gateway: RunningGateway
  readonly notes: string
  readonly github: GitHub
  readonly kubernetes: Kubernetes
  readonly spiffe: Spiffe
  /** The key of the client `signed`, as PEM. */
  readonly privateKey: string
  /** An assertion of the client `signed` (RFC 7523 §3). */
  assertion(more?: JWTPayload): Promise<string>
  /** Asks the token endpoint: of several nodes one after the other. */
  ask(form: Readonly<Record<string, string>>): Promise<TokenAnswer>
  close(): Promise<void>
}

export async function machineHouse(variant: Variant): Promise<MachineHouse> {
  const [github, cluster, domain, pair] = await Promise.all([gitHubActions(), kubernetes(), spiffe('example.org'), generateKeyPair('ES256', { extractable: true })])
  const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'own', alg: 'ES256' }
  const machine = { grantTypes: ['client_credentials'], owner: 'alice@example.com', groups: ['reporting'] }
  const workload = { ...machine, grantTypes: ['client_credentials', JWT_BEARER], tokenEndpointAuthMethod: 'workload_identity' }
  const clients = [
    SCRIPT,
    { ...machine, id: 'report', name: 'Nightly report', clientSecret: SECRET },
    { ...machine, id: 'posted', name: 'Posted', clientSecret: SECRET, tokenEndpointAuthMethod: 'client_secret_post', scopes: ['mcp.notes.read'] },
    { ...machine, id: 'signed', name: 'Signed', tokenEndpointAuthMethod: 'private_key_jwt', jwks: { keys: [jwk] } },
    { ...machine, id: 'ops', name: 'Operations', clientSecret: SECRET, tokenEndpointAuthMethod: 'client_secret_post', groups: ['it-admins'], scopes: ['admin'] },
    { ...machine, id: 'limited', name: 'Limited', clientSecret: SECRET, tokenEndpointAuthMethod: 'client_secret_post', groups: ['it-admins'], scopes: ['mcp.read'] },
    { ...machine, id: 'nobody', name: 'No rule', clientSecret: SECRET, groups: [] },
    { ...workload, id: 'deploy', name: 'Deploy', workloadIdentities: [{ issuer: github.issuer, subject: 'repo:acme/app:**', claims: { repository_id: ['74'] } }] },
    { ...workload, id: 'pod', name: 'Pod', workloadIdentities: [{ issuer: cluster.issuer, subject: 'system:serviceaccount:ci:deployer', jwksUri: cluster.jwksUri }] },
    { ...workload, id: 'svid', name: 'SVID', workloadIdentities: [{ issuer: domain.issuer, subject: 'spiffe://example.org/ns/ci/sa/*', jwksUri: domain.bundle }] },
  ]
  const rules = [
    { id: 'reports-read', effect: 'allow', groups: ['reporting'], upstreams: ['notes'], tools: ['list_notes', 'read_note'] },
    { id: 'report-alone-writes', effect: 'allow', clients: ['report'], users: ['machine:report'], upstreams: ['notes'], tools: ['write_note'] },
    { id: 'reports-tickets', effect: 'allow', groups: ['reporting'], upstreams: ['tickets'] },
    { id: 'lists-need-proof', effect: 'step-up', clients: ['signed'], tools: ['list_notes'], require: { acrValues: ['mfa'] } },
    { id: 'engineering', effect: 'allow', groups: ['engineering'] },
  ]
  const closePlatforms = (): Promise<unknown> => Promise.all([github.close(), cluster.close(), domain.close()])
  const gateway = await startGateway({ ...variant, config: { clients, rules, admins: { groups: ['it-admins'] } } }).catch(async (error: unknown) => {
    await closePlatforms()
    throw error
  })
  return {
    gateway,
    notes: `${gateway.issuer}/mcp/notes`,
    github,
    kubernetes: cluster,
    spiffe: domain,
    privateKey: await exportPKCS8(pair.privateKey),
    assertion: (more = {}) =>
      new SignJWT({ iss: 'signed', sub: 'signed', aud: gateway.issuer, jti: randomUUID(), ...more }).setProtectedHeader({ alg: 'ES256', kid: 'own' }).setIssuedAt().setExpirationTime('60s').sign(pair.privateKey),
    async ask(form) {
      const answer = await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams(form) })
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
    },
    close: async () => void (await Promise.all([gateway.close(), closePlatforms()])),
  }
}
