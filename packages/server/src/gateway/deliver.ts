import type { ServerResponse } from 'node:http'
import { isResponse, kindOf, messages, ownOr, passEvents, passOutward, passRewritten, readResponse, rewriteMessage, unreadable, type Change, type Rewrite } from './answers.ts'
import type { Call, Contact } from './call.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'
import { isObject, type Message } from './message.ts'
import { NotTheAnswer, Watched } from './own-answer.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Outward } from './outward.ts'
import { drain } from './upstream-call.ts'

/** JSON-RPC 2.0 §5.1 */
export const METHOD_NOT_FOUND = -32601

/**
 * Brings an upstream's answer to the client: streamed as it comes, or with its result changed where the caller may not
 * see all of it. Of the upstream's headers only those go on that the protocol knows.
 *
 * @param rewrite absent for what goes on as it is
 * @param own headers of the gateway's own
 */
export async function deliver(call: Call, answer: Answer, rewrite: Rewrite | undefined, own: Readonly<Record<string, string>> = {}): Promise<void> {
  const { message, response, upstream, outward } = call
  if (answer.status < 200 || answer.status > 299) return deliverFailure(call, answer, rewrite)
  if (message.kind !== 'request') {
    await drain(answer)
    response.writeHead(202).end()
    return
  }
  if (rewrite !== undefined) {
    await passRewritten(answer, message.id, rewrite, { response, upstream, begin: () => writeHead(response, answer, own) })
    return
  }
  if (kindOf(answer) === 'other') {
    answer.cancel()
    throw unreadable(upstream, `${answer.status} with ${answer.headers['content-type'] ?? 'no content type'}`)
  }
  if (outward !== undefined) return passOutward(answer, message.id, outward, { response, upstream, begin: () => writeHead(response, answer, own) })
  const { 'content-length': length } = answer.headers
  const kind = kindOf(answer)
  const begin = (): void => writeHead(response, answer, { ...(typeof length === 'string' && kind === 'json' ? { 'content-length': length } : {}), ...own })
  // The first event may come much later; of anything else it is seen first whether it is the answer.
  if (kind === 'events') begin()
  await answer.pipe(new Watched(kind, message.id, response, begin)).catch((error: unknown) => {
    throw error instanceof NotTheAnswer ? unreadable(upstream, error.message, error) : ownOr(error, upstream)
  })
}

/**
 * Passes on a stream and waits for nothing, so that all that brought it about is let go of: one that is silent holds little
 * more than its connection.
 *
 * @param failed is told when the upstream breaks it off, or it was ended from this side
 */
export function leaveOpen(call: Pick<Call, 'response' | 'upstream'>, answer: Answer, failed: (error: unknown) => Promise<void>): void {
  writeHead(call.response, answer, {})
  const { req: request } = call.response
  // What the client said, its token included, is needed no more; Node.js would keep it as long as the response.
  request.headers = {}
  request.rawHeaders = []
  void passOn(call.response, call.upstream, answer, failed)
}

async function passOn(response: ServerResponse, upstream: Upstream, answer: Answer, failed: (error: unknown) => Promise<void>): Promise<void> {
  try {
    await answer.pipe(response)
  } catch (error) {
    await failed(ownOr(error, upstream)).catch(() => undefined)
    // Half an answer must not look like a whole one.
    response.destroy()
  }
}

/**
 * Passes on the stream of a session of the 2025 revisions. `Last-Event-ID` makes an upstream repeat what it answered to
 * any request of the session, so every response in it is changed as if it were the answer to that (H07).
 */
export async function deliverStream({ response, upstream }: Contact, answer: Answer, change: Change): Promise<void> {
  if (answer.status === 200 && kindOf(answer) === 'events') {
    writeHead(response, answer, {})
    await passEvents(answer, { response, upstream, begin: () => undefined }, change)
    response.end()
    return
  }
  await drain(answer)
  if (answer.status === 200) throw unreadable(upstream, 'no event stream')
  response.writeHead(statusFor(answer.status), answer.status === 405 ? { allow: 'POST' } : {}).end()
}

/**
 * Changes each response as if it answered what the change is about.
 *
 * @param told says a message as its client knows it; undefined for what is not for it
 */
export function anyMessage(upstream: Upstream, rewrite: Rewrite, told: Outward['message']): Change {
  return messages(upstream, (message) => {
    if (!isResponse(message)) return told(message)
    const seen = rewriteMessage(message, rewrite)
    return seen instanceof Promise ? seen.then(told) : told(seen)
  })
}

