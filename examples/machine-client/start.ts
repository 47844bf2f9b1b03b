// Starts the demo company and Lanyard, makes a key for the job, publishes its public half, and runs the job once.
import { spawn, type ChildProcess } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startCompany } from '../../packages/demo/src/company.ts'

const HERE = import.meta.dirname
const LANYARD = join(HERE, '../../packages/server/bin/lanyard.js')
const MAX_TRIES = 100

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

function run(command: readonly string[], environment: NodeJS.ProcessEnv): ChildProcess {
  return spawn(process.execPath, [...command], { env: environment, stdio: ['ignore', command[0] === LANYARD ? 'ignore' : 'inherit', 'inherit'] })
}

const directory = mkdtempSync(join(tmpdir(), 'lanyard-machine-client-'))
copyFileSync(join(HERE, 'lanyard.yaml'), join(directory, 'lanyard.yaml'))
const listen = `127.0.0.1:${await freePort()}`
const issuer = `http://${listen}`

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const keyFile = join(directory, 'report.pem')
writeFileSync(keyFile, privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 })
const jwks = createServer((_request, response) => response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), alg: 'ES256' }] })))
const jwksPort = await listening(jwks)

const clientSecret = randomBytes(32).toString('base64url')
const company = await startCompany({ callback: `${issuer}/login/corp/callback`, clientSecret })
const environment = { ...process.env, ISSUER: issuer, LISTEN: listen, CORP_ISSUER: company.issuer, CORP_CLIENT_SECRET: clientSecret, NOTES_URL: company.notes, REPORT_JWKS: `http://127.0.0.1:${jwksPort}/jwks` }
const gateway = run([LANYARD, 'serve', '--config', join(directory, 'lanyard.yaml')], environment)
try {
  for (let tries = 0; !(await fetch(`${issuer}/readyz`).then(({ ok }) => ok, () => false)); tries += 1) {
    if (gateway.exitCode !== null || tries === MAX_TRIES) throw new Error('Lanyard did not start')
    await delay(100)
  }
  const job = run([join(HERE, 'report.ts'), `${issuer}/mcp/notes`, issuer, keyFile], environment)
  process.exitCode = await new Promise<number>((resolve) => job.once('exit', (code) => resolve(code ?? 1)))
} finally {
  const ended = new Promise((resolve) => gateway.once('exit', resolve))
  if (gateway.exitCode === null && gateway.kill()) await ended
  company.close()
  jwks.close()
  jwks.closeAllConnections()
  rmSync(directory, { recursive: true, force: true })
}
