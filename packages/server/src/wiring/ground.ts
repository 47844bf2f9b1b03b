// What most rooms stand on: the store's verbs, the settings and the limits.
import type { JWTPayload } from 'jose'
import { administration, withAdministration } from '../admin/administration.ts'
import type { Config } from '../config/load.ts'
import { externalPolicySettings, machineSettings, profileSettings, upstreamSettings } from '../config/settings.ts'
import type { ApiCatalogue } from '../gateway/openapi/catalogue.ts'
import { clientAddress, proxyCheck } from '../http/address.ts'
import { cookies } from '../http/cookies.ts'
import type { Outbound } from '../http/outbound.ts'
import { rateLimit, type RateLimit } from '../http/rate-limit.ts'
import type { RouterSettings } from '../http/router.ts'
import { machines } from '../identity/machines.ts'
import type { Sealer, StateSealer } from '../keys/seal.ts'
import type { KeyRing } from '../keys/signing.ts'
import { externalPolicy } from '../policy/external.ts'
import type { LivePolicy } from '../policy/live-policy.ts'
import { approvalStore } from '../store/applications.ts'
import { authorizeStore } from '../store/authorize.ts'
import { clientStore } from '../store/clients.ts'
import { connectionStore } from '../store/connections.ts'
import type { Store } from '../store/open.ts'
import { profileStore } from '../store/profiles.ts'
import { proofStore } from '../store/proofs.ts'
import { tokenStore } from '../store/tokens.ts'
import { identityStore } from '../store/users.ts'
import { proofCheck } from '../token/dpop.ts'
import { profileEditing } from '../upstreams/profile-edit.ts'
import { profiles } from '../upstreams/profiles.ts'
import { protectedServers, withProtectedServers } from '../upstreams/protected-servers.ts'
import type { LiveProfiles } from '../upstreams/stored-profiles.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
/** One address may stand for a whole company: what guards against floods is this many times what one client may do. */
const FLOOD_FACTOR = 100

export interface AppDeps {
  readonly config: Config
  readonly store: Store
  readonly keys: KeyRing
  /** The keys of assertions for authorization servers elsewhere, where any are made. */
  readonly assertionKeys?: KeyRing
  /** The keys that prove this gateway to Entra ID, where an app there trusts it. */
  readonly federationKeys?: KeyRing
  readonly sealer: Sealer
  readonly state: StateSealer
  readonly outbound: Outbound
  readonly storedProfiles: LiveProfiles
  /** The tools that HTTP APIs' documents make. */
  readonly apis?: ApiCatalogue
  readonly policy: LivePolicy
  readonly log: RouterSettings['log']
  readonly now: () => number
}

export type Ground = ReturnType<typeof groundFloor>

/** What most rooms stand on. */
export function groundFloor(deps: AppDeps) {
  const { config, store, federationKeys, now } = deps
  const upstreams = upstreamSettings(config)
  const external = externalPolicySettings(config)
  const administrators = administration(config.issuer, config.admins?.groups ?? [])
  const declared = profileSettings(config)
  const served = profiles(config.issuer, upstreams, declared, deps.storedProfiles, { baselineScope: config.baselineScope })
  const servers = protectedServers(config.issuer, served, config.forwardAuth)
  const people = identityStore(store)
  const known = machines(config.issuer, machineSettings(config))
  const perMinute = (limit: number): RateLimit => rateLimit({ limit, windowMs: MINUTE_MS, now })
  return {
    ...deps,
    issuer: config.issuer,
    audit: store.audit,
    ...(federationKeys && { federation: { issuer: config.issuer, sign: (claims: JWTPayload, type: string) => federationKeys.begin().then(() => federationKeys.sign(claims, type)) } }),
    upstreams,
    administrators,
    external: external === undefined ? {} : { external: externalPolicy(external, { outbound: deps.outbound, now }) },
    profiles: withAdministration(withProtectedServers(served, servers), administrators),
    servers,
    isProxy: proxyCheck(config.trustedProxies),
    address: clientAddress(config.trustedProxies),
    cookies: cookies(config.issuer),
    clientStore: clientStore(store),
    approvalStore: approvalStore(store),
    identityStore: people,
    machines: known,
    /** A person, or a machine. */
    findUser: async (id: string) => known.find(id) ?? people.findUser(id),
    connectionStore: connectionStore(store),
    authorizeStore: authorizeStore(store),
    tokenStore: tokenStore(store),
    proof: { required: config.dpop.required, check: proofCheck({ store: proofStore(store), state: deps.state, requireNonce: config.dpop.requireNonce, now }) },
    declared,
    editing: profileEditing({ issuer: config.issuer, store: profileStore(store), live: deps.storedProfiles, upstreams, declared, policy: deps.policy, now }),
    limits: {
      requests: perMinute(config.limits.tokenRequestsPerMinute),
      floods: perMinute(config.limits.tokenRequestsPerMinute * FLOOD_FACTOR),
      authorizations: perMinute(config.limits.tokenRequestsPerMinute * FLOOD_FACTOR),
      refusedTokens: perMinute(config.limits.tokenRequestsPerMinute * FLOOD_FACTOR),
      registrations: rateLimit({ limit: config.limits.registrationsPerHour * FLOOD_FACTOR, windowMs: HOUR_MS, now }),
    },
  }
}
