// One request of a 2026-07-28 client in a session of a 2025 upstream. When the upstream asks something, the client's
// request ends with the question, and the upstream's goes on waiting here until the client comes back.
import { kindOf, ownOr, readResponse, unreadable } from '../answers.ts'
import { issuedToken } from '../authenticate.ts'
import { drain } from '../drain.ts'
import { McpError } from '../error.ts'
import { Stopped, type Answer, type Reader } from '../exchange.ts'
import { isObject } from '../message.ts'
import { newId } from '../../oauth/secret.ts'
import type { OpenCall, OpenCalls } from '../open-calls.ts'
import { WrongGeneration } from './generation.ts'
import type { Introduced } from './introduced.ts'
import { legacyRequest, legacySessionRequest, listenTo, ownOpen, tell, tellsOfMessage, type Line } from './line.ts'
import { PARKED_MS, type Parking, type Tickets } from './parking.ts'
import { reply } from './outlet.ts'
import type { Relay } from './relay.ts'
import { seat, type Seat } from './seat.ts'
import { remember } from './session-stream.ts'
import { ASKING_METHODS, toModernError, toModernResult, URL_ELICITATION_REQUIRED, missingCapability, type Json } from './translate.ts'
import { answer as refuse, ensureLevel, isAtLeast, route, type InFlight, type UpstreamSession } from './upstream-session.ts'
import type { KnownTools } from './tool-facts.ts'
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

interface Question {
  /** Its identifier at the upstream. */
  readonly id: unknown
  readonly method: unknown
  readonly params: unknown
}

