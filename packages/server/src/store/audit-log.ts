import { ownFields, type AuditEvent, type RecordedEvent, type Recorder } from '../audit/event.ts'
import type { Database, Transaction, Value } from './database.ts'

/** Where recorded events go besides the database, once they are in it: JSON lines on standard output. */
export type AuditSink = (events: readonly RecordedEvent[]) => void

/** Appends events to the audit trail: with `append`, in the transaction of what they tell of. */
export interface AuditLog extends Recorder {
  append(tx: Transaction, events: readonly AuditEvent[]): Promise<void>
  /** Prepares events to be written by a statement of the caller's own, with what they tell of. */
  within(events: readonly AuditEvent[]): PreparedEvents
}

export interface PreparedEvents {
  /** Rows of the table `audit`, for `INSERT INTO audit (${AUDIT_COLUMNS}) SELECT * FROM (VALUES …)`, as parameters from `first` on. PostgreSQL only. */
  values(first: number): { readonly sql: string; readonly params: readonly Value[] }
  /** To be called when the statement has written them. */
  written(): void
}

export const AUDIT_COLUMNS = 'at, action, outcome, subject, client_id, grant_id, reference, event'

const COLUMNS = 8
const MAX_ROWS = 500

export function auditLog(db: Database, sink: AuditSink, now: () => number = Date.now): AuditLog {
  const write = async (given: readonly AuditEvent[], insert: (sql: string, params: readonly Value[]) => Promise<unknown>): Promise<() => void> => {
    const events = printed(given, now())
    for (let start = 0; start < events.length; start += MAX_ROWS) {
      const rows = events.slice(start, start + MAX_ROWS)
      await insert(insertion(rows.length), rows.flatMap(columns))
    }
    return () => sink(events)
  }
  const begin = gathering(async (events) => (await write(events, (sql, params) => db.append(sql, params)))())
  return {
    append: async (tx, events) => tx.onCommit(await write(events, (sql, params) => tx.query(sql, params))),
    within(given) {
      const events = printed(given, now())
      return { values: (first) => ({ sql: typedRows(events.length, first), params: events.flatMap(columns) }), written: () => sink(events) }
    },
    begin,
    record: (...events) => begin(...events)(),
  }
}

function printed(given: readonly AuditEvent[], at: number): readonly RecordedEvent[] {
  return given.map((each) => {
    const event = ownFields(each)
    return { at, event, json: JSON.stringify(event) }
  })
}

const insertions: string[] = []

function insertion(rows: number): string {
  const row = (index: number): string => `(${Array.from({ length: COLUMNS }, (_, column) => `$${index * COLUMNS + column + 1}`).join(', ')})`
  insertions[rows] ??= `INSERT INTO audit (${AUDIT_COLUMNS}) VALUES ${Array.from({ length: rows }, (_, index) => row(index)).join(', ')}`
  return insertions[rows]
}

/** PostgreSQL takes a parameter in a list of values for text, unless it is told otherwise. */
function typedRows(rows: number, first: number): string {
  const row = (index: number): string => `(${Array.from({ length: COLUMNS }, (_, column) => `$${first + index * COLUMNS + column}${column === 0 ? '::bigint' : '::text'}`).join(', ')})`
  return Array.from({ length: rows }, (_, index) => row(index)).join(', ')
}

function columns({ at, event, json }: RecordedEvent): Value[] {
  return [at, event.action, event.outcome, column(event.subject), column(event.clientId), column(event.grantId), column(event.reference), json]
}

/** No column of PostgreSQL holds a NUL; the event itself says it as it came. A refusal is recorded, whatever was sent. */
function column(value: string | undefined): Value {
  return value?.replaceAll('\0', '\ufffd') ?? null
}

/** How long a record waits for others when nobody asks for it. */
const WINDOW_MS = 5

/**
 * Gathers what is begun until somebody asks for it, or another write is over: one commit for many calls. Whoever asks
 * waits for no timer.
 */
function gathering(write: (events: readonly AuditEvent[]) => Promise<void>): Recorder['begin'] {
  let open: Gathered | undefined
  let last: Promise<void> = Promise.resolve()
  const gather = (): Gathered => {
    const events: AuditEvent[] = []
    let done: Promise<void> | undefined
    const written = (): Promise<void> => {
      if (done !== undefined) return done
      clearTimeout(timer)
      done = last.then(() => {
        open = undefined
        return write(events)
      })
      last = done.catch(() => undefined)
      return done
    }
    const timer = setTimeout(() => void written(), WINDOW_MS)
    return { events, written }
  }
  return (...events) => {
    open ??= gather()
    open.events.push(...events)
    return open.written
  }
}

interface Gathered {
  readonly events: AuditEvent[]
  readonly written: () => Promise<void>
}
