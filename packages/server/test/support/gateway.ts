// The whole product as an operator runs it: `lanyard serve` in processes of its own, the demo company around it.
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, request as httpRequest, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { startCompany, type Company } from '../../../demo/src/company.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { eventually } from './eventually.ts'
import { nodeProcess, type NodeProcess } from './node-process.ts'
import { freePorts } from './ports.ts'
import { postgresUrl } from './postgres.ts'

export interface RunningGateway {
  readonly issuer: string
  readonly company: Company
  /** What all nodes printed to their audit streams so far. */
  readonly events: readonly AuditEvent[]
  /** Everything that all nodes printed, for searching it for secrets. */
  readonly output: readonly string[]
  /** The addresses of the nodes behind the round-robin proxy. */
  readonly nodes: readonly string[]
  /** The same nodes as processes, for whoever wants one of them to be down. */
  readonly processes: readonly NodeProcess[]
  /** What the configuration says of the store and of the keys that seal, for looking into the database. */
  readonly store: string
  readonly keyEncryption: string
  close(): Promise<void>
}

export interface GatewayOptions {
  /** Nodes behind a round-robin proxy; more than one needs PostgreSQL. */
  readonly nodes?: number
  readonly store?: 'sqlite' | 'postgres'
  /** A loopback address; browsers keep the cookies of two gateways at one address together. */
  readonly host?: string
  /** Merged over the default configuration. */
  readonly config?: Readonly<Record<string, unknown>> | ((issuer: string, company: Company) => Readonly<Record<string, unknown>>)
  readonly environment?: Readonly<Record<string, string>>
  /** A PostgreSQL database of the test's own, instead of a fresh one. */
  readonly database?: string
  /** What one node alone is told, by its place: over what all of them are. */
  readonly perNode?: (index: number) => NodeOptions
}

export interface NodeOptions {
  readonly config?: Readonly<Record<string, unknown>>
  readonly environment?: Readonly<Record<string, string>>
  /** The start of a command that runs the node: `['sh', '-c', 'ulimit -n 64; exec "$@"', 'sh']`. */
  readonly wrapper?: readonly string[]
}

/** Starts the demo company and a gateway in front of it, on free loopback ports. */
export async function startGateway(options: GatewayOptions = {}): Promise<RunningGateway> {
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-test-'))
  const count = options.nodes ?? 1
  const ports = await freePorts(count + 1)
  const [publicPort = 0] = ports
  const nodePorts = count === 1 ? ports.slice(0, 1) : ports.slice(1)
  const host = options.host ?? '127.0.0.1'
  const issuer = `http://${host}:${publicPort}`
  const clientSecret = randomBytes(32).toString('base64url')
  const company = await startCompany({ callback: `${issuer}/login/corp/callback`, clientSecret })
  const database = options.store === 'postgres' && options.database === undefined ? await postgresUrl() : undefined
  await writeFile(join(directory, 'kek'), `k1:${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })
  const events: AuditEvent[] = []
  const output: string[] = []
  const processes: NodeProcess[] = []
  const store = options.database ?? database?.url ?? `sqlite:${directory}/lanyard.db`
  const keyEncryption = `file:${directory}/kek`
  const config = {
    ...defaults(issuer, company, clientSecret),
    store,
    keyEncryption,
    dataDir: directory,
    ...(typeof options.config === 'function' ? options.config(issuer, company) : options.config),
  }
  for (const [index, port] of nodePorts.entries()) {
    const own = options.perNode?.(index) ?? {}
    const file = join(directory, `lanyard-${port}.yaml`)
    await writeFile(file, stringify({ ...config, ...own.config, listen: `${host}:${port}` }), { mode: 0o600 })
    processes.push(nodeProcess({ url: `http://${host}:${port}`, config: file, environment: { ...options.environment, ...own.environment }, wrapper: own.wrapper ?? [], events, output }))
  }
  const proxy = count === 1 ? undefined : await roundRobin(host, publicPort, nodePorts)
  const close = async (): Promise<void> => {
    await Promise.all(processes.map((node) => node.stop()))
    company.close()
    proxy?.close()
    proxy?.closeAllConnections()
    await database?.close()
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await Promise.all(processes.map((node) => node.start()))
  } catch (error) {
    await close()
    throw error
  }
  return { issuer, company, events, output, nodes: processes.map(({ url }) => url), processes, store, keyEncryption, close }
}

/** An application that the administrator configured: it may have tokens for the JSON API. */
export const SCRIPT = { id: 'script', name: 'Script', redirectUris: ['http://127.0.0.1:53998/callback'], tokenEndpointAuthMethod: 'none' } as const

function defaults(issuer: string, company: Company, clientSecret: string): Record<string, unknown> {
  return {
    issuer,
    outbound: { allow: ['127.0.0.0/8'] },
    identityProviders: [{ id: 'corp', type: 'oidc', name: 'Demo Company', issuer: company.issuer, clientId: 'lanyard', clientSecret }],
    clients: [SCRIPT],
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


/** A load balancer without affinity: each request goes to the next node. */
async function roundRobin(host: string, port: number, nodes: readonly number[]): Promise<Server> {
  let turn = 0
  const server = createServer((incoming, outgoing) => {
    const node = nodes[turn++ % nodes.length]
    const forwarded = httpRequest({ host, port: node, method: incoming.method, path: incoming.url, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    forwarded.on('error', () => (outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end()))
    outgoing.on('close', () => forwarded.destroy())
    incoming.pipe(forwarded)
  })
  await new Promise<void>((resolve) => server.listen(port, host, resolve))
  return server
}

/** Waits for an event: what a node printed may be read a moment after its answer. */
export function recorded({ events }: Pick<RunningGateway, 'events'>, matches: (event: AuditEvent) => boolean): Promise<number> {
  return eventually('a record of it', () => events.some(matches))
}
