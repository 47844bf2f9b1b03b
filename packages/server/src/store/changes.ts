import type { Change, ChangeFeed, Cutoffs } from '../audit/change.ts'
import type { Database, Transaction } from './database.ts'

export const CHANNEL = 'lanyard_changes'

const POLL_MS = 1000
/** A node that heard nothing for this long does not know what was revoked. */
const STALE_MS = 10_000
/** Sequence numbers are given out before the commit: rows of slower transactions appear behind faster ones. */
const OVERLAP_MS = 30_000
const KEEP_MS = 24 * 3600 * 1000

/** Tells all nodes of a change, in the transaction that makes it. */
export async function recordChange(tx: Transaction, change: Change, deliver: (change: Change) => void): Promise<void> {
  await tx.query('INSERT INTO changes (kind, key, at) VALUES ($1, $2, $3)', [change.kind, change.key, change.at])
  if (tx.dialect === 'postgres') await tx.query('SELECT pg_notify($1, $2)', [CHANNEL, JSON.stringify(change)])
  tx.onCommit(() => deliver(change))
}

export interface RunningFeed extends ChangeFeed {
  /** Delivers a change of this node, or one that another node announced. */
  deliver(change: Change): void
  close(): void
}

interface ChangeRow extends Change {
  readonly seq: number
}

/** Polls for changes behind whatever faster channel calls `deliver`; a listener may hear of one change twice. */
export async function changeFeed(db: Database, now: () => number): Promise<RunningFeed> {
  const listeners: ((change: Change) => void)[] = []
  const seen = new Map<number, number>()
  let confirmedAt = now()
  const stop = new AbortController()
  const deliver = (change: Change): void => {
    for (const listener of listeners) listener(change)
  }

  const poll = async (first: boolean): Promise<void> => {
    const startedAt = now()
    const rows = await db.query<ChangeRow>('SELECT seq, kind, key, at FROM changes WHERE at > $1 ORDER BY seq', [startedAt - OVERLAP_MS])
    for (const row of rows) {
      if (seen.has(row.seq)) continue
      seen.set(row.seq, row.at)
      if (!first) deliver({ kind: row.kind, key: row.key, at: row.at })
    }
    for (const [seq, at] of seen) if (at < startedAt - 2 * OVERLAP_MS) seen.delete(seq)
    confirmedAt = startedAt
  }

  const prune = (): Promise<unknown> => db.query('DELETE FROM changes WHERE at < $1', [now() - KEEP_MS])
  let polls = 0
  const loop = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS).unref())
      if (stop.signal.aborted) return
      // A failed poll leaves `confirmedAt` as it is: the node becomes stale by itself.
      await poll(false).catch(() => undefined)
      polls += 1
      if (polls % 600 === 0) await prune().catch(() => undefined)
    }
  }

  await poll(true)
  void loop()
  return {
    subscribe: (listener) => void listeners.push(listener),
    get fresh() {
      return now() - confirmedAt < STALE_MS
    },
    deliver,
    close: () => stop.abort(),
  }
}

const CUTOFF_KINDS = ['subject', 'client', 'grant', 'key'] as const

/**
 * Keeps in memory what was ended during the last lifetime of an access token: older tokens have expired anyway.
 */
export async function cutoffs(db: Database, feed: ChangeFeed, options: { readonly maxTokenLifetimeMs: number; readonly now: () => number }): Promise<Cutoffs> {
  const ended = new Map<string, number>()
  const add = (change: Change): void => {
    if (!CUTOFF_KINDS.some((kind) => kind === change.kind)) return
    const name = `${change.kind} ${change.key}`
    ended.set(name, Math.max(change.at, ended.get(name) ?? 0))
    // Insertion order is nearly order of time: what stands first is what expires first.
    for (const [old, at] of ended) {
      if (at > options.now() - options.maxTokenLifetimeMs) break
      ended.delete(old)
    }
  }
  feed.subscribe(add)
  const recent = await db.query<ChangeRow>('SELECT kind, key, at FROM changes WHERE at > $1 ORDER BY at', [options.now() - options.maxTokenLifetimeMs])
  for (const row of recent) add(row)
  const isCut = (name: string, issuedAt: number): boolean => {
    const at = ended.get(name)
    // A token of the very second of the cutoff is cut: nobody can tell which came first.
    return at !== undefined && issuedAt <= Math.floor(at / 1000)
  }
  return {
    get fresh() {
      return feed.fresh
    },
    isCut: (token) =>
      ended.size > 0 &&
      (isCut(`grant ${token.grantId}`, token.issuedAt) ||
        isCut(`subject ${token.userId}`, token.issuedAt) ||
        isCut(`client ${token.clientId}`, token.issuedAt) ||
        isCut(`key ${token.kid}`, token.issuedAt)),
  }
}
