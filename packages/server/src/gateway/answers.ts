import type { ServerResponse } from 'node:http'
import type { Upstream } from '../upstreams/upstream.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'
import { isObject } from './message.ts'
import { eventParser, formatEvent } from './sse.ts'

/** Changes a result on its way to the client. */
export type Rewrite = (result: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>

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

/** Reads the response to the gateway's own request, and nothing after it. @throws McpError 502 when there is none. */
export async function readResponse(answer: Answer, id: string | number | null, upstream: Upstream): Promise<Readonly<Record<string, unknown>>> {
  if (kindOf(answer) === 'json') return requireResponse(parse(await readText(answer, upstream), upstream), id, upstream)
  if (kindOf(answer) !== 'events') {
    answer.cancel()
    throw unreadable(upstream, `${answer.status} without JSON`)
  }
  let found: Readonly<Record<string, unknown>> | undefined
  const parser = eventParser(({ data }) => {
    if (data === '' || found !== undefined) return
    const message = parse(data, upstream)
    if (isResponse(message)) found = requireResponse(message, id, upstream)
    // What follows the response concerns nobody.
    if (found !== undefined) answer.cancel()
  })
  await answer.consume((chunk) => parser.push(chunk)).catch((error: unknown) => {
    if (found === undefined) throw error instanceof McpError ? error : unreadable(upstream, 'broken stream', error)
  })
  if (found === undefined) throw unreadable(upstream, 'no response')
  return found
}

/**
 * Passes an answer on with its result changed. Whatever cannot be read is not passed on (H07): the list in it could be
 * one that the client may not see.
 *
 * @param begin writes the head of the response, once it is sure that there is something to say
 */
export async function passRewritten(answer: Answer, id: string | number | null, rewrite: Rewrite, target: { readonly response: ServerResponse; readonly upstream: Upstream; readonly begin: () => void }): Promise<void> {
  const { response, upstream, begin } = target
  if (kindOf(answer) === 'json') {
    const message = rewriteMessage(requireResponse(parse(await readText(answer, upstream), upstream), id, upstream), rewrite)
    begin()
    response.end(JSON.stringify(message))
    return
  }
  if (kindOf(answer) !== 'events') {
    answer.cancel()
    throw unreadable(upstream, `${answer.status} without JSON`)
  }
  const parser = eventParser(({ data, lines }) => {
    const message = data === '' ? undefined : parse(data, upstream)
    const passed = message !== undefined && isResponse(message) ? rewriteMessage(requireResponse(message, id, upstream), rewrite) : message
    if (!response.headersSent) begin()
    response.write(formatEvent({ data: passed === undefined ? '' : JSON.stringify(passed), lines }))
  })
  await answer.consume((chunk) => parser.push(chunk)).catch((error: unknown) => {
    throw error instanceof Error && (error instanceof McpError || error.name === 'Stopped') ? error : unreadable(upstream, 'broken stream', error)
  })
  if (!response.headersSent) begin()
  response.end()
}

function rewriteMessage(message: Readonly<Record<string, unknown>>, rewrite: Rewrite): Readonly<Record<string, unknown>> {
  if (isObject(message['result'])) return { ...message, result: rewrite(message['result']) }
  const { error } = message
  // An error's data is the upstream's own, and could be the list itself.
  if (isObject(error)) return { ...message, error: { code: error['code'], message: error['message'] } }
  return message
}

async function readText(answer: Answer, upstream: Upstream): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  await answer.consume((chunk) => {
    size += chunk.length
    if (size > MAX_BYTES) throw unreadable(upstream, 'answer too large')
    chunks.push(chunk)
  })
  return new TextDecoder('utf-8').decode(Buffer.concat(chunks))
}

function parse(text: string, upstream: Upstream): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw unreadable(upstream, 'not JSON', error)
  }
}

function isResponse(message: unknown): boolean {
  return !isObject(message) || 'result' in message || 'error' in message
}

function requireResponse(message: unknown, id: string | number | null, upstream: Upstream): Readonly<Record<string, unknown>> {
  if (!isObject(message)) throw unreadable(upstream, 'not a message')
  // An error that is told before the request was understood has no identifier.
  const mine = message['id'] === id || (message['id'] === null && 'error' in message) || (message['id'] === undefined && 'error' in message)
  if (!mine || !(isObject(message['result']) || isObject(message['error']))) throw unreadable(upstream, 'not the response to this request')
  return message
}

export function unreadable(upstream: Upstream, reason: string, cause?: unknown): McpError {
  return new McpError('unavailable', `${upstream.name} gave an answer that cannot be used`, { status: 502, reason: `upstream: ${reason}`, cause })
}
