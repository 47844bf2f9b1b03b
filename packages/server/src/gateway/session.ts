import type { StateSealer } from '../keys/seal.ts'
import type { Caller } from '../token/verify.ts'
import type { Profile, Upstream } from '../upstreams/upstream.ts'
import { unreadable } from './answers.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'
import type { Message } from './message.ts'
import { declaresUrlElicitation } from './revisions.ts'

/** What a session of the 2025 revisions holds. It lives in its own identifier, so every node can serve it. */
export interface SessionState {
  /** The upstream's own session identifier, when it gave one. */
  readonly upstream?: string
  /** Whether the client can be sent to an address. */
  readonly urlElicitation: boolean
  /** By upstream of a profile of several, what began there with the session. */
  readonly upstreams?: Readonly<Record<string, UpstreamSession>>
  /** The client's `initialize` parameters, where it may have yet to be said to an upstream: no account was connected, or it did not answer. */
  readonly initialize?: Readonly<Record<string, unknown>>
}

export interface UpstreamSession {
  /** The upstream's own identifier, when it gave one. */
  readonly session?: string
  /** The revision that it agreed to, when not the client's. */
  readonly version?: string
}

export interface Session extends SessionState {
  readonly id: string
}

export interface Sessions {
  seal(caller: Caller, profile: Profile, state: SessionState): string
  /** @throws McpError 404 for a session that is not this user's and client's, was changed, or has ended (RS-41, RS-42). */
  open(id: string, caller: Caller, profile: Profile): Session
}

/** What began at one upstream with the session; undefined where it has yet to begin. */
export function begunAt(session: SessionState, { id }: Pick<Upstream, 'id'>): UpstreamSession | undefined {
  const { upstreams, upstream, initialize } = session
  if (upstreams !== undefined) return Object.hasOwn(upstreams, id) ? upstreams[id] : undefined
  if (initialize !== undefined) return undefined
  return upstream === undefined ? {} : { session: upstream }
}

const PURPOSE = 'mcp session'
export const SESSION_LIFETIME_MS = 7 * 24 * 3600_000
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
      const endsAt = now() + SESSION_LIFETIME_MS
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

/** What a session remembers of `initialize`: no more than a header can carry. */
export function beginning({ params }: Message): Readonly<Record<string, unknown>> {
  const { protocolVersion, capabilities, clientInfo } = params
  const whole = { protocolVersion, capabilities, clientInfo }
  if (Buffer.byteLength(JSON.stringify(whole)) <= 2048) return whole
  const version = typeof protocolVersion === 'string' ? protocolVersion.slice(0, 20) : ''
  return { protocolVersion: version, capabilities: {}, clientInfo: { name: 'unknown', version: '0' } }
}

/** What a session knows of its client from the beginning. */
export function stateOf({ params }: Message): SessionState {
  return { urlElicitation: declaresUrlElicitation(params['capabilities']) }
}

/** The identifier that an upstream gave its session: visible ASCII (RS-41), and not more than ours can hold. @throws McpError 502 */
export function upstreamSessionId({ headers }: Answer, upstream: Upstream): string | undefined {
  const id = headers['mcp-session-id']
  if (id === undefined) return undefined
  if (typeof id !== 'string' || !/^[\x21-\x7e]{1,2048}$/.test(id)) throw unreadable(upstream, 'session identifier')
  return id
}
