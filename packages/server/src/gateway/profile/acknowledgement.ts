import type { ServerResponse } from 'node:http'
import type { Upstream } from '../../upstreams/upstream.ts'
import { formatEvent } from '../sse.ts'

export type Filter = Readonly<Record<string, unknown>>

export const SUBSCRIPTION_ID = 'io.modelcontextprotocol/subscriptionId'
const CHANGES = { toolsListChanged: 'notifications/tools/list_changed', promptsListChanged: 'notifications/prompts/list_changed', resourcesListChanged: 'notifications/resources/list_changed' } as const
/** So long the first notification waits for who has not acknowledged yet. */
const PATIENCE_MS = 3000
/** Characters that are kept until then: who says more than that waits for nobody. */
const MAX_EARLY = 1024 * 1024

/** RS-32: the one acknowledgement of several upstreams' subscriptions, which is the first message of the stream. */
export interface Acknowledgement {
  /** An upstream said what it will tell, in the client's words. */
  by(upstream: Upstream, honored: Filter): void
  /** An upstream says nothing, or nothing more for now. */
  silent(upstream: Upstream): void
  /** Whether an upstream has nothing to tell at all. */
  isEmpty(upstream: Upstream): boolean
  /** Tells that lists of an upstream may have changed while it was not heard. */
  changed(upstream: Upstream): void
  /** Writes an event, once the acknowledgement is written. */
  write(text: string): void
}

export function acknowledgement(response: ServerResponse, id: string | number | null, upstreams: readonly Upstream[]): Acknowledgement {
  const waiting = new Set(upstreams.map((upstream) => upstream.id))
  const honored = new Map<string, Filter>()
  const early: string[] = []
  let size = 0
  let told = false
  const event = (method: string, params: Filter): string => formatEvent({ data: JSON.stringify({ jsonrpc: '2.0', method, params: { ...params, _meta: { [SUBSCRIPTION_ID]: id } } }), lines: ['event: message'] })
  const tell = (): void => {
    if (told) return
    told = true
    clearTimeout(timer)
    if (response.destroyed) return
    response.write([event('notifications/subscriptions/acknowledged', { notifications: united([...honored.values()]) }), ...early.splice(0)].join(''))
  }
  const timer = setTimeout(tell, PATIENCE_MS).unref()
  const heard = (upstream: Upstream): void => {
    waiting.delete(upstream.id)
    if (waiting.size === 0) tell()
  }
  const write = (text: string): void => {
    if (told) return void response.write(text)
    early.push(text)
    size += text.length
    if (size > MAX_EARLY) tell()
  }
  return {
    by(upstream, filter) {
      honored.set(upstream.id, filter)
      heard(upstream)
    },
    silent: heard,
    isEmpty: (upstream) => honored.has(upstream.id) && Object.keys(honored.get(upstream.id) ?? {}).length === 0,
    changed(upstream) {
      const known = honored.get(upstream.id) ?? united([...honored.values()])
      for (const [member, method] of Object.entries(CHANGES)) if (known[member] === true) write(event(method, {}))
    },
    write,
  }
}

function united(filters: readonly Filter[]): Filter {
  const all: Record<string, unknown> = {}
  for (const filter of filters) {
    for (const [member, value] of Object.entries(filter)) {
      const before = all[member]
      all[member] = Array.isArray(value) ? [...(Array.isArray(before) ? before : []), ...(value as unknown[])] : before === true ? true : value
    }
  }
  return all
}
