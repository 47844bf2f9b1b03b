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

/** The store cannot be opened: the message says which one and why, without the credentials of its URL. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
}

/** Opens the database that a URL names, without its schema: `sqlite:PATH` or `postgres://…`. @throws StoreError */
export function openDatabase(url: string): Database {
  try {
    if (!url.startsWith('sqlite:')) return openPostgres(url)
    const path = url.slice('sqlite:'.length)
    if (path !== ':memory:') makePrivate(path)
    return openSqlite(path)
  } catch (error) {
    throw storeError(url, error)
  }
}

/** Opens the store: schema up to date, changes of other nodes followed. @throws StoreError */
export async function openStore(url: string, options: StoreOptions): Promise<Store> {
  const db = openDatabase(url)
  let running: RunningFeed | undefined
  try {
    await migrate(db)
    const feed = await changeFeed(db, options.now)
    running = feed
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
    running?.close()
    await db.close()
    throw storeError(url, error)
  }
}

/** The URL of a store without its credentials: the host stands behind the last @ before the path. */
export function storeName(url: string): string {
  return url.startsWith('sqlite:') ? url : `postgres://${/@([^/?#@]*)(?:[/?#]|$)/.exec(url)?.[1] ?? ''}`
}

/** A URL that no parser reads stands in the parser's error, with its password: then that error is not kept as the cause. */
export function storeError(url: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error
  if (error instanceof TypeError && 'input' in error) return new StoreError('store: the postgres:// URL cannot be read (write special characters of the password as %XX)')
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? ` (${error.code})` : ''
  return new StoreError(`store ${storeName(url)}: ${error instanceof Error ? error.message : 'cannot be opened'}${code}`, { cause: error })
}

/** PostgreSQL announces changes at once; where it cannot, polling finds them. */
async function listen(db: Database, deliver: (change: Change) => void): Promise<() => Promise<void>> {
  if (!('connection' in db)) return () => Promise.resolve()
  const { connection } = db as ReturnType<typeof openPostgres>
  const subscription = await connection.listen(CHANNEL, (payload) => {
    const change = readChange(payload)
    if (change !== undefined) deliver(change)
  })
  return () => subscription.unlisten().catch(() => undefined)
}

/** Whoever may connect to a database may announce whatever they like in it: what is no change is not heard. */
function readChange(payload: string): Change | undefined {
  try {
    const { kind, key, at } = JSON.parse(payload) as Record<keyof Change, unknown>
    return typeof kind === 'string' && typeof key === 'string' && typeof at === 'number' ? ({ kind, key, at } as Change) : undefined
  } catch {
    return undefined
  }
}

/** The database holds what signs and what opens: its owner alone may read it. */
function makePrivate(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  writeFileSync(path, '', { flag: 'a', mode: 0o600 })
  chmodSync(path, 0o600)
}
