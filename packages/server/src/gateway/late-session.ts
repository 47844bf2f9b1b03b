import type { Connector } from '../upstreams/connectors/connector.ts'
import { readResponse } from './answers.ts'
import type { Call } from './call.ts'
import { drain, ownMessage, sendWithCredential, type UpstreamCallDeps, type UsableCredential } from './upstream-call.ts'

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
    upstreamSession(call, connector, credential) {
      const { session } = call
      if (session?.initialize === undefined) return Promise.resolve(session?.upstream)
      let opening = opened.get(session.id)
      if (opening === undefined) {
        opening = open(deps, call, connector, credential, session.initialize)
        opened.set(session.id, opening)
        opening.catch(() => opened.delete(session.id))
        const [oldest] = opened.keys()
        if (opened.size > MAX_CACHED && oldest !== undefined) opened.delete(oldest)
      }
      return opening
    },
  }
}

async function open(deps: UpstreamCallDeps, call: Call, connector: Connector, credential: UsableCredential, params: Readonly<Record<string, unknown>>): Promise<string | undefined> {
  const id = 'lanyard-initialize'
  const answer = await sendWithCredential(deps, connector, call, credential, ownMessage(call, undefined, { method: 'initialize', id, params }))
  if (answer === 'connection_required') return undefined
  const header = answer.headers['mcp-session-id']
  const session = typeof header === 'string' ? header : undefined
  await readResponse(answer, id, call.upstream)
  const ready = await sendWithCredential(deps, connector, call, credential, ownMessage(call, session, { method: 'notifications/initialized' }))
  if (ready !== 'connection_required') await drain(ready)
  return session
}
