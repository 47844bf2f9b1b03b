import type { IdJagAudience } from '../token/exchange/id-jag.ts'
import type { TrustedIssuer } from '../token/assertions/id-jag.ts'
import type { Config } from './load.ts'
import { providerSettings } from './settings.ts'

/** The authorization servers elsewhere that ID-JAGs are issued for. */
export function idJagAudiences(config: Config): readonly IdJagAudience[] {
  return config.idJag.audiences.map(({ issuer, resources, scopes, clients, groups, tenant }) => ({
    issuer,
    resources,
    clients: new Map(Object.entries(clients)),
    ...(scopes === undefined ? {} : { scopes }),
    ...(groups === undefined ? {} : { groups }),
    ...(tenant === undefined ? {} : { tenant }),
  }))
}

/**
 * The issuers whose ID-JAGs are trusted. Whoever signs in at the identity provider of the same issuer is the same person;
 * of an issuer with several tenants that is said by name alone, as subjects may be equal in two of them.
 */
export function trustedIssuers(config: Config): readonly TrustedIssuer[] {
  const providers = providerSettings(config)
  const { trustedIssuers: all } = config.idJag
  return all.map(({ id, issuer, algorithms, identityProvider, jwksUri, tenant, audienceTenant, clients, groupsClaim, linkByEmail }) => {
    const isOnly = all.filter((each) => each.issuer === issuer).length === 1
    const same = isOnly ? providers.find((provider) => provider.issuer === issuer)?.id : undefined
    return {
      issuer,
      algorithms,
      provider: identityProvider ?? same ?? id,
      ...(jwksUri === undefined ? {} : { jwksUri }),
      ...(tenant === undefined ? {} : { tenant }),
      ...(audienceTenant === undefined ? {} : { audienceTenant }),
      ...(clients === undefined ? {} : { clients }),
      ...(groupsClaim === undefined ? {} : { groupsClaim }),
      ...(linkByEmail === undefined ? {} : { linkByEmail }),
    }
  })
}

/** Whether Lanyard signs assertions for authorization servers elsewhere. */
export function makesAssertions({ idJag, upstreams }: Config): boolean {
  return idJag.audiences.length > 0 || upstreams.some(({ connector }) => connector.type === 'id-jag' && connector.assertions === 'lanyard')
}
