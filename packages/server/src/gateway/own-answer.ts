// Owns that an answer which is passed on as it comes answers the request that was made, and no other: a client knows an answer
// by its identifier alone, and takes it for that of any request that it waits for, a list perhaps that nobody would have filtered
// (H07, H20). It follows the bytes and keeps none of them but what a message says of itself.
import type { ServerResponse } from 'node:http'
import type { AnswerKind } from './answers.ts'
import type { Sink } from './exchange.ts'
import { folded } from './message.ts'

/** Looks at the pieces of a body before each of them is passed on. */
export interface Watch {
  /** @throws NotTheAnswer */
  push(chunk: Buffer): void
  /** The body is over. @throws NotTheAnswer when it was not whole */
  end(): void
}

/** What was answered is something else; the message says what, and nothing of it. */
export class NotTheAnswer extends Error {
  override readonly name = 'NotTheAnswer'
}

/** A way to the response on which every piece is looked at. */
export class Watched implements Sink {
  readonly #watch: Watch
  readonly #response: ServerResponse
  readonly #begin: () => void

  /** @param begin writes the head of the response, where it is not there yet */
  constructor(kind: AnswerKind, id: string | number | null, response: ServerResponse, begin: () => void) {
    this.#watch = watchFor(kind, id)
    this.#response = response
    this.#begin = begin
  }

  get writableNeedDrain(): boolean {
    return this.#response.writableNeedDrain
  }

  once(event: 'drain', drained: () => void): void {
    this.#response.once(event, drained)
  }

  write(chunk: Buffer): void {
    this.#watch.push(chunk)
    if (!this.#response.headersSent) this.#begin()
    this.#response.write(chunk)
  }

  end(last?: Buffer): void {
    if (last !== undefined) this.write(last)
    this.#watch.end()
    this.#response.end()
  }
}

export function watchFor(kind: AnswerKind, id: string | number | null): Watch {
  return kind === 'events' ? new EventsWatch(id) : new MessageWatch(id, false)
}

const [TAB, LF, CR, SPACE, QUOTE, COMMA, COLON, BACKSLASH] = [0x09, 0x0a, 0x0d, 0x20, 0x22, 0x2c, 0x3a, 0x5c] as const
const [OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = [0x7b, 0x7d, 0x5b, 0x5d] as const
const BYTE_ORDER_MARK = Buffer.from('\ufeff')
/** Whatever is longer, escapes included, is no name that says something here. */
const MAX_NAME = 64
const MAX_TELLING = 7
const TELLING: ReadonlySet<string> = new Set(['jsonrpc', 'id', 'method', 'result', 'error'])

/** Follows one JSON-RPC message. */
class MessageWatch implements Watch {
  readonly #id: string | number | null
  /** Whether it may also be a request or a notification. */
  readonly #mayAsk: boolean
  /** The identifier as most would print it. */
  readonly #printed: string
  #depth = 0
  #inString = false
  #escaped = false
  #over = false
  /** What is read of a name, or of the identifier, as it stands there; undefined when it concerns nobody. */
  #text: string | undefined
  #name: string | undefined
  /** What it says of itself; of its identifier, how it stands there, unless it is too long to be the one that was asked for. */
  readonly #members = new Map<string, string | undefined>()

  constructor(id: string | number | null, mayAsk: boolean) {
    this.#id = id
    this.#mayAsk = mayAsk
    this.#printed = JSON.stringify(id)
  }

  get isEmpty(): boolean {
    return this.#depth === 0 && !this.#over
  }

  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) at = this.#inString ? this.#string(chunk, at) : this.#structure(chunk, at)
  }

