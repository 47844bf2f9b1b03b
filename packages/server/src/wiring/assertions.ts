// Wires whose assertions are trusted at the token endpoint.
import { issuerKeys } from '../clients/issuer-keys.ts'
import { remoteKeys } from '../clients/remote-keys.ts'
import { trustedIssuers } from '../config/id-jag-settings.ts'
import { tokenLifetimes } from '../config/settings.ts'
import { recognition } from '../identity/recognize.ts'
import { idJag } from '../token/assertions/id-jag.ts'
import type { AssertionProfile } from '../token/grants/jwt-bearer.ts'
import type { Applications } from './applications.ts'
import type { Ground } from './ground.ts'

export function assertionProfiles(ground: Ground, { approvals }: Applications): readonly AssertionProfile[] {
  const { config, issuer, outbound, identityStore, tokenStore: store, store: { cutoffs }, policy, profiles, now } = ground
  const trusted = trustedIssuers(config)
  if (trusted.length === 0) return []
  const keys = issuerKeys(outbound, remoteKeys(outbound, now), now)
  const people = recognition({ store: identityStore, now })
  return [idJag({ issuer, trusted, keys, people, store, cutoffs, policy, approvals, profiles, lifetimes: tokenLifetimes(config), now })]
}
