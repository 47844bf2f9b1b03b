import type { Connector } from '../upstreams/connectors/connector.ts'
import { unreadable } from './answers.ts'
import type { Call } from './call.ts'
import { resultOfOwn } from './deliver.ts'
import { Stopped } from './exchange.ts'
import { upstreamSessionId } from './session.ts'
import { accountLost, drain, ownMessage, sendWithCredential, type UpstreamCallDeps, type UsableCredential } from './upstream-call.ts'

/** Opens at the upstream the sessions that began before the user's account was connected. */
export interface LateSessions {
  /** The upstream's session for the call: its own, or one opened now with what the client said at the beginning. */
  upstreamSession(call: Call, connector: Connector, credential: UsableCredential): Promise<string | undefined>
}

const MAX_CACHED = 5000

/** A node opens one per session, when it first needs it; another node opens one of its own. */
export function lateSessions(deps: UpstreamCallDeps): LateSessions {
  const opened = new Map<string, Promise<string | undefined>>()
  return {
    async upstreamSession(call, connector, credential) {
      const { session } = call
      if (session?.initialize === undefined) return session?.upstream
      for (let opening = opened.get(session.id); opening !== undefined; opening = opened.get(session.id)) {
        try {
          return await opening
        } catch (error) {
          // Whose call opened it went away: this one opens it.
          if (!(error instanceof Stopped) || call.open.ended !== undefined) throw error
        }
      }
      const opening = open(deps, call, connector, credential, session.initialize).catch((error: unknown) => {
        opened.delete(session.id)
        throw error
      })
      opened.set(session.id, opening)
      const [oldest] = opened.keys()
      if (opened.size > MAX_CACHED && oldest !== undefined) opened.delete(oldest)
      return opening
    },
  }
}

async function open(deps: UpstreamCallDeps, call: Call, connector: Connector, credential: UsableCredential, params: Readonly<Record<string, unknown>>): Promise<string | undefined> {
  const id = 'lanyard-initialize'
  const answer = await sendWithCredential(deps, connector, call, credential, ownMessage(call, undefined, { method: 'initialize', id, params }))
  if (answer === 'connection_required') throw accountLost(call)
  const session = upstreamSessionId(answer, call.upstream)
  if ((await resultOfOwn(answer, id, call.upstream)) === undefined) throw unreadable(call.upstream, 'no initialize')
  const ready = await sendWithCredential(deps, connector, call, credential, ownMessage(call, session, { method: 'notifications/initialized' }))
  if (ready !== 'connection_required') await drain(ready)
  return session
}
