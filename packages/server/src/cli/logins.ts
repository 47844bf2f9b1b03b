// Owns the file that remembers what `lanyard login` was granted: for its user alone, and for one process at a time.
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { JWK } from 'jose'
import * as z from 'zod'
import { CommandFailed } from './command.ts'

const FOR_USER = 0o600
const FOR_USER_FOLDER = 0o700
/** Longer than any request that another process makes while it holds the lock. */
const WAIT_MS = 60_000

const privateKey = z.object({ kty: z.literal('EC'), crv: z.literal('P-256'), x: z.string(), y: z.string(), d: z.string() })
const login = z.object({
  issuer: z.string(),
  resource: z.string(),
  scope: z.string(),
  refreshToken: z.string(),
  accessToken: z.string(),
  /** Seconds since the epoch. */
  expiresAt: z.number(),
  /** What both tokens are bound to (RFC 9449), private. */
  key: z.custom<JWK>((value) => privateKey.safeParse(value).success).optional(),
})
const shape = z.object({ version: z.literal(1), last: z.string().optional(), logins: z.array(login) })

/** One grant: what it is for, and its tokens. */
export type Login = z.output<typeof login>

export interface Logins {
  /** The resource that was logged in to last. */
  readonly last?: string | undefined
  readonly logins: readonly Login[]
}

/** What a process that holds the lock may do with the file. */
export interface OpenLogins {
  read(): Logins
  write(logins: Logins): void
}

/** XDG Base Directory Specification: a relative path there is to be ignored. */
export function loginsFolder({ XDG_CONFIG_HOME: configured = '' }: NodeJS.ProcessEnv = process.env): string {
  return join(isAbsolute(configured) ? configured : join(homedir(), '.config'), 'lanyard')
}

/**
 * Holds the lock while it works. A refresh token has one successor, so of several processes one refreshes, and the others
 * find what it got. The lock is a database's, which the system gives up with the process, whatever ends it.
 */
export async function withLogins<T>(work: (logins: OpenLogins) => Promise<T>, folder: string = loginsFolder()): Promise<T> {
  mkdirSync(folder, { recursive: true, mode: FOR_USER_FOLDER })
  const lockFile = join(folder, 'logins.lock')
  closeSync(openSync(lockFile, 'a', FOR_USER))
  const lock = new DatabaseSync(lockFile)
  try {
    lock.exec(`PRAGMA busy_timeout = ${WAIT_MS}; BEGIN EXCLUSIVE`)
    return await work({ read: () => read(join(folder, 'logins.json')), write: (logins) => write(join(folder, 'logins.json'), logins) })
  } finally {
    lock.close()
  }
}

function read(file: string): Logins {
  let text: string
  try {
    // As ssh does: what others could read may be theirs already.
    if ((statSync(file).mode & 0o077) !== 0) throw new CommandFailed(`Others on this machine may read ${file}, and with it act as you. Run "chmod 600 ${file}", then "lanyard logout --all", and log in anew.`)
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { logins: [] }
    throw error
  }
  const parsed = shape.safeParse(parseJson(text))
  if (!parsed.success) throw new CommandFailed(`${file} is not what this version wrote. Remove it, and log in anew.`)
  return parsed.data
}

/** Whole or not at all: whoever reads meanwhile finds the old one. */
function write(file: string, logins: Logins): void {
  const draft = `${file}.draft`
  // Of a process that was ended in between.
  rmSync(draft, { force: true })
  writeFileSync(draft, `${JSON.stringify({ version: 1, ...logins }, null, 2)}\n`, { mode: FOR_USER, flag: 'wx' })
  renameSync(draft, file)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
