import { readdir, readFile } from 'node:fs/promises'
import type { Database } from './database.ts'

const DIRECTORY = new URL('../../migrations/', import.meta.url)

/**
 * Brings the database to the newest schema: every file of `migrations/` once, in order of name, each in a transaction.
 *
 * @returns the names of the files that were applied now.
 */
export async function migrate(db: Database): Promise<readonly string[]> {
  await db.query('CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at BIGINT NOT NULL)')
  const applied: string[] = []
  for (const name of (await readdir(DIRECTORY)).filter((file) => file.endsWith('.sql')).sort()) {
    const statements = splitStatements(await readFile(new URL(name, DIRECTORY), 'utf8'), db.dialect)
    const isNew = await db.transaction(async (tx) => {
      // Two nodes that start at once: the second waits for this row, then finds the file applied.
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
