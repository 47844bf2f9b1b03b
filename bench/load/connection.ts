import type { IncomingHttpHeaders } from 'node:http'
import { Client, type Dispatcher } from 'undici'

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface Ask {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Bytes per second to read at most. */
  readonly bytesPerSecond?: number
  readonly end?: AbortSignal
}

/** One keep-alive connection, one request after the other. */
export function connection(origin: string): Client {
  return new Client(origin, { pipelining: 1, headersTimeout: 30_000, bodyTimeout: 30_000, keepAliveTimeout: 60_000 })
}

/** One connection that may be silent for as long as it likes. */
export function streamConnection(origin: string): Client {
  return new Client(origin, { pipelining: 1, headersTimeout: 60_000, bodyTimeout: 0, keepAliveTimeout: 60_000 })
}

/** Posts on undici's own events: the generator shares the machine with what it measures. */
export function post(client: Client, { path, headers, body, bytesPerSecond, end }: Ask): Promise<Reply> {
  return new Promise((resolve, reject) => {
    let status = 0
    let answered: IncomingHttpHeaders = {}
    const chunks: Buffer[] = []
    const pace = bytesPerSecond === undefined ? undefined : slowly(bytesPerSecond)
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(controller) {
        end?.addEventListener('abort', () => controller.abort(new Error('the measurement is over')), { once: true })
      },
      onResponseStart(_controller, code, head) {
        status = code
        answered = head
      },
      onResponseData(controller, chunk) {
        if (pace === undefined) chunks.push(chunk)
        else pace(controller, chunk.length)
      },
      onResponseEnd: () => resolve({ status, headers: answered, body: chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks) }),
      onResponseError: (_controller, error) => reject(error),
    }
    client.dispatch({ path, method: 'POST', headers, body }, handler)
  })
}

/** A reader on a bad line: what it does not take stays with the sender. */
function slowly(bytesPerSecond: number): (controller: Dispatcher.DispatchController, bytes: number) => void {
  return (controller, bytes) => {
    controller.pause()
    setTimeout(() => controller.resume(), (bytes / bytesPerSecond) * 1000)
  }
}
