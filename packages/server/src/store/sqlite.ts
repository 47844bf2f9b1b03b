import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { StoreUnavailable } from '../http/errors.ts'
import type { Database, Transaction, Value } from './database.ts'

/** How long what was only added may wait for the disk. */
const SYNC_MS = 1000

/**
 * Opens the embedded database: write-ahead log, every commit synced to disk.
 *
 * @param path a file, or `:memory:`
 */
export function openSqlite(path: string, { readOnly = false }: { readonly readOnly?: boolean } = {}): Database {
  const connection = new DatabaseSync(path, { readOnly })
  if (!readOnly) connection.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON')
  connection.exec('PRAGMA busy_timeout = 5000')
  const statements = new Map<string, Prepared>()
  // One connection, so one transaction at a time: everything else waits for its end.
  let last: Promise<unknown> = Promise.resolve()

  const run = <Row>(sql: string, params: readonly Value[]): Row[] => {
    let prepared = statements.get(sql)
    if (prepared === undefined) {
      prepared = prepare(connection, sql)
      statements.set(sql, prepared)
    }
    // node:sqlite returns rows as null-prototype objects whose columns the SQL names.
    return prepared.statement.all(...prepared.order.map((index) => params[index] ?? null)) as Row[]
  }

  const exclusively = <T>(work: () => T | Promise<T>): Promise<T> => {
    const result = last.then(work).catch(rethrow)
    last = result.catch(() => undefined)
    return result
  }

  const appends = appender(connection, run, exclusively)

  return {
    dialect: 'sqlite',
    query: (sql, params = []) => exclusively(() => run(sql, params)),
    find: <Row extends object>(sql: string, params: readonly Value[]) => exclusively(() => run<Row>(sql, params)[0]),
    transaction: (work) => exclusively(() => transaction(connection, run, work)),
    append: (sql, params) => exclusively(() => appends.append(sql, params)),
    close: () =>
      exclusively(() => {
        appends.stop()
        connection.close()
      }),
  }
}

/** SQLITE_BUSY, _LOCKED, _READONLY, _IOERR, _FULL, _CANTOPEN: what passes by itself, or when an operator sees to it. */
const PASSING = new Set([5, 6, 8, 10, 13, 14])

/** Tells an outage from a mistake: whoever asked is to come back later. */
function rethrow(error: unknown): never {
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0
  if (error instanceof Error && PASSING.has(code)) throw new StoreUnavailable(error.message, `SQLITE_${code}`, error)
  throw error
}

type Run = <Row>(sql: string, params: readonly Value[]) => Row[]
type Exclusively = <T>(work: () => T | Promise<T>) => Promise<T>

async function transaction<T>(connection: DatabaseSync, run: Run, work: (tx: Transaction) => Promise<T>): Promise<T> {
  const committed: (() => void)[] = []
  let over = false
  const tx: Transaction = {
    dialect: 'sqlite',
    query: async <Row extends object>(sql: string, params: readonly Value[] = []) => {
      // What comes after the end would be outside of every transaction.
      if (over) throw new Error('the transaction is over')
      return run<Row>(sql, params)
    },
    onCommit: (listener) => committed.push(listener),
  }
  connection.exec('BEGIN IMMEDIATE')
  let result: T
  try {
    result = await work(tx)
    connection.exec('COMMIT')
  } catch (error) {
    if (connection.isTransaction) connection.exec('ROLLBACK')
    throw error
  } finally {
    over = true
  }
  for (const listener of committed) listener()
  return result
}

/** Syncing takes longer than everything else that a small write does: what only adds shares it. */
function appender(connection: DatabaseSync, run: Run, exclusively: Exclusively): { append(sql: string, params: readonly Value[]): void; stop(): void } {
  let timer: NodeJS.Timeout | undefined
  const sync = (): void => {
    timer = undefined
    exclusively(() => connection.exec('PRAGMA wal_checkpoint(PASSIVE)')).catch(() => undefined)
  }
  return {
    append(sql, params) {
      connection.exec('PRAGMA synchronous = NORMAL')
      try {
        run(sql, params)
      } finally {
        connection.exec('PRAGMA synchronous = FULL')
      }
      timer ??= setTimeout(sync, SYNC_MS).unref()
    },
    stop: () => clearTimeout(timer),
  }
}

interface Prepared {
  readonly statement: StatementSync
  /** For each `?` of the statement, the index of its parameter. */
  readonly order: readonly number[]
}

function prepare(connection: DatabaseSync, sql: string): Prepared {
  const order: number[] = []
  const text = sql.replace(/\$(\d+)/g, (_, index: string) => {
    order.push(Number(index) - 1)
    return '?'
  })
  return { statement: connection.prepare(text), order }
}
