// The databases that a test runs on, as `LANYARD_TEST_STORE` says: sqlite (default), postgres or both.
import { test } from 'node:test'
import type { Database } from '../../src/store/database.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openDatabase } from '../../src/store/open.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import { postgresUrl } from './postgres.ts'

const chosen = process.env['LANYARD_TEST_STORE'] ?? 'sqlite'

export const CHOSEN = { sqlite: chosen !== 'postgres', postgres: chosen !== 'sqlite' } as const

/** Options of a test that only PostgreSQL can pass. */
export const needsPostgres = { skip: !CHOSEN.postgres && 'needs PostgreSQL' }

/** What two nodes hold of one migrated database: on SQLite the same object, on PostgreSQL a pool each. */
export type Handles = readonly [Database, Database]

/** Runs a test on a new database of each chosen kind. */
export function eachDatabase(name: string, run: (handles: Handles) => Promise<void>): void {
  if (CHOSEN.sqlite) {
    test(`${name} (SQLite)`, async () => {
      const db = openSqlite(':memory:')
      await using(() => db.close(), () => onMigrated([db, db], run))
    })
  }
  if (CHOSEN.postgres) {
    test(`${name} (PostgreSQL)`, async () => {
      const database = await postgresUrl()
      const handles = [openDatabase(database.url), openDatabase(database.url)] as const
      const close = async (): Promise<void> => {
        await Promise.all(handles.map((db) => db.close()))
        await database.close()
      }
      await using(close, () => onMigrated(handles, run))
    })
  }
}

async function onMigrated(handles: Handles, run: (handles: Handles) => Promise<void>): Promise<void> {
  await migrate(handles[0])
  await run(handles)
}

async function using(close: () => Promise<void>, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } finally {
    await close()
  }
}
