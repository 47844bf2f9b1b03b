// One request of a 2025 client at an upstream of 2026-07-28, with as many rounds as the upstream asks for.
import { kindOf, ownOr, readResponse, unreadable } from '../answers.ts'
import { McpError } from '../error.ts'
import { Stopped, type Answer } from '../exchange.ts'
import { isObject } from '../message.ts'
import { newId } from '../../oauth/secret.ts'
import { askClient, Unanswered } from './asking.ts'
import type { ClientSession } from './bridge-store.ts'
import { DOUBTFUL, WrongGeneration } from './generation.ts'
import { paramHeaders } from './header-params.ts'
import { listenTo, modernRequest, outcomeOf, ownOpen, paramsOf, tellsOfMessage, type Introduction, type Line } from './line.ts'
import type { Mailbox } from './mailbox.ts'
import { seat, type Seat } from './seat.ts'
import { cancelAddress, introduction } from './session-words.ts'
import type { KnownTools, ListTools, ToolFacts } from './tool-facts.ts'
import { ASKING_METHODS, toLegacyError, toLegacyResult, withoutMeta, type Json } from './translate.ts'
import { SUBSCRIPTION_KEY } from '../revisions.ts'

export interface ModernCallDeps {
  readonly mailbox: Mailbox
  readonly tools: KnownTools
}

const MAX_ROUNDS = 10
/** The upstream asks to come back, and for nothing else. */
const PACE_MS = 250
/** A response is the last thing of its stream; an upstream that does not end it has said all the same. */
const TAIL_MS = 1000
const HEADER_MISMATCH = -32020
/** What 2026-07-28 says with a status of its own: anything else could be a 2025 server's. */
const MODERN_REFUSALS: ReadonlySet<unknown> = new Set([-32601, -32602, HEADER_MISMATCH, -32021])

interface Running extends ModernCallDeps {
  readonly line: Line
  readonly session: ClientSession
  readonly message: Json & { readonly method: string }
  readonly seat: Seat
  readonly intro: Introduction
  readonly ended: AbortController
}

export function modernCall(deps: ModernCallDeps, line: Line, session: ClientSession, message: Json & { readonly method: string }): Promise<Answer> {
  const { contact } = line
  const ended = new AbortController()
  const open = ownOpen(contact)
  const stop = (): void => {
    open.ended ??= contact.open.ended ?? 'gone'
    ended.abort()
    // RS-29: in 2026-07-28, going away is how a request is cancelled.
    open.stop?.()
    chair.fail(new Stopped('stopped'))
  }
  const chair = seat(message['id'], contact.upstream, stop)
  // Whatever is sent for the call ends with it.
  const bound: Line = { contact, send: (request, own = open) => line.send(request, own) }
  contact.open.stop = stop
  if (contact.open.ended !== undefined) stop()
  const running: Running = { ...deps, line: bound, session, message, seat: chair, intro: introduction(session), ended }
  const forget = deps.mailbox.wait(cancelAddress(session.id, message['id']), () => {
    // Nothing has to be said any more; whoever still waits for the stream sees it end.
    chair.finish(failed(running, { code: -32000, message: 'Request cancelled' }))
    stop()
  })
  void run(running)
    .catch((error: unknown) => chair.fail(error instanceof Error ? error : new Error('not an error')))
    .finally(forget)
  return chair.answer
}

async function run(running: Running): Promise<void> {
  const { message, seat: chair, session, ended } = running
  let facts = message.method === 'tools/call' ? await factsOf(running, false) : undefined
  let extra: Json = {}
  let refreshed = false
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const final = await ask(running, facts, extra)
    if (final === 'handed') return
    const { result, error } = final
    if (isObject(error) && error['code'] === HEADER_MISMATCH && facts !== undefined && !refreshed) {
      // C-22: the tool is another one now.
      refreshed = true
      facts = await factsOf(running, true)
      continue
    }
    if (!isObject(result)) return chair.finish(failed(running, toLegacyError(message.method, isObject(error) ? error : {})))
    if (result['resultType'] !== 'input_required') return chair.finish({ jsonrpc: '2.0', id: message['id'], result: toLegacyResult(message.method, result, facts?.wraps) })
    if (!ASKING_METHODS.has(message.method)) return chair.finish(failed(running, { code: -32603, message: 'The server gave an answer that cannot be used' }))
    try {
      extra = await nextRound(running, result)
    } catch (refusal) {
      if (!(refusal instanceof Unanswered)) throw refusal
      if (!ended.signal.aborted) chair.finish(unfulfilled(running, refusal.message))
      return
    }
  }
  chair.finish(unfulfilled(running, `${session.opening.version}: the server asked too many times`))
}