interface State extends LegacyCallDeps {
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

const MAX_RESUMED = 100
const MAX_QUESTIONS = 32
/** A response is the last thing of its stream; an upstream that does not end it has said all the same. */
const TAIL_MS = 1000
const METHOD_NOT_FOUND = -32601
const MISSING_CAPABILITY = -32021

export function legacyCall(deps: LegacyCallDeps, line: Line, session: UpstreamSession, message: Request, introduced: Introduced): Promise<Answer> {
  const state: State = {
    ...deps,
    requestId: newId('req'),
    park: newId('park'),
    open: ownOpen(line.contact),
    questions: new Map(),
    session,
    message,
    line,
    introduced,
    seat: undefined,
    counted: 0,
    outcome: undefined,
    over: false,
    timer: undefined,
    registered: undefined,
    unhold: undefined,
  }
  const chair = takeSeat(state, line)
  void run(state).catch((error: unknown) => fail(state, error instanceof WrongGeneration ? error : ownOr(error, line.contact.upstream)))
  return chair.answer
}

function takeSeat(state: State, line: Line): Seat {
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
function cancel(state: State, reason: NonNullable<OpenCall['ended']>): void {
  if (state.over) return
  tell(state.session.line, legacyRequest({ method: 'notifications/cancelled', params: { requestId: state.requestId, reason: 'the client does not wait any more' } }, state.session.name))
  const { seat: chair } = state
  conclude(state)
  state.open.ended = reason
  state.open.stop?.()
  chair?.fail(new Stopped('stopped'))
}

function conclude(state: State): void {
  state.over = true
  state.session.calls.delete(state.requestId)
  state.parking.remove(state.park)
  state.unhold?.()
  unregister(state)
}

function unregister(state: State): void {
  clearTimeout(state.timer)
  if (state.registered !== undefined) state.openCalls.done(state.registered)
  state.registered = undefined
}

function fail(state: State, error: Error): void {
  if (state.over) return
  if (state.seat === undefined) state.outcome = { id: state.requestId, error: { code: -32603, message: `${state.line.contact.upstream.name} did not finish the call` } }
  else {
    const { seat: chair } = state
    conclude(state)
    chair.fail(error)
  }
}

async function run(state: State): Promise<void> {
  const { introduced, line, sessions, message } = state
  await ensureLevel(state.session, introduced.level)
  const asks = ASKING_METHODS.has(message.method) && Object.keys(introduced.capabilities).length > 0
  // Some upstreams ask and log on the stream of the session alone.
  if (asks || introduced.level !== undefined) await sessions.listen(state.session)
  let answer = await send(state)
  if (await hasForgotten(answer, state)) {
    sessions.forget(state.session)
    const opened = await sessions.of(line, introduced)
    if ('refused' in opened) return handOver(state, reply(opened.refused.status, undefined, opened.refused.headers))
    state.session.calls.delete(state.requestId)
    state.session = opened
    answer = await send(state)
  }
  const success = answer.status >= 200 && answer.status <= 299
  if (!success && !tellsOfMessage(answer)) return handOver(state, answer)
  if (kindOf(answer) !== 'events') return respond(state, await readResponse(answer, state.requestId, line.contact.upstream))
  await follow(state, answer)
}

function handOver(state: State, answer: Answer): void {
  const { seat: chair } = state
  conclude(state)
  chair?.hand(answer)
}

function send(state: State): Promise<Answer> {
  const { introduced: { params }, message, session, requestId, line } = state
  session.calls.set(requestId, inFlight(state))
  const meta = isObject(params['_meta']) ? params['_meta'] : {}
  const own = meta['progressToken'] === undefined ? params : { ...params, _meta: { ...meta, progressToken: requestId } }
  return line.send(legacyRequest({ id: requestId, method: message.method, params: own }, session.name), state.open)
}

/** A session that the upstream does not know was not used: what was sent in it was not carried out. */
async function hasForgotten(answer: Answer, { session, line, requestId }: State): Promise<boolean> {
  if (session.name.id === undefined || (answer.status !== 404 && answer.status !== 400)) return false
  if (answer.status === 404) return drain(answer).then(() => true)
  if (kindOf(answer) !== 'json') return false
  // Some say 400 for it; what else they say so is not for a session.
  const { error } = await readResponse(answer, requestId, line.contact.upstream)
  if (isObject(error) && typeof error['message'] === 'string' && /session/i.test(error['message'])) return true
  throw new McpError('unavailable', `${line.contact.upstream.name} refused the request (400)`, { status: 400, reason: 'upstream: 400 with an error' })
}

/** Reads the stream of the request to its response; one that broke off goes on where the upstream says it may. */
async function follow(state: State, first: Answer): Promise<void> {
  const { line, session, open } = state
  const place = { last: undefined as string | undefined, retryMs: 1000 }
  const call = inFlight(state)
  for (let answer = first, times = 0; times < MAX_RESUMED; times += 1) {
    const listener = {
      message: (message: Json): void => route(session, message, call),
      alive({ data, lines }: { readonly data: string | undefined; readonly lines: readonly string[] }): void {
        remember(lines, place)
        if (data === undefined) state.seat?.comment()
      },
    }
    const ended = await listenTo(answer, line.contact.upstream, listener, slowness(state)).catch((error: unknown) => ownOr(error, line.contact.upstream))
    if (isDone(state)) return
    if (place.last === undefined || open.ended !== undefined) throw ended ?? unreadable(line.contact.upstream, 'no response')
    await new Promise((resolve) => setTimeout(resolve, place.retryMs))
    if (isDone(state)) return
    answer = await line.send(legacySessionRequest('GET', session.name, place.last), open)
    if (answer.status !== 200 || kindOf(answer) !== 'events') {
      await drain(answer)
      throw unreadable(line.contact.upstream, 'broken off')
    }
  }
}

function isDone({ over, outcome }: State): boolean {
  return over || outcome !== undefined
}

/** The upstream is read as fast as the client reads, while there is one. */
function slowness(state: State): Reader {
  return {
    get writableNeedDrain() {
      return state.seat?.writableNeedDrain === true
    },
    once: (event, drained) => (state.seat === undefined ? drained() : state.seat.once(event, drained)),
  }
}

function inFlight(state: State): InFlight {
  return {
    asks: ASKING_METHODS.has(state.message.method),
    logs: state.introduced.level !== undefined,
    response: (message) => {
      respond(state, message)
      setTimeout(() => state.open.stop?.(), TAIL_MS).unref()
    },
    notification: (message) => notify(state, message),
    question(message) {
      if (state.over || state.outcome !== undefined) return
      if (state.questions.size >= MAX_QUESTIONS) return refuse(state.session, { id: message['id'], error: { code: -32603, message: 'too many questions' } })
      state.counted += 1
      state.questions.set(`question-${state.counted}`, { id: message['id'], method: message['method'], params: message['params'] })
      // What is asked at once is one question to the client.
      setImmediate(() => park(state))
    },
    withdraw(id) {
      for (const [key, question] of state.questions) if (question.id === id) state.questions.delete(key)
    },
  }
}

function notify({ seat: chair, introduced: { params, level } }: State, message: Json): void {
  const given = isObject(message['params']) ? message['params'] : {}
  if (message['method'] === 'notifications/message') {
    if (isAtLeast(given['level'], level)) chair?.tell(message)
    return
  }
  const token = isObject(params['_meta']) ? params['_meta']['progressToken'] : undefined
  if (token !== undefined) chair?.tell({ ...message, params: { ...given, progressToken: token } })
}

function respond(state: State, message: Json): void {
  if (state.over) return
  if (state.seat === undefined) {
    state.outcome = message
    return
  }
  const { seat: chair } = state
  const { status, body } = finalOf(state, message)
  conclude(state)
  chair.finish({ jsonrpc: '2.0', id: chair.id, ...body }, status)
}

function finalOf(state: State, { result, error }: Json): { readonly status: number; readonly body: Json } {
  const { method } = state.message
  if (isObject(result) && method === 'tools/list') state.tools.learn(state.line.contact, result['tools'])
  if (isObject(result)) return { status: 200, body: { result: toModernResult(method, result) } }
  const given = isObject(error) ? error : {}
  if (given['code'] === URL_ELICITATION_REQUIRED && ASKING_METHODS.has(method)) return sendElsewhere(state, given['data'])
  // RS-20
  return { status: given['code'] === METHOD_NOT_FOUND ? 404 : 200, body: { error: toModernError(given) } }
}

/** 2025-11-25 refuses a call until somebody has been at an address; in 2026-07-28 that is a question, and the call is made again. */
function sendElsewhere(state: State, data: unknown): { readonly status: number; readonly body: Json } {
  const { line, message, introduced, tickets } = state
  const elicitations: unknown[] = isObject(data) && Array.isArray(data['elicitations']) ? data['elicitations'].slice(0, MAX_QUESTIONS) : []
  const questions = elicitations.filter((each) => isObject(each)).map((each, index) => [`question-${index + 1}`, toQuestion({ id: 0, method: 'elicitation/create', params: { mode: 'url', ...each } })] as const)
  const missing = missingCapability({ elicitation: { url: {} } }, introduced.capabilities)
  if (missing !== undefined) return { status: 400, body: { error: { code: MISSING_CAPABILITY, message: 'The client cannot be sent to an address', data: { requiredCapabilities: missing } } } }
  if (questions.length === 0) return { status: 200, body: { error: { code: -32603, message: `${line.contact.upstream.name} gave an answer that cannot be used` } } }
  return { status: 200, body: { result: inputRequired(Object.fromEntries(questions), tickets.seal(line.contact, message, introduced.params, {})) } }
}

function inputRequired(inputRequests: Json, requestState: string): Json {
  return { resultType: 'input_required', inputRequests, requestState }
}

/** C-30: an address goes on as it is; the name that 2025-11-25 gives it is nothing to 2026-07-28. */
function toQuestion({ method, params }: Question): Json {
  const { elicitationId: _name, _meta: _, task: _task, ...given } = isObject(params) ? params : {}
  return { method, ...(method === 'roots/list' ? {} : { params: given }) }
}

/** Ends the client's request with what the upstream asks; the upstream's own goes on waiting, for a while. */
function park(state: State): void {
  const { seat: chair, line, message, introduced, questions } = state
  if (chair === undefined || state.over || questions.size === 0) return
  const { caller } = line.contact
  if (!state.parking.has(caller.user.id)) return refusePlace(state, chair)
  const round = newId('rnd')
  try {
    keep(state, round)
  } catch {
    return refusePlace(state, chair)
  }
  state.unhold ??= state.relay.hold(state.park, line.contact.upstream, (...back) => resumeElsewhere(state, ...back), () => cancel(state, 'gone'))
  state.seat = undefined
  const asked = Object.fromEntries([...questions].map(([key, question]) => [key, toQuestion(question)]))
  chair.finish({ jsonrpc: '2.0', id: chair.id, result: inputRequired(asked, state.tickets.seal(line.contact, message, introduced.params, { node: state.relay.node, park: state.park, round })) })
}

/** Keeps the call for whoever comes back with the ticket of this round, no longer than the token counts. @throws McpError for one too many */
function keep(state: State, round: string): void {
  const { caller } = state.line.contact
  state.registered = state.openCalls.open({ issued: issuedToken(caller), endsAt: Number.MAX_SAFE_INTEGER })
  state.registered.stop = () => cancel(state, 'revoked')
  state.timer = setTimeout(() => cancel(state, 'expired'), PARKED_MS).unref()
  state.parking.put(state.park, round, caller.user.id, { resume: (...back) => resume(state, round, ...back), cancel: () => cancel(state, 'closing') })
}

function refusePlace(state: State, chair: Seat): void {
  state.seat = undefined
  cancel(state, 'gone')
  chair.finish({ jsonrpc: '2.0', id: chair.id, error: { code: -32000, message: 'Too many calls of yours wait for an answer to a question; answer one of them first, or try again later' } }, 429)
}

/** The client is back: its answers go to the upstream, and it waits for what becomes of them. */
async function resume(state: State, round: string, line: Line, message: Request, introduced: Introduced, responses: Json): Promise<Answer> {
  unregister(state)
  try {
    for (const [key, { id }] of state.questions) {
      const given = responses[key]
      // The bare result, and nothing around it: everything else is no answer, and asked again.
      if (!isObject(given) || 'method' in given || 'result' in given) continue
      const sent = await line.send(legacyRequest({ id, result: given }, state.session.name), ownOpen(line.contact))
      await drain(sent)
      if (sent.status === 401) return parkAgain(state, round, sent)
      if (sent.status < 200 || sent.status > 299) throw new McpError('unavailable', `${line.contact.upstream.name} did not take the answer (${sent.status})`, { status: 502, reason: `upstream: ${sent.status}` })
      state.questions.delete(key)
    }
  } catch (error) {
    cancel(state, 'gone')
    throw error
  }
  state.message = message
  state.introduced = introduced
  state.session.line = line
  const chair = takeSeat(state, line)
  if (state.outcome !== undefined) respond(state, state.outcome)
  else if (state.questions.size > 0) setImmediate(() => park(state))
  return chair.answer
}

/** The client came back to another node, which checked who it is: the call goes on with what this node has. */
function resumeElsewhere(state: State, round: string, message: Json, responses: Json): Promise<Answer> | undefined {
  const { line, introduced } = state
  if (state.parking.take(state.park, round) === undefined) return undefined
  const contact = { ...line.contact, open: ownOpen(line.contact) }
  return resume(state, round, { ...line, contact }, { ...message, method: state.message.method }, introduced, responses)
}

/** The credential was refused: the call waits for the same request with another one. */
function parkAgain(state: State, round: string, { headers }: Answer): Answer {
  const { 'www-authenticate': challenge } = headers
  keep(state, round)
  return reply(401, undefined, typeof challenge === 'string' ? { 'www-authenticate': challenge } : {})
}
