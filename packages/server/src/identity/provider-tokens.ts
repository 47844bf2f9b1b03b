// What a person's identity provider gave at their newest sign-in, for whoever exchanges it for something that an upstream
// takes. The refresh token stays here: it is redeemed by one caller in the whole cluster, as it may be good once.
import { setTimeout as delay } from 'node:timers/promises'
import { decodeJwt } from 'jose'
import type { ChangeFeed } from '../audit/change.ts'
import { remembered } from '../audit/remembered.ts'
import type { Sealer } from '../keys/seal.ts'
import type { IdentityStore } from './identity-store.ts'
import { ProviderUnavailable, type IdentityProvider, type RedeemedToken, type TokenRequest } from './providers/provider.ts'
import { ask, end, leaseFrom, openTokens, tokensRow } from './recheck.ts'
import type { IdentityTokens, User } from './user.ts'

/** A person's tokens at their identity provider: each is there only while it is good. */
export interface HeldTokens {
  /** The identifier of the identity provider in the configuration. */
  readonly provider: string
  readonly issuer: string
  readonly idToken?: string
  readonly accessToken?: string
  /** Milliseconds since the epoch, when the first of them ends. */
  readonly expiresAt: number
}

export interface ProviderTokens {
  /**
   * The person's current tokens, renewed when they are about to end.
   *
   * @returns undefined for somebody who has none: who is disabled or never signed in here, whose sign-in the provider
   *   ended, or whose provider gives no refresh token and whose tokens have ended
   * @throws ProviderUnavailable, LoginRefused: neither says anything of the person
   */
  current(userId: string): Promise<HeldTokens | undefined>
  /**
   * Redeems the refresh token for an access token of other scopes, where the provider can do that.
   *
   * @returns undefined as above
   * @throws ProviderUnavailable, LoginRefused, SignInNeeded when the person must sign in again, with these claims
   */
  redeem(userId: string, request: TokenRequest): Promise<RedeemedToken | undefined>
}

export interface ProviderTokensDeps {
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly store: IdentityStore
  readonly sealer: Sealer
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly now: () => number
}

/** What ends sooner is as good as ended: it must last for the exchange that it is for. */
const MARGIN_MS = 60_000
const MAX_HELD = 20_000
const POLL_MS = 100
const MAX_WAIT_MS = 12_000

export function providerTokens(deps: ProviderTokensDeps): ProviderTokens {
  const held = remembered<HeldTokens>(deps.feed, ['user', 'subject'], MAX_HELD)
  return {
    async current(userId) {
      const known = held.get(userId)
      if (known !== undefined && known.expiresAt > deps.now() + MARGIN_MS) return known
      const keep = held.asking(userId)
      const found = await current(deps, userId)
      if (found !== undefined) keep(found)
      return found
    },
    redeem: (userId, request) =>
      leased(deps, userId, { isEnough: () => false }, async ({ provider, user, tokens }, claimed) => {
        let stored = claimed
        const answer = await provider.redeem?.(tokens, user, request, async (newer) => {
          const sealed = deps.sealer.seal(JSON.stringify(newer), tokensRow(userId))
          if (await deps.store.replaceTokens(userId, stored, sealed)) stored = sealed
        })
        if (answer === 'ended') await end(deps, user, stored, ENDED)
        return answer === 'ended' ? undefined : answer
      }),
  }
}

const ENDED = 'the identity provider ended the sign-in'

interface Holder {
  readonly user: User
  readonly provider: IdentityProvider
  readonly tokens: IdentityTokens
}

async function current(deps: ProviderTokensDeps, userId: string): Promise<HeldTokens | undefined> {
  const isEnough = ({ tokens, user, provider }: Holder): boolean => {
    const good = goodOf(user, tokens, deps.now())
    // What cannot be renewed is enough as it is.
    return tokens.refreshToken === undefined || provider.refresh === undefined || (good?.idToken !== undefined && (good.accessToken !== undefined || tokens.accessToken === undefined))
  }
  await leased(deps, userId, { isEnough }, async ({ provider, user, tokens }, claimed) => void (await ask(deps, provider, user, { claimed, tokens })))
  const holder = await find(deps, userId)
  return holder === undefined ? undefined : goodOf(holder.user, holder.tokens, deps.now())
}

/** Works with the tokens while nobody else in the cluster does; not at all once they are enough. */
async function leased<Result>(
  deps: ProviderTokensDeps,
  userId: string,
  { isEnough }: { readonly isEnough: (holder: Holder) => boolean },
  work: (holder: Holder, claimed: Parameters<typeof end>[2]) => Promise<Result>,
): Promise<Result | undefined> {
  const startedAt = deps.now()
  for (;;) {
    const holder = await find(deps, userId)
    if (holder === undefined || isEnough(holder)) return undefined
    if (holder.tokens.refreshToken === undefined) return undefined
    const lease = leaseFrom(deps.now())
    const claimed = await deps.store.leaseTokens(userId, lease)
    const tokens = claimed === undefined ? undefined : openTokens(deps.sealer, claimed, userId)
    try {
      // What was stored between the two looks is what counts.
      if (claimed !== undefined && tokens !== undefined) return isEnough({ ...holder, tokens }) ? undefined : await work({ ...holder, tokens }, claimed)
    } finally {
      if (claimed !== undefined) await deps.store.releaseTokens(userId, lease)
    }
    if (deps.now() - startedAt > MAX_WAIT_MS) throw new ProviderUnavailable('the sign-in is being renewed elsewhere')
    await delay(POLL_MS)
  }
}

async function find({ store, sealer, providers }: ProviderTokensDeps, userId: string): Promise<Holder | undefined> {
  const user = await store.findUser(userId)
  const provider = providers.get(user?.provider ?? '')
  if (user === undefined || user.disabled || provider === undefined) return undefined
  const sealed = await store.findTokens(userId)
  const tokens = sealed === undefined ? undefined : openTokens(sealer, sealed, userId)
  return tokens === undefined ? undefined : { user, provider, tokens }
}

function goodOf({ provider, issuer }: User, { idToken, accessToken, accessTokenExpiresAt = 0 }: IdentityTokens, now: number): HeldTokens | undefined {
  const idTokenExpiresAt = idToken === '' ? 0 : (decodeJwt(idToken).exp ?? 0) * 1000
  const isGood = (at: number): boolean => at > now + MARGIN_MS
  const good = {
    ...(isGood(idTokenExpiresAt) ? { idToken } : {}),
    ...(accessToken !== undefined && isGood(accessTokenExpiresAt) ? { accessToken } : {}),
  }
  const ends = [idTokenExpiresAt, accessTokenExpiresAt].filter(isGood)
  return ends.length === 0 ? undefined : { provider, issuer, ...good, expiresAt: Math.min(...ends) }
}
