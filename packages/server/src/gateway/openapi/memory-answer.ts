import type { Answer, Sink } from '../exchange.ts'

/** An answer that was made here: whole from the beginning. */
export function memoryAnswer(status: number, message: unknown): Answer {
  const body = message === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(message))
  return {
    status,
    headers: message === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) },
    async consume(take) {
      if (body.length > 0) take(body)
    },
    async pipe(sink: Sink) {
      sink.end(body)
    },
    cancel: () => undefined,
  }
}
