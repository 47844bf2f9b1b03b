import type { AuditEvent, Recorder } from '../audit/event.ts'
import type { Database, Transaction } from './database.ts'

/** Where recorded events go besides the database, after the commit: JSON lines on standard output. */
export type AuditSink = (event: AuditEvent & { readonly at: number }) => void

/** Appends events to the audit trail: with `append`, in the transaction of what they tell of. */
export interface AuditLog extends Recorder {
  append(tx: Transaction, events: readonly AuditEvent[]): Promise<void>
}

export function auditLog(db: Database, sink: AuditSink, now: () => number = Date.now): AuditLog {
  const append = async (tx: Transaction, events: readonly AuditEvent[]): Promise<void> => {
    const at = now()
    for (const event of events) {
      await tx.query(
        `INSERT INTO audit (at, action, outcome, subject, client_id, grant_id, reference, event)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
        [at, event.action, event.outcome, event.subject ?? null, event.clientId ?? null, event.grantId ?? null, event.reference ?? null, JSON.stringify(event)],
      )
      tx.onCommit(() => sink({ at, ...event }))
    }
  }
  return { append, record: (...events) => db.transaction((tx) => append(tx, events)) }
}
