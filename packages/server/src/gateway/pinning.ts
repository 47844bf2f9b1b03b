// Owns which definitions of an upstream's tools may be shown and called (H20). A tool is pinned when it is first seen; a
// definition that nobody approved hides it, or is only reported, as the upstream is configured. It filters for nobody:
// what a caller may use is policy's.
import type { ChangeFeed } from '../audit/change.ts'
import type { AuditEvent } from '../audit/event.ts'
import { rateLimit, type RateLimit } from '../http/rate-limit.ts'
import type { NewNotice, Notices } from '../notices/notice.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Pin, PinState, PinStore } from './pin-store.ts'
import { sight, sightOf, type Look, type Seen } from './pinning-sight.ts'

export interface Pinning {
  /**
   * The tools of a list that may be shown and called, in its order; at once when all of them are known.
   *
   * @throws StoreUnavailable when one is not, and the store does not answer
   */
  admitted(upstream: PinnedUpstream, tools: readonly unknown[]): readonly unknown[] | Promise<readonly unknown[]>
}

export type PinnedUpstream = Pick<Upstream, 'id' | 'name' | 'toolChanges'>

export interface PinningDeps {
  readonly store: Pick<PinStore, 'states' | 'see'>
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  /** How administrators hear of it, besides the audit trail. */
  readonly notices?: Pick<Notices, 'compose'>
  readonly now: () => number
}

/** What this node knows of one upstream's definitions, until a change says that it is out of date. */
interface Known {
  readonly states: Map<string, PinState>
  /** Lists that were looked at, by the very array that holds them. */
  readonly lists: WeakMap<readonly unknown[], readonly unknown[]>
}

const MAX_KNOWN = 20_000
/** How often one upstream may show something new. */
const SIGHTINGS = { limit: 120, windowMs: 3600_000 }

interface Telling extends PinningDeps {
  readonly sightings: RateLimit
}

export function pinning(given: PinningDeps): Pinning {
  const deps = { ...given, sightings: rateLimit({ ...SIGHTINGS, now: given.now }) }
  const look: Look = sight()
  const all = new Map<string, Known>()
  const know = (upstream: string): Known => {
    let known = all.get(upstream)
    if (known === undefined || known.states.size > MAX_KNOWN) {
      known = { states: new Map(), lists: new WeakMap() }
      all.set(upstream, known)
    }
    return known
  }
  deps.feed.subscribe(({ kind, key }) => {
    if (kind === 'pin') all.delete(key)
  })
  const learn = async (upstream: PinnedUpstream, seen: readonly (Seen | undefined)[]): Promise<Known> => {
    for (;;) {
      const known = know(upstream.id)
      for (const [hash, state] of await statesOf(deps, upstream, seen, known)) known.states.set(hash, state)
      // What changed while it was read may have been read as it was.
      if (all.get(upstream.id) === known) return known
    }
  }
  return {
    admitted(upstream, tools) {
      const known = know(upstream.id)
      const before = known.lists.get(tools)
      if (before !== undefined) return before
      const seen = tools.map(look)
      const choose = ({ states, lists }: Known): readonly unknown[] => {
        const admitted = seen.filter((each) => each !== undefined && isShown(upstream, each, states.get(each.hash))).map((each) => each?.value)
        lists.set(tools, admitted)
        return admitted
      }
      const isKnown = seen.every((each) => each === undefined || known.states.has(each.hash))
      return isKnown ? choose(known) : learn(upstream, seen).then(choose)
    },
  }
}

/** A definition that could not be written down is one that nobody approved. */
function isShown({ toolChanges = 'hide' }: PinnedUpstream, { refusal }: Seen, state: PinState = 'pending'): boolean {
  return refusal === undefined && (state === 'approved' || toolChanges === 'report')
}

/** Asks the store for what this node does not know, and tells it of what nobody had seen. */
async function statesOf(deps: Telling, upstream: PinnedUpstream, seen: readonly (Seen | undefined)[], known: Known): Promise<ReadonlyMap<string, PinState>> {
  const unknown = new Map(seen.filter((each) => each !== undefined && !known.states.has(each.hash)).map((each) => [each?.hash ?? '', each]))
  const states = await deps.store.states(upstream.id, [...unknown.keys()])
  const unseen = [...unknown.values()].filter((each): each is Seen => each !== undefined && !states.has(each.hash))
  if (unseen.length === 0) return states
  return new Map([...states, ...(await tell(deps, upstream, unseen))])
}

/** Who changes its tools with every list is not written down without end; hidden or shown, they are as before. */
async function tell({ store, sightings, notices, now }: Telling, upstream: PinnedUpstream, unseen: readonly Seen[]): Promise<ReadonlyMap<string, PinState>> {
  if (!sightings(upstream.id).allowed) return new Map()
  return store.see(upstream.id, unseen.map(sightOf), now(), (added) => ({ events: eventsOf(upstream, added), notices: notices === undefined ? [] : noticesOf(notices, upstream, added) }))
}

const MAX_NAMED = 100

/** What administrators are told: what was pinned in one event, what changed or is refused tool by tool. */
function eventsOf(upstream: PinnedUpstream, added: readonly Pin[]): readonly AuditEvent[] {
  const pinned = added.filter(({ state }) => state === 'approved').map(({ tool }) => tool)
  const first: readonly AuditEvent[] = pinned.length === 0 ? [] : [{ action: 'tool.pinned', outcome: 'success', upstream: upstream.id, detail: { count: pinned.length, tools: pinned.slice(0, MAX_NAMED) } }]
  const others = added.filter(({ state }) => state !== 'approved').map(({ tool, state, reason, hash }): AuditEvent => {
    const effect = state === 'refused' || upstream.toolChanges !== 'report' ? 'hidden' : 'reported'
    return { action: state === 'refused' ? 'tool.refused' : 'tool.changed', outcome: 'failure', upstream: upstream.id, tool, ...(reason === undefined ? {} : { reason }), detail: { hash, effect } }
  })
  return [...first, ...others]
}

/** One for what one list showed, however many tools that are. */
function noticesOf(notices: Pick<Notices, 'compose'>, { id, name, toolChanges = 'hide' }: PinnedUpstream, added: readonly Pin[]): readonly NewNotice[] {
  const named = (state: PinState): readonly string[] => added.filter((pin) => pin.state === state).map(({ tool }) => tool).slice(0, MAX_NAMED)
  const [changed, refused] = [named('pending'), named('refused')]
  if (changed.length + refused.length === 0) return []
  const summary = changed.length === 0 ? `Tools of ${name} are refused` : `Tools of ${name} are not what they were, and ${toolChanges === 'hide' ? 'wait to be approved' : 'are used all the same'}`
  return notices.compose({ type: 'tools.changed', summary, facts: { upstream: id, changed, refused, effect: toolChanges } })
}
