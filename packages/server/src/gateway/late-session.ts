import { hash } from 'node:crypto'
import type { StateSealer } from '../keys/seal.ts'
import type { Connector } from '../upstreams/connectors/connector.ts'
import { unreadable } from './answers.ts'
import type { Call } from './call.ts'
import { resultOfOwn } from './deliver.ts'
import { Stopped, type Answer } from './exchange.ts'
import type { LateSession, LateSessionStore } from './late-session-store.ts'
import { begunAt, SESSION_LIFETIME_MS, upstreamSessionId, type Session } from './session.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Line } from './tools.ts'
import { accountLost, drain, outgoingMessage, outgoingSession, ownMessage, sendWithCredential, type UpstreamCallDeps, type UsableCredential } from './upstream-call.ts'

/** Opens at the upstream the sessions that could not begin with the client's, or that the upstream has lost since. */
export interface LateSessions {
  /** The upstream's session for the call: its own, or one opened with what the client said at the beginning, by whichever node needed it first. */
  upstreamSession(call: Pick<Call, LateCall>, connector: Connector, credential: UsableCredential): Promise<string | undefined>
  /** Opens another one in the place of a session that the upstream does not know any more. */
  again(call: Pick<Call, LateCall>, connector: Connector, credential: UsableCredential, lost: string): Promise<string | undefined>
  /** Those of the upstreams at which the session has begun. */
  begun(session: Session, upstreams: readonly Upstream[]): Promise<readonly Upstream[]>
  /** The session is over. */
  forget(session: Session, upstream: Upstream): Promise<void>
}

export interface LateSessionDeps extends UpstreamCallDeps {
  readonly store: LateSessionStore
  readonly state: StateSealer
  readonly now: () => number
}

type LateCall = 'session' | 'upstream' | 'open' | 'revision' | 'headers' | 'caller' | 'profile' | 'response' | 'address'

const MAX_CACHED = 5000

/** A node opens one per session, when it first needs it and no other node has; what it knows of the others' it read once. */
export function lateSessions(deps: LateSessionDeps): LateSessions {
  const opened = new Map<string, Promise<string | undefined>>()
  /** Sessions that began with the client's, and are not known at their upstreams any more. */
  const lostAt = new Map<string, string>()
  /** The last one that this node found lost. */
  const lostLast = new Map<string, string>()
  const late: LateSessions = {
    async upstreamSession(call, connector, credential) {
      const { session } = call
      if (session === undefined) return undefined
      const key = keyOf(session, call.upstream)
      const begun = begunAt(session, call.upstream)
      const isLost = begun?.session !== undefined && lostAt.get(key) === begun.session
      if (session.initialize === undefined || (begun !== undefined && !isLost)) return begun?.session
      for (let opening = opened.get(key); opening !== undefined; opening = opened.get(key)) {
        try {
          return await opening
        } catch (error) {
          // Whose call opened it went away: this one opens it.
          if (!(error instanceof Stopped) || call.open.ended !== undefined) throw error
        }
      }
      const opening = obtain(deps, call, { connector, credential, params: session.initialize, key, lost: lostLast.get(key) }).catch((error: unknown) => {
        opened.delete(key)
        throw error
      })
      opened.set(key, opening)
      forgetOldest(opened)
      return opening
    },
    async again(call, connector, credential, lost) {
      const { session, upstream } = call
      if (session === undefined) return undefined
      const key = keyOf(session, upstream)
      if (begunAt(session, upstream)?.session === lost) lostAt.set(key, lost)
      forgetOldest(lostAt)
      const current = opened.get(key)
      // Whoever comes later with the same loss finds the new one.
      if (current === undefined || ((await current.catch(() => undefined)) === lost && opened.get(key) === current)) {
        opened.delete(key)
        lostLast.set(key, lost)
        forgetOldest(lostLast)
      }
      return late.upstreamSession(call, connector, credential)
    },
    async begun(session, upstreams) {
      const known = await Promise.all(upstreams.map(async (upstream) => begunAt(session, upstream) !== undefined || opened.has(keyOf(session, upstream)) || (await isStored(deps, session, upstream))))
      return upstreams.filter((_upstream, index) => known[index])
    },
    async forget(session, upstream) {
      const key = keyOf(session, upstream)
      opened.delete(key)
      if (session.initialize !== undefined) await deps.store.end(idOf(key))
    },
  }
  return late
}

