import type { ChangeFeed } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import { remembered } from '../audit/remembered.ts'
import { SealError, type Sealer } from '../keys/seal.ts'
import type { Sealed } from '../oauth/secret.ts'
import type { IdentityStore, Lease } from './identity-store.ts'
import { LoginRefused, ProviderUnavailable, type IdentityProvider } from './providers/provider.ts'
import type { Recheck } from './sign-in.ts'
import type { IdentityTokens, User } from './user.ts'

export interface RecheckDeps {
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly store: IdentityStore
  readonly sealer: Sealer
  readonly audit: Recorder
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly everyMs: number
  readonly now: () => number
}

/** How long a node takes a user's state as it found it: a check may be late by that. */
const RECENT_MS = 30_000
const MAX_RECENT = 50_000

/** Asks the identity provider again, with the refresh token that it gave at sign-in. */
export function recheck(deps: RecheckDeps): Recheck {
  const { feed, everyMs, now } = deps
  const activeUntil = remembered<number>(feed, ['user', 'subject'], MAX_RECENT)
  return {
    async recheck(userId) {
      if ((activeUntil.get(userId) ?? 0) > now()) return 'active'
      const keep = activeUntil.asking(userId)
      const state = await check(deps, userId)
      if (state === 'active') keep(now() + Math.min(everyMs, RECENT_MS))
      return state
    },
  }
}

async function check(deps: RecheckDeps, userId: string): Promise<'active' | 'ended'> {
  const { providers, store, sealer, audit, everyMs, now } = deps
  const user = await store.findUser(userId)
  const provider = providers.get(user?.provider ?? '')
  // A provider that was removed from the configuration vouches for nobody any more.
  if (user === undefined || user.disabled || provider === undefined) return 'ended'
  const lease = leaseFrom(now())
  const claimed = provider.refresh === undefined ? undefined : await store.claimCheck(userId, now() - everyMs, lease)
  if (claimed === undefined) return 'active'
  const tokens = openTokens(sealer, claimed, userId)
  try {
    // Nobody can be asked any more: the person signs in again.
    if (tokens === undefined) return await end(deps, user, claimed, 'the key of the sign-in was removed')
    if (tokens.refreshToken === undefined) return 'active'
    return await ask(deps, provider, user, { claimed, tokens })
  } catch (error) {
    // Whatever else the provider answers says something of it or of our registration there, not of the user.
    if (!(error instanceof ProviderUnavailable || error instanceof LoginRefused)) throw error
    const reason = error instanceof LoginRefused ? error.reason : error.message
    await audit.record({ action: 'provider.degraded', outcome: 'failure', subject: userId, reason, detail: { provider: provider.id } })
    return 'active'
  } finally {
    await store.releaseTokens(userId, lease)
  }
}

/** Longer than the requests that are made under it: only a holder that is gone, or was paused, loses it. */
const LEASE_MS = 30_000

export function leaseFrom(now: number): Lease {
  return { now, until: now + LEASE_MS }
}

export type AskDeps = Pick<RecheckDeps, 'store' | 'sealer' | 'now'>

/** Redeems the refresh token that was claimed, and keeps what comes of it. @throws ProviderUnavailable or LoginRefused: neither says anything of the user */
export async function ask(deps: AskDeps, provider: IdentityProvider, user: User, { claimed, tokens }: { claimed: Sealed; tokens: IdentityTokens }): Promise<'active' | 'ended'> {
  const { store, sealer, now } = deps
  let current = claimed
  const seal = (newer: IdentityTokens): Sealed => sealer.seal(JSON.stringify(newer), tokensRow(user.id))
  const identity = await provider.refresh?.(tokens, user, async (newer) => {
    const sealed = seal(newer)
    if (await store.replaceTokens(user.id, current, sealed)) current = sealed
  })
  if (identity !== undefined) {
    await store.updateUser(user.id, current, identity, seal(identity.tokens), now())
    return 'active'
  }
  return end(deps, user, current, 'the identity provider ended the sign-in')
}

export async function end({ store, now }: Pick<AskDeps, 'store' | 'now'>, user: User, tokens: Sealed, reason: string): Promise<'active' | 'ended'> {
  // A newer sign-in has tokens of its own: what became of the old ones says nothing of it.
  const ended = await store.endCheck(user.id, tokens, now(), { action: 'subject.revoked', outcome: 'success', subject: user.id, reason })
  return ended ? 'ended' : 'active'
}

/** The tokens of a user's last sign-in; `undefined` when their key is gone. */
export function openTokens(sealer: Sealer, tokens: Sealed, userId: string): IdentityTokens | undefined {
  try {
    return JSON.parse(sealer.open(tokens, tokensRow(userId))) as IdentityTokens
  } catch (error) {
    if (error instanceof SealError) return undefined
    throw error
  }
}

/** Where the identity provider's tokens stand: they open there alone. */
export function tokensRow(userId: string): readonly string[] {
  return ['users', userId, 'tokens']
}
