import { existsSync } from 'node:fs'
import type { Config } from '../config/load.ts'
import { auditLog } from '../store/audit-log.ts'
import { recordChange } from '../store/changes.ts'
import type { Database } from '../store/database.ts'
import { pendingMigrations } from '../store/migrate.ts'
import { openDatabase, storeError, storeName } from '../store/open.ts'
import type { StoreParts } from '../store/parts.ts'
import { openSqlite } from '../store/sqlite.ts'
import { CommandFailed } from './command.ts'

/** The file of an embedded database, or undefined for a database of its own. */
function sqliteFile(config: Pick<Config, 'store'>): string | undefined {
  return config.store.startsWith('sqlite:') ? config.store.slice('sqlite:'.length) : undefined
}

/** Opens what there is for reading alone; undefined when there is no database yet. */
export function openForReading(config: Pick<Config, 'store'>): Database | undefined {
  const file = sqliteFile(config)
  if (file === undefined) return openDatabase(config.store)
  return existsSync(file) ? openSqlite(file, { readOnly: true }) : undefined
}

/**
 * Works on the store of an installation while its nodes run: what is changed reaches them by the feed. It makes no
 * database and no schema.
 *
 * @throws CommandFailed when there is no store, or it is of another version.
 */
export async function withStore<T>(config: Pick<Config, 'store'>, run: (parts: StoreParts) => Promise<T>): Promise<T> {
  const file = sqliteFile(config)
  if (file !== undefined && !existsSync(file)) {
    throw new CommandFailed(`there is no database at ${file}: start the gateway once ("lanyard serve"), or run this where it runs`)
  }
  let db: Database | undefined
  try {
    db = openDatabase(config.store)
    const pending = await pendingMigrations(db)
    if (pending.length > 0) throw new CommandFailed(`the schema of ${storeName(config.store)} is older than this program: run "lanyard migrate" first`)
  } catch (cause) {
    await db?.close()
    throw cause instanceof CommandFailed ? cause : new CommandFailed(storeError(config.store, cause).message, { cause })
  }
  try {
    return await run({ db, audit: auditLog(db, () => undefined), changed: (tx, change) => recordChange(tx, change, () => undefined) })
  } finally {
    await db.close()
  }
}
