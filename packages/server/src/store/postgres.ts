import postgres from 'postgres'
import { StoreUnavailable } from '../http/errors.ts'
import type { Database, Transaction, Value } from './database.ts'

const POOL_SIZE = 10
const MAX_ATTEMPTS = 3
/** How soon the one connection for reading is tried again: it has no others beside it that are. */
const RETRY_S = 0.05
/** Longer than a statement may take: whatever comes later, from a connection that is being made again and again, is too late. */
const ANSWER_MS = 11_000
/** Calls wait for what is appended, and a change waits for a connection before it does anything: both are told sooner. */
const WAIT_MS = 5_000
/** A lock that is held for longer than this will be held for longer yet; meanwhile the connection is of use to others. */
const LOCK_MS = 5_000
/** `serialization_failure` and `deadlock_detected`: the transaction was rolled back whole and may run again. */
const RETRYABLE = new Set(['40001', '40P01'])

/** Opens a PostgreSQL database: a bounded pool of connections, statements prepared once per connection. */
export function openPostgres(url: string, answerMs = ANSWER_MS): Database & { readonly connection: postgres.Sql } {
  const connections = (options: postgres.Options<Record<string, never>>): postgres.Sql =>
    postgres(url, {
      ...options,
      connect_timeout: 5,
      // Rows hold integers of up to 53 bits: times and sequence numbers.
      types: { bigint: { to: 20, from: [20], parse: Number, serialize: String } },
      connection: { application_name: 'lanyard', statement_timeout: 10_000, lock_timeout: LOCK_MS, idle_in_transaction_session_timeout: 10_000 },
      onnotice: () => undefined,
    })
  const sql = connections({ max: POOL_SIZE })
  const reading = readingConnection(() => connections({ max: 1, backoff: () => RETRY_S }), answerMs)

  const once = async <T>(work: (tx: Transaction) => Promise<T>): Promise<T> => {
    const connection = deadline(Math.min(answerMs, WAIT_MS))
    const session = guardedSession(run)
    const outcome = sql.begin((on) => {
      connection.met()
      return session.run(on, work)
    })
    outcome.then(session.end, session.end)
    const result = await connection.race(outcome)
    for (const listener of session.committed) listener()
    return result.value
  }

  return {
    dialect: 'postgres',
    connection: sql,
    query: <Row extends object>(text: string, params: readonly Value[] = []) => deadline(answerMs).race(statement<Row>(sql, text, params, true)).catch(rethrow),
    find: reading.find,
    append: async (text, params) => void (await deadline(Math.min(answerMs, WAIT_MS)).race(run(sql, text, params)).catch(rethrow)),
    async transaction(work) {
      for (let attempt = 1; ; attempt += 1) {
        let started = false
        try {
          return await once((tx) => {
            started = true
            return work(tx)
          })
        } catch (error) {
          if (attempt >= (started ? MAX_ATTEMPTS : MAX_ATTEMPTS + POOL_SIZE) || !mayRetry(error, started)) rethrow(error)
        }
      }
    },
    close: async () => void (await Promise.all([sql.end({ timeout: 5 }), reading.end()])),
  }
}

async function run<Row extends object>(on: postgres.Sql | postgres.TransactionSql, text: string, params: readonly Value[]): Promise<Row[]> {
  return Array.from(await on.unsafe<Row[]>(text, [...params], { prepare: true }))
}

/** A statement is a transaction by itself, and runs again as one does. @param started whether it may have been carried out, so that it is not asked again */
async function statement<Row extends object>(on: postgres.Sql, text: string, params: readonly Value[], started: boolean, attempt = 1): Promise<Row[]> {
  return run<Row>(on, text, params).catch((error: unknown) => {
    if (attempt >= MAX_ATTEMPTS || !mayRetry(error, started)) throw error
    return statement<Row>(on, text, params, started, attempt + 1)
  })
}