/** C-23: the state goes back as it came, and is not looked into. */
async function nextRound(running: Running, { inputRequests, requestState }: Json): Promise<Json> {
  const asks = isObject(inputRequests) && Object.keys(inputRequests).length > 0
  if (!asks && typeof requestState !== 'string') throw new Unanswered('The server asks for nothing')
  if (!asks) await new Promise((resolve) => setTimeout(resolve, PACE_MS))
  const inputResponses = asks ? await askClient(running, running.session, running.seat, inputRequests, running.ended.signal) : undefined
  return { ...(inputResponses === undefined ? {} : { inputResponses }), ...(typeof requestState === 'string' ? { requestState } : {}) }
}

function factsOf({ tools, line, intro, message }: Running, again: boolean): Promise<ToolFacts> {
  const { name } = paramsOf(message)
  const list: ListTools = async (params) => {
    const id = newId('req')
    const outcome = await outcomeOf(await line.send(modernRequest({ id, method: 'tools/list', params }, intro)), id, line.contact.upstream)
    if (outcome.kind === 'failure') outcome.answer.cancel()
    return outcome.kind === 'result' ? outcome.result : undefined
  }
  return tools.facts(line.contact, typeof name === 'string' ? name : '', list, again)
}

/** One round. @returns the response, or `handed` when the upstream's answer goes on as it is */
async function ask({ line, message, seat: chair, intro, tools }: Running, facts: ToolFacts | undefined, extra: Json): Promise<Json | 'handed'> {
  const id = newId('req')
  const params = paramsOf(message)
  const headers = facts === undefined ? {} : paramHeaders(facts.headers, params['arguments'])
  const answer = await line.send(modernRequest({ id, method: message.method, params: { ...params, ...extra } }, intro, headers))
  const success = answer.status >= 200 && answer.status <= 299
  if (!success && !tellsOfMessage(answer)) {
    if (DOUBTFUL.has(answer.status) && Object.keys(extra).length === 0) {
      answer.cancel()
      throw new WrongGeneration(refusal(line, answer))
    }
    if (Object.keys(extra).length > 0) {
      answer.cancel()
      throw refusal(line, answer)
    }
    chair.hand(answer)
    return 'handed'
  }
  const final = kindOf(answer) === 'events' ? await finalOf(line, answer, id, chair) : await readResponse(answer, id, line.contact.upstream)
  if (DOUBTFUL.has(answer.status) && isObject(final['error']) && !MODERN_REFUSALS.has(final['error']['code'])) throw new WrongGeneration(refusal(line, answer))
  if (message.method === 'tools/list' && isObject(final['result'])) tools.learn(line.contact, final['result']['tools'])
  return final
}

function refusal({ contact: { upstream } }: Line, { status }: Answer): McpError {
  return new McpError('unavailable', `${upstream.name} refused the request (${status})`, { status: 502, reason: `upstream: ${status}` })
}

/** Passes on what comes before the response. */
function finalOf({ contact: { upstream } }: Line, answer: Answer, id: string, chair: Seat): Promise<Json> {
  return new Promise((resolve, reject) => {
    let found = false
    const listener = {
      message(message: Json): void {
        if (found) return
        if (message['id'] === id && !('method' in message)) {
          found = true
          resolve(message)
          setTimeout(() => answer.cancel(), TAIL_MS).unref()
        } else if (typeof message['method'] === 'string' && message['id'] === undefined) {
          chair.tell(isObject(message['params']) ? { ...message, params: withoutMeta(message['params'], SUBSCRIPTION_KEY) } : message)
        }
      },
      alive: ({ data }: { readonly data: string | undefined }): void => {
        if (data === undefined && !found) chair.comment()
      },
    }
    listenTo(answer, upstream, listener, chair).then(
      () => reject(unreadable(upstream, 'no response')),
      (error: unknown) => reject(ownOr(error, upstream)),
    )
  })
}

function failed({ message }: Running, error: Json): Json {
  return { jsonrpc: '2.0', id: message['id'], error }
}

/** A tool tells its model what went wrong; everything else tells its client. */
function unfulfilled(running: Running, text: string): Json {
  if (running.message.method !== 'tools/call') return failed(running, { code: -32603, message: text })
  return { jsonrpc: '2.0', id: running.message['id'], result: { content: [{ type: 'text', text }], isError: true } }
}
