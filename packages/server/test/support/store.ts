import type { Change } from '../../src/audit/change.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import { migrate } from '../../src/store/migrate.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import { eachDatabase } from './databases.ts'

/** A migrated store, with what it recorded and announced. */
export type TestStore = StoreParts & { readonly events: AuditEvent[]; readonly changes: Change[] }

/** A migrated SQLite store in memory. */
export async function memoryStore(): Promise<TestStore> {
  const db = openSqlite(':memory:')
  await migrate(db)
  return testStore(db)
}

/** Runs a test on a new store of each kind that `LANYARD_TEST_STORE` says. */
export function eachStore(name: string, run: (store: TestStore) => Promise<void>): void {
  eachDatabase(name, ([db]) => run(testStore(db)))
}

function testStore(db: Database): TestStore {
  const events: AuditEvent[] = []
  const changes: Change[] = []
  const audit = auditLog(db, (recorded) => events.push(...recorded.map(({ event }) => event)))
  return { db, audit, events, changes, changed: (tx, change) => recordChange(tx, change, (c) => changes.push(c)) }
}
