// What is known of one request at a 2025 upstream, from its start to its end: also while nobody waits for it.
import { Stopped, type Answer } from '../exchange.ts'
import type { OpenCall, OpenCalls } from '../open-calls.ts'
import type { Introduced } from './introduced.ts'
import { legacyRequest, tell, type Line } from './line.ts'
import type { Parking, Tickets } from './parking.ts'
import type { Relay } from './relay.ts'
import { seat, type Seat } from './seat.ts'
import type { KnownTools } from './tool-facts.ts'
import type { Json } from './translate.ts'
import type { UpstreamSession } from './upstream-session.ts'
import type { UpstreamSessions } from './upstream-sessions.ts'

export interface LegacyCallDeps {
  readonly sessions: UpstreamSessions
  readonly parking: Parking<ParkedCall>
  readonly tickets: Tickets
  readonly tools: KnownTools
  readonly relay: Relay
  readonly openCalls: Pick<OpenCalls, 'open' | 'done'>
}

/** A call that a client comes back to. */
export interface ParkedCall {
  /** @returns an answer of the upstream's that says that the credential is no good, with the call still parked */
  resume(line: Line, message: Request, introduced: Introduced, responses: Json): Promise<Answer>
  /** Nobody will come back to it. */
  cancel(): void
}

export type Request = Json & { readonly method: string }

export interface Question {
  /** Its identifier at the upstream. */
  readonly id: unknown
  readonly method: unknown
  readonly params: unknown
}

export interface State extends LegacyCallDeps {
  readonly requestId: string
  readonly park: string
  /** What ends the request at the upstream. */
  readonly open: OpenCall
  readonly questions: Map<string, Question>
  session: UpstreamSession
  message: Request
  line: Line
  introduced: Introduced
  /** Where the client waits; undefined while the call is parked. */
  seat: Seat | undefined
  counted: number
  /** What the upstream answered while nobody waited. */
  outcome: Json | undefined
  over: boolean
  timer: NodeJS.Timeout | undefined
  /** What ends it when the token is revoked while it is parked. */
  registered: OpenCall | undefined
  /** Stops waiting for a client that comes back to another node. */
  unhold: (() => void) | undefined
}

export function takeSeat(state: State, line: Line): Seat {
  const { contact } = line
  const stop = (): void => {
    if (state.seat === chair) cancel(state, contact.open.ended ?? 'gone')
  }
  const chair = seat(state.message['id'], contact.upstream, stop)
  state.seat = chair
  state.line = line
  contact.open.stop = stop
  if (contact.open.ended !== undefined) stop()
  return chair
}

/** RS-29: in 2025 a request is cancelled by saying so; that its stream is left is no reason. */
export function cancel(state: State, reason: NonNullable<OpenCall['ended']>): void {
  if (state.over) return
  tell(state.session.line, legacyRequest({ method: 'notifications/cancelled', params: { requestId: state.requestId, reason: 'the client does not wait any more' } }, state.session.name))
  const { seat: chair } = state
  conclude(state)
  state.open.ended = reason
  state.open.stop?.()
  chair?.fail(new Stopped('stopped'))
}

export function conclude(state: State): void {
  state.over = true
  state.session.calls.delete(state.requestId)
  state.parking.remove(state.park)
  state.unhold?.()
  unregister(state)
}

export function unregister(state: State): void {
  clearTimeout(state.timer)
  if (state.registered !== undefined) state.openCalls.done(state.registered)
  state.registered = undefined
}

export function fail(state: State, error: Error): void {
  if (state.over) return
  if (state.seat === undefined) state.outcome = { id: state.requestId, error: { code: -32603, message: `${state.line.contact.upstream.name} did not finish the call` } }
  else {
    const { seat: chair } = state
    conclude(state)
    chair.fail(error)
  }
}
