import type { Change } from '../../src/audit/change.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import { migrate } from '../../src/store/migrate.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { openSqlite } from '../../src/store/sqlite.ts'

/** A migrated SQLite store in memory, with what it recorded and announced. */
export async function memoryStore(): Promise<StoreParts & { events: AuditEvent[]; changes: Change[] }> {
  const db = openSqlite(':memory:')
  await migrate(db)
  const events: AuditEvent[] = []
  const changes: Change[] = []
  const audit = auditLog(db, (event) => events.push(event))
  return { db, audit, events, changes, changed: (tx, change) => recordChange(tx, change, (c) => changes.push(c)) }
}
