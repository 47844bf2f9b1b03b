// Starts everything that the example needs: the demo company's identity provider, the MCP server, Lanyard and nginx.
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startCompany } from '../../packages/demo/src/company.ts'

const HERE = import.meta.dirname
const LANYARD = join(HERE, '../../packages/server/bin/lanyard.js')
const NGINX = process.env['NGINX'] ?? ['/usr/sbin/nginx', '/usr/local/bin/nginx', '/opt/homebrew/bin/nginx'].find((path) => existsSync(path)) ?? 'nginx'

const directory = mkdtempSync(join(tmpdir(), 'lanyard-forward-auth-'))
mkdirSync(join(directory, 'temp'))
for (const file of ['lanyard.yaml', 'nginx.conf', 'protected.conf']) copyFileSync(join(HERE, file), join(directory, file))

const clientSecret = randomBytes(32).toString('base64url')
const company = await startCompany({ callback: 'http://127.0.0.1:8080/login/corp/callback', clientSecret })
const environment = { ...process.env, CORP_ISSUER: company.issuer, CORP_CLIENT_SECRET: clientSecret, NOTES_KEY: randomBytes(32).toString('base64url') }
const children: ChildProcess[] = []

function run(command: string, ...given: readonly string[]): void {
  const child = spawn(command, [...given], { env: environment, stdio: ['ignore', 'ignore', 'inherit'] })
  children.push(child)
  child.once('error', (error) => stop(`${command}: ${error.message}`))
  child.once('exit', (code) => stop(code === 0 || code === null ? undefined : `${command} ended with ${code}`))
}

/** Ends all of them, then what they wrote. */
function stop(complaint?: string): void {
  if (complaint !== undefined) {
    console.error(complaint)
    process.exitCode = 1
  }
  company.close()
  for (const child of children) child.kill()
  if (children.every(({ exitCode, signalCode, pid }) => pid === undefined || exitCode !== null || signalCode !== null)) rmSync(directory, { recursive: true, force: true })
}

run(process.execPath, join(HERE, 'server.ts'))
run(process.execPath, LANYARD, 'serve', '--config', join(directory, 'lanyard.yaml'))
run(NGINX, '-p', directory, '-c', join(directory, 'nginx.conf'))
process.once('SIGINT', () => stop())
process.once('SIGTERM', () => stop())
console.log(`An MCP server behind nginx, which asks Lanyard:
  http://127.0.0.1:8090/mcp        for clients of the revision 2026-07-28, rules about single tools
  http://127.0.0.1:8090/any/mcp    for clients of every revision, who may use all of it
Sign in as alice, who may do all but delete, or as bob, who may read. End with Ctrl-C.`)
