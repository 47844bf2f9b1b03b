import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { Change, Cutoffs } from '../audit/change.ts'
import { auditLog, type AuditSink } from './audit-log.ts'
import { changeFeed, CHANNEL, cutoffs, recordChange, type RunningFeed } from './changes.ts'
import type { Database } from './database.ts'
import { migrate } from './migrate.ts'
import type { StoreParts } from './parts.ts'
import { openPostgres } from './postgres.ts'
import { openSqlite } from './sqlite.ts'

export interface Store extends StoreParts {
  readonly feed: RunningFeed
  readonly cutoffs: Cutoffs
  /** Whether the database answers. */
  ping(): Promise<void>
  close(): Promise<void>
}

export interface StoreOptions {
  readonly sink: AuditSink
  readonly now: () => number
  readonly maxTokenLifetimeMs: number
}

/** Opens the database that a URL names, without its schema: `sqlite:PATH` or `postgres://…`. */
export function openDatabase(url: string): Database {
  if (!url.startsWith('sqlite:')) return openPostgres(url)
  const path = url.slice('sqlite:'.length)
  if (path !== ':memory:') makePrivate(path)
  return openSqlite(path)
}

/** Opens the store: schema up to date, changes of other nodes followed. */
export async function openStore(url: string, options: StoreOptions): Promise<Store> {
  const db = openDatabase(url)
  try {
    await migrate(db)
    const feed = await changeFeed(db, options.now)
    const stopListening = await listen(db, (change) => feed.deliver(change))
    return {
      db,
      audit: auditLog(db, options.sink, options.now),
      changed: (tx, change) => recordChange(tx, change, (own) => feed.deliver(own)),
      feed,
      cutoffs: await cutoffs(db, feed, options),
      ping: async () => void (await db.query('SELECT 1 AS one')),
      async close() {
        feed.close()
        await stopListening()
        await db.close()
      },
    }
  } catch (error) {
    await db.close()
    throw error
  }
}

/** PostgreSQL announces changes at once; where it cannot, polling finds them. */
async function listen(db: Database, deliver: (change: Change) => void): Promise<() => Promise<void>> {
  if (!('connection' in db)) return () => Promise.resolve()
  const { connection } = db as ReturnType<typeof openPostgres>
  const subscription = await connection.listen(CHANNEL, (payload) => deliver(JSON.parse(payload) as Change))
  return () => subscription.unlisten().catch(() => undefined)
}

/** The database holds what signs and what opens: its owner alone may read it. */
function makePrivate(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  writeFileSync(path, '', { flag: 'a', mode: 0o600 })
  chmodSync(path, 0o600)
}
