import { readdir, readFile } from 'node:fs/promises'
import type { Database, Transaction } from './database.ts'

const DIRECTORY = new URL('../../migrations/', import.meta.url)

/**
 * Brings the database to the newest schema: every file of `migrations/` once, in order of name, each in a transaction.
 *
 * @returns the names of the files that were applied now.
 */
export async function migrate(db: Database): Promise<readonly string[]> {
  await db.transaction(async (tx) => {
    await lock(tx)
    await tx.query('CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at BIGINT NOT NULL)')
  })
  const applied: string[] = []
  for (const name of (await readdir(DIRECTORY)).filter((file) => file.endsWith('.sql')).sort()) {
    const statements = splitStatements(await readFile(new URL(name, DIRECTORY), 'utf8'), db.dialect)
    const isNew = await db.transaction(async (tx) => {
      await lock(tx)
      const inserted = await tx.query(
        'INSERT INTO migrations (name, applied_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING name',
        [name, Date.now()],
      )
      if (inserted.length === 0) return false
      for (const statement of statements) await tx.query(statement)
      return true
    })
    if (isNew) applied.push(name)
  }
  return applied
}

/** The files that `migrate` would apply now; it writes nothing. */
export async function pendingMigrations(db: Database): Promise<readonly string[]> {
  const names = (await readdir(DIRECTORY)).filter((file) => file.endsWith('.sql')).sort()
  const table =
    db.dialect === 'sqlite'
      ? "SELECT name FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'"
      : "SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'migrations'"
  if ((await db.query(table)).length === 0) return names
  const applied = new Set((await db.query<{ name: string }>('SELECT name FROM migrations')).map((row) => row.name))
  return names.filter((name) => !applied.has(name))
}

/** Of nodes that start at once, one migrates and the others wait: SQLite has one writer, PostgreSQL this lock. */
async function lock(tx: Transaction): Promise<void> {
  if (tx.dialect !== 'postgres') return
  // A migration, and waiting for another node's, may take longer than a request.
  await tx.query('SET LOCAL statement_timeout = 0')
  await tx.query('SET LOCAL lock_timeout = 0')
  await tx.query('SET LOCAL idle_in_transaction_session_timeout = 0')
  await tx.query('SELECT pg_advisory_xact_lock(5021834)')
}

/** Statements end with `;` at the end of a line; a line `-- sqlite` or `-- postgres` before one keeps it to that dialect. */
function splitStatements(text: string, dialect: Database['dialect']): string[] {
  return text
    .split(/;\s*$/m)
    .map((statement) => statement.trim())
    .filter((statement) => {
      const only = /^-- (sqlite|postgres)$/m.exec(statement)?.[1]
      return statement.replace(/^--.*$/gm, '').trim() !== '' && (only === undefined || only === dialect)
    })
}