  end(): void {
    if (!this.#over) throw new NotTheAnswer('not a whole message')
  }

  /** All of it was seen, and its last byte not passed on yet. */
  #judge(): void {
    const has = (name: string): boolean => this.#members.has(name)
    const answers = has('result') || has('error')
    if (answers === has('method')) throw new NotTheAnswer('neither a response nor a request')
    if (!answers && this.#mayAsk) return
    const id = has('id') ? this.#members.get('id') : 'null'
    // An error that is told before the request was understood has no identifier.
    const isOwn = id !== undefined && (id === this.#printed || parsed(id) === this.#id || (id === 'null' && has('error')))
    if (!answers || !isOwn) throw new NotTheAnswer('not the response to this request')
  }

  /** Goes on within a string. @returns where it went on to */
  #string(chunk: Buffer, start: number): number {
    let at = start
    if (this.#escaped) {
      this.#escaped = false
      at += 1
    }
    for (;;) {
      const quote = chunk.indexOf(QUOTE, at)
      const end = quote === -1 ? chunk.length : quote
      let backslashes = 0
      while (end - 1 - backslashes >= at && chunk[end - 1 - backslashes] === BACKSLASH) backslashes += 1
      const isEscaped = backslashes % 2 === 1
      if (quote === -1) {
        this.#escaped = isEscaped
        this.#keepPiece(chunk, start, chunk.length)
        return chunk.length
      }
      at = quote + 1
      if (isEscaped) continue
      this.#inString = false
      this.#keepPiece(chunk, start, at)
      return at
    }
  }

  /** Goes on outside of strings, by one byte, or to the next that matters. */
  #structure(chunk: Buffer, start: number): number {
    const at = this.#text === undefined && this.#depth > 0 ? nextOf(chunk, start) : start
    if (at === chunk.length) return at
    const byte = chunk[at] ?? 0
    if (this.#depth === 0) return this.#outside(byte, at)
    if (byte === QUOTE) this.#inString = true
    else if (byte === OPEN || byte === OPEN_LIST) this.#depth += 1
    else if (byte === CLOSE || byte === CLOSE_LIST) this.#depth -= 1
    else if (this.#depth === 1 && byte === COLON) return this.#named(at)
    if (this.#depth === 0 || (this.#depth === 1 && byte === COMMA)) this.#valued()
    else if (this.#text !== undefined && !isBlank(byte)) this.#keep(String.fromCharCode(byte))
    return at + 1
  }

  #outside(byte: number, at: number): number {
    if (byte === OPEN && !this.#over) {
      this.#depth = 1
      this.#text = ''
    } else if (!isBlank(byte) && !BYTE_ORDER_MARK.includes(byte)) throw new NotTheAnswer('not one message')
    return at + 1
  }

  #keepPiece(chunk: Buffer, from: number, to: number): void {
    if (this.#text !== undefined) this.#keep(chunk.toString('latin1', from, to))
  }

  #keep(piece: string): void {
    // Each character of the identifier may be written in six.
    const limit = this.#name === undefined ? MAX_NAME : 6 * this.#printed.length
    const text = `${this.#text}${piece}`
    // It is not the one that was asked for, or not a name that matters.
    this.#text = text.length > limit ? undefined : text
  }

  /** A name is over. */
  #named(at: number): number {
    if (this.#name !== undefined) throw new NotTheAnswer('not JSON')
    const name = this.#text === undefined ? '' : nameIn(this.#text)
    const known = name.length > MAX_TELLING ? name : folded(name)
    if (TELLING.has(known)) {
      // Whoever reads it may take the first of two, or the last, or think nothing of the case of letters.
      if (name !== known || this.#members.has(name)) throw new NotTheAnswer('a message that says something twice')
      this.#members.set(name, undefined)
    }
    this.#name = name
    this.#text = name === 'id' ? '' : undefined
    return at + 1
  }

  /** A member is over, or all of it. */
  #valued(): void {
    if (this.#name === 'id') this.#members.set('id', this.#text)
    this.#name = undefined
    this.#text = ''
    this.#over = this.#depth === 0
    if (this.#over) this.#judge()
  }
}

/** A string without anything that is written otherwise than it is. */
const PLAIN = /^"[\x20-\x21\x23-\x5b\x5d-\x7e]*"$/

/** The name that stands there; one that cannot be read is none. @throws NotTheAnswer */
function nameIn(text: string): string {
  if (PLAIN.test(text)) return text.slice(1, -1)
  const value = parsed(text)
  if (typeof value !== 'string') throw new NotTheAnswer('not JSON')
  return value
}

/** What stands there, byte by byte. @throws NotTheAnswer */
function parsed(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'latin1').toString('utf8'))
  } catch {
    throw new NotTheAnswer('not JSON')
  }
}

/** Outside of strings, whatever is none of these changes nothing. */
const MATTERS = new Uint8Array(256)
for (const byte of [QUOTE, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST, COLON, COMMA]) MATTERS[byte] = 1

function nextOf(chunk: Buffer, start: number): number {
  let at = start
  while (at < chunk.length && MATTERS[chunk[at] ?? 0] === 0) at += 1
  return at
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === LF || byte === CR || byte === TAB
}

const DATA = 'data'

/** Follows the events of a stream, each of which may hold a message (WHATWG HTML §9.2.6). */
class EventsWatch implements Watch {
  readonly #id: string | number | null
  #message: MessageWatch
  #hasData = false
  /** The name of the field that a line begins with, as far as it came; undefined in what follows it. */
  #field: string | undefined = ''
  #isData = false
  #atSpace = false
  #afterReturn = false
  #begun = 0