/** A status of 4xx says something of the message, and goes on with its JSON-RPC error; anything else is the upstream's own trouble. */
async function deliverFailure({ message, upstream, response, outward }: Call, answer: Answer, rewrite: Rewrite | undefined): Promise<void> {
  if (message.kind === 'request' && tellsOfMessage(answer)) {
    const failure = await readResponse(answer, message.id, upstream)
    const passed = rewrite === undefined ? ((await outward?.message(failure)) ?? failure) : await rewriteMessage(failure, rewrite)
    response.writeHead(answer.status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...retryAfter(answer) }).end(JSON.stringify(passed))
    return
  }
  throw await failureOf(answer, upstream)
}

function tellsOfMessage(answer: Answer): boolean {
  const { status } = answer
  return status >= 400 && status < 500 && status !== 401 && status !== 403 && status !== 407 && kindOf(answer) === 'json'
}

/** What an answer that is no success means to the caller; reads it to its end. */
export async function failureOf(answer: Answer, { name }: Upstream): Promise<McpError> {
  await drain(answer)
  const { status } = answer
  return new McpError('unavailable', describe(name, status), { status: statusFor(status), headers: retryAfter(answer), reason: `upstream: ${status}` })
}

/**
 * The result of a request of the gateway's own.
 *
 * @returns undefined when the upstream does not know the method
 * @throws McpError when it answers otherwise: the caller hears of it as if their own message had been answered so
 */
export async function resultOfOwn(answer: Answer, id: Message['id'], upstream: Upstream): Promise<Readonly<Record<string, unknown>> | undefined> {
  const isSuccess = answer.status >= 200 && answer.status <= 299
  if (!isSuccess && !tellsOfMessage(answer)) throw await failureOf(answer, upstream)
  const { result, error } = await readResponse(answer, id, upstream)
  if (isSuccess && isObject(result)) return result
  if (isObject(error) && error['code'] === METHOD_NOT_FOUND) return undefined
  throw new McpError('unavailable', describe(upstream.name, isSuccess ? 502 : answer.status), { status: isSuccess ? 502 : answer.status, reason: `upstream: ${answer.status} with an error` })
}

function describe(name: string, status: number): string {
  if (status === 403) return `${name} does not allow this for the account that is used there`
  if (status === 429) return `${name} received too many requests; try again later`
  if (status >= 400 && status < 500) return `${name} refused the request (${status})`
  return `${name} failed (${status})`
}

/** What an upstream's status means here: 401 and 403 are about the gateway's credential, never about the caller's token. */
function statusFor(status: number): number {
  if (status === 401 || status === 403 || status === 407 || status < 400) return 502
  if (status < 500 || status === 503 || status === 504) return status
  return 502
}

function retryAfter({ headers }: Answer): Record<string, string> {
  const value = headers['retry-after']
  // RFC 9110 §10.2.3: seconds or a date, and nothing that somebody could read as something else.
  return typeof value === 'string' && /^[\w,: ]{1,40}$/.test(value) ? { 'retry-after': value } : {}
}

function writeHead(response: ServerResponse, answer: Answer, own: Readonly<Record<string, string>>): void {
  const events = kindOf(answer) === 'events'
  response.writeHead(answer.status, {
    'content-type': events ? 'text/event-stream' : 'application/json',
    'cache-control': 'no-store',
    // RS-30: proxies in front pass each event on at once.
    ...(events ? { 'x-accel-buffering': 'no' } : {}),
    ...own,
  })
  // The first event may come much later.
  if (events) response.flushHeaders()
}

/** Answers a request with a result of the gateway's own. */
export function respond(call: Pick<Call, 'message' | 'response'>, result: Readonly<Record<string, unknown>>, own: Readonly<Record<string, string>> = {}): void {
  respondPrinted(call, JSON.stringify(result), own)
}

/** The same for a result that is JSON already. */
export function respondPrinted({ message, response }: Pick<Call, 'message' | 'response'>, result: string, own: Readonly<Record<string, string>> = {}): void {
  if (message.kind !== 'request') {
    response.writeHead(202).end()
    return
  }
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store', ...own }).end(`{"jsonrpc":"2.0","id":${JSON.stringify(message.id)},"result":${result}}`)
}
