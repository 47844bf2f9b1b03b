import { test } from 'node:test'
import type { Change } from '../../src/audit/change.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openDatabase } from '../../src/store/open.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import { postgresUrl } from './postgres.ts'

/** A migrated store, with what it recorded and announced. */
export type TestStore = StoreParts & { readonly events: AuditEvent[]; readonly changes: Change[] }

/** A migrated SQLite store in memory. */
export function memoryStore(): Promise<TestStore> {
  return prepare(openSqlite(':memory:'))
}

/** Runs a test on SQLite, or on a fresh PostgreSQL database, as `LANYARD_TEST_STORE` says: sqlite (default), postgres or both. */
export function eachStore(name: string, run: (store: TestStore) => Promise<void>): void {
  const chosen = process.env['LANYARD_TEST_STORE'] ?? 'sqlite'
  if (chosen !== 'postgres') {
    test(`${name} (SQLite)`, async () => {
      const store = await memoryStore()
      await run(store)
      await store.db.close()
    })
  }
  if (chosen !== 'sqlite') {
    test(`${name} (PostgreSQL)`, async () => {
      const database = await postgresUrl()
      const store = await prepare(openDatabase(database.url))
      try {
        await run(store)
      } finally {
        await store.db.close()
        await database.close()
      }
    })
  }
}

async function prepare(db: Database): Promise<TestStore> {
  await migrate(db)
  const events: AuditEvent[] = []
  const changes: Change[] = []
  const audit = auditLog(db, (recorded) => events.push(...recorded.map(({ event }) => event)))
  return { db, audit, events, changes, changed: (tx, change) => recordChange(tx, change, (c) => changes.push(c)) }
}
