// The PostgreSQL behind subjects: one server for all of them, whose commits reach the disk.
import postgres from 'postgres'
import { postgresUrl } from '../../packages/server/test/support/postgres.ts'
import { parentOf } from '../measure.ts'

export interface BenchDatabase {
  readonly url: string
  /** The server process; absent when it runs on another machine. */
  readonly pid: number | undefined
  close(): Promise<void>
}

/** @throws Error when the server does not sync its commits: then its speed means nothing */
export async function startDatabase(): Promise<BenchDatabase> {
  const database = await postgresUrl()
  const { url } = database
  const sql = postgres(url, { max: 1 })
  const [settings] = await sql<{ fsync: string; commit: string; pid: number }[]>`
    SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit, pg_backend_pid() AS pid`
  const pid = isLocal(url) && settings !== undefined ? parentOf(settings.pid) : 0
  await sql.end()
  if (settings?.fsync !== 'on' || settings.commit !== 'on') throw new Error('PostgreSQL does not sync its commits to the disk')
  return { url, pid: pid === 0 ? undefined : pid, close: () => database.close() }
}

function isLocal(url: string): boolean {
  return ['127.0.0.1', 'localhost', '[::1]'].includes(new URL(url).hostname)
}
