import type { Approvals } from '../approval/approvals.ts'
import type { Cutoffs } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import type { StepUpStore } from '../authorize/step-up-store.ts'
import type { ClientAuthentication } from '../clients/client.ts'
import type { Route } from '../http/route.ts'
import type { Machines } from '../identity/machines.ts'
import type { ScopeMapping } from '../identity/scope-mapping.ts'
import type { Recheck } from '../identity/sign-in.ts'
import type { Users } from '../identity/user.ts'
import type { Sealer } from '../keys/seal.ts'
import type { KeyRing } from '../keys/signing.ts'
import type { Policy } from '../policy/policy.ts'
import type { Profiles } from '../upstreams/upstream.ts'
import { DPOP_ALGORITHMS } from './dpop.ts'
import { exchangeRoom, type ExchangeSettings } from './exchange/exchange.ts'
import { tokenEndpoint, type TokenLimits } from './endpoint.ts'
import type { DeviceGrantOptions } from './grants/device-code.ts'
import { REPLAY_WINDOW } from './grants/refresh-token.ts'
import { grantTypes } from './grants/index.ts'
import type { AssertionOptions } from './grants/jwt-bearer.ts'
import type { ExchangeTarget } from './grants/token-exchange.ts'
import { introspectionEndpoint } from './introspect.ts'
import { tokenIssuer, type TokenLifetimes } from './issue.ts'
import { metadataRoutes, type MetadataSettings, type PublishedKeys } from './metadata.ts'
import type { ProofRules } from './possession.ts'
import { acceptingVerifier, type PresentedOptions } from './presented.ts'
import { revocationEndpoint } from './revoke.ts'
import { subjectCheck } from './subject.ts'
import type { TokenStore } from './token-store.ts'
import { accessTokenVerifier, type AccessTokenVerifier } from './verify.ts'

export interface TokenOptions extends DeviceGrantOptions, AssertionOptions {
  readonly issuer: string
  readonly store: TokenStore
  readonly stepUps: Pick<StepUpStore, 'refuseRefresh'>
  readonly keys: PublishedKeys & Pick<KeyRing, 'sign' | 'publicKey'>
  readonly sealer: Sealer
  readonly authentication: ClientAuthentication
  readonly users: Users
  readonly machines: Machines
  readonly approvals: Pick<Approvals, 'standing' | 'used'>
  readonly recheck: Recheck
  /** When absent, everybody may hold every scope. */
  readonly scopes?: ScopeMapping
  readonly cutoffs: Cutoffs
  readonly policy: Pick<Policy, 'mayReach'>
  readonly profiles: Pick<Profiles, 'byResource' | 'all'>
  readonly recorder: Recorder
  readonly lifetimes: TokenLifetimes
  readonly limits: TokenLimits
  readonly proof: ProofRules
  /** When absent, the data plane accepts Lanyard's own tokens alone. */
  readonly accept?: Pick<PresentedOptions, 'accepted' | 'presented'>
  /** When absent, no token is exchanged. */
  readonly exchange?: ExchangeSettings
  /** What tokens are exchanged for besides access tokens of Lanyard. */
  readonly exchangeTargets?: readonly ExchangeTarget[]
  /** Keys that sign something else than access tokens: published beside theirs. */
  readonly otherKeys?: readonly PublishedKeys[]
  /** Whether the client stands for the resource: it may introspect access tokens for it. */
  readonly mayIntrospect: (clientId: string, resource: string) => boolean
  readonly metadata: Pick<MetadataSettings, 'authMethods' | 'assertionAlgorithms' | 'acrValues' | 'requirePushed' | 'baselineScope' | 'registration'>
  readonly now: () => number
}

export interface Tokens {
  readonly routes: readonly Route[]
  /** Of Lanyard's own tokens. */
  readonly verifier: AccessTokenVerifier
  /** Of those and of identity providers' tokens, where they are accepted: for the data plane. */
  readonly accepting: AccessTokenVerifier
  /** The grant types that clients may register for. */
  readonly grantTypes: readonly string[]
  /** Forgets what is of no use any more: to be called every few minutes, on any node. */
  maintain(): Promise<void>
}

/** Whoever verifies finds all keys at one address; each says what it is by the type of what it signed. */
function published({ keys, otherKeys = [] }: Pick<TokenOptions, 'keys' | 'otherKeys'>): PublishedKeys {
  const rings = [keys, ...otherKeys]
  return {
    // Of one that cannot be made, the others are published all the same.
    begin: async () => void (await Promise.allSettled(rings.map((ring) => ring.begin()))),
    jwks: () => ({ keys: rings.flatMap((ring) => ring.jwks().keys) }),
  }
}

/** A used refresh token is known for this long by its row, and by its family after that. */
const KEEP_USED = 10 * REPLAY_WINDOW

/** Makes the token room: token, revocation and introspection endpoint, metadata, and the verifier of what they issue. */
export function tokens(options: TokenOptions): Tokens {
  const { issuer, now, store } = options
  const verifier = accessTokenVerifier(options)
  const checkSubject = subjectCheck(options)
  const { exchange, ...others } = options
  const grants = grantTypes({ ...others, ...(exchange === undefined ? {} : { exchange: exchangeRoom({ ...options, ...exchange, targets: options.exchangeTargets ?? [], verifier, checkSubject }) }) })
  const endpoint = tokenEndpoint({ ...options, grants, checkSubject, issuer: tokenIssuer(options), url: `${issuer}/token` })
  const names = grants.map(({ type }) => type)
  const metadata = metadataRoutes({ ...options.metadata, issuer, grantTypes: names, grantProfiles: options.assertions?.flatMap(({ identifier = [] }) => identifier) ?? [], requestedTokenTypes: exchange === undefined ? [] : (options.exchangeTargets ?? []).flatMap(({ tokenType = [] }) => tokenType), dpopAlgorithms: DPOP_ALGORITHMS }, published(options))
  return {
    routes: [endpoint, revocationEndpoint(options), introspectionEndpoint(options), ...metadata],
    verifier,
    accepting: options.accept === undefined ? verifier : acceptingVerifier(verifier, { ...options, ...options.accept }),
    grantTypes: names,
    async maintain() {
      const at = Math.floor(now() / 1000)
      await store.prune({ usedBefore: at - KEEP_USED, expiredBefore: at })
    },
  }
}