  constructor(id: string | number | null) {
    this.#id = id
    this.#message = new MessageWatch(id, true)
  }

  push(chunk: Buffer): void {
    for (let at = this.#begin(chunk); at < chunk.length; ) at = this.#line(chunk, at)
  }

  /** An event that does not end is none. */
  end(): void {}

  /** A byte order mark at the start is none of the text. */
  #begin(chunk: Buffer): number {
    let at = 0
    while (this.#begun < BYTE_ORDER_MARK.length && at < chunk.length) {
      if (chunk[at] !== BYTE_ORDER_MARK[this.#begun]) {
        // Half a mark is a field that nobody knows.
        if (this.#begun > 0) this.#field = '?'
        this.#begun = BYTE_ORDER_MARK.length
        break
      }
      this.#begun += 1
      at += 1
    }
    return at
  }

  #line(chunk: Buffer, start: number): number {
    const byte = chunk[start] ?? 0
    if (this.#afterReturn) {
      this.#afterReturn = false
      if (byte === LF) return start + 1
    }
    const end = endOfLine(chunk, start)
    if (this.#field !== undefined) this.#named(chunk, start, end)
    else this.#data(chunk, start, end)
    if (end === chunk.length) return end
    this.#afterReturn = chunk[end] === CR
    this.#ended()
    return end + 1
  }

  #named(chunk: Buffer, start: number, end: number): void {
    const colon = chunk.subarray(start, end).indexOf(COLON)
    const until = colon === -1 ? end : start + colon
    this.#field = `${this.#field}${chunk.toString('latin1', start, Math.min(until, start + DATA.length + 1))}`.slice(0, DATA.length + 1)
    if (colon === -1) return
    this.#isData = this.#field === DATA
    this.#field = undefined
    this.#atSpace = true
    this.#data(chunk, until + 1, end)
  }

  #data(chunk: Buffer, start: number, end: number): void {
    if (start >= end) return
    const from = this.#atSpace && chunk[start] === SPACE ? start + 1 : start
    this.#atSpace = false
    if (this.#isData) this.#message.push(chunk.subarray(from, end))
  }

  #ended(): void {
    if (this.#field === '') this.#dispatch()
    else if (this.#isData || this.#field === DATA) {
      this.#hasData = true
      this.#message.push(NEXT_LINE)
    }
    this.#field = ''
    this.#isData = false
    this.#atSpace = false
  }

  #dispatch(): void {
    if (this.#hasData && !this.#message.isEmpty) this.#message.end()
    if (this.#hasData) this.#message = new MessageWatch(this.#id, true)
    this.#hasData = false
  }
}

/** Lines of one event are put together with this between them. */
const NEXT_LINE = Buffer.from('\n')

function endOfLine(chunk: Buffer, start: number): number {
  const feed = chunk.indexOf(LF, start)
  const limit = feed === -1 ? chunk.length : feed
  const carriage = chunk.subarray(start, limit).indexOf(CR)
  return carriage === -1 ? limit : start + carriage
}
