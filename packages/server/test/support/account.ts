// Somebody's account on a machine, where the commands `lanyard login`, `token`, `logout` and `admin` run as processes.
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import type { JWK } from 'jose'
import { browser, type Choices } from './browser.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface Remembered {
  last?: string
  logins: { resource: string; refreshToken: string; accessToken: string; expiresAt: number; key?: JWK }[]
}

/** A user's account on a machine. */
export interface Account {
  readonly folder: string
  readonly file: string
  run(...args: readonly string[]): Promise<Ran>
  /** Logs in as somebody who answers the page in a browser of their own. */
  login(address: string, choices?: Partial<Choices>, ...args: readonly string[]): Promise<Ran>
  remembered(): Remembered
  /** Lets the access tokens be over. */
  expire(): void
}

export function account(context: TestContext): Account {
  const home = mkdtempSync(join(tmpdir(), 'lanyard-login-'))
  context.after(() => rmSync(home, { recursive: true, force: true }))
  const { LANYARD_URL: _url, LANYARD_TOKEN: _token, ...inherited } = process.env
  const env = { ...inherited, XDG_CONFIG_HOME: home }
  const folder = join(home, 'lanyard')
  const file = join(folder, 'logins.json')
  const remembered = (): Remembered => JSON.parse(readFileSync(file, 'utf8')) as Remembered
  return {
    folder,
    file,
    remembered,
    expire() {
      const { logins, ...rest } = remembered()
      writeFileSync(file, JSON.stringify({ ...rest, logins: logins.map((each) => ({ ...each, expiresAt: 0 })) }), { mode: 0o600 })
    },
    run: (...args) =>
      new Promise((resolve) => {
        execFile(process.execPath, [BIN, ...args], { env, timeout: 60_000 }, (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }))
      }),
    async login(address, choices = {}, ...args) {
      const child = spawn(process.execPath, [BIN, 'login', address, '--json', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
      let [out, err] = ['', '']
      child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text))
      createInterface(child.stdout).on('line', (line) => {
        out += `${line}\n`
        const { verification_uri_complete: uri } = JSON.parse(line) as { verification_uri_complete?: string }
        if (uri !== undefined) void browser().approve(uri, choices)
      })
      const code = await new Promise<number>((resolve) => child.on('exit', (status) => resolve(status ?? -1)))
      return { code, out, err }
    },
  }
}

/** What an access token says. */
export function claimsOf(token = ''): { readonly grant: string; readonly cnf?: { readonly jkt: string } } {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as { grant: string; cnf?: { jkt: string } }
}
