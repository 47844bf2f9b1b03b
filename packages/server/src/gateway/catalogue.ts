import type { Access } from '../oauth/scope.ts'
import type { ToolAnnotations } from '../policy/rule.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { isObject } from './message.ts'

/** What the gateway knows of an upstream's tools: that they exist, and whether they only read. */
export interface Catalogue {
  /** What a call of the tool needs, `unknown` when there is no such tool, `stale` when the upstream must be asked. */
  access(key: string, upstream: Upstream, tool: string): Access | 'unknown' | 'stale'
  /** What is known of a tool, also when the upstream must be asked again; undefined when nothing is. */
  annotations(key: string, tool: string): ToolAnnotations | undefined
  /** Adds the tools of one page of a list; what else the page names is not to be known any more. */
  learn(key: string, tools: readonly unknown[], page?: readonly unknown[]): void
  /** Puts a whole list in the place of what was known. */
  replace(key: string, tools: readonly unknown[]): void
  /** Forgets what is known of an upstream, whoever it is known for: a definition of it was approved, or is not any more. */
  forget(upstreamId: string): void
}

const FRESH_MS = 5 * 60_000
/** How often a tool that nobody knows may make the upstream be asked. */
const ASK_AGAIN_MS = 2000
const MAX_CATALOGUES = 10_000
const MAX_TOOLS = 10_000

interface Known {
  readonly tools: Map<string, ToolAnnotations>
  learnedAt: number
  /** When the upstream was last asked for all of it. */
  askedAt: number
}

export function catalogue(now: () => number): Catalogue {
  const all = new Map<string, Known>()
  const put = (key: string, known: Known): void => {
    all.delete(key)
    all.set(key, known)
    const [oldest] = all.keys()
    if (all.size > MAX_CATALOGUES && oldest !== undefined) all.delete(oldest)
  }
  return {
    access(key, upstream, tool) {
      const known = all.get(key)
      const found = known?.tools.get(tool)
      if (known === undefined || now() - known.learnedAt > FRESH_MS) return 'stale'
      if (found === undefined) return now() - known.askedAt > ASK_AGAIN_MS ? 'stale' : 'unknown'
      return upstream.readOnlyTools.includes(tool) || found.readOnly ? 'read' : 'write'
    },
    annotations: (key, tool) => all.get(key)?.tools.get(tool),
    learn(key, tools, page = []) {
      const known = all.get(key) ?? { tools: new Map<string, ToolAnnotations>(), learnedAt: 0, askedAt: 0 }
      for (const tool of page) if (isObject(tool)) known.tools.delete(String(tool['name']))
      for (const tool of tools) add(known.tools, tool)
      // One page says nothing of the tools on others: it does not make them known for longer.
      put(key, known)
    },
    replace(key, tools) {
      const known = new Map<string, ToolAnnotations>()
      for (const tool of tools) add(known, tool)
      put(key, { tools: known, learnedAt: now(), askedAt: now() })
    },
    forget(upstreamId) {
      for (const key of all.keys()) if (key === upstreamId || key.startsWith(`${upstreamId} `)) all.delete(key)
    },
  }
}

function add(tools: Map<string, ToolAnnotations>, tool: unknown): void {
  if (!isObject(tool) || typeof tool['name'] !== 'string' || (tools.size >= MAX_TOOLS && !tools.has(tool['name']))) return
  tools.set(tool['name'], annotationsOf(tool))
}

/** What a definition says of its tool. What it does not say is the worst (MCP 2025-11-25, `ToolAnnotations`). */
export function annotationsOf(tool: Readonly<Record<string, unknown>>): ToolAnnotations {
  const given = isObject(tool['annotations']) ? tool['annotations'] : {}
  const readOnly = given['readOnlyHint'] === true
  return { readOnly, destructive: !readOnly && given['destructiveHint'] !== false, idempotent: given['idempotentHint'] === true, openWorld: given['openWorldHint'] !== false }
}

/** With what an administrator says of it. */
export function marked({ readOnlyTools }: Pick<Upstream, 'readOnlyTools'>, tool: string, annotations: ToolAnnotations): ToolAnnotations {
  return readOnlyTools.includes(tool) ? { ...annotations, readOnly: true, destructive: false } : annotations
}
