import postgres from 'postgres'
import type { Database, Transaction, Value } from './database.ts'

const POOL_SIZE = 10
const MAX_ATTEMPTS = 3
/** `serialization_failure` and `deadlock_detected`: the transaction was rolled back whole and may run again. */
const RETRYABLE = new Set(['40001', '40P01'])

/** Opens a PostgreSQL database: a bounded pool of connections, statements prepared once per connection. */
export function openPostgres(url: string): Database & { readonly connection: postgres.Sql } {
  const sql = postgres(url, {
    max: POOL_SIZE,
    connect_timeout: 5,
    // Rows hold integers of up to 53 bits: times and sequence numbers.
    types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
    connection: { application_name: 'lanyard', statement_timeout: 10_000, idle_in_transaction_session_timeout: 10_000 },
    onnotice: () => undefined,
  })

  const run = async <Row extends object>(on: postgres.Sql | postgres.TransactionSql, text: string, params: readonly Value[]): Promise<Row[]> =>
    Array.from(await on.unsafe<Row[]>(text, [...params], { prepare: true }))

  const once = async <T>(work: (tx: Transaction) => Promise<T>): Promise<T> => {
    const committed: (() => void)[] = []
    const result = await sql.begin(async (on) => ({
      value: await work({
        dialect: 'postgres',
        query: (text: string, params: readonly Value[] = []) => run(on, text, params),
        onCommit: (listener) => committed.push(listener),
      }),
    }))
    for (const listener of committed) listener()
    return result.value
  }

  return {
    dialect: 'postgres',
    connection: sql,
    query: (text, params = []) => run(sql, text, params),
    async transaction(work) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await once(work)
        } catch (error) {
          if (attempt >= MAX_ATTEMPTS || !(error instanceof postgres.PostgresError) || !RETRYABLE.has(error.code)) throw error
        }
      }
    },
    close: () => sql.end({ timeout: 5 }),
  }
}
