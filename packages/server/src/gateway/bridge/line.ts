import { isObject, parseExactly } from '../message.ts'
import { kindOf, readResponse, unreadable } from '../answers.ts'
import type { Contact } from '../call.ts'
import { drain } from '../drain.ts'
import type { Answer, Reader } from '../exchange.ts'
import type { OpenCall } from '../open-calls.ts'
import type { Outgoing } from '../outgoing.ts'
import { CAPABILITIES_KEY, isModern, MODERN_VERSIONS, NAMED, VERSION_KEY } from '../revisions.ts'
import { eventParser, type StreamEvent } from '../sse.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import { nameHeader } from './header-params.ts'
import type { Json } from './translate.ts'

/** How one caller's requests reach one upstream: with the credential, and nothing translated. */
export interface Line {
  readonly contact: Contact
  /** @param open what ends the request; the contact's own when absent */
  send(request: Outgoing, open?: OpenCall): Promise<Answer>
}

export type Era = 'modern' | 'legacy'

export const MODERN_VERSION = MODERN_VERSIONS[0] ?? ''

const IDLE_MS = 5 * 60_000
const COMMON = { 'user-agent': 'lanyard', 'accept-encoding': 'identity' }
const BOTH = { accept: 'application/json, text/event-stream', 'content-type': 'application/json' }

/** The generation that a request speaks. */
export function eraOf({ headers }: Outgoing): Era {
  return isModern(headers['mcp-protocol-version'] ?? '') ? 'modern' : 'legacy'
}

/** The message in a request of the gateway's. */
export function messageOf({ body }: Outgoing): Json {
  const parsed: unknown = body === undefined ? {} : parseExactly(body)
  return isObject(parsed) ? parsed : {}
}

export function paramsOf(message: Json): Json {
  return isObject(message['params']) ? message['params'] : {}
}

/** What a client of 2026-07-28 says of itself in each request. */
export interface Introduction {
  readonly capabilities: unknown
  readonly more?: Json
}

/** A request of 2026-07-28, with all that it must carry (RS-18, RS-21). */
export function modernRequest(message: Json & { readonly method: string }, { capabilities, more }: Introduction, headers: Readonly<Record<string, string>> = {}, idleMs = IDLE_MS): Outgoing {
  const params = paramsOf(message)
  const meta = isObject(params['_meta']) ? params['_meta'] : {}
  const own = { ...meta, ...more, [VERSION_KEY]: MODERN_VERSION, [CAPABILITIES_KEY]: isObject(capabilities) ? capabilities : {} }
  return {
    method: 'POST',
    headers: { ...COMMON, ...BOTH, 'mcp-protocol-version': MODERN_VERSION, 'mcp-method': message.method, ...nameHeader(NAMED[message.method], params), ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', ...message, params: { ...params, _meta: own } }),
    idleMs,
  }
}

/** Where a request of 2025 goes: the session that the upstream gave, and the version that was agreed on. */
export interface SessionName {
  readonly id?: string | undefined
  readonly version?: string
}

export function legacyRequest(message: Json, { id, version }: SessionName): Outgoing {
  return { method: 'POST', headers: { ...COMMON, ...BOTH, ...sessionHeaders({ id, ...(version === undefined ? {} : { version }) }) }, body: JSON.stringify({ jsonrpc: '2.0', ...message }), idleMs: IDLE_MS }
}

export function legacySessionRequest(method: 'GET' | 'DELETE', session: SessionName, lastEventId?: string): Outgoing {
  return { method, headers: { ...COMMON, accept: 'text/event-stream', ...sessionHeaders(session), ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }) }, idleMs: 0 }
}

function sessionHeaders({ id, version }: SessionName): Record<string, string> {
  return { ...(version === undefined ? {} : { 'mcp-protocol-version': version }), ...(id === undefined ? {} : { 'mcp-session-id': id }) }
}

/** A request that nobody's connection ends: the gateway's own. */
export function ownOpen({ open, caller }: Contact): OpenCall {
  return { issued: open.issued, endsAt: caller.expiresAt * 1000, stream: false, ended: undefined, stop: undefined }
}

export type Outcome = { readonly kind: 'result'; readonly result: Json } | { readonly kind: 'error'; readonly error: Json; readonly status: number } | { readonly kind: 'failure'; readonly answer: Answer }

/** Reads the answer to a request of the gateway's own; a failure that says nothing of the message is left to the caller. @throws McpError */
export async function outcomeOf(answer: Answer, id: string, upstream: Upstream): Promise<Outcome> {
  const { status } = answer
  const success = status >= 200 && status <= 299
  if (!success && !tellsOfMessage(answer)) return { kind: 'failure', answer }
  const { result, error } = await readResponse(answer, id, upstream)
  if (success && isObject(result)) return { kind: 'result', result }
  return { kind: 'error', error: isObject(error) ? error : {}, status }
}

/** Whether a status other than success comes with the reason as JSON-RPC; what is about the credential does not. */
export function tellsOfMessage(answer: Answer): boolean {
  const { status } = answer
  return status >= 400 && status < 500 && status !== 401 && status !== 403 && status !== 407 && status !== 429 && kindOf(answer) === 'json'
}

export interface Listener {
  message(message: Json): void
  /** Something came that is no message: it keeps the connection alive. */
  alive?(event: StreamEvent): void
}

/** Hands on the messages of an event stream as they come. @throws McpError */
export async function listenTo(answer: Answer, upstream: Upstream, listener: Listener, reader?: Reader): Promise<void> {
  const parser = eventParser((event) => {
    listener.alive?.(event)
    if (event.data === undefined || event.data === '') return
    const message = parsed(event.data, upstream)
    // An upstream that sends batches speaks 2025-03-26 and nothing that was agreed on.
    if (!isObject(message)) throw unreadable(upstream, 'not a message')
    listener.message(message)
  })
  await answer.consume((chunk) => parser.push(chunk), reader)
}

function parsed(text: string, upstream: Upstream): unknown {
  try {
    return parseExactly(text)
  } catch (error) {
    throw unreadable(upstream, 'not JSON', error)
  }
}

/** Sends what needs no answer, and lets nobody wait for it. */
export function tell(line: Line, request: Outgoing): void {
  void line.send(request, ownOpen(line.contact)).then(drain).catch(() => undefined)
}
