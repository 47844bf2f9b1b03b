import type { ServerResponse } from 'node:http'
import { kindOf, passRewritten, readResponse, unreadable, type Rewrite } from './answers.ts'
import type { Call, Contact } from './call.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'
import { drain } from './upstream-call.ts'

/**
 * Brings an upstream's answer to the client: streamed as it comes, or with its result changed where the caller may not
 * see all of it. Of the upstream's headers only those go on that the protocol knows.
 *
 * @param rewrite absent for what goes on as it is
 * @param own headers of the gateway's own
 */
export async function deliver(call: Call, answer: Answer, rewrite: Rewrite | undefined, own: Readonly<Record<string, string>> = {}): Promise<void> {
  const { message, response, upstream } = call
  if (answer.status < 200 || answer.status > 299) return deliverFailure(call, answer)
  if (message.kind !== 'request') {
    await drain(answer)
    response.writeHead(202).end()
    return
  }
  if (rewrite !== undefined) {
    await passRewritten(answer, message.id, rewrite, { response, upstream, begin: () => writeHead(response, answer, own, false) })
    return
  }
  if (kindOf(answer) === 'other') {
    answer.cancel()
    throw unreadable(upstream, `${answer.status} with ${answer.headers['content-type'] ?? 'no content type'}`)
  }
  writeHead(response, answer, own, true)
  await answer.pipe(response)
}

/** Passes on the stream of a session of the 2025 revisions. */
export async function deliverStream(contact: Contact, answer: Answer): Promise<void> {
  if (answer.status === 200 && kindOf(answer) === 'events') {
    writeHead(contact.response, answer, {}, true)
    contact.response.flushHeaders()
    return answer.pipe(contact.response)
  }
  await drain(answer)
  if (answer.status === 200) throw unreadable(contact.upstream, 'no event stream')
  contact.response.writeHead(statusFor(answer.status), answer.status === 405 ? { allow: 'POST' } : {}).end()
}

/** A status of 4xx says something of the message, and goes on with its JSON-RPC error; anything else is the upstream's own trouble. */
async function deliverFailure(call: Call, answer: Answer): Promise<void> {
  const { message, upstream, response } = call
  const { status } = answer
  if (status >= 400 && status < 500 && status !== 401 && status !== 403 && status !== 407 && kindOf(answer) === 'json' && message.kind === 'request') {
    const failure = await readResponse(answer, message.id, upstream)
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...retryAfter(answer) }).end(JSON.stringify(failure))
    return
  }
  await drain(answer)
  throw new McpError('unavailable', describe(upstream.name, status), { status: statusFor(status), headers: retryAfter(answer), reason: `upstream: ${status}` })
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
  return typeof value === 'string' ? { 'retry-after': value } : {}
}

function writeHead(response: ServerResponse, answer: Answer, own: Readonly<Record<string, string>>, unchanged: boolean): void {
  const { 'content-type': type, 'content-length': length } = answer.headers
  const events = kindOf(answer) === 'events'
  response.writeHead(answer.status, {
    'content-type': type ?? 'application/json',
    'cache-control': 'no-store',
    // RS-30: proxies in front pass each event on at once.
    ...(events ? { 'x-accel-buffering': 'no' } : {}),
    ...(unchanged && !events && typeof length === 'string' ? { 'content-length': length } : {}),
    ...own,
  })
}

/** Answers a request with a result of the gateway's own. */
export function respond({ message, response }: Call, result: Readonly<Record<string, unknown>>, own: Readonly<Record<string, string>> = {}): void {
  if (message.kind !== 'request') {
    response.writeHead(202).end()
    return
  }
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store', ...own }).end(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }))
}