async function isStored({ store, now }: LateSessionDeps, session: Session, upstream: Upstream): Promise<boolean> {
  return session.initialize !== undefined && (await store.find(idOf(keyOf(session, upstream)), now())) !== undefined
}

function forgetOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys()
  if (map.size > MAX_CACHED && oldest !== undefined) map.delete(oldest)
}

/** RS-41: whether the answer says that the upstream has lost one of several sessions that the client's stands for. */
export function isLostSession(call: Pick<Call, 'session'>, session: string | undefined, status: number): session is string {
  return status === 404 && session !== undefined && call.session?.upstreams !== undefined
}

/** Sends the client's message in the upstream's session. One that the upstream has lost did not carry it out: it is sent once more in a new one. */
export async function sendInSession(deps: UpstreamCallDeps & { readonly lateSessions: LateSessions }, call: Call, { connector, credential, session }: Line): Promise<Answer | 'connection_required'> {
  const answer = await sendWithCredential(deps, connector, call, credential, outgoingMessage(call, session))
  if (answer === 'connection_required' || call.message.kind !== 'request' || !isLostSession(call, session, answer.status)) return answer
  await drain(answer)
  const next = await deps.lateSessions.again(call, connector, credential, session)
  return sendWithCredential(deps, connector, call, credential, outgoingMessage(call, next))
}

function keyOf({ id }: Session, upstream: Upstream): string {
  return `${id} ${upstream.id}`
}

interface Opening {
  readonly connector: Connector
  readonly credential: UsableCredential
  /** What the client said at the beginning. */
  readonly params: Readonly<Record<string, unknown>>
  readonly key: string
  readonly lost: string | undefined
}

const PURPOSE = 'mcp late session'

/** The session that another node opened, unless it is the one that was lost; else one that is opened now, for all nodes. */
async function obtain(deps: LateSessionDeps, call: Pick<Call, LateCall>, opening: Opening): Promise<string | undefined> {
  const { store, state, now } = deps
  const { key, lost } = opening
  const id = idOf(key)
  const found = await store.find(id, now())
  const usable = found === undefined || found.mark === (lost === undefined ? undefined : markOf(lost)) ? undefined : unsealed(deps, key, found)
  if (usable !== undefined) return usable.session
  const session = await open(deps, call, opening)
  const expiresAt = now() + SESSION_LIFETIME_MS
  const own = { mark: markOf(session), sealed: state.seal(PURPOSE, [key], [session ?? null], expiresAt), expiresAt }
  const standing = await store.settle(id, own, found?.mark, now())
  const other = standing.mark === own.mark ? undefined : unsealed(deps, key, standing)
  if (other === undefined) return session
  // Another node was faster: this one is for nobody.
  if (session !== undefined) await end(deps, call, opening, session)
  return other.session
}

async function end(deps: UpstreamCallDeps, call: Pick<Call, LateCall>, { connector, credential }: Opening, session: string): Promise<void> {
  const answer = await sendWithCredential(deps, connector, call, credential, outgoingSession('DELETE', call, session))
  if (answer !== 'connection_required') await drain(answer)
}

/** @returns undefined for what was sealed with a key that is gone */
function unsealed({ state, now }: LateSessionDeps, key: string, { sealed }: LateSession): { readonly session: string | undefined } | undefined {
  // What was sealed here has this form.
  const opened = state.open(PURPOSE, [key], sealed, now()) as [string | null] | undefined
  return opened === undefined ? undefined : { session: opened[0] ?? undefined }
}

function idOf(key: string): string {
  return hash('sha256', key, 'base64url')
}

function markOf(session: string | undefined): string {
  return session === undefined ? 'none' : hash('sha256', session, 'base64url')
}

async function open(deps: UpstreamCallDeps, call: Pick<Call, LateCall>, { connector, credential, params }: Opening): Promise<string | undefined> {
  const id = 'lanyard-initialize'
  const answer = await sendWithCredential(deps, connector, call, credential, ownMessage(call, undefined, { method: 'initialize', id, params }))
  if (answer === 'connection_required') throw accountLost(call)
  const session = upstreamSessionId(answer, call.upstream)
  if ((await resultOfOwn(answer, id, call.upstream)) === undefined) throw unreadable(call.upstream, 'no initialize')
  const ready = await sendWithCredential(deps, connector, call, credential, ownMessage(call, session, { method: 'notifications/initialized' }))
  if (ready !== 'connection_required') await drain(ready)
  return session
}
