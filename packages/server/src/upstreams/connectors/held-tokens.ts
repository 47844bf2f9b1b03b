// Access tokens that nothing is stored of: asked for when they are needed, once for all who wait, and kept in memory until
// shortly before they end, or until the upstream refuses them.
import type { ChangeFeed } from '../../audit/change.ts'
import { remembered } from '../../audit/remembered.ts'
import { hash } from '../../oauth/secret.ts'
import { CredentialRefused, type Connector, type Credential } from './connector.ts'
import { carried, type IssuedToken } from './oauth/possession.ts'
import type { Upstream } from '../upstream.ts'

export interface HeldTokensDeps {
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly now: () => number
}

export interface HeldTokens extends Pick<Connector, 'credential'> {
  /**
   * The upstream refused the token of this version with 401.
   * @param words what it demanded: a token that was made for just that and is refused in the same words is kept for a while
   */
  refused(userId: string, version: string, words?: string): Refusal
}

/** What comes of a refusal: the token is discarded, or kept; or another one takes its place already. */
export type Refusal = 'discarded' | 'kept' | 'replaced'

/** A token is used until this long before it ends, or for half of its life, so that no call ends with it. */
const EARLY_MS = 30_000
/** What a server says nothing of is believed for this long. */
const UNKNOWN_LIFETIME_MS = 5 * 60_000
/** Whoever gives tokens for people looks at them again this often at least, however long its tokens live. */
const MAX_LIFETIME_MS = 30 * 3600_000
/** An upstream that refuses everything does not have a token made for each call. */
const DOUBT_MS = 30_000
/** What was refused is not asked for again at once: calls may be many, and each refusal is recorded. */
const REFUSED_MS = 10_000
const MAX_HELD = 50_000
const DISCARDED = 0

interface Held {
  readonly credential: Exclude<Credential, 'connection_required'>
  readonly usableUntil: number
}

/** @param ask gets a new token for the person */
export function heldTokens({ feed, now }: HeldTokensDeps, ask: (userId: string, upstream: Upstream) => Promise<IssuedToken>): HeldTokens {
  // Whoever calls was looked up a moment ago: other groups or another name change nothing of what they hold here.
  const held = remembered<Held>(feed, ['subject'], MAX_HELD)
  const underWay = new Map<string, Promise<Held>>()
  // After another sign-in, on whatever node, both are other questions.
  const denials = remembered<{ readonly error: CredentialRefused; readonly until: number }>(feed, ['subject', 'user'], MAX_HELD)
  const refusals = remembered<{ readonly words: string; readonly until: number }>(feed, ['subject', 'user'], MAX_HELD)
  const renew = async (userId: string, upstream: Upstream): Promise<Held> => {
    const keep = held.asking(userId)
    const deny = denials.asking(userId)
    const token = await ask(userId, upstream).catch((error: unknown) => {
      if (error instanceof CredentialRefused) deny({ error, until: now() + REFUSED_MS })
      throw error
    })
    const until = Math.min(token.expiresAt ?? now() + UNKNOWN_LIFETIME_MS, now() + MAX_LIFETIME_MS)
    const fresh = { credential: carried(token, hash(token.accessToken)), usableUntil: Math.max(until - EARLY_MS, now() + (until - now()) / 2) }
    keep(fresh)
    return fresh
  }
  const once = (userId: string, upstream: Upstream): Promise<Held> => {
    const known = held.get(userId)
    if (known !== undefined && known.usableUntil > now()) return Promise.resolve(known)
    const denied = denials.get(userId)
    if (denied !== undefined && denied.until > now()) return Promise.reject(denied.error)
    const work = underWay.get(userId) ?? renew(userId, upstream).finally(() => underWay.delete(userId))
    underWay.set(userId, work)
    return work
  }
  return {
    credential: async (userId, upstream) => (await once(userId, upstream)).credential,
    refused(userId, version, words = '') {
      const known = held.get(userId)
      const before = refusals.get(userId)
      // Of calls at once another one may have had it discarded.
      if (known?.credential.version !== version || known.usableUntil === DISCARDED) return 'replaced'
      if (before?.words === words && before.until > now()) return 'kept'
      refusals.asking(userId)({ words, until: now() + DOUBT_MS })
      held.asking(userId)({ ...known, usableUntil: DISCARDED })
      return 'discarded'
    },
  }
}
