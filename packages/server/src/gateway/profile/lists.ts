import type { Upstream } from '../../upstreams/upstream.ts'
import type { Asked, Call } from '../call.ts'
import { respond } from '../deliver.ts'
import { shownTools } from '../listing.ts'
import { answerUnconnected } from '../missing-connection.ts'
import { scopeAllows } from '../../oauth/scope.ts'
import { decide, permissions } from '../permit.ts'
import { checkScope } from '../record.ts'
import { resultOf } from '../revisions.ts'
import { ask, lineTo } from './ask.ts'
import { openCursor, sealCursor, type Cursors } from './cursor.ts'
import type { ProfileDeps } from './deps.ts'
import { contributions, each, parts, type Outcome } from './each.ts'
import { ownMeta } from './own-meta.ts'
import { outwardItem, type ItemList } from './outward.ts'
import { withParams } from './resolve.ts'

type Json = Readonly<Record<string, unknown>>

/** One upstream's part of a page. */
interface Page {
  readonly items: readonly unknown[]
  /** The upstream's own. */
  readonly nextCursor?: string
  /** How long it may be kept (RS-26); absent where the upstream had nothing to say. */
  readonly ttlMs?: number
}

const NOTHING: Page = { items: [] }

/**
 * Answers a list with those of all upstreams: page by page the next one of each that has more, in the profile's order and
 * each in its own (RS-28). Each is filtered by what the caller may use of that upstream.
 */
export async function list(deps: ProfileDeps, asked: Asked, reachable: readonly Upstream[], kind: ItemList): Promise<void> {
  const cursors = openCursor(deps, asked, kind, asked.message.params['cursor'])
  const upstreams = await within(deps, asked, cursors === undefined ? reachable : reachable.filter(({ id }) => cursors.has(id)))
  const outcomes = await each(deps, asked, parts(asked, upstreams), (call) => page(deps, at(call, cursors), kind))
  respond(asked, merge(deps, asked, kind, outcomes))
}

function at(call: Call, cursors: Cursors | undefined): Call {
  return cursors === undefined ? call : { ...call, message: withParams(call.message, { cursor: cursors.get(call.upstream.id) }) }
}

/** Prompts and resources are read: whose scope reaches some of the upstreams sees those. @throws Challenge when it reaches none */
async function within(deps: ProfileDeps, asked: Asked, upstreams: readonly Upstream[]): Promise<readonly Upstream[]> {
  if (asked.operation.kind !== 'items') return upstreams
  const allowed = upstreams.filter(({ id }) => scopeAllows(asked.caller.scope, 'read', id))
  const [first] = upstreams
  if (allowed.length === 0 && first !== undefined) await checkScope(deps, { ...asked, upstream: first }, 'read')
  return allowed
}

async function page(deps: ProfileDeps, call: Call, kind: ItemList): Promise<Page> {
  const permitted = permissions(deps.policy, call)
  const verdict = decide(call.operation, permitted, call.revision)
  if (verdict.kind !== 'allowed') return NOTHING
  const line = await lineTo(deps, call)
  const reply = line === undefined ? undefined : await ask(deps, call, line, verdict)
  if (line === undefined || reply === undefined) return { items: itemsOf(call, kind, answerUnconnected(deps, call)), ttlMs: 0 }
  if (reply.result === undefined) return NOTHING
  const shown = kind === 'tools' ? await shownTools(deps, call, { connector: line.connector, permitted }, reply.result) : reply.result
  const { nextCursor, ttlMs } = shown
  return { items: itemsOf(call, kind, shown), ...(typeof nextCursor === 'string' ? { nextCursor } : {}), ttlMs: typeof ttlMs === 'number' && ttlMs > 0 ? ttlMs : 0 }
}

function itemsOf({ upstream }: Call, kind: ItemList, result: Json): readonly unknown[] {
  const items = result[kind]
  return Array.isArray(items) ? items.map((item) => outwardItem(upstream, kind, item)) : []
}

function merge(deps: ProfileDeps, asked: Asked, kind: ItemList, outcomes: readonly Outcome<Page>[]): Json {
  const pages = contributions(outcomes)
  const next = new Map(pages.flatMap(({ upstream, value }) => (value.nextCursor === undefined ? [] : [[upstream.id, value.nextCursor] as const])))
  const members = {
    [kind]: pages.flatMap(({ value }) => value.items),
    ...(next.size === 0 ? {} : { nextCursor: sealCursor(deps, asked, kind, next) }),
    ...ownMeta(asked.revision, asked.profile, outcomes),
  }
  // RS-26: no longer than the shortest of them; who is missing may be back at once.
  const lifetimes = pages.flatMap(({ value }) => value.ttlMs ?? [])
  const ttlMs = pages.length < outcomes.length || lifetimes.length === 0 ? 0 : Math.min(...lifetimes)
  const result = resultOf(asked.revision, members, true)
  return 'ttlMs' in result ? { ...result, ttlMs } : result
}
