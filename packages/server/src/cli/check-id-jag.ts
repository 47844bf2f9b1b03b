// Checks what ID-JAGs depend on: the keys of whoever is trusted, rules for whoever they are made for, and the authorization
// servers that take them.
import { issuerKeys } from '../clients/issuer-keys.ts'
import { remoteKeys } from '../clients/remote-keys.ts'
import { trustedIssuers } from '../config/id-jag-settings.ts'
import type { Config } from '../config/load.ts'
import { upstreamSettings } from '../config/settings.ts'
import { exchangeSettings } from '../config/token-exchange-settings.ts'
import type { Outbound } from '../http/outbound.ts'
import { canonicalResource } from '../oauth/resource.ts'
import { exchangeRules } from '../token/exchange/rules.ts'
import { ConnectionRefused } from '../upstreams/connectors/connector.ts'
import { discovery } from '../upstreams/connectors/oauth/discovery.ts'
import { whyOf } from './check-reach.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

export async function checkIdJags(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  return [...(await checkTrusted(config, outbound)), ...checkAudiences(config), ...(await checkTakers(config, outbound))]
}

async function checkTrusted(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  const keys = issuerKeys(outbound, remoteKeys(outbound, Date.now), Date.now)
  return Promise.all(
    trustedIssuers(config).map(async (trusted) => {
      const check = `trusted issuer ${trusted.issuer}`
      const found = await keys.find(trusted, undefined)
      if (found !== undefined && found.keys.length > 0) return ok(check, `${found.keys.length} keys verify its assertions; its people are those of "${trusted.provider}"`)
      return failed(check, `no keys were found ${trusted.jwksUri === undefined ? 'by its metadata (RFC 8414, OpenID Connect Discovery)' : `at ${trusted.jwksUri}`}`, 'see whether it can be reached from here, and is written exactly as it writes itself; or name a jwksUri')
    }),
  )
}

/** Whoever may ask by its clients still needs a rule that says whose tokens they may present. */
function checkAudiences(config: Config): readonly Finding[] {
  const rulesFor = exchangeRules(exchangeSettings(config))
  return config.idJag.audiences.flatMap(({ issuer, clients }) => {
    const check = `audience ${issuer}`
    const target = canonicalResource(issuer) ?? issuer
    const without = Object.keys(clients).filter((client) => !rulesFor(client).some(({ isTarget }) => isTarget(target)))
    return without.length === 0 ? [ok(check, 'its clients may exchange tokens for it')] : [warning(check, `no rule of tokenExchange lets ${without.join(', ')} ask for it`, 'name the audience among the targets of a rule for them')]
  })
}

async function checkTakers(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  const takers = upstreamSettings(config).filter(({ connector }) => connector.type === 'id-jag')
  return Promise.all(
    takers.map(async (upstream) => {
      const check = `upstream ${upstream.id}`
      try {
        const { server } = await discovery(outbound, Date.now).discover(upstream)
        return ok(check, `its authorization server is ${server.issuer}, which is to take ID-JAGs`)
      } catch (error) {
        const why = error instanceof ConnectionRefused ? error.reason : whyOf(error)
        return failed(check, `no authorization server was found: ${why}`, 'its protected resource metadata (RFC 9728) must name one with metadata (RFC 8414)')
      }
    }),
  )
}
