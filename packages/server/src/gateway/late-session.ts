import type { Connector } from '../upstreams/connectors/connector.ts'
import { unreadable } from './answers.ts'
import type { Call } from './call.ts'
import { resultOfOwn } from './deliver.ts'
import { Stopped } from './exchange.ts'
import { begunAt, upstreamSessionId, type Session } from './session.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { accountLost, drain, ownMessage, sendWithCredential, type UpstreamCallDeps, type UsableCredential } from './upstream-call.ts'

/** Opens at the upstream the sessions that began before the user's account was connected. */
export interface LateSessions {
  /** The upstream's session for the call: its own, or one opened now with what the client said at the beginning. */
  upstreamSession(call: Pick<Call, LateCall>, connector: Connector, credential: UsableCredential): Promise<string | undefined>
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
  return {
    async upstreamSession(call, connector, credential) {
      const { session } = call
      const begun = session === undefined ? {} : begunAt(session, call.upstream)
      if (session?.initialize === undefined || begun !== undefined) return begun?.session
      const key = keyOf(session, call.upstream)
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
      const [oldest] = opened.keys()
      if (opened.size > MAX_CACHED && oldest !== undefined) opened.delete(oldest)
      return opening
    },
    isBegun: (session, upstream) => begunAt(session, upstream) !== undefined || opened.has(keyOf(session, upstream)),
    forget: (session, upstream) => void opened.delete(keyOf(session, upstream)),
  }
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
