import type { Upstream } from '../../upstreams/upstream.ts'
import type { Asked, Call } from '../call.ts'
import { McpError } from '../error.ts'
import type { OpenCall } from '../open-calls.ts'
import { recordFailure, type RecordDeps } from '../record.ts'
import { toUpstream } from './resolve.ts'

/** What one upstream contributed, or why it did not. */
export type Outcome<Value> = { readonly upstream: Upstream; readonly value: Value } | { readonly upstream: Upstream; readonly failure: McpError }

/** So long all wait for one: a list without its part is worth more than none. */
const PATIENCE_MS = 3000

/**
 * Does the same at several upstreams at once. Who fails, or is not done in time, does not keep the others from it.
 *
 * @param calls the parts of the whole
 * @returns what became of it, in the order of the upstreams
 * @throws Stopped when the whole call was ended, and what is the gateway's own fault
 */
export async function each<Value>(deps: RecordDeps, asked: Asked, calls: readonly Call[], work: (call: Call) => Promise<Value>): Promise<readonly Outcome<Value>[]> {
  try {
    return await Promise.all(calls.map((call) => patiently(deps, asked.open, call, work)))
  } catch (error) {
    asked.open.stop?.()
    throw error
  }
}

/** One call for each upstream, which can be stopped by itself, and ends with the whole. */
export function parts(asked: Asked, upstreams: readonly Upstream[]): readonly Call[] {
  const calls = upstreams.map((upstream) => ({ ...toUpstream(asked, upstream), open: new Part(asked.open) }))
  asked.open.stop = () => {
    for (const { open } of calls) open.stop?.()
  }
  return calls
}

/** What is open for one of the upstreams: it ends by itself, or with the whole. */
class Part implements OpenCall {
  readonly issued: OpenCall['issued']
  endsAt: number
  stream: boolean
  stop: OpenCall['stop'] = undefined
  readonly #whole: OpenCall
  #ended: OpenCall['ended']

  constructor(whole: OpenCall) {
    this.#whole = whole
    this.issued = whole.issued
    this.endsAt = whole.endsAt
    this.stream = whole.stream
  }

  get ended(): OpenCall['ended'] {
    return this.#whole.ended ?? this.#ended
  }

  set ended(reason: OpenCall['ended']) {
    this.#ended = reason
  }
}

async function patiently<Value>(deps: RecordDeps, whole: OpenCall, call: Call, work: (call: Call) => Promise<Value>): Promise<Outcome<Value>> {
  const { upstream, open } = call
  let tooLong = (): void => undefined
  const patience = new Promise<never>((_resolve, reject) => {
    tooLong = () => reject(new McpError('unavailable', `${upstream.name} took too long to answer`, { status: 504, reason: 'upstream: slow answer' }))
  })
  const timer = setTimeout(() => {
    tooLong()
    open.ended = 'gone'
    open.stop?.()
  }, PATIENCE_MS)
  try {
    return { upstream, value: await Promise.race([work(call), patience]) }
  } catch (error) {
    open.stop?.()
    if (whole.ended !== undefined || !(error instanceof McpError)) throw error
    await recordFailure(deps, call, error)
    return { upstream, failure: error }
  } finally {
    clearTimeout(timer)
  }
}

/** Those that contributed something. @throws McpError when all failed: that is no answer */
export function contributions<Value>(outcomes: readonly Outcome<Value>[]): readonly { readonly upstream: Upstream; readonly value: Value }[] {
  const done = outcomes.filter((outcome) => 'value' in outcome)
  const failed = outcomes.find((outcome) => 'failure' in outcome)
  if (done.length === 0 && failed !== undefined) throw failed.failure
  return done
}

/** Who is missing in a result, for its `_meta`: that something is missing must be seen. */
export function missingIn(outcomes: readonly Outcome<unknown>[]): readonly { readonly upstream: string; readonly reason: string }[] {
  return outcomes.filter((outcome) => 'failure' in outcome).map(({ upstream, failure }) => ({ upstream: upstream.id, reason: failure.message }))
}
