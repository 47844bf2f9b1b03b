import { ownFields, type AuditEvent, type Recorder } from '../audit/event.ts'
import type { Database, Transaction, Value } from './database.ts'

/** Where recorded events go besides the database, after the commit: JSON lines on standard output. */
export type AuditSink = (event: AuditEvent & { readonly at: number }) => void

/** Appends events to the audit trail: with `append`, in the transaction of what they tell of. */
export interface AuditLog extends Recorder {
  append(tx: Transaction, events: readonly AuditEvent[]): Promise<void>
}

const COLUMNS = 8
const MAX_ROWS = 100

export function auditLog(db: Database, sink: AuditSink, now: () => number = Date.now): AuditLog {
  const append = async (tx: Transaction, given: readonly AuditEvent[]): Promise<void> => {
    const at = now()
    const events = given.map(ownFields)
    for (let start = 0; start < events.length; start += MAX_ROWS) await insert(tx, at, events.slice(start, start + MAX_ROWS))
    tx.onCommit(() => events.forEach((event) => sink({ at, ...event })))
  }
  return { append, record: grouped((events) => db.transaction((tx) => append(tx, events))) }
}

async function insert(tx: Transaction, at: number, events: readonly AuditEvent[]): Promise<void> {
  const row = (index: number): string => `(${Array.from({ length: COLUMNS }, (_, column) => `$${index * COLUMNS + column + 1}`).join(', ')})`
  await tx.query(
    `INSERT INTO audit (at, action, outcome, subject, client_id, grant_id, reference, event) VALUES ${events.map((_, index) => row(index)).join(', ')}`,
    events.flatMap((event): Value[] => [
      at,
      event.action,
      event.outcome,
      event.subject ?? null,
      event.clientId ?? null,
      event.grantId ?? null,
      event.reference ?? null,
      JSON.stringify(event),
    ]),
  )
}

/** Gathers what arrives while one write is under way into the next: one commit for many calls, none waits for a timer. */
function grouped(write: (events: readonly AuditEvent[]) => Promise<void>): Recorder['record'] {
  let waiting: { events: AuditEvent[]; done: Promise<void> } | undefined
  let writing: Promise<void> = Promise.resolve()
  return (...events) => {
    if (waiting === undefined) {
      const batch: AuditEvent[] = []
      const done = writing.then(() => {
        waiting = undefined
        return write(batch)
      })
      waiting = { events: batch, done }
      writing = done.catch(() => undefined)
    }
    waiting.events.push(...events)
    return waiting.done
  }
}
