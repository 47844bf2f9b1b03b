import type { Connectors } from '../upstreams/connectors/index.ts'
import type { CallPolicy } from './call-policy.ts'
import { trace, type Contact } from './call.ts'
import { deliverStream } from './deliver.ts'
import { McpError } from './error.ts'
import type { Recorder } from '../audit/event.ts'
import type { OpenCalls } from './open-calls.ts'
import { permissions } from './permit.ts'
import type { Session, Sessions } from './session.ts'
import type { Pinning } from './pinning.ts'
import { pinnedList, visibleResult } from './tools.ts'
import { credentialFor, drain, outgoingSession, sendWithCredential, type UpstreamCallDeps } from './upstream-call.ts'

export interface SessionRequestDeps extends UpstreamCallDeps {
  readonly sessions: Sessions
  readonly open: Pick<OpenCalls, 'becomeStream'>
  readonly connector: Connectors
  readonly policy: CallPolicy
  readonly audit: Recorder
  readonly pinning: Pinning
}

/** `GET`: the upstream's own messages in a session of the 2025 revisions. RS-40: there is no such stream without one. */
export async function streamSession(deps: SessionRequestDeps, contact: Contact): Promise<void> {
  const session = sessionOf(deps, contact)
  const permitted = permissions(deps.policy, contact)
  if (session?.upstream === undefined || !permitted.reach()) throw noStream()
  deps.open.becomeStream(contact.open, contact.caller)
  const connector = deps.connector(contact.upstream)
  const credential = await credentialFor(connector, contact)
  if (credential === 'connection_required') throw noStream()
  const answer = await sendWithCredential(deps, connector, contact, credential, outgoingSession('GET', contact, session.upstream))
  if (answer === 'connection_required') throw noStream()
  await deliverStream(contact, answer, (result) => {
    const pinned = pinnedList(deps.pinning, contact.upstream, result)
    return pinned instanceof Promise ? pinned.then((admitted) => visibleResult(admitted, permitted)) : visibleResult(pinned, permitted)
  })
}

/** `DELETE`: the client ends its session, and with it the upstream's. */
export async function endSession(deps: SessionRequestDeps, contact: Contact): Promise<void> {
  const session = sessionOf(deps, contact)
  if (session === undefined) throw noStream()
  if (session.upstream !== undefined) await endUpstreamSession(deps, contact, session.upstream)
  await deps.audit.record({ action: 'session.closed', outcome: 'success', ...trace(contact) })
  contact.response.writeHead(200).end()
}

async function endUpstreamSession(deps: SessionRequestDeps, contact: Contact, session: string): Promise<void> {
  const connector = deps.connector(contact.upstream)
  const credential = await credentialFor(connector, contact)
  if (credential === 'connection_required') return
  const answer = await sendWithCredential(deps, connector, contact, credential, outgoingSession('DELETE', contact, session))
  // Some upstreams do not let sessions be ended (405): to the client it has ended all the same.
  if (answer !== 'connection_required') await drain(answer)
}

function sessionOf({ sessions }: SessionRequestDeps, { headers, caller, profile }: Contact): Session | undefined {
  const id = headers['mcp-session-id']
  return typeof id === 'string' ? sessions.open(id, caller, profile) : undefined
}

function noStream(): McpError {
  return new McpError('invalid_request', 'Method not allowed', { status: 405, headers: { allow: 'POST' } })
}
