import { NODE_SKEW_S, type Change, type ChangeFeed, type Cutoffs } from '../audit/change.ts'
import type { Database, Transaction } from './database.ts'

export const CHANNEL = 'lanyard_changes'

const POLL_MS = 1000
/** A node that heard nothing for this long does not know what was revoked. */
const STALE_MS = 10_000
/** Sequence numbers are given out before the commit: rows of slower transactions appear behind faster ones. */
const OVERLAP_MS = 30_000
/** An answer that takes longer is lost: a connection can die without a word. */
const ANSWER_MS = 5_000
const KEEP_MS = 24 * 3600 * 1000
/** What an access token lives at most: the configuration allows no more, and may have allowed more before the last start than now. */
export const LONGEST_TOKEN_MS = 3600_000

/**
 * The clock of the database: nodes' clocks differ, and what one wrote must be in the window in which another looks.
 * `at` is for comparing with tokens alone.
 */
const CLOCK = {
  sqlite: `CAST(unixepoch('subsec') * 1000 AS INTEGER)`,
  postgres: 'CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)',
} as const

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
  readonly recorded_at: number
}

/** Polls for changes behind whatever faster channel calls `deliver`; a listener may hear of one change twice. */
export async function changeFeed(db: Database, now: () => number): Promise<RunningFeed> {
  const listeners: ((change: Change) => void)[] = []
  const stop = new AbortController()
  let confirmedAt = now()
  const deliver = (change: Change): void => {
    for (const listener of listeners) listener(change)
  }
  const read = reader(db)
  const poll = async (): Promise<void> => {
    const startedAt = now()
    for (const change of await read()) deliver(change)
    // An answer that came late says less than the one after it, unless the clock was set back meanwhile.
    if (startedAt > confirmedAt || now() < confirmedAt) confirmedAt = startedAt
  }
  const loop = async (): Promise<void> => {
    for (let polls = 1; !stop.signal.aborted; polls += 1) {
      await pause(POLL_MS)
      if (stop.signal.aborted) return
      // A failed poll leaves `confirmedAt` as it is: the node becomes stale by itself.
      await Promise.race([poll().catch(() => undefined), pause(ANSWER_MS)])
      if (polls % 600 === 0) await db.query(`DELETE FROM changes WHERE recorded_at < ${CLOCK[db.dialect]} - $1`, [KEEP_MS]).catch(() => undefined)
    }
  }

  // What was before is not new to this node: caches are empty, and cutoffs read for themselves.
  await read()
  void loop()
  return {
    subscribe: (listener) => void listeners.push(listener),
    get fresh() {
      // A clock that was set back tells nothing either.
      return Math.abs(now() - confirmedAt) < STALE_MS
    },
    deliver,
    close: () => stop.abort(),
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref()
  })
}

/** Reads what was recorded since the last answer, however long ago that was: an outage must not swallow a revocation. */
function reader(db: Database): () => Promise<readonly Change[]> {
  const seen = new Map<number, number>()
  let newest = 0
  let answeredAt: number | undefined
  return async () => {
    const [clock] = await db.query<{ at: number }>(`SELECT ${CLOCK[db.dialect]} AS at`)
    const dbNow = clock?.at ?? 0
    const since = (answeredAt ?? dbNow) - OVERLAP_MS
    const rows = await db.query<ChangeRow>('SELECT seq, kind, key, at, recorded_at FROM changes WHERE recorded_at > $1 OR seq > $2 ORDER BY seq', [
      since,
      answeredAt === undefined ? Number.MAX_SAFE_INTEGER : newest,
    ])
    const unseen = rows.filter((row) => !seen.has(row.seq))
    for (const row of unseen) seen.set(row.seq, row.recorded_at)
    newest = Math.max(newest, rows.at(-1)?.seq ?? 0)
    answeredAt = dbNow
    for (const [seq, at] of seen) if (at < since - OVERLAP_MS) seen.delete(seq)
    return unseen.map(({ kind, key, at }) => ({ kind, key, at }))
  }
}

const CUTOFF_KINDS = ['subject', 'client', 'grant', 'key'] as const

/**
 * Keeps in memory what was ended during the last lifetime of an access token: older tokens have expired anyway.
 */
export async function cutoffs(db: Database, feed: ChangeFeed, options: { readonly maxTokenLifetimeMs: number; readonly now: () => number }): Promise<Cutoffs> {
  const ended = new Map<string, { readonly at: number; readonly until: number }>()
  const keepMs = Math.max(options.maxTokenLifetimeMs, LONGEST_TOKEN_MS) + NODE_SKEW_S * 1000
  const add = (change: Change): void => {
    if (!CUTOFF_KINDS.some((kind) => kind === change.kind)) return
    const name = `${change.kind} ${change.key}`
    const at = Math.max(change.at, ended.get(name)?.at ?? 0)
    // Behind all others: what stands first is what ends first. The time is this node's, when it heard.
    ended.delete(name)
    ended.set(name, { at, until: options.now() + keepMs })
    for (const [old, { until }] of ended) {
      if (until > options.now()) break
      ended.delete(old)
    }
  }
  feed.subscribe(add)
  const recent = await db.query<ChangeRow>(`SELECT kind, key, at FROM changes WHERE recorded_at > ${CLOCK[db.dialect]} - $1 ORDER BY seq`, [keepMs])
  for (const row of recent) add(row)
  // Grants, clients and keys never come back: everything of theirs is cut, whatever the clock of the node that issued it said.
  const isGone = (name: string): boolean => ended.has(name)
  // A person may sign in again. A token of the very second of the cutoff is cut: nobody can tell which came first.
  const isBefore = (name: string, issuedAt: number): boolean => issuedAt <= Math.floor((ended.get(name)?.at ?? 0) / 1000)
  return {
    get fresh() {
      return feed.fresh
    },
    isCut: (token) =>
      ended.size > 0 &&
      (isGone(`grant ${token.grantId}`) || (token.parents?.some((id) => isGone(`grant ${id}`)) ?? false) || isGone(`client ${token.clientId}`) || isGone(`key ${token.kid}`) || isBefore(`subject ${token.userId}`, token.issuedAt)),
  }
}
