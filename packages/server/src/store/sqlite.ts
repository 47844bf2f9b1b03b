import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Database, Transaction, Value } from './database.ts'

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
    const result = last.then(work)
    last = result.catch(() => undefined)
    return result
  }

  const transaction = async <T>(work: (tx: Transaction) => Promise<T>): Promise<T> => {
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

  return {
    dialect: 'sqlite',
    query: (sql, params = []) => exclusively(() => run(sql, params)),
    transaction: (work) => exclusively(() => transaction(work)),
    close: () => exclusively(() => connection.close()),
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
