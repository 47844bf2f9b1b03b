// Wires whose assertions are trusted at the token endpoint, and for whom Lanyard makes its own.
import { issuerKeys } from '../clients/issuer-keys.ts'
import { remoteKeys } from '../clients/remote-keys.ts'
import { idJagAudiences, trustedIssuers } from '../config/id-jag-settings.ts'
import { tokenLifetimes } from '../config/settings.ts'
import { recognition } from '../identity/recognize.ts'
import { idJag } from '../token/assertions/id-jag.ts'
import { idJagMint, type MintIdJag } from '../token/assertions/mint.ts'
import { idJagIssuer } from '../token/exchange/id-jag.ts'
import type { AssertionProfile } from '../token/grants/jwt-bearer.ts'
import type { ExchangeTarget } from '../token/grants/token-exchange.ts'
import type { Applications } from './applications.ts'
import type { Ground } from './ground.ts'

/** What Lanyard vouches for elsewhere, in exchange for a token. */
export function exchangeTargets(ground: Ground): readonly ExchangeTarget[] {
  const { config, issuer, audit: recorder, now } = ground
  const mint = ownAssertions(ground)
  return mint === undefined ? [] : [idJagIssuer({ issuer, audiences: idJagAudiences(config), mint, recorder, now })]
}

/** What signs assertions of Lanyard's own; absent where it makes none. */
export function ownAssertions({ issuer, assertionKeys: keys, now }: Ground): MintIdJag | undefined {
  return keys && idJagMint({ issuer, keys, now })
}

export function assertionProfiles(ground: Ground, { approvals }: Applications): readonly AssertionProfile[] {
  const { config, issuer, outbound, identityStore, tokenStore: store, store: { cutoffs }, policy, profiles, now } = ground
  const trusted = trustedIssuers(config)
  if (trusted.length === 0) return []
  const keys = issuerKeys(outbound, remoteKeys(outbound, now), now)
  const people = recognition({ store: identityStore, now })
  return [idJag({ issuer, trusted, keys, people, store, cutoffs, policy, approvals, profiles, lifetimes: tokenLifetimes(config), now })]
}
