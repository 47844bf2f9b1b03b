import type { Connector } from '../../upstreams/connectors/connector.ts'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Asked, Call } from '../call.ts'
import { annotationsOf } from '../catalogue.ts'
import { respondPrinted } from '../deliver.ts'
import { admittedTools } from '../listing.ts'
import { isObject, withParams } from '../message.ts'
import { answerUnconnected } from '../missing-connection.ts'
import { scopeAllows } from '../../oauth/scope.ts'
import { decide, permissions, type Verdict } from '../permit.ts'
import { beginRecord, checkScope } from '../record.ts'
import { resultOf } from '../revisions.ts'
import { isVisible, type Line } from '../tools.ts'
import { ask, lineTo } from './ask.ts'
import { openCursor, sealCursor, type Cursors } from './cursor.ts'
import type { ProfileDeps } from './deps.ts'
import { contributions, each, parts, type Outcome } from './each.ts'
import { MAX_KEPT_MS, type Entry, type Page } from './kept-lists.ts'
import { ownMeta } from './own-meta.ts'
import { outwardItem, type ItemList } from './outward.ts'

type Json = Readonly<Record<string, unknown>>

/** A page as this caller may see it. */
interface Part extends Page {
  /** Whether nobody was asked for it. */
  readonly kept: boolean
}

const NOTHING: Part = { entries: [], kept: false }

/**
 * Answers a list with those of all upstreams: page by page the next one of each that has more, in the profile's order and
 * each in its own (RS-28). Each is filtered by what the caller may use of that upstream.
 */
export async function list(deps: ProfileDeps, asked: Asked, reachable: readonly Upstream[], kind: ItemList): Promise<void> {
  const cursors = openCursor(deps, asked, kind, asked.message.params['cursor'])
  const upstreams = await within(deps, asked, cursors === undefined ? reachable : reachable.filter(({ id }) => cursors.has(id)))
  const outcomes = await each(deps, asked, parts(asked, upstreams), (call) => page(deps, at(call, cursors), kind))
  // Who was asked is recorded by the upstream; what was at hand is shown to somebody all the same.
  if (kind === 'tools' && outcomes.some((outcome) => 'value' in outcome && outcome.value.kept)) await beginRecord(deps, asked, {})()
  respondPrinted(asked, merge(deps, asked, kind, outcomes))
}

export function at(call: Call, cursors: Cursors | undefined): Call {
  return cursors === undefined ? call : { ...call, message: withParams(call.message, { cursor: cursors.get(call.upstream.id) }) }
}

/** Prompts, resources and tasks are read: whose scope reaches some of the upstreams sees those. @throws Challenge when it reaches none */
export async function within(deps: ProfileDeps, asked: Asked, upstreams: readonly Upstream[]): Promise<readonly Upstream[]> {
  if (asked.operation.kind !== 'items' && asked.operation.kind !== 'tasks') return upstreams
  const allowed = upstreams.filter(({ id }) => scopeAllows(asked.caller.scope, 'read', id))
  const [first] = upstreams
  if (allowed.length === 0 && first !== undefined) await checkScope(deps, { ...asked, upstream: first }, 'read')
  return allowed
}

async function page(deps: ProfileDeps, call: Call, kind: ItemList): Promise<Part> {
  const permitted = permissions(deps.policy, call)
  const verdict = decide(call.operation, permitted, call.revision)
  if (verdict.kind !== 'allowed') return NOTHING
  const line = await lineTo(deps, call)
  const atHand = line === undefined ? undefined : keptPage(deps, call, kind, line)
  const found = line === undefined ? undefined : (atHand ?? (await askFor(deps, call, kind, { line, verdict })))
  // No account is connected, or no more.
  if (found === undefined) return { entries: entriesOf(call, kind, answerUnconnected(deps, call)), freshUntil: 0, kept: false }
  const kept = atHand !== undefined
  if (kind !== 'tools') return { ...found, kept }
  return { ...found, kept, entries: found.entries.filter(({ name, annotations }) => name !== undefined && annotations !== undefined && isVisible(permitted, name, annotations)) }
}

function keptPage(deps: ProfileDeps, call: Call, kind: ItemList, { connector }: Line): Page | undefined {
  const { shared, own } = keysFor(call, kind, connector)
  return (shared === undefined ? undefined : deps.kept.find(call.upstream.id, shared)) ?? deps.kept.find(call.upstream.id, own)
}

/** What a page is kept under: for everybody, where the account there is nobody's own, or for this person and client (P-13). */
function keysFor({ message, revision, caller }: Call, kind: ItemList, { perUser }: Connector): { readonly shared?: string; readonly own: string } {
  const page = [kind, revision.version, message.params['cursor'] ?? null]
  const own = JSON.stringify([...page, caller.user.id, caller.clientId])
  return perUser ? { own } : { own, shared: JSON.stringify(page) }
}

/** @returns undefined when the account turned out not to be connected any more */
async function askFor(deps: ProfileDeps, call: Call, kind: ItemList, { line, verdict }: { readonly line: Line; readonly verdict: Verdict }): Promise<Page | undefined> {
  const keep = deps.kept.asking(call.upstream.id)
  const reply = await ask(deps, call, line, verdict)
  if (reply === undefined) return undefined
  if (reply.result === undefined) return NOTHING
  const result = kind === 'tools' ? await admittedTools(deps, call, line.connector, reply.result) : reply.result
  const { nextCursor, ttlMs, cacheScope } = result
  const lifetime = typeof ttlMs === 'number' && ttlMs > 0 ? Math.min(ttlMs, MAX_KEPT_MS) : 0
  const found: Page = { entries: entriesOf(call, kind, result), freshUntil: deps.now() + lifetime, ...(typeof nextCursor === 'string' ? { nextCursor } : {}) }
  const { shared, own } = keysFor(call, kind, line.connector)
  if (lifetime > 0) keep(cacheScope === 'public' ? (shared ?? own) : own, found)
  return found
}

function entriesOf({ upstream }: Call, kind: ItemList, result: Json): readonly Entry[] {
  const items: unknown[] = Array.isArray(result[kind]) ? result[kind] : []
  return items.map((item) => ({ json: JSON.stringify(outwardItem(upstream, kind, item)), ...(isObject(item) && typeof item['name'] === 'string' ? { name: item['name'], annotations: annotationsOf(item) } : {}) }))
}

/** The result, printed: most of it is already. */
function merge(deps: ProfileDeps, asked: Asked, kind: ItemList, outcomes: readonly Outcome<Part>[]): string {
  const pages = contributions(outcomes)
  const next = new Map(pages.flatMap(({ upstream, value }) => (value.nextCursor === undefined ? [] : [[upstream.id, value.nextCursor] as const])))
  const members = { ...(next.size === 0 ? {} : { nextCursor: sealCursor(deps, asked, kind, next) }), ...ownMeta(asked.revision, asked.profile, outcomes) }
  // RS-26: no longer than the shortest of them; who is missing may be back at once.
  const ends = pages.flatMap(({ value }) => value.freshUntil ?? [])
  const ttlMs = pages.length < outcomes.length || ends.length === 0 ? 0 : Math.max(0, Math.min(...ends) - deps.now())
  const result = resultOf(asked.revision, members, true)
  const rest = JSON.stringify('ttlMs' in result ? { ...result, ttlMs } : result)
  const entries = pages.flatMap(({ value }) => value.entries.map(({ json }) => json)).join(',')
  return `{${JSON.stringify(kind)}:[${entries}]${rest === '{}' ? '}' : `,${rest.slice(1)}`}`
}
