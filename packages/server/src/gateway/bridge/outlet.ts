import { ownOr, unreadable } from '../answers.ts'
import { Stopped, type Answer, type Reader, type Sink } from '../exchange.ts'
import { formatEvent } from '../sse.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Json } from './translate.ts'

/** So much waits for a slow reader before whoever fills it is asked to wait. */
const HIGH_BYTES = 256 * 1024
/** More than one event can be: whoever does not wait is cut off. */
const MAX_BYTES = 20 * 1024 * 1024

/** An answer that the gateway writes itself, event by event; whoever fills it can ask whether its reader is slow. */
export class Outlet implements Answer, Reader {
  readonly status = 200
  readonly headers = { 'content-type': 'text/event-stream' }
  readonly #upstream: Upstream
  readonly #left: () => void
  readonly #queue: Buffer[] = []
  #size = 0
  #over: 'ended' | Error | undefined
  #take: ((chunk: Buffer) => void) | undefined
  #reader: Reader | undefined
  #blocked = false
  #waiting: (() => void)[] = []
  #done: (error?: Error) => void = () => undefined

  /** @param left is called once when nobody reads it any more before its end */
  constructor(upstream: Upstream, left: () => void) {
    this.#upstream = upstream
    this.#left = left
  }

  get writableNeedDrain(): boolean {
    return this.#over === undefined && this.#size >= HIGH_BYTES
  }

  once(_event: 'drain', drained: () => void): void {
    this.#waiting.push(drained)
  }

  write(message: Json): void {
    this.#put(formatEvent({ data: JSON.stringify(message), lines: ['event: message'] }))
  }

  /** Keeps the connection alive. */
  comment(): void {
    this.#put(':\n\n')
  }

  end(): void {
    this.#over ??= 'ended'
    this.#flush()
  }

  fail(error: Error): void {
    if (this.#over !== undefined) return
    this.#over = error
    // A reader that is gone never reads on.
    if (this.#blocked) this.#leave(error)
    else this.#flush()
  }

  cancel(): void {
    this.#leave(new Stopped('stopped'))
  }

  consume(take: (chunk: Buffer) => void, reader?: Reader): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#done = (error) => (error === undefined ? resolve() : reject(error))
      this.#take = take
      this.#reader = reader
      this.#flush()
    })
  }

  async pipe(sink: Sink): Promise<void> {
    await this.consume((chunk) => sink.write(chunk), sink)
    sink.end()
  }

  #put(text: string): void {
    if (this.#over !== undefined) return
    const chunk = Buffer.from(text, 'utf8')
    this.#size += chunk.length
    this.#queue.push(chunk)
    if (this.#size > MAX_BYTES) this.#leave(unreadable(this.#upstream, 'more than the client reads'))
    else this.#flush()
  }

  #flush(): void {
    if (this.#take === undefined || this.#blocked) return
    for (let chunk = this.#queue.shift(); chunk !== undefined; chunk = this.#queue.shift()) {
      this.#size -= chunk.length
      try {
        this.#take(chunk)
      } catch (error) {
        return this.#leave(ownOr(error, this.#upstream))
      }
      if (this.#reader?.writableNeedDrain === true) return this.#wait(this.#reader)
    }
    this.#release()
    if (this.#over !== undefined) this.#done(this.#over === 'ended' ? undefined : this.#over)
  }

  #wait(reader: Reader): void {
    this.#blocked = true
    reader.once('drain', () => {
      this.#blocked = false
      this.#flush()
    })
  }

  #leave(error: Error): void {
    this.#queue.length = 0
    this.#size = 0
    if (this.#over === undefined) {
      this.#over = error
      this.#left()
    }
    this.#done(error)
    this.#release()
  }

  #release(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const drained of waiting) drained()
  }
}

/** A whole answer of the gateway's own. */
export function reply(status: number, message: Json | undefined, headers: Readonly<Record<string, string>> = {}): Answer {
  const body = message === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(message), 'utf8')
  return {
    status,
    headers: { ...(message === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) }), ...headers },
    consume: async (take) => {
      if (body.length > 0) take(body)
    },
    pipe: async (sink) => void sink.end(body),
    cancel: () => undefined,
  }
}
