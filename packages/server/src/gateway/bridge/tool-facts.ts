import type { Contact } from '../call.ts'
import { isObject } from '../message.ts'
import { headerParams, type HeaderParam } from './header-params.ts'
import { needsWrapping } from './output-schema.ts'

/** What the bridge must know of a tool to call it for a client of the other generation. */
export interface ToolFacts {
  readonly headers: readonly HeaderParam[]
  /** Whether its structured result is no object. */
  readonly wraps: boolean
}

export interface KnownTools {
  /** Remembers the tools of a list that went by. */
  learn(contact: Contact, tools: unknown): void
  /** What is known, asking the upstream where nothing is. */
  facts(contact: Contact, tool: string, list: ListTools, again?: boolean): Promise<ToolFacts>
}

/** One page of the tools; undefined when there is none. */
export type ListTools = (cursor: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>> | undefined>

const FRESH_MS = 5 * 60_000
const MAX_LISTS = 2000
const MAX_TOOLS = 10_000
const MAX_PAGES = 50
const NOTHING: ToolFacts = { headers: [], wraps: false }

interface Known {
  readonly tools: Map<string, ToolFacts>
  readonly at: number
}

/** By user: an account of their own may see other tools. */
export function knownTools(now: () => number): KnownTools {
  const all = new Map<string, Known>()
  const keyOf = ({ upstream, caller }: Contact): string => `${upstream.url} ${caller.user.id}`
  const add = (key: string, known: Known, tools: unknown): void => {
    for (const tool of Array.isArray(tools) ? tools : []) {
      if (isObject(tool) && typeof tool['name'] === 'string' && known.tools.size < MAX_TOOLS) known.tools.set(tool['name'], { headers: headerParams(tool['inputSchema']), wraps: needsWrapping(tool) })
    }
    all.delete(key)
    all.set(key, known)
    const [oldest] = all.keys()
    if (all.size > MAX_LISTS && oldest !== undefined) all.delete(oldest)
  }
  const fresh = (key: string): Known | undefined => {
    const known = all.get(key)
    return known !== undefined && now() - known.at < FRESH_MS ? known : undefined
  }
  return {
    learn(contact, tools) {
      const key = keyOf(contact)
      add(key, fresh(key) ?? { tools: new Map(), at: now() }, tools)
    },
    async facts(contact, tool, list, again = false) {
      const key = keyOf(contact)
      const known = again ? undefined : fresh(key)?.tools.get(tool)
      if (known !== undefined) return known
      const listed: Known = { tools: new Map(), at: now() }
      await eachPage(list, (tools) => add(key, listed, tools))
      return listed.tools.get(tool) ?? NOTHING
    },
  }
}

async function eachPage(list: ListTools, take: (tools: unknown) => void): Promise<void> {
  let cursor: unknown
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const result = await list(cursor === undefined ? {} : { cursor })
    // Without a list there are no headers, and the upstream says what is missing.
    if (result === undefined) return
    take(result['tools'])
    cursor = result['nextCursor']
    if (typeof cursor !== 'string') return
  }
}
