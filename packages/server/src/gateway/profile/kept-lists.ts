import type { ToolAnnotations } from '../../policy/rule.ts'

/** One entry of a list, ready to be sent. */
export interface Entry {
  /** What policy decides by, for a tool: its upstream's own name. */
  readonly name?: string
  readonly annotations?: ToolAnnotations
  /** The entry as it is called in a profile, printed. */
  readonly json: string
}

/** One upstream's part of a page, for whoever may see how much of it. */
export interface Page {
  readonly entries: readonly Entry[]
  /** The upstream's own. */
  readonly nextCursor?: string
  /** Milliseconds since the epoch, until when it may be kept (RS-26); absent where the upstream had nothing to say. */
  readonly freshUntil?: number
}

/** Pages of upstreams' lists, for as long as each said that it may be kept. */
export interface KeptLists {
  find(upstreamId: string, key: string): Page | undefined
  /** To be called before the upstream is asked. @returns keeps its answer, unless it was forgotten meanwhile */
  asking(upstreamId: string): (key: string, page: Page) => void
  /** Forgets all of an upstream. */
  forget(upstreamId: string): void
  /** To be told what an upstream says by itself: that it has other things to offer now, perhaps. */
  heard(upstreamId: string, message: Readonly<Record<string, unknown>>): void
}

/** What an upstream tells one node, the others hear nothing of: they may be late by this. */
export const MAX_KEPT_MS = 60_000
/** Characters of all pages together. */
const MAX_SIZE = 64 * 1024 * 1024

interface Kept {
  readonly upstreamId: string
  readonly page: Page
  readonly size: number
}

export function keptLists(now: () => number): KeptLists {
  const all = new Map<string, Kept>()
  let size = 0
  const drop = (id: string, kept: Kept): void => {
    size -= kept.size
    all.delete(id)
  }
  /** How often each upstream was forgotten. */
  const turns = new Map<string, number>()
  const turnOf = (upstreamId: string): number => turns.get(upstreamId) ?? 0
  const forget = (upstreamId: string): void => {
    turns.set(upstreamId, turnOf(upstreamId) + 1)
    for (const [id, kept] of all) if (kept.upstreamId === upstreamId) drop(id, kept)
  }
  const keep = (upstreamId: string, key: string, page: Page): void => {
    const id = `${upstreamId} ${key}`
    const before = all.get(id)
    if (before !== undefined) drop(id, before)
    const kept = { upstreamId, page, size: page.entries.reduce((sum, { json }) => sum + json.length, key.length) }
    if (kept.size > MAX_SIZE) return
    all.set(id, kept)
    size += kept.size
    for (const [oldest, old] of all) {
      if (size <= MAX_SIZE) break
      drop(oldest, old)
    }
  }
  return {
    forget,
    heard(upstreamId, { method }) {
      if (typeof method === 'string' && /^notifications\/\w+\/list_changed$/.test(method)) forget(upstreamId)
    },
    find(upstreamId, key) {
      const id = `${upstreamId} ${key}`
      const kept = all.get(id)
      if (kept === undefined) return undefined
      if ((kept.page.freshUntil ?? 0) > now()) return kept.page
      drop(id, kept)
      return undefined
    },
    asking(upstreamId) {
      const before = turnOf(upstreamId)
      return (key, page) => {
        // What changed while it was asked for may have been told as it was.
        if (turnOf(upstreamId) === before) keep(upstreamId, key, page)
      }
    },
  }
}
