import type { Answer, Reader } from '../exchange.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import { Outlet, reply } from './outlet.ts'
import type { Json } from './translate.ts'

/** Where a client waits for the answer to one request: a single answer until there is something to say before it. */
export interface Seat extends Reader {
  readonly id: unknown
  /** The answer as the gateway passes it on. */
  readonly answer: Promise<Answer>
  readonly taken: boolean
  /** Says something before the end. */
  tell(message: Json): void
  comment(): void
  /** @param status of an answer that is nothing but this */
  finish(message: Json, status?: number): void
  /** An answer of the upstream's that goes on as it is, when nothing was said yet. */
  hand(answer: Answer): void
  fail(error: Error): void
}

/** @param left is called when the client does not wait any more */
export function seat(id: unknown, upstream: Upstream, left: () => void): Seat {
  let settle: (answer: Answer) => void = () => undefined
  let refuse: (error: Error) => void = () => undefined
  const answer = new Promise<Answer>((resolve, reject) => {
    settle = resolve
    refuse = reject
  })
  answer.catch(() => undefined)
  let stream: Outlet | undefined
  let taken = false
  const opened = (): Outlet => {
    if (stream === undefined) {
      stream = new Outlet(upstream, left)
      settle(stream)
    }
    return stream
  }
  return {
    id,
    answer,
    get taken() {
      return taken
    },
    tell: (message) => opened().write(message),
    comment: () => opened().comment(),
    finish(message, status = 200) {
      if (taken) return
      taken = true
      if (stream === undefined) return settle(reply(status, message))
      stream.write(message)
      stream.end()
    },
    hand(given) {
      taken = true
      settle(given)
    },
    fail(error) {
      if (taken) return
      taken = true
      if (stream === undefined) refuse(error)
      else stream.fail(error)
    },
    get writableNeedDrain() {
      return stream?.writableNeedDrain === true
    },
    once: (event, drained) => (stream === undefined ? drained() : stream.once(event, drained)),
  }
}