/** One connection, for single rows: those that are asked for at once share packets, and a packet costs both sides more than a row does. */
function readingConnection(open: () => postgres.Sql, answerMs: number): Pick<Database, 'find'> & { end(): Promise<void> } {
  let current = open()
  return {
    async find<Row extends object>(text: string, params: readonly Value[]) {
      const on = current
      try {
        // Whatever only reads may be asked again.
        const [row] = await deadline(answerMs).race(statement<Row>(on, text, params, false))
        return row
      } catch (error) {
        // No statement takes so long: the other end is gone without a word, and who comes next must not wait for it as well.
        if (error instanceof Error && 'code' in error && error.code === LATE && on === current) {
          current = open()
          on.end({ timeout: 0 }).catch(() => undefined)
        }
        return rethrow(error)
      }
    },
    end: () => current.end({ timeout: 5 }),
  }
}

/** The driver keeps what a server said as it went down, and says it again to whoever comes first after that: then nothing was done yet. */
function mayRetry(error: unknown, started: boolean): boolean {
  return error instanceof postgres.PostgresError && (RETRYABLE.has(error.code) || (!started && error.code.startsWith('57P')))
}

/**
 * The classes of what passes by itself: connection, resources, intervention of an operator, input and output; a server that
 * may only be read, a lock that was not to be had, and conflicts that came again and again.
 */
const PASSING = /^(?:08|53|57|58)|^(?:25006|55P03|40001|40P01)$/

/** What the system, the driver, or Node calls a connection that fails; whatever else Node names `ERR_…` is a mistake of ours. */
const CONNECTION = /^(?:CONNECT|E(?!RR_)[A-Z]+|ERR_(?:SOCKET|STREAM|SSL|TLS)_)/

/** Tells an outage from a mistake: whoever asked is to come back later. */
function rethrow(error: unknown): never {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const passes = error instanceof postgres.PostgresError ? PASSING.test(code) : CONNECTION.test(code)
  if (error instanceof Error && passes) throw new StoreUnavailable(error.message, code, error)
  throw error
}

type Run = <Row extends object>(on: postgres.TransactionSql, text: string, params: readonly Value[]) => Promise<Row[]>

/**
 * Keeps statements away from a connection that was lost: the driver would write COMMIT, ROLLBACK or what else comes to a
 * socket that is not there any more, and throw where nobody catches; the whole process would end.
 */
function guardedSession(run: Run) {
  const committed: (() => void)[] = []
  let over = false
  const query = async <Row extends object>(on: postgres.TransactionSql, text: string, params: readonly Value[]): Promise<Row[]> => {
    if (over) throw new Error('the transaction is over')
    try {
      return await run<Row>(on, text, params)
    } catch (error) {
      if (error instanceof Error && 'code' in error && String(error.code).startsWith('CONNECTION_')) over = true
      throw error
    }
  }
  // The driver has reported the loss already, and waits for nothing; an answer would make it write.
  const unlessOver = async <T>(result: T): Promise<T> => (over ? new Promise<T>(() => undefined) : result)
  return {
    committed,
    end: (): void => void (over = true),
    async run<T>(on: postgres.TransactionSql, work: (tx: Transaction) => Promise<T>): Promise<{ readonly value: T }> {
      const tx: Transaction = { dialect: 'postgres', query: (text, params = []) => query(on, text, params), onCommit: (listener) => committed.push(listener) }
      try {
        return await unlessOver({ value: await work(tx) })
      } catch (error) {
        throw await unlessOver(error)
      }
    },
  }
}

const LATE = 'ETIMEDOUT'

interface Deadline {
  /** What was waited for is there; too late, it throws. */
  met(): void
  race<T>(work: Promise<T>): Promise<T>
}

function deadline(ms: number): Deadline {
  const { promise, reject } = Promise.withResolvers<never>()
  // Nobody may be waiting any more.
  promise.catch(() => undefined)
  let late: Error | undefined
  const timer = setTimeout(() => {
    late = Object.assign(new Error('the database does not answer'), { code: LATE })
    reject(late)
  }, ms)
  return {
    met() {
      if (late !== undefined) throw late
      clearTimeout(timer)
    },
    race: (work) => Promise.race([work, promise]).finally(() => clearTimeout(timer)),
  }
}
