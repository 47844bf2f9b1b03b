import type { ChangeFeed, Cutoffs, IssuedToken } from '../audit/change.ts'
import type { Caller } from '../token/verify.ts'
import { McpError } from './error.ts'

/** One request that is under way, or one stream that stays open. */
export interface OpenCall {
  readonly issued: IssuedToken
  /** Milliseconds since the epoch, after which it is ended. */
  endsAt: number
  /** Whether it lives on without a request: then it also ends while this node cannot tell what was revoked. */
  stream: boolean
  /** Why it was ended from this side; undefined while it goes on. */
  ended: 'revoked' | 'expired' | 'gone' | 'closing' | undefined
  /** Set by whoever does the work: stops it. */
  stop: (() => void) | undefined
}

export interface OpenCalls {
  /** @throws McpError 429 for one too many of a user's at once */
  open(call: Pick<OpenCall, 'issued' | 'endsAt'>): OpenCall
  /** Makes a stream of it, which does not outlive the token that it was opened with. @throws McpError 429 for one too many of a user's, 503 after `close` */
  becomeStream(call: OpenCall, caller: Caller): void
  end(call: OpenCall, reason: NonNullable<OpenCall['ended']>): void
  done(call: OpenCall): void
  /** Ends the streams. Calls go on: one that was cut off may have been carried out, and would be made again. */
  close(): void
}

export interface OpenCallsDeps {
  readonly cutoffs: Cutoffs
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly now: () => number
}

const SWEEP_MS = 1000
/** What one user may have open at once: each holds a connection to its upstream, which others may wait for. */
const MAX_CALLS = 500
const MAX_STREAMS = 100
const ENDS_CALLS = new Set(['subject', 'client', 'grant', 'key'])

/** Knows what is open on this node, and ends what was revoked or has expired: a stream does not outlive its token. */
export function openCalls({ cutoffs, feed, now }: OpenCallsDeps): OpenCalls {
  const calls = new Set<OpenCall>()
  let closing = false
  const perUser = new Map<string, number>()
  const forget = (call: OpenCall): void => {
    if (!calls.delete(call)) return
    const left = (perUser.get(call.issued.userId) ?? 1) - 1
    if (left === 0) perUser.delete(call.issued.userId)
    else perUser.set(call.issued.userId, left)
  }
  const end: OpenCalls['end'] = (call, reason) => {
    forget(call)
    call.ended ??= reason
    call.stop?.()
  }
  const sweep = (): void => {
    const at = now()
    const stale = !cutoffs.fresh
    for (const call of calls) {
      if (cutoffs.isCut(call.issued)) end(call, 'revoked')
      else if (call.endsAt <= at || (stale && call.stream)) end(call, 'expired')
    }
    if (closing && calls.size === 0) clearInterval(timer)
  }
  // After the node's own list of cutoffs, which subscribed before.
  feed.subscribe((change) => {
    if (ENDS_CALLS.has(change.kind)) sweep()
  })
  const timer = setInterval(sweep, SWEEP_MS).unref()
  return {
    open(given) {
      const { userId } = given.issued
      const before = perUser.get(userId) ?? 0
      if (before >= MAX_CALLS) throw tooMany('calls')
      perUser.set(userId, before + 1)
      const call: OpenCall = { ...given, stream: false, ended: undefined, stop: undefined }
      calls.add(call)
      return call
    },
    becomeStream(call, { expiresAt }) {
      if (closing) throw stopping()
      let streams = 0
      for (const { stream, issued } of calls) if (stream && issued.userId === call.issued.userId) streams += 1
      if (streams >= MAX_STREAMS) throw tooMany('streams')
      call.stream = true
      call.endsAt = expiresAt * 1000
    },
    end,
    done: forget,
    close() {
      closing = true
      for (const call of calls) if (call.stream) end(call, 'closing')
      sweep()
    },
  }
}

function tooMany(what: 'calls' | 'streams'): McpError {
  return new McpError('unavailable', `you have too many open ${what} here; close some first`, { status: 429, headers: { 'retry-after': what === 'streams' ? '60' : '1' } })
}

/** What a stream is answered that this node has no time for any more. */
export function stopping(): McpError {
  return new McpError('unavailable', 'this node is stopping; try again', { status: 503, headers: { 'retry-after': '1' } })
}
