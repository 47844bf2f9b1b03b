// The whole product as an operator runs it: `lanyard serve` in processes of its own, the demo company around it.
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, request as httpRequest, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { stringify } from 'yaml'
import { startCompany, type Company } from '../../../demo/src/company.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { postgresUrl } from './postgres.ts'

const BIN = new URL('../../bin/lanyard.js', import.meta.url).pathname

export interface RunningGateway {
  readonly issuer: string
  readonly company: Company
  /** What all nodes printed to their audit streams so far. */
  readonly events: readonly AuditEvent[]
  /** Everything that all nodes printed, for searching it for secrets. */
  readonly output: readonly string[]
  /** The addresses of the nodes behind the round-robin proxy. */
  readonly nodes: readonly string[]
  close(): Promise<void>
}

export interface GatewayOptions {
  /** Nodes behind a round-robin proxy; more than one needs PostgreSQL. */
  readonly nodes?: number
  readonly store?: 'sqlite' | 'postgres'
  /** Merged over the default configuration. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly environment?: Readonly<Record<string, string>>
}

/** Starts the demo company and a gateway in front of it, on free loopback ports. */
export async function startGateway(options: GatewayOptions = {}): Promise<RunningGateway> {
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-test-'))
  const count = options.nodes ?? 1
  const ports = await freePorts(count + 1)
  const [publicPort = 0] = ports
  const nodePorts = count === 1 ? ports.slice(0, 1) : ports.slice(1)
  const issuer = `http://127.0.0.1:${publicPort}`
  const clientSecret = randomBytes(32).toString('base64url')
  const company = await startCompany({ callback: `${issuer}/login/corp/callback`, clientSecret })
  const database = options.store === 'postgres' ? await postgresUrl() : undefined
  await writeFile(join(directory, 'kek'), `k1:${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })
  const events: AuditEvent[] = []
  const output: string[] = []
  const children: ChildProcess[] = []
  const config = {
    ...defaults(issuer, company, clientSecret),
    store: database?.url ?? `sqlite:${directory}/lanyard.db`,
    keyEncryption: `file:${directory}/kek`,
    dataDir: directory,
    ...options.config,
  }
  for (const port of nodePorts) {
    const file = join(directory, `lanyard-${port}.yaml`)
    await writeFile(file, stringify({ ...config, listen: `127.0.0.1:${port}` }), { mode: 0o600 })
    children.push(spawn(process.execPath, [BIN, 'serve', '--config', file], { env: { ...process.env, ...options.environment }, stdio: ['ignore', 'pipe', 'pipe'] }))
  }
  const proxy = count === 1 ? undefined : await roundRobin(publicPort, nodePorts)
  const close = async (): Promise<void> => {
    await Promise.all(children.map(stop))
    company.close()
    proxy?.close()
    proxy?.closeAllConnections()
    await database?.close()
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await Promise.all(children.map((child, index) => ready(child, `http://127.0.0.1:${nodePorts[index] ?? 0}`, events, output)))
  } catch (error) {
    await close()
    throw error
  }
  return { issuer, company, events, output, nodes: nodePorts.map((port) => `http://127.0.0.1:${port}`), close }
}

function defaults(issuer: string, company: Company, clientSecret: string): Record<string, unknown> {
  return {
    issuer,
    outbound: { allow: ['127.0.0.0/8'] },
    identityProviders: [{ id: 'corp', type: 'oidc', name: 'Demo Company', issuer: company.issuer, clientId: 'lanyard', clientSecret }],
    upstreams: [
      { id: 'notes', name: 'Notes', url: company.notes, connector: { type: 'none' } },
      { id: 'tickets', name: 'Tickets', url: company.tickets, connector: { type: 'oauth' } },
    ],
    rules: [
      { id: 'engineering-everything', effect: 'allow', groups: ['engineering'], upstreams: ['notes', 'tickets'], tools: ['*'] },
      { id: 'sales-reads-notes', effect: 'allow', groups: ['sales'], upstreams: ['notes'], tools: ['list_notes', 'read_note'] },
      { id: 'nobody-deletes', effect: 'deny', tools: ['delete_*'] },
    ],
    limits: { registrationsPerHour: 1000, tokenRequestsPerMinute: 1000 },
  }
}

async function ready(child: ChildProcess, url: string, events: AuditEvent[], output: string[]): Promise<void> {
  const complaints: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line)
      if (stream === child.stderr) complaints.push(line)
      else if (line.startsWith('{')) events.push(JSON.parse(line) as AuditEvent)
    })
  }
  const deadline = Date.now() + 30_000
  while (Date.now() < deadline) {
    if (child.exitCode !== null) break
    const status = await fetch(`${url}/readyz`).then((response) => response.status, () => 0)
    if (status === 200) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`the gateway did not start (exit code ${child.exitCode}):\n${complaints.join('\n')}`)
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await ended
  clearTimeout(timer)
}

/** Free ports that are not handed out twice in one call. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => new Promise<Server>((resolve) => { const server = createServer().listen(0, '127.0.0.1', () => resolve(server)) })),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** A load balancer without affinity: each request goes to the next node. */
async function roundRobin(port: number, nodes: readonly number[]): Promise<Server> {
  let turn = 0
  const server = createServer((incoming, outgoing) => {
    const node = nodes[turn++ % nodes.length]
    const forwarded = httpRequest({ host: '127.0.0.1', port: node, method: incoming.method, path: incoming.url, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    forwarded.on('error', () => (outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end()))
    outgoing.on('close', () => forwarded.destroy())
    incoming.pipe(forwarded)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return server
}
