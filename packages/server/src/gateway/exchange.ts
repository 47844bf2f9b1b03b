import type { IncomingHttpHeaders } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'

/** An upstream's answer, from its first line on; the body flows when somebody takes it. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Hands every piece of the body to `take`, in order. @throws Error when the upstream breaks off, or `take` throws. */
  consume(take: (chunk: Buffer) => void): Promise<void>
  /** Streams the body to the client as fast as it reads, and ends the response. */
  pipe(response: ServerResponse): Promise<void>
  /** Leaves the rest of the body unread. */
  cancel(): void
}

export interface UpstreamRequest {
  readonly url: URL
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** Milliseconds to the first line of the answer. */
  readonly timeoutMs: number
  /** Milliseconds between two pieces of the body; 0 for a stream that may be silent. */
  readonly idleMs: number
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
  #finished = false
  #stopped: Error | undefined

  constructor() {
    this.started = new Promise((resolve, reject) => {
      this.#start = resolve
      this.#fail = reject
    })
  }

  stop(): void {
    this.#stopped ??= new Stopped('stopped')
    this.#controller?.abort(this.#stopped)
    this.#fail(this.#stopped)
  }

  cancel(): void {
    if (!this.#finished) this.stop()
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
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

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    try {
      this.#take?.(chunk)
    } catch (error) {
      controller.abort(error instanceof Error ? error : new Error('the body was refused'))
    }
  }

  onResponseEnd(): void {
    this.#finished = true
    this.#start(this)
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#finished = true
    this.#fail(error)
  }

  consume(take: (chunk: Buffer) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#stopped !== undefined) return reject(this.#stopped)
      this.#take = take
      this.#start = () => resolve()
      this.#fail = reject
      this.#controller?.resume()
    })
  }

  async pipe(response: ServerResponse): Promise<void> {
    await this.consume((chunk) => {
      if (response.write(chunk)) return
      this.#controller?.pause()
      response.once('drain', () => this.#controller?.resume())
    })
    response.end()
  }
}

function ignore(): void {}
