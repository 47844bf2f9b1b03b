import type { Revision } from './revisions.ts'
import type { Connector } from '../upstreams/connectors/connector.ts'
import type { Call } from './call.ts'
import type { Access } from '../oauth/scope.ts'
import type { ToolAnnotations } from '../policy/rule.ts'
import { annotationsOf, type Catalogue } from './catalogue.ts'
import { resultOfOwn } from './deliver.ts'
import { Stopped } from './exchange.ts'
import { isObject } from './message.ts'
import type { Pinning, PinnedUpstream } from './pinning.ts'
import type { Permissions } from './permit.ts'
import { TASKS_EXTENSION } from './tasks/words.ts'
import { accountLost, ownMessage, sendWithCredential, type UpstreamCallDeps, type UsableCredential } from './upstream-call.ts'

const MAX_PAGES = 50
const LEGACY = { era: 'legacy', version: '' } as const

/** Whose tools these are: an account of a user's own may see others than their neighbour's. */
export function catalogueKey({ upstream, caller }: Call, connector: Connector): string {
  return connector.perUser ? `${upstream.id} ${caller.user.id}` : upstream.id
}

export interface ToolDeps extends UpstreamCallDeps {
  readonly catalogue: Catalogue
  readonly pinning: Pinning
}

/** How to ask the upstream on behalf of a call. */
export interface Line {
  readonly connector: Connector
  readonly credential: UsableCredential
  readonly session: string | undefined
}

/** Finds what a call of the tool needs, asking the upstream when it is not known. @returns undefined when there is no such tool. */
export type ToolAccess = (call: Call, tool: string, line: Line) => Promise<Access | undefined>

export function toolAccess(deps: ToolDeps): ToolAccess {
  const asking = new Map<string, Promise<readonly unknown[]>>()
  /** Callers that come at once share one question and its failure; when who asked it goes away, the next one asks. */
  const learn = async (key: string, call: Call, line: Line): Promise<void> => {
    for (let other = asking.get(key); other !== undefined; other = asking.get(key)) {
      if (await other.then(() => true, askerGone)) return
    }
    const question = askForTools(deps, call, line)
      .then((tools) => deps.pinning.admitted(call.upstream, tools))
      .finally(() => asking.delete(key))
    asking.set(key, question)
    deps.catalogue.replace(key, await question)
  }
  return async (call, tool, line) => {
    const key = catalogueKey(call, line.connector)
    let access = deps.catalogue.access(key, call.upstream, tool)
    if (access === 'stale') {
      await learn(key, call, line)
      access = deps.catalogue.access(key, call.upstream, tool)
    }
    return access === 'unknown' || access === 'stale' ? undefined : access
  }
}

/** @returns false when nothing is known for want of the one who asked. @throws whatever else went wrong, for all who wait */
function askerGone(error: unknown): false {
  if (error instanceof Stopped) return false
  throw error
}

/** Lists all tools in the caller's own session and revision. An upstream may have none, and not know the method. */
async function askForTools(deps: ToolDeps, call: Call, { connector, credential, session }: Line): Promise<readonly unknown[]> {
  const tools: unknown[] = []
  let cursor: unknown
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const id = `lanyard-tools-${page}`
    const params = { ...(cursor === undefined ? {} : { cursor }), ...metaOf(call) }
    const answer = await sendWithCredential(deps, connector, call, credential, ownMessage(call, session, { method: 'tools/list', id, params }))
    if (answer === 'connection_required') throw accountLost(call)
    const result = await resultOfOwn(answer, id, call.upstream)
    if (result === undefined || !Array.isArray(result['tools'])) return tools
    tools.push(...(result['tools'] as unknown[]))
    cursor = result['nextCursor']
    if (typeof cursor !== 'string') return tools
  }
  return tools
}

/** RS-21: what the client says of itself in each request stands in this one as well, its progress token aside. */
function metaOf({ message, revision }: Call): Readonly<Record<string, unknown>> {
  const { _meta: meta } = message.params
  if (revision.era === 'legacy' || !isObject(meta)) return {}
  const { progressToken: _token, ...rest } = meta
  return { _meta: rest }
}

/** H20: a list with those of its tools that may be shown to anybody; what was left out is not known of it any more. */
export function pinnedList(pinning: Pinning, upstream: PinnedUpstream, result: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | Promise<Readonly<Record<string, unknown>>> {
  if (!Array.isArray(result['tools'])) return result
  const admitted = pinning.admitted(upstream, result['tools'])
  return admitted instanceof Promise ? admitted.then((tools) => ({ ...result, tools })) : { ...result, tools: admitted }
}

/** RS-26, RS-27, RS-28: what the caller may use, in the upstream's order, for nobody else's cache. */
export function visibleTools(result: Readonly<Record<string, unknown>>, permitted: Permissions, revision: Revision): Readonly<Record<string, unknown>> {
  const tools: unknown[] = Array.isArray(result['tools']) ? result['tools'] : []
  const visible = tools.filter((tool) => isObject(tool) && typeof tool['name'] === 'string' && isVisible(permitted, tool['name'], annotationsOf(tool)))
  const cache = revision.era === 'modern' ? { cacheScope: 'private' } : {}
  return { ...result, tools: visible, ...cache }
}

/** What a step-up or an approval would open is listed: whoever calls it is told what to do. */
export function isVisible(permitted: Permissions, tool: string, annotations: ToolAnnotations): boolean {
  return permitted.tool(tool, annotations).effect !== 'deny'
}

/** A result of which it is not known what was asked for (H07): what it lists, and what it says of the upstream, is what the caller may see. */
export function visibleResult(result: Readonly<Record<string, unknown>>, permitted: Permissions): Readonly<Record<string, unknown>> {
  const listed = 'tools' in result ? visibleTools(result, permitted, LEGACY) : result
  return visibleCapabilities(listed, permitted, LEGACY)
}

/** What the upstream says it can do, less what this gateway does not pass on or the caller may not use. */
export function visibleCapabilities(result: Readonly<Record<string, unknown>>, permitted: Permissions, revision: Revision): Readonly<Record<string, unknown>> {
  const cache = revision.era === 'modern' ? { cacheScope: 'private' } : {}
  if (!isObject(result['capabilities'])) return { ...result, ...cache }
  const all = permitted.everything().effect !== 'deny'
  const capabilities = without(result['capabilities'], new Set(all ? [] : NOT_TOOLS))
  const { extensions, tasks } = capabilities
  const bound = revision.era === 'legacy' && isObject(tasks) ? tasks : {}
  const known = isObject(extensions) ? { extensions: without(extensions, new Set([...(all ? [] : NOT_TOOLS), ...(revision.era === 'modern' ? [] : [TASKS_EXTENSION])])) } : {}
  return { ...result, capabilities: { ...without(capabilities, TASKS), ...(Object.keys(bound).length === 0 ? {} : { tasks: bound }), ...known }, ...cache }
}

const TASKS: ReadonlySet<string> = new Set(['tasks'])
const NOT_TOOLS = ['prompts', 'resources', 'completions']

function without(value: Readonly<Record<string, unknown>>, names: ReadonlySet<string>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([name]) => !names.has(name)))
}
