// One request of a 2026-07-28 client in a session of a 2025 upstream. When the upstream asks something, the client's
// request ends with the question, and the upstream's goes on waiting here until the client comes back.
import { kindOf, ownOr, readResponse, unreadable } from '../answers.ts'
import { drain } from '../drain.ts'
import { Stopped, type Answer, type Reader } from '../exchange.ts'
import { isObject } from '../message.ts'
import { newId } from '../../oauth/secret.ts'
import { WrongGeneration } from './generation.ts'
import type { Introduced } from './introduced.ts'
import { MAX_QUESTIONS, respond } from './legacy-answer.ts'
import { conclude, fail, takeSeat, type LegacyCallDeps, type Request, type State } from './legacy-state.ts'
import { legacyRequest, legacySessionRequest, listenTo, ownOpen, tellsOfMessage, type Line } from './line.ts'
import { reply } from './outlet.ts'
import { park } from './parked-call.ts'
import { remember } from './session-stream.ts'
import { ASKING_METHODS, type Json } from './translate.ts'
import { answer as refuse, ensureLevel, isAtLeast, route, type InFlight, type UpstreamSession } from './upstream-session.ts'

const MAX_RESUMED = 100
const MAX_QUESTION = 256 * 1024
/** A response is the last thing of its stream; an upstream that does not end it has said all the same. */
const TAIL_MS = 1000

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

async function run(state: State): Promise<void> {
  const { introduced, line, sessions, message } = state
  await ensureLevel(state.session, introduced.level)
  const asks = ASKING_METHODS.has(message.method) && Object.keys(introduced.capabilities).length > 0
  // Some upstreams ask and log on the stream of the session alone.
  if (asks || introduced.level !== undefined) await sessions.listen(state.session)
  let answer = await send(state)
  let refusal = await refusalOf(answer, state)
  if (refusal === 'forgotten') {
    sessions.forget(state.session)
    const opened = await sessions.of(line, introduced)
    if ('refused' in opened) return handOver(state, reply(opened.refused.status, undefined, opened.refused.headers))
    state.session.calls.delete(state.requestId)
    state.session = opened
    await ensureLevel(opened, introduced.level)
    answer = await send(state)
    refusal = await refusalOf(answer, state)
  }
  if (refusal === 'forgotten') throw unreadable(line.contact.upstream, 'a session that is not known')
  if (refusal !== undefined) return respond(state, refusal)
  if (answer.status < 200 || answer.status > 299) return handOver(state, answer)
  if (kindOf(answer) !== 'events') return respond(state, await readResponse(answer, state.requestId, line.contact.upstream))
  await follow(state, answer)
}

function handOver(state: State, answer: Answer): void {
  const { seat: chair } = state
  conclude(state)
  chair?.hand(answer)
}

function send(state: State): Promise<Answer> {
  if (state.over) throw new Stopped('stopped')
  const { introduced: { params }, message, session, requestId, line } = state
  session.calls.set(requestId, inFlight(state))
  const meta = isObject(params['_meta']) ? params['_meta'] : {}
  const own = meta['progressToken'] === undefined ? params : { ...params, _meta: { ...meta, progressToken: requestId } }
  return line.send(legacyRequest({ id: requestId, method: message.method, params: own }, session.name), state.open)
}

/**
 * What an answer other than success says of the message, when it says anything. A session that the upstream does not
 * know was not used: what was sent in it was not carried out.
 */
async function refusalOf(answer: Answer, { session, line, requestId }: State): Promise<Json | 'forgotten' | undefined> {
  const inSession = session.name.id !== undefined
  if (answer.status === 404 && inSession) return drain(answer).then(() => 'forgotten')
  if (!tellsOfMessage(answer)) return undefined
  const response = await readResponse(answer, requestId, line.contact.upstream)
  const { error } = response
  // Some say 400 for it.
  const isForgotten = answer.status === 400 && inSession && isObject(error) && typeof error['message'] === 'string' && /session/i.test(error['message'])
  return isForgotten ? 'forgotten' : response
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
      const isTooMuch = state.questions.size >= MAX_QUESTIONS || JSON.stringify(message).length > MAX_QUESTION
      if (isTooMuch) return refuse(state.session, { id: message['id'], error: { code: -32603, message: 'too much to ask' } })
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

