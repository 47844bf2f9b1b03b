import type { Change, Rewrite } from './answers.ts'
import { trace, type Contact, type Visit } from './call.ts'
import { anyMessage, deliverStream } from './deliver.ts'
import type { OpenCalls } from './open-calls.ts'
import { permissions } from './permit.ts'
import type { ProfileDeps } from './profile/deps.ts'
import { endProfile, noStream, streamLater, streamProfile } from './profile/session-stream.ts'
import type { Session } from './session.ts'
import { toldInSession } from './tasks/outward.ts'
import { pinnedList, visibleResult } from './tools.ts'
import { credentialFor, outgoingSession, sendWithCredential } from './upstream-call.ts'

export interface SessionRequestDeps extends ProfileDeps {
  readonly open: Pick<OpenCalls, 'becomeStream'>
}

/** `GET`: the upstreams' own messages in a session of the 2025 revisions. RS-40: there is no such stream without one. */
export async function streamSession(deps: SessionRequestDeps, visit: Visit): Promise<void> {
  const session = sessionOf(deps, visit)
  const reached = visit.profile.upstreams.filter((upstream) => permissions(deps.policy, { ...visit, upstream }).reach())
  const [only, ...others] = reached
  if (session === undefined || only === undefined) throw noStream()
  if (visit.profile.upstreams.length > 1) {
    deps.open.becomeStream(visit.open, visit.caller)
    if (!(await streamProfile(deps, visit, session, [only, ...others]))) throw noStream()
    return
  }
  deps.open.becomeStream(visit.open, visit.caller)
  await streamOne(deps, { ...visit, upstream: only }, session)
}

async function streamOne(deps: SessionRequestDeps, contact: Contact, session: Session): Promise<void> {
  const connector = deps.connector(contact.upstream)
  const credential = await credentialFor(connector, contact)
  if (credential === 'connection_required') {
    // Whoever connects it goes on in this session. A machine connects nothing.
    if (session.initialize === undefined || contact.caller.user.kind === 'machine') throw noStream()
    return streamLater(deps, contact, session, changeFor(deps, contact))
  }
  const version = contact.headers['mcp-protocol-version']
  const id = await deps.lateSessions.upstreamSession({ ...contact, session, revision: { era: 'legacy', version: typeof version === 'string' ? version : '' } }, connector, credential)
  if (id === undefined) throw noStream()
  const answer = await sendWithCredential(deps, connector, contact, credential, outgoingSession('GET', contact, id))
  if (answer === 'connection_required') throw noStream()
  await deliverStream(contact, answer, changeFor(deps, contact))
}

/** What becomes of an upstream's own messages. */
function changeFor(deps: SessionRequestDeps, contact: Contact): Change {
  const permitted = permissions(deps.policy, contact)
  const rewrite: Rewrite = (result) => {
    const pinned = pinnedList(deps.pinning, contact.upstream, result)
    return pinned instanceof Promise ? pinned.then((admitted) => visibleResult(admitted, permitted)) : visibleResult(pinned, permitted)
  }
  return anyMessage(contact.upstream, rewrite, (message) => toldInSession(deps.tasks, contact, permitted, message))
}

/** `DELETE`: the client ends its session, and with it those of the upstreams. */
export async function endSession(deps: SessionRequestDeps, visit: Visit): Promise<void> {
  const session = sessionOf(deps, visit)
  if (session === undefined) throw noStream()
  await endProfile(deps, visit, session, visit.profile.upstreams)
  const [only, ...others] = visit.profile.upstreams
  await deps.audit.record({ action: 'session.closed', outcome: 'success', ...trace({ ...visit, ...(others.length === 0 && only !== undefined ? { upstream: only } : {}) }) })
  visit.response.writeHead(200).end()
}

function sessionOf({ sessions }: SessionRequestDeps, { headers, caller, profile }: Visit): Session | undefined {
  const id = headers['mcp-session-id']
  return typeof id === 'string' ? sessions.open(id, caller, profile) : undefined
}
