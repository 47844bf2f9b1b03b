// Lanyard as an operator runs it: `lanyard serve`, a process of its own, with the demo company's identity provider, an
// upstream that asks for an account, and as many rules as a large company has.
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { openSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { complaintsOf, startProgram, stop, untilAnswers, type Program } from '../program.ts'
import { freePort } from '../../packages/server/test/support/ports.ts'
import { startDatabase, type BenchDatabase } from './database.ts'
import { rules } from './lanyard-rules.ts'
import type { Subject } from './subject.ts'

const BIN = new URL('../../packages/server/bin/lanyard.js', import.meta.url).pathname
/** A client that exchanges other clients' tokens. */
export const AGENT = { id: 'agent', secret: randomBytes(32).toString('base64url') }
export const RESOURCE_SERVER = { id: 'resource-server', secret: randomBytes(32).toString('base64url') }

export interface Lanyard extends Subject {
  readonly issuer: string
  /** The protected resource that everything is measured at. */
  readonly resource: string
  /** The database, as the configuration names it. */
  readonly store: string
  /** The configuration file. */
  readonly config: string
  restart(): Promise<{ readonly pid: number; readonly startMs: number }>
}

export interface LanyardOptions {
  readonly store: 'sqlite' | 'postgres'
  readonly upstream: string
  /** Whether the upstream asks each person for an account of theirs: then it is the protected one. */
  readonly accounts?: boolean
  /** Further upstreams, which are one profile together: then that is what is measured. */
  readonly wide?: readonly string[]
  readonly rules?: number
  /** Whose ID-JAGs are trusted. */
  readonly assertions?: { readonly issuer: string; readonly jwksUri: string }
  readonly execArgv?: readonly string[]
}

export const STORE_NAMES = { sqlite: 'SQLite', postgres: 'PostgreSQL' } as const

/** Starts the gateway and what it needs to be signed in to. */
export async function startLanyard(options: LanyardOptions): Promise<Lanyard> {
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-bench-'))
  const issuer = `http://127.0.0.1:${await freePort()}`
  const clientSecret = randomBytes(32).toString('base64url')
  const database = options.store === 'postgres' ? await startDatabase() : undefined
  const provider = await startProgram('../packages/demo/src/identity-provider.ts', [`${issuer}/login/corp/callback`, clientSecret])
  const store = database?.url ?? `sqlite:${directory}/lanyard.db`
  const config = join(directory, 'lanyard.yaml')
  await writeFile(join(directory, 'kek'), `k1:${randomBytes(32).toString('base64url')}\n`, { mode: 0o600 })
  await writeFile(config, stringify(configuration({ directory, issuer, clientSecret, provider, store, options })), { mode: 0o600 })
  const house = { directory, config, issuer, provider, database, execArgv: options.execArgv ?? [] }
  let { child } = await serve(house)
  return {
    name: `lanyard on ${STORE_NAMES[options.store]}`,
    issuer,
    resource: `${issuer}/mcp/${options.wide === undefined ? 'echo' : 'wide'}`,
    url: `${issuer}/mcp/${options.wide === undefined ? 'echo' : 'wide'}`,
    store,
    config,
    get pid() {
      return child.pid ?? 0
    },
    ...(database?.pid === undefined ? {} : { databasePid: database.pid }),
    async restart() {
      await stop(child)
      const started = await serve(house)
      child = started.child
      return { pid: child.pid ?? 0, startMs: started.startMs }
    },
    close: () => closeHouse(house, child),
  }
}

interface House {
  readonly directory: string
  readonly config: string
  readonly issuer: string
  readonly provider: Program<{ readonly url: string }>
  readonly database: BenchDatabase | undefined
  readonly execArgv: readonly string[]
}

async function serve(house: House): Promise<{ readonly child: ChildProcess; readonly startMs: number }> {
  // The audit stream goes where an operator sends it: into a file.
  const audit = openSync(join(house.directory, 'audit.log'), 'a')
  const child = spawn(process.execPath, [...house.execArgv, BIN, 'serve', '--config', house.config], { cwd: house.directory, stdio: ['ignore', audit, 'pipe'] })
  const complaint = complaintsOf(child)
  try {
    return { child, startMs: await untilAnswers(`${house.issuer}/readyz`, child) }
  } catch (error) {
    await closeHouse(house, child)
    throw new Error(`lanyard did not start: ${complaint()}`, { cause: error })
  }
}

async function closeHouse({ provider, database, directory }: House, child: ChildProcess): Promise<void> {
  await stop(child)
  await provider.stop()
  await database?.close()
  await rm(directory, { recursive: true, force: true })
}

interface Setting {
  readonly directory: string
  readonly issuer: string
  readonly clientSecret: string
  readonly provider: House['provider']
  readonly store: string
  readonly options: LanyardOptions
}

function wide(urls: readonly string[] = []): { readonly upstreams: readonly object[]; readonly profiles: readonly object[]; readonly rules: readonly object[] } {
  const upstreams = urls.map((url, index) => ({ id: `wide-${index}`, name: `Wide ${index}`, url, connector: { type: 'none' }, timeoutSeconds: 2 }))
  const ids = upstreams.map(({ id }) => id)
  if (ids.length === 0) return { upstreams, profiles: [], rules: [] }
  const rules = [{ id: 'wide-hidden', effect: 'deny', upstreams: ids, tools: ['hidden_*'] }, { id: 'wide-everything', effect: 'allow', upstreams: ids, tools: ['*'] }]
  return { upstreams, profiles: [{ id: 'wide', name: 'Wide', upstreams: ids }], rules }
}

function configuration({ directory, issuer, clientSecret, provider, store, options }: Setting): object {
  const more = wide(options.wide)
  return {
    issuer,
    listen: new URL(issuer).host,
    store,
    dataDir: directory,
    keyEncryption: `file:${directory}/kek`,
    outbound: { allow: ['127.0.0.0/8'] },
    identityProviders: [{ id: 'corp', type: 'oidc', name: 'Demo Company', issuer: provider.facts.url, clientId: 'lanyard', clientSecret }],
    clients: [{ id: RESOURCE_SERVER.id, name: 'Resource server', tokenEndpointAuthMethod: 'client_secret_post', clientSecret: RESOURCE_SERVER.secret, resources: [`${issuer}/mcp/echo`] }, { id: AGENT.id, name: 'Agent', tokenEndpointAuthMethod: 'client_secret_post', clientSecret: AGENT.secret, grantTypes: ['urn:ietf:params:oauth:grant-type:token-exchange', 'urn:ietf:params:oauth:grant-type:jwt-bearer'] }],
    ...(options.assertions === undefined ? {} : { idJag: { trustedIssuers: [{ id: 'bench', groupsClaim: 'groups', issuer: options.assertions.issuer, jwksUri: options.assertions.jwksUri }] } }),
    tokenExchange: [{ id: 'agent', clients: [AGENT.id], issuedTo: ['*'], targets: [`${issuer}/mcp`] }],
    upstreams: [{ id: 'echo', name: 'Echo', url: options.upstream, connector: { type: options.accounts === false ? 'none' : 'oauth' } }, ...more.upstreams],
    profiles: more.profiles,
    rules: [...rules(options.rules ?? 10_000), ...more.rules],
    admins: { groups: ['it-admins'] },
    tokens: { accessTokenSeconds: 3600 },
    // They guard against floods, and here is one.
    limits: { registrationsPerHour: 1_000_000, tokenRequestsPerMinute: 100_000_000 },
  }
}
