// Access tokens that nothing is stored of: asked for when they are needed, once for all who wait, and kept in memory until
// shortly before they end, or until the upstream refuses them.
import type { ChangeFeed } from '../../audit/change.ts'
import { remembered } from '../../audit/remembered.ts'
import { hash } from '../../oauth/secret.ts'
import type { Connector, Credential } from './connector.ts'
import type { Upstream } from '../upstream.ts'

export interface ShortLivedToken {
  readonly accessToken: string
  /** Milliseconds since the epoch; unknown when absent. */
  readonly expiresAt?: number
  readonly scope?: string
}

export interface HeldTokensDeps {
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly now: () => number
}

/** A token is used until this long before it ends, or for half of its life, so that no call ends with it. */
const EARLY_MS = 30_000
/** What a server says nothing of is believed for this long. */
const UNKNOWN_LIFETIME_MS = 5 * 60_000
/** An upstream that refuses everything does not have a token made for each call. */
const DOUBT_MS = 30_000
const MAX_HELD = 50_000

interface Held extends ShortLivedToken {
  readonly usableUntil: number
}

/** @param ask gets a new token for the person */
export function heldTokens({ feed, now }: HeldTokensDeps, ask: (userId: string, upstream: Upstream) => Promise<ShortLivedToken>): Pick<Connector, 'credential' | 'refused'> {
  // Whoever calls was looked up a moment ago: other groups or another name change nothing of what they hold here.
  const held = remembered<Held>(feed, ['subject'], MAX_HELD)
  const underWay = new Map<string, Promise<Held>>()
  const doubts = new Map<string, number>()
  const renew = async (userId: string, upstream: Upstream): Promise<Held> => {
    const keep = held.asking(userId)
    const token = await ask(userId, upstream)
    const until = token.expiresAt ?? now() + UNKNOWN_LIFETIME_MS
    const fresh = { ...token, usableUntil: Math.max(until - EARLY_MS, now() + (until - now()) / 2) }
    keep(fresh)
    return fresh
  }
  const once = (userId: string, upstream: Upstream): Promise<Held> => {
    const known = held.get(userId)
    if (known !== undefined && known.usableUntil > now()) return Promise.resolve(known)
    const work = underWay.get(userId) ?? renew(userId, upstream).finally(() => underWay.delete(userId))
    underWay.set(userId, work)
    return work
  }
  return {
    async credential(userId, upstream): Promise<Credential> {
      const { accessToken, expiresAt, scope } = await once(userId, upstream)
      return { headers: { authorization: `Bearer ${accessToken}` }, version: hash(accessToken), ...(expiresAt === undefined ? {} : { expiresAt }), ...(scope === undefined ? {} : { scope }) }
    },
    async refused(userId, _upstream, version) {
      const known = held.get(userId)
      if (known === undefined || hash(known.accessToken) !== version || (doubts.get(userId) ?? 0) > now()) return
      if (doubts.size >= MAX_HELD) doubts.clear()
      doubts.set(userId, now() + DOUBT_MS)
      held.asking(userId)({ ...known, usableUntil: 0 })
    },
  }
}
