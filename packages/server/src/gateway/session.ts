import type { StateSealer } from '../keys/seal.ts'
import type { Caller } from '../token/verify.ts'
import type { Profile, Upstream } from '../upstreams/upstream.ts'
import { unreadable } from './answers.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'

/** What a session of the 2025 revisions holds. It lives in its own identifier, so every node can serve it. */
export interface SessionState {
  /** The upstream's own session identifier, when it gave one. */
  readonly upstream?: string
  /** Whether the client can be sent to an address. */
  readonly urlElicitation: boolean
  /** The client's `initialize` parameters, when the gateway answered it itself: no account was connected yet. */
  readonly initialize?: Readonly<Record<string, unknown>>
}

export interface Session extends SessionState {
  readonly id: string
}

export interface Sessions {
  seal(caller: Caller, profile: Profile, state: SessionState): string
  /** @throws McpError 404 for a session that is not this user's and client's, was changed, or has ended (RS-41, RS-42). */
  open(id: string, caller: Caller, profile: Profile): Session
}

const PURPOSE = 'mcp session'
const LIFETIME_MS = 7 * 24 * 3600_000
const MAX_LENGTH = 8192
const MAX_CACHED = 20_000

interface Opened {
  readonly owner: string
  readonly session: Session
  readonly endsAt: number
}

/** RS-15: sealed and bound to user, client and resource; the cache spares opening it at every call. */
export function sessions(state: StateSealer, now: () => number): Sessions {
  const cache = new Map<string, Opened>()
  const ownerOf = (caller: Caller, profile: Profile): readonly string[] => [profile.id, caller.user.id, caller.clientId]
  return {
    seal(caller, profile, session) {
      const endsAt = now() + LIFETIME_MS
      return state.seal(PURPOSE, ownerOf(caller, profile), { ...session, endsAt }, endsAt)
    },
    open(id, caller, profile) {
      const owner = ownerOf(caller, profile)
      const known = cache.get(id)
      if (known !== undefined && known.owner === JSON.stringify(owner) && known.endsAt > now()) return known.session
      const opened = id.length > MAX_LENGTH ? undefined : (state.open(PURPOSE, owner, id, now()) as (SessionState & { readonly endsAt: number }) | undefined)
      if (opened === undefined) throw new McpError('session_not_found', 'Session not found', { status: 404 })
      const { endsAt, ...session } = opened
      cache.set(id, { owner: JSON.stringify(owner), session: { ...session, id }, endsAt })
      const [oldest] = cache.keys()
      if (cache.size > MAX_CACHED && oldest !== undefined) cache.delete(oldest)
      return { ...session, id }
    },
  }
}

/** The identifier that an upstream gave its session: visible ASCII (RS-41), and not more than ours can hold. @throws McpError 502 */
export function upstreamSessionId({ headers }: Answer, upstream: Upstream): string | undefined {
  const id = headers['mcp-session-id']
  if (id === undefined) return undefined
  if (typeof id !== 'string' || !/^[\x21-\x7e]{1,2048}$/.test(id)) throw unreadable(upstream, 'session identifier')
  return id
}
