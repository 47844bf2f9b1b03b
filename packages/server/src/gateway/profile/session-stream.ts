import { setTimeout as delay } from 'node:timers/promises'
import type { Upstream } from '../../upstreams/upstream.ts'
import { kindOf, messages, rewriteMessage, type Change } from '../answers.ts'
import type { Asked, Call, Contact, Visit } from '../call.ts'
import { failureOf } from '../deliver.ts'
import { McpError } from '../error.ts'
import { isLostSession } from '../late-session.ts'
import { permissions } from '../permit.ts'
import type { Session } from '../session.ts'
import { formatEvent } from '../sse.ts'
import type { Outward } from '../outward.ts'
import { pinnedList, visibleResult } from '../tools.ts'
import { drain, outgoingSession, sendWithCredential } from '../upstream-call.ts'
import { lineTo } from './ask.ts'
import type { ProfileDeps } from './deps.ts'
import { each, parts } from './each.ts'
import { followAll, openStream, type Opened, type Source } from './follow.ts'
import { outwardMessage } from './outward.ts'
import { toldInSession } from '../tasks/outward.ts'
import { formatPositions, parsePositions, withPosition, type Position } from './positions.ts'

type Json = Readonly<Record<string, unknown>>

const PATIENCE_MS = 1000

/** What is said to a session by no message of its client. */
const NO_MESSAGE = { kind: 'notification', method: '', id: null, params: {}, json: {} } as const

/**
 * `GET`: the messages of all upstreams of a session, as one stream.
 *
 * @returns false when none of them has one
 */
export async function streamProfile(deps: ProfileDeps, visit: Visit, session: Session, upstreams: readonly Upstream[]): Promise<boolean> {
  const asked = askedIn(visit, session)
  const positions = new Map(parsePositions(visit.headers['last-event-id']))
  const open = (call: Call): Promise<Opened> => openAt(deps, call, positions.get(call.upstream.id)?.event)
  const calls = parts(asked, upstreams)
  const opened = calls.map((call) => openStream(call, { open }))
  if (await isNothing(opened)) return false
  await passAll(calls, opened, { open, changeOf: (upstream) => changeOf(deps, { ...asked, upstream }, positions) })
  return true
}

/** The same of one upstream alone, in its own words, that waits until its account is connected. */
export async function streamLater(deps: ProfileDeps, contact: Contact, session: Session, change: Change): Promise<void> {
  const calls = parts(askedIn(contact, session), [contact.upstream])
  await passAll(calls, ['later'], { open: (call) => openAt(deps, call, undefined), changeOf: () => change })
}

function askedIn(visit: Visit, session: Session): Asked {
  const version = visit.headers['mcp-protocol-version']
  return { ...visit, session, message: NO_MESSAGE, operation: { kind: 'listen', resources: true }, revision: { era: 'legacy', version: typeof version === 'string' ? version : '' } }
}

async function passAll(calls: readonly Call[], opened: Parameters<typeof followAll>[1], source: Pick<Source, 'open' | 'changeOf'>): Promise<void> {
  const response = calls[0]?.response
  response?.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' }).flushHeaders()
  await followAll(calls, opened, {
    ...source,
    missed: () => {
      for (const list of ['tools', 'prompts', 'resources']) response?.write(formatEvent({ data: JSON.stringify({ jsonrpc: '2.0', method: `notifications/${list}/list_changed` }), lines: ['event: message'] }))
    },
    silent: () => undefined,
  })
  response?.end()
}

async function openAt(deps: ProfileDeps, call: Call, position: string | undefined): Promise<Opened> {
  const line = await lineTo(deps, call)
  if (line === undefined) return 'later'
  if (line.session === undefined) return 'never'
  const { 'last-event-id': _all, ...headers } = call.headers
  const own = { ...call, headers: { ...headers, ...(position === undefined ? {} : { 'last-event-id': position }) } }
  const answer = await sendWithCredential(deps, line.connector, own, line.credential, outgoingSession('GET', own, line.session))
  if (answer === 'connection_required') return 'later'
  if (answer.status === 200 && kindOf(answer) === 'events') return answer
  if (answer.status >= 500) throw await failureOf(answer, call.upstream)
  await drain(answer)
  if (!isLostSession(own, line.session, answer.status)) return 'never'
  await deps.lateSessions.again(own, line.connector, line.credential, line.session)
  return 'later'
}

/** Whether all say that there is no stream. Many servers say nothing at all before there is something to tell. */
async function isNothing(opened: readonly Promise<Opened>[]): Promise<boolean> {
  const all = Promise.all(opened)
  const first = await Promise.race([all, delay(PATIENCE_MS, undefined, { ref: false })])
  // Whoever follows them hears of it when one fails.
  all.catch(() => undefined)
  return first?.every((one) => one === 'never') === true
}

/**
 * H07: a stream that goes on from where one of a call was may bring its answer, whatever was asked for: it is changed as if
 * it answered that. H10: no other answers are an upstream's to give, as the client would take them for another's.
 */
function changeOf(deps: ProfileDeps, call: Call, positions: Map<string, Position>): Change {
  const { upstream } = call
  const permitted = permissions(deps.policy, call)
  const rewrite = (result: Json): Json | Promise<Json> => {
    const pinned = pinnedList(deps.pinning, upstream, result)
    return pinned instanceof Promise ? pinned.then((admitted) => visibleResult(admitted, permitted)) : visibleResult(pinned, permitted)
  }
  const change = messages(upstream, (message) => {
    deps.kept.heard(upstream.id, message)
    const told: Outward['message'] = (seen) => toldInSession(deps.tasks, call, permitted, outwardMessage(upstream, seen))
    if (typeof message['method'] === 'string') return told(message)
    const { event, call: awaited } = positions.get(upstream.id) ?? { event: '' }
    if (awaited === undefined || message['id'] !== awaited) return undefined
    positions.set(upstream.id, { event })
    const seen = rewriteMessage(message, rewrite)
    return seen instanceof Promise ? seen.then(told) : told(seen)
  })
  const move = (event: string): string => {
    positions.set(upstream.id, { ...positions.get(upstream.id), event })
    return formatPositions(Object.fromEntries(positions))
  }
  return { data: (text) => change.data(text), lines: (lines) => withPosition(lines, move) }
}

/** `DELETE`: ends the sessions at all upstreams where one began. */
export async function endProfile(deps: ProfileDeps, visit: Visit, session: Session, upstreams: readonly Upstream[]): Promise<void> {
  const asked: Asked = { ...visit, session, message: NO_MESSAGE, operation: { kind: 'free' }, revision: { era: 'legacy', version: '' } }
  const begun = await deps.lateSessions.begun(session, upstreams)
  await each(deps, asked, parts(asked, begun), async (call) => {
    const line = await lineTo(deps, call)
    await deps.lateSessions.forget(session, call.upstream)
    if (line?.session === undefined) return
    const answer = await sendWithCredential(deps, line.connector, call, line.credential, outgoingSession('DELETE', call, line.session))
    // Some upstreams do not let sessions be ended (405): to the client it has ended all the same.
    if (answer !== 'connection_required') await drain(answer)
  })
}

/** RS-40: there is no such stream. */
export function noStream(): McpError {
  return new McpError('invalid_request', 'Method not allowed', { status: 405, headers: { allow: 'POST' } })
}
