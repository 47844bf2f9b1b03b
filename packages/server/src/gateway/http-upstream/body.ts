import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { Stopped } from '../exchange.ts'
import { GrowingBytes } from '../growing-bytes.ts'

/** The body of a request cannot go on: nothing is wrong with the API. */
export class BodyRefused extends Stopped {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** So small a body is kept, so that it can be sent once more with a renewed credential. */
const KEPT_BYTES = 64 * 1024

/** @returns nothing for a request without a body, bytes for a small one, else a stream that is read as fast as it is taken. */
export async function requestBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | Readable | undefined> {
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  if (coding === undefined && (length === undefined || Number(length) === 0)) return undefined
  if (Number(length ?? 0) > maxBytes) throw tooLarge(maxBytes)
  const before = kept.get(request)
  if (before !== undefined) return before
  if (request.readableDidRead) throw new BodyRefused(503, 'the body is gone: send the request again')
  if (length === undefined || Number(length) > KEPT_BYTES) return bounded(request, maxBytes)
  const bytes = await whole(request)
  kept.set(request, bytes)
  return bytes
}

/** Bodies of requests that are under way: one whose person signed in again meanwhile takes its way from the beginning. */
const kept = new WeakMap<IncomingMessage, Buffer>()

async function whole(request: IncomingMessage): Promise<Buffer> {
  const bytes = new GrowingBytes()
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) bytes.add(chunk)
  } catch (error) {
    throw error instanceof Error && request.destroyed ? new BodyRefused(400, 'the request ended early') : error
  }
  return bytes.bytes()
}

/**
 * The body as a stream of its own: when whoever reads it is done with it, the connection of the client is not, and gets
 * its answer all the same.
 */
function bounded(request: IncomingMessage, maxBytes: number): Readable {
  let size = 0
  const body = new Readable({
    read: () => void request.resume(),
    destroy(error, done) {
      request.off('data', take)
      // What is still to come is thrown away: a connection that is closed on its sender loses the answer.
      if (!request.destroyed) request.resume()
      done(error)
    },
  })
  const take = (chunk: Buffer): void => {
    size += chunk.length
    if (size > maxBytes) body.destroy(tooLarge(maxBytes))
    else if (!body.push(chunk)) request.pause()
  }
  // Whoever reads it hears of it; when nobody does yet, nothing is lost.
  body.on('error', () => undefined)
  request.on('data', take)
  request.once('end', () => body.destroyed || body.push(null))
  request.once('error', () => body.destroy(endedEarly()))
  request.once('close', () => {
    if (!request.complete) body.destroy(endedEarly())
  })
  request.pause()
  return body
}

function tooLarge(maxBytes: number): BodyRefused {
  return new BodyRefused(413, `the body is larger than ${Math.floor(maxBytes / 1024 / 1024)} MiB`)
}

function endedEarly(): BodyRefused {
  return new BodyRefused(400, 'the request ended early')
}
