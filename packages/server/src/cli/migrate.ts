import { loadConfig } from '../config/load.ts'
import type { Database } from '../store/database.ts'
import { migrate } from '../store/migrate.ts'
import { openDatabase, storeError, storeName } from '../store/open.ts'
import { CommandFailed, print, type CommonOptions } from './command.ts'

/** Brings the schema up before a new version is rolled out; nodes of the version before go on working. */
export async function migrateStore(options: CommonOptions): Promise<void> {
  const config = loadConfig(options.config)
  const store = storeName(config.store)
  const applied = await apply(config.store)
  const lines = applied.length === 0 ? [`${store}: the schema is up to date`] : [`${store}: applied`, ...applied.map((name) => `  ${name}`)]
  print(options, { store, applied }, lines)
}

async function apply(url: string): Promise<readonly string[]> {
  let db: Database | undefined
  try {
    db = openDatabase(url)
    return await migrate(db)
  } catch (cause) {
    throw new CommandFailed(storeError(url, cause).message, { cause })
  } finally {
    await db?.close()
  }
}
