import type { ServerResponse } from 'node:http'
import type { Upstream } from '../upstreams/upstream.ts'
import { McpError } from './error.ts'
import { Stopped, type Answer } from './exchange.ts'
import { GrowingBytes } from './growing-bytes.ts'
import { isObject, parseExactly } from './message.ts'
import type { Outward } from './outward.ts'
import { eventParser, formatEvent } from './sse.ts'

type Json = Readonly<Record<string, unknown>>

/** Changes a result on its way to the client; at once, unless the store has to be asked first. */
export type Rewrite = (result: Json) => Json | Promise<Json>

const MAX_BYTES = 16 * 1024 * 1024

export type AnswerKind = 'json' | 'events' | 'other'

/** Tells what an answer's body is; a compressed one was not asked for and is not looked into. */
export function kindOf({ headers }: Answer): AnswerKind {
  const encoding = headers['content-encoding']
  if (encoding !== undefined && !/^identity$/i.test(encoding)) return 'other'
  const type = headers['content-type'] ?? ''
  if (/^application\/json\s*(?:;|$)/i.test(type)) return 'json'
  return /^text\/event-stream\s*(?:;|$)/i.test(type) ? 'events' : 'other'
}

/** Reads the response to a request, and nothing after it. @throws McpError 502 when there is none. */
export function readResponse(answer: Answer, id: string | number | null, upstream: Upstream): Promise<Readonly<Record<string, unknown>>> {
  return inTime(answer, upstream, () => readAny(answer, id, upstream))
}

async function readAny(answer: Answer, id: string | number | null, upstream: Upstream): Promise<Readonly<Record<string, unknown>>> {
  if (kindOf(answer) === 'json') return requireResponse(parse(await readText(answer, upstream), upstream), id, upstream)
  if (kindOf(answer) !== 'events') {
    answer.cancel()
    throw unreadable(upstream, `${answer.status} without JSON`)
  }
  let found: Readonly<Record<string, unknown>> | undefined
  const parser = eventParser(({ data }) => {
    if (data === undefined || data === '' || found !== undefined) return
    const message = parse(data, upstream)
    if (isResponse(message)) found = requireResponse(message, id, upstream)
    // What follows the response concerns nobody.
    if (found !== undefined) answer.cancel()
  })
  await answer.consume((chunk) => parser.push(chunk)).catch((error: unknown) => {
    if (found === undefined) throw error
  })
  if (found === undefined) throw unreadable(upstream, 'no response')
  return found
}

/** Where an answer goes. */
export interface Target {
  readonly response: ServerResponse
  readonly upstream: Upstream
  /** Writes the head of the response, once it is sure that there is something to say. */
  readonly begin: () => void
  /** Takes the events, where they do not go straight to the response. */
  readonly write?: (text: string) => void
}

/**
 * Passes an answer on with its result changed. Whatever cannot be read is not passed on (H07): the list in it could be
 * one that the client may not see.
 */
export async function passRewritten(answer: Answer, id: string | number | null, rewrite: Rewrite, target: Target): Promise<void> {
  const { response, upstream, begin } = target
  if (kindOf(answer) === 'json') {
    const text = await inTime(answer, upstream, () => readText(answer, upstream))
    const body = JSON.stringify(await rewriteMessage(requireResponse(parse(text, upstream), id, upstream), rewrite))
    begin()
    response.end(body)
    return
  }
  if (kindOf(answer) !== 'events') {
    answer.cancel()
    throw unreadable(upstream, `${answer.status} without JSON`)
  }
  await passEvents(answer, target, responses(upstream, (message) => rewriteMessage(requireResponse(message, id, upstream), rewrite)))
  if (!response.headersSent) begin()
  response.end()
}

/** What becomes of the text of a message, and of the other lines of its event. */
export interface Change {
  /** @returns undefined for what is not passed on */
  data(text: string): string | undefined | Promise<string | undefined>
  lines?(lines: readonly string[]): readonly string[]
}

/** Passes on the messages of a stream one by one as they come, changed. The response stays open. */
export async function passEvents(answer: Answer, { response, upstream, begin, write: writeOut }: Target, change: Change): Promise<void> {
  const write = (data: string | undefined, lines: readonly string[]): void => {
    if (!response.headersSent) begin()
    const text = formatEvent({ data, lines: change.lines?.(lines) ?? lines })
    if (writeOut === undefined) response.write(text)
    else writeOut(text)
  }
  /** What has to wait for its change, and all that is behind it: the order stays. */
  let waiting: Promise<void> | undefined
  const parser = eventParser(({ data, lines }) => {
    const isEmpty = data === undefined || data === ''
    const passed = isEmpty ? data : change.data(data)
    if (passed === undefined && !isEmpty) return
    if (waiting === undefined && !(passed instanceof Promise)) return write(passed, lines)
    const before = waiting
    waiting = Promise.all([passed, before]).then(([text]) => (text === undefined && !isEmpty ? undefined : write(text, lines)))
    waiting.catch(() => answer.cancel())
  })
  const outcome = await answer.consume((chunk) => parser.push(chunk), response).catch((error: unknown) => ownOr(error, upstream))
  await waiting
  if (outcome instanceof Error) throw outcome
}

