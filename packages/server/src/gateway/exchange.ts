import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'

/** Whoever reads what becomes of an answer, as far as they are slow. */
export interface Reader {
  readonly writableNeedDrain: boolean
  once(event: 'drain', drained: () => void): unknown
}

/** Where an answer goes: the response to the client, or what looks at it on its way there. */
export interface Sink extends Reader {
  write(chunk: Buffer): unknown
  end(last?: Buffer): unknown
}

/** An upstream's answer, from its first line on; the body flows when somebody takes it. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /**
   * Hands every piece of the body to `take`, in order, and no faster than `reader` reads what becomes of it.
   *
   * @throws Error when the upstream breaks off, or `take` throws.
   */
  consume(take: (chunk: Buffer) => void, reader?: Reader): Promise<void>
  /** Streams the body as fast as it is read, and ends it. @throws Error when the upstream breaks off, or `sink` throws */
  pipe(sink: Sink): Promise<void>
  /** Leaves the rest of the body unread. */
  cancel(): void
}

export interface UpstreamRequest {
  readonly method: Dispatcher.HttpMethod
  /** Path and query, when not those of the upstream's own address. */
  readonly path?: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Buffer | Readable
  /** Milliseconds to the first line of the answer. */
  readonly timeoutMs: number
  /** Milliseconds between two pieces of the body; 0 for a stream that may be silent. */
  readonly idleMs: number
  /** The credential for another request in the place of this one; absent where it is the same for all. */
  readonly prove?: (method: string, url: string) => Readonly<Record<string, string>>
}

/** The exchange was stopped from this side: nothing is wrong with the upstream. */
export class Stopped extends Error {
  override readonly name = 'Stopped'
}

/**
 * One request to an upstream, on undici's own events: no stream object, no copy, and nothing read before somebody
 * takes it (P-15).
 */
export class Exchange implements Dispatcher.DispatchHandler, Answer {
  status = 0
  headers: IncomingHttpHeaders = {}
  readonly started: Promise<Answer>
  #start: (answer: Answer) => void = ignore
  #fail: (error: Error) => void = ignore
  #take: ((chunk: Buffer) => void) | undefined
  #controller: Dispatcher.DispatchController | undefined
  /** What came before somebody took it: undici hands out the rest of a connection that its other side has closed. */
  readonly #early: Buffer[] = []
  #outcome: 'ended' | Error | undefined
  #stopped: Error | undefined
  #waiting: NodeJS.Timeout | undefined

  constructor() {
    this.started = new Promise((resolve, reject) => {
      this.#start = resolve
      this.#fail = reject
    })
  }

  stop(): void {
    clearTimeout(this.#waiting)
    this.#stopped ??= new Stopped('stopped')
    this.#controller?.abort(this.#stopped)
    this.#fail(this.#stopped)
  }

  cancel(): void {
    if (this.#outcome === undefined) this.stop()
  }

  /** Ends it when it is not even sent by then. */
  giveUpAfter(milliseconds: number, reason: () => Error): void {
    if (this.#controller !== undefined) return
    this.#waiting = setTimeout(() => {
      this.#stopped ??= reason()
      this.#fail(this.#stopped)
    }, milliseconds)
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    clearTimeout(this.#waiting)
    this.#controller = controller
    if (this.#stopped !== undefined) controller.abort(this.#stopped)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return
    this.status = status
    this.headers = headers
    controller.pause()
    this.#start(this)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#take === undefined) this.#early.push(chunk)
    else this.#give(chunk)
  }

  onResponseEnd(): void {
    this.#outcome = 'ended'
    if (this.#take !== undefined) this.#start(this)
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    clearTimeout(this.#waiting)
    this.#outcome = error
    this.#fail(error)
  }

  consume(take: (chunk: Buffer) => void, reader?: Reader): Promise<void> {
    return this.#hand(take, reader, ignore)
  }

  pipe(sink: Sink): Promise<void> {
    // Ended in the same turn as the last piece is written: one packet, not two.
    return this.#hand((chunk) => sink.write(chunk), sink, () => sink.end())
  }

  #hand(take: (chunk: Buffer) => void, reader: Reader | undefined, end: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#stopped !== undefined) return reject(this.#stopped)
      this.#start = () => {
        try {
          end()
          resolve()
        } catch (error) {
          reject(error)
        }
      }
      this.#fail = reject
      this.#take = reader === undefined ? take : this.#asFastAs(reader, take)
      for (const chunk of this.#early.splice(0)) this.#give(chunk)
      // What ended before it was taken tells it now.
      if (this.#outcome === 'ended') this.#start(this)
      else if (this.#outcome !== undefined) reject(this.#outcome)
      else if (reader?.writableNeedDrain !== true) this.#controller?.resume()
    })
  }

  #give(chunk: Buffer): void {
    try {
      this.#take?.(chunk)
    } catch (error) {
      const reason = error instanceof Error ? error : new Error('the body was refused')
      this.#fail(reason)
      this.#take = ignore
      this.#controller?.abort(reason)
    }
  }

  #asFastAs(reader: Reader, take: (chunk: Buffer) => void): (chunk: Buffer) => void {
    let waiting = false
    return (chunk) => {
      take(chunk)
      if (waiting || !reader.writableNeedDrain) return
      waiting = true
      this.#controller?.pause()
      reader.once('drain', () => {
        waiting = false
        this.#controller?.resume()
      })
    }
  }
}

function ignore(): void {}
