import type { Connector } from '../upstreams/connectors/connector.ts'
import { unreadable } from './answers.ts'
import type { Call } from './call.ts'
import { resultOfOwn } from './deliver.ts'
import { Stopped, type Answer } from './exchange.ts'
import { begunAt, upstreamSessionId, type Session } from './session.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Line } from './tools.ts'
import { accountLost, drain, outgoingMessage, ownMessage, sendWithCredential, type UpstreamCallDeps, type UsableCredential } from './upstream-call.ts'

/** Opens at the upstream the sessions that could not begin with the client's, or that the upstream has lost since. */
export interface LateSessions {
  /** The upstream's session for the call: its own, or one opened now with what the client said at the beginning. */
  upstreamSession(call: Pick<Call, LateCall>, connector: Connector, credential: UsableCredential): Promise<string | undefined>
  /** Opens another one in the place of a session that the upstream does not know any more. */
  again(call: Pick<Call, LateCall>, connector: Connector, credential: UsableCredential, lost: string): Promise<string | undefined>
  /** Whether the session has begun at the upstream, as far as this node knows. */
  isBegun(session: Session, upstream: Upstream): boolean
  /** The session is over. */
  forget(session: Session, upstream: Upstream): void
}

type LateCall = 'session' | 'upstream' | 'open' | 'revision' | 'headers' | 'caller' | 'profile' | 'response' | 'address'

const MAX_CACHED = 5000

/** A node opens one per session, when it first needs it; another node opens one of its own. */
export function lateSessions(deps: UpstreamCallDeps): LateSessions {
  const opened = new Map<string, Promise<string | undefined>>()
  /** Sessions that began with the client's, and are not known at their upstreams any more. */
  const lostAt = new Map<string, string>()
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
      const opening = open(deps, call, connector, credential, session.initialize).catch((error: unknown) => {
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
      if (current !== undefined && (await current.catch(() => undefined)) === lost && opened.get(key) === current) opened.delete(key)
      return late.upstreamSession(call, connector, credential)
    },
    isBegun: (session, upstream) => begunAt(session, upstream) !== undefined || opened.has(keyOf(session, upstream)),
    forget: (session, upstream) => void opened.delete(keyOf(session, upstream)),
  }
  return late
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

async function open(deps: UpstreamCallDeps, call: Pick<Call, LateCall>, connector: Connector, credential: UsableCredential, params: Readonly<Record<string, unknown>>): Promise<string | undefined> {
  const id = 'lanyard-initialize'
  const answer = await sendWithCredential(deps, connector, call, credential, ownMessage(call, undefined, { method: 'initialize', id, params }))
  if (answer === 'connection_required') throw accountLost(call)
  const session = upstreamSessionId(answer, call.upstream)
  if ((await resultOfOwn(answer, id, call.upstream)) === undefined) throw unreadable(call.upstream, 'no initialize')
  const ready = await sendWithCredential(deps, connector, call, credential, ownMessage(call, session, { method: 'notifications/initialized' }))
  if (ready !== 'connection_required') await drain(ready)
  return session
}
