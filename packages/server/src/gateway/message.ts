import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { McpError } from './error.ts'
import { GrowingBytes } from './growing-bytes.ts'

declare global {
  interface JSON {
    /** ECMAScript 2026: a value that `stringify` prints as this text. */
    rawJSON(text: string): object
    isRawJSON(value: unknown): boolean
  }
}

/** One JSON-RPC message as policy sees it and as it is forwarded: there is no second reading of the body. */
export interface Message {
  readonly kind: 'request' | 'notification' | 'response'
  /** Empty for a response. */
  readonly method: string
  readonly id: string | number | null
  readonly params: Readonly<Record<string, unknown>>
  readonly json: Readonly<Record<string, unknown>>
}

const MAX_BYTES = 4 * 1024 * 1024
/** So much of a body that was refused is thrown away: a connection that is closed on its sender loses the answer. */
const MAX_DISCARDED = 64 * 1024 * 1024
const MAX_DEPTH = 200
/** Members and entries in all: a million of them keep everybody waiting for more than a second. */
const MAX_PARTS = 200_000
/** Numbers that a double cannot hold, or can only hold otherwise than they were written: it has 15 digits for sure. */
const UNUSUAL_NUMBER = /\d[\d.]{15}|\d[eE][+-]?\d/

/** Names on which a decision depends, where they stand. */
const DECISIVE = {
  message: spellings('jsonrpc', 'id', 'method', 'params', 'result', 'error'),
  params: spellings('name', 'uri', 'taskId', 'task', '_meta', 'notifications'),
  notifications: spellings('resourcesListChanged', 'resourceSubscriptions', 'taskIds'),
}

/** @throws McpError for another content type, and for a body of more than 4 MiB: nothing past that is kept. */
export function readBody(request: IncomingMessage): Promise<Buffer> {
  if (!/^application\/json\s*(?:;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw new McpError('invalid_request', 'the body must be application/json', { status: 415 })
  }
  return new Promise((resolve, reject) => {
    const body = new GrowingBytes()
    let refused = false
    const refuse = (): void => {
      if (refused) return
      refused = true
      body.clear()
      reject(new McpError('invalid_request', 'the body is larger than 4 MiB', { status: 413 }))
    }
    const announced = Number(request.headers['content-length'] ?? 0)
    if (announced > MAX_BYTES) refuse()
    let size = 0
    const take = (chunk: Buffer): void => {
      size += chunk.length
      if (size > MAX_DISCARDED) request.destroy()
      else if (Math.max(size, announced) > MAX_BYTES) refuse()
      else body.add(chunk)
    }
    const early = (): void => reject(new McpError('invalid_request', 'the request ended early', { status: 400 }))
    const whole = (): void => {
      // What is answered by a stream stays: its body need not.
      request.off('data', take).off('error', reject).off('close', early)
      resolve(body.bytes())
    }
    request.on('data', take).once('end', whole).once('error', reject).once('close', early)
  })
}

/** Parses and checks one message; batches, which the revision of 2025-03-26 alone had, are refused. @throws McpError */
export function parseMessage(body: Buffer): Message {
  const json = parse(body)
  if (Array.isArray(json)) throw invalid('batches are not supported')
  if (!isObject(json) || json['jsonrpc'] !== '2.0') throw invalid('this is no JSON-RPC 2.0 message')
  const { id, method, params } = json
  if (id !== undefined && typeof id !== 'string' && typeof id !== 'number') throw invalid('id must be a string or a number')
  if (params !== undefined && !isObject(params)) throw invalid('params must be an object')
  if (isAmbiguous(json, params)) throw invalid('two members differ in nothing but the case of their letters')
  if (method === undefined) {
    if (id === undefined || ('result' in json) === ('error' in json)) throw invalid('this is neither a request nor a response')
    return { kind: 'response', method: '', id, params: {}, json }
  }
  if (typeof method !== 'string' || 'result' in json || 'error' in json) throw invalid('method must be a string, and a request has no result')
  return { kind: id === undefined ? 'notification' : 'request', method, id: id ?? null, params: params ?? {}, json }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
}

/** The same message with some of its parameters changed. */
export function withParams(message: Message, changed: Readonly<Record<string, unknown>>): Message {
  const params = { ...message.params, ...changed }
  return { ...message, params, json: { ...message.json, params } }
}

/** H05: some upstreams' parsers ignore case (Go's encoding/json): they would read another message than policy saw. */
function isAmbiguous(json: Readonly<Record<string, unknown>>, params: Readonly<Record<string, unknown>> = {}): boolean {
  const { notifications } = params
  return misspells(json, DECISIVE.message) || misspells(params, DECISIVE.params) || (isObject(notifications) && misspells(notifications, DECISIVE.notifications))
}

function misspells(value: Readonly<Record<string, unknown>>, names: ReadonlyMap<string, string>): boolean {
  return Object.keys(value).some((key) => (names.get(folded(key)) ?? key) !== key)
}

function spellings(...names: readonly string[]): ReadonlyMap<string, string> {
  return new Map(names.map((name) => [folded(name), name]))
}

/** Both ways, as \u017f is a small s and \u212a a k. */
export function folded(name: string): string {
  return name.toUpperCase().toLowerCase()
}

function parse(body: Buffer): unknown {
  // A replaced byte would make another name of a tool's.
  if (!isUtf8(body)) throw new McpError('parse_error', 'the body is not UTF-8', { status: 400 })
  const text = body.toString('utf8')
  if (isTooDeep(text, MAX_PARTS)) throw invalid('the body is nested too deeply, or has too many parts')
  try {
    return parseNumbers(text)
  } catch {
    throw new McpError('parse_error', 'the body is not JSON', { status: 400 })
  }
}

/** Parses JSON so that `stringify` prints its numbers as they were written. @throws SyntaxError, RangeError when nested too deeply */
export function parseExactly(text: string): unknown {
  if (isTooDeep(text)) throw new RangeError('nested too deeply')
  return parseNumbers(text)
}

function parseNumbers(text: string): unknown {
  return UNUSUAL_NUMBER.test(text) ? JSON.parse(text, keepNumber) : JSON.parse(text)
}

/** Keeps a number as it was written where a double would change it on the way through: an argument arrives as it left. */
function keepNumber(_key: string, value: unknown, { source }: { readonly source?: string } = {}): unknown {
  return typeof value === 'number' && source !== undefined && String(value) !== source ? JSON.rawJSON(source) : value
}

/**
 * Counts brackets outside of strings: parsers and printers recurse, and must not be led to the end of the stack. Counts commas as
 * well, where others wait until all is read.
 */
function isTooDeep(text: string, maxParts = Infinity): boolean {
  if (text.length <= MAX_DEPTH) return false
  let depth = 0
  let parts = 0
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charCodeAt(at)
    if (character === 0x22) at = endOfString(text, at)
    else if (character === 0x7b || character === 0x5b) depth += 1
    else if (character === 0x7d || character === 0x5d) depth -= 1
    else if (character === 0x2c) parts += 1
    if (depth > MAX_DEPTH || parts > maxParts) return true
  }
  return false
}

function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes += 1
    if (backslashes % 2 === 0) return end
  }
  return text.length
}

function invalid(message: string): McpError {
  return new McpError('invalid_request', message, { status: 400 })
}
