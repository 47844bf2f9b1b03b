import { BrokenCircuitError, circuitBreaker, ConsecutiveBreaker, handleWhen, type CircuitBreakerPolicy } from 'cockatiel'
import type { Dispatcher } from 'undici'
import { OutboundError } from '../http/outbound.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Contact } from './call.ts'
import { McpError } from './error.ts'
import { Exchange, Stopped, type Answer, type UpstreamRequest } from './exchange.ts'
import type { OpenCall } from './open-calls.ts'

/** Failures in a row after which an upstream is left alone, and for how long. */
const MAX_FAILURES = 5
const COOL_DOWN_MS = 10_000
/** More than connecting may take: what fails to connect is the upstream's own trouble. */
const CONNECT_MS = 6000
const GATEWAY_FAILURES = new Set([502, 503, 504])

export interface Forward {
  /**
   * Sends one request, once: a call that broke off may have been carried out, and is not repeated.
   *
   * @param contact whose request it is, where that is more than the upstream is told
   * @throws McpError when the upstream does not answer, or was left alone; Stopped when the call was ended from here.
   */
  send(upstream: Upstream, request: UpstreamRequest, call: OpenCall, contact?: Contact): Promise<Answer>
}

/** Where an upstream is, and whether it is left alone. */
interface Target {
  readonly origin: string
  readonly path: string
  readonly breaker: CircuitBreakerPolicy
}

export function forward(dispatcher: Dispatcher): Forward {
  const targets = new Map<string, Target>()
  const targetOf = (upstream: Upstream): Target => {
    let target = targets.get(upstream.id)
    if (target === undefined) {
      const { origin, pathname, search } = new URL(upstream.url)
      const failures = handleWhen((error) => !(error instanceof Stopped || error instanceof Crowded)).orWhenResult((answer) => GATEWAY_FAILURES.has((answer as Answer).status))
      target = { origin, path: `${pathname}${search}`, breaker: circuitBreaker(failures, { halfOpenAfter: COOL_DOWN_MS, breaker: new ConsecutiveBreaker(MAX_FAILURES) }) }
      targets.set(upstream.id, target)
    }
    return target
  }
  return {
    async send(upstream, request, call) {
      const target = targetOf(upstream)
      try {
        return await target.breaker.execute(() => exchange(dispatcher, target, request, call))
      } catch (error) {
        throw error instanceof Stopped ? error : unavailable(upstream, error)
      }
    },
  }
}

/** No connection became free in time: all of them are taken, by streams perhaps. */
class Crowded extends Error {
  override readonly name = 'Crowded'
}

function exchange(dispatcher: Dispatcher, { origin, path }: Target, request: UpstreamRequest, call: OpenCall): Promise<Answer> {
  const running = new Exchange()
  if (call.ended !== undefined) throw new Stopped('stopped')
  call.stop = () => running.stop()
  const { method, headers, body, timeoutMs, idleMs } = request
  dispatcher.dispatch({ origin, path: request.path ?? path, method, headers, body: body ?? null, headersTimeout: timeoutMs, bodyTimeout: idleMs }, running)
  // The deadline to the first line begins when the request is sent: it may wait for a connection before.
  running.giveUpAfter(timeoutMs + CONNECT_MS, () => new Crowded('no connection'))
  return running.started
}

/** X17: what is wrong with the upstream, in words for whoever called, without its address or its own words. */
function unavailable(upstream: Upstream, error: unknown): McpError {
  const detail = { cause: error, reason: `upstream: ${reasonOf(error)}` }
  if (error instanceof BrokenCircuitError) {
    return new McpError('unavailable', `${upstream.name} did not answer several times; try again in a few seconds`, { ...detail, status: 503, headers: { 'retry-after': '10' } })
  }
  if (error instanceof Crowded) return new McpError('unavailable', `too many requests to ${upstream.name} are under way; try again later`, { ...detail, status: 503, headers: { 'retry-after': '10' } })
  if (reasonOf(error) === 'UND_ERR_HEADERS_TIMEOUT') return new McpError('unavailable', `${upstream.name} took too long to answer`, { ...detail, status: 504 })
  return new McpError('unavailable', `${upstream.name} cannot be reached`, { ...detail, status: 502 })
}

function reasonOf(error: unknown): string {
  if (error instanceof BrokenCircuitError) return 'circuit open'
  if (error instanceof Crowded) return 'no connection'
  for (let current: unknown = error; current instanceof Error; current = current.cause) {
    if (current instanceof OutboundError) return current.reason
  }
  return error instanceof Error && 'code' in error ? String(error.code) : 'failed'
}