/** Changes the responses of a stream, and passes on requests and notifications as they are. */
export function responses(upstream: Upstream, change: (message: Json) => Json | Promise<Json>): Change {
  return messages(upstream, (message) => (isResponse(message) ? change(message) : message))
}

/** Changes every message of a stream, or leaves it out. */
export function messages(upstream: Upstream, change: (message: Json) => Json | undefined | Promise<Json | undefined>): Change {
  return {
    data(text) {
      const message = parse(text, upstream)
      if (!isObject(message) || !(isResponse(message) || isRequest(message))) throw unreadable(upstream, 'neither a response nor a request')
      const passed = change(message)
      if (passed === undefined) return undefined
      return passed instanceof Promise ? passed.then((later) => (later === undefined ? undefined : JSON.stringify(later))) : JSON.stringify(passed)
    },
  }
}

/**
 * Passes an answer on in the words of a profile of several upstreams. A client knows an answer by its identifier alone, so
 * each upstream must answer what it was asked, and nothing that another one was (H10): every message is read and printed again.
 */
export async function passOutward(answer: Answer, id: string | number | null, outward: Outward, target: Target): Promise<void> {
  const { response, upstream, begin } = target
  if (kindOf(answer) === 'json') {
    const text = await inTime(answer, upstream, () => readText(answer, upstream))
    const body = JSON.stringify((await outward.message(requireResponse(parse(text, upstream), id, upstream))) ?? {})
    begin()
    response.end(body)
    return
  }
  const change = messages(upstream, (message) => outward.message(isRequest(message) ? message : requireResponse(message, id, upstream)))
  await passEvents(answer, target, { data: (text) => change.data(text), lines: (lines) => outward.lines(lines) })
  if (!response.headersSent) begin()
  response.end()
}

/** What broke an answer off: known already, or the upstream's own trouble. */
export function ownOr(error: unknown, upstream: Upstream): Error {
  return error instanceof McpError || error instanceof Stopped ? error : unreadable(upstream, 'broken off', error)
}

/** Changes the result of a response. An error's data is the upstream's own, and could be the list itself. */
export function rewriteMessage(message: Json, rewrite: Rewrite): Json | Promise<Json> {
  const { id, error } = message
  if (!isObject(message['result'])) return { jsonrpc: '2.0', id, error: isObject(error) ? { code: error['code'], message: error['message'] } : {} }
  const result = rewrite(message['result'])
  return result instanceof Promise ? result.then((later) => ({ jsonrpc: '2.0', id, result: later })) : { jsonrpc: '2.0', id, result }
}

/** A whole answer must have come as long after its first line as that may take. */
async function inTime<Value>(answer: Answer, upstream: Upstream, read: () => Promise<Value>): Promise<Value> {
  let late = false
  const timer = setTimeout(() => {
    late = true
    answer.cancel()
  }, upstream.timeoutMs)
  try {
    return await read()
  } catch (error) {
    if (!late) throw ownOr(error, upstream)
    throw new McpError('unavailable', `${upstream.name} took too long to answer`, { status: 504, reason: 'upstream: slow answer', cause: error })
  } finally {
    clearTimeout(timer)
  }
}

async function readText(answer: Answer, upstream: Upstream): Promise<string> {
  const text = new GrowingBytes()
  await answer.consume((chunk) => {
    if (text.size + chunk.length > MAX_BYTES) throw unreadable(upstream, 'answer too large')
    text.add(chunk)
  })
  return decode(text.bytes(), upstream)
}

function decode(bytes: Buffer, upstream: Upstream): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw unreadable(upstream, 'not UTF-8', error)
  }
}

function parse(text: string, upstream: Upstream): unknown {
  try {
    return parseExactly(text)
  } catch (error) {
    throw unreadable(upstream, 'not JSON', error)
  }
}

/** Whether it must stand up to being one: an array, or anything else that is no message, does not. */
export function isResponse(message: unknown): boolean {
  return !isObject(message) || 'result' in message || 'error' in message
}

function isRequest(message: unknown): boolean {
  return isObject(message) && typeof message['method'] === 'string'
}

/** A message that answers the request of this identifier, or says that it was not understood, by that identifier. @throws McpError 502 */
export function requireResponse(message: unknown, id: string | number | null, upstream: Upstream): Readonly<Record<string, unknown>> {
  if (!isObject(message)) throw unreadable(upstream, 'not a message')
  // An error that is told before the request was understood has no identifier.
  const mine = message['id'] === id || (message['id'] === null && 'error' in message) || (message['id'] === undefined && 'error' in message)
  if (!mine || !(isObject(message['result']) || isObject(message['error']))) throw unreadable(upstream, 'not the response to this request')
  return { ...message, id }
}

export function unreadable(upstream: Upstream, reason: string, cause?: unknown): McpError {
  return new McpError('unavailable', `${upstream.name} gave an answer that cannot be used`, { status: 502, reason: `upstream: ${reason}`, cause })
}
