import { drain } from '../drain.ts'
import type { OpenCalls, OpenCall } from '../open-calls.ts'
import { issuedToken } from '../authenticate.ts'
import { kindOf } from '../answers.ts'
import { legacySessionRequest, listenTo, type Line } from './line.ts'
import type { Json } from './translate.ts'
import type { SessionName } from './line.ts'

/** The upstream's own stream of a session (`GET`), opened again when the upstream ends it. */
export interface SessionStream {
  /** Whether the upstream has one, as soon as that is known: some say nothing before there is something to say. */
  readonly ready: Promise<'open' | 'none' | 'gone'>
  stop(): void
}

export interface SessionStreamDeps {
  readonly open: Pick<OpenCalls, 'open' | 'becomeStream' | 'done'>
}

const RETRY_MS = 1000
/** Nobody waits longer for an upstream to say that it has a stream. */
const READY_MS = 300
const MAX_RETRY_MS = 30_000

/** The upstream has none; has forgotten the session; it was stopped here; the token that it was opened with has expired. */
export type Over = 'none' | 'gone' | 'stopped' | 'expired'

interface Given {
  readonly line: Line
  readonly name: SessionName
  readonly hear: (message: Json) => void
  /** Told when there will be nothing any more. */
  readonly over: (reason: Over) => void
}

export function sessionStream({ open }: SessionStreamDeps, given: Given): SessionStream {
  const { caller } = given.line.contact
  const ready = Promise.withResolvers<'open' | 'none' | 'gone'>()
  setTimeout(ready.resolve, READY_MS, 'open').unref()
  // It does not outlive the token that it was opened with, and ends with what is revoked.
  const own = open.open({ issued: issuedToken(caller), endsAt: caller.expiresAt * 1000 })
  const over = (reason: 'none' | 'gone' | 'stopped'): void => {
    ready.resolve(reason === 'gone' ? 'gone' : 'none')
    open.done(own)
    given.over(reason === 'stopped' && own.ended === 'expired' ? 'expired' : reason)
  }
  run(given, own, ready.resolve).then(over, () => over('stopped'))
  try {
    open.becomeStream(own, caller)
  } catch {
    end(own)
  }
  return { ready: ready.promise, stop: () => end(own) }
}

function end(own: OpenCall): void {
  own.ended ??= 'gone'
  own.stop?.()
}

async function run({ line, name, hear }: Given, own: OpenCall, told: (state: 'open') => void): Promise<'none' | 'gone' | 'stopped'> {
  const place = { last: undefined as string | undefined, retryMs: RETRY_MS }
  for (let wait = 0; own.ended === undefined; ) {
    if (wait > 0) await pause(Math.max(wait, place.retryMs))
    const answer = await line.send(legacySessionRequest('GET', name, place.last), own)
    if (answer.status === 404) return drain(answer).then(() => 'gone')
    if (answer.status !== 200 || kindOf(answer) !== 'events') return drain(answer).then(() => 'none')
    told('open')
    await listenTo(answer, line.contact.upstream, { message: hear, alive: ({ lines }) => remember(lines, place) }).catch(() => undefined)
    wait = Math.min(Math.max(wait * 2, RETRY_MS), MAX_RETRY_MS)
  }
  return 'stopped'
}

/** The place where a stream goes on, and when it may be asked for (WHATWG HTML §9.2.6). */
export function remember(lines: readonly string[], place: { last: string | undefined; retryMs: number }): void {
  for (const line of lines) {
    const [, field, value = ''] = /^(id|retry):? ?(.*)$/.exec(line) ?? []
    if (field === 'id' && /^[\x21-\x7e]{1,1024}$/.test(value)) place.last = value
    if (field === 'retry' && /^\d{1,6}$/.test(value)) place.retryMs = Math.min(Number(value), MAX_RETRY_MS)
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}
