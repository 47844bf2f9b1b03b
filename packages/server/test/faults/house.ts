// Two nodes on a PostgreSQL, each by a connection that a test can hold, with scripted upstreams around them; and what
// must be true when a test is done with them.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openDatabase } from '../../src/store/open.ts'
import { eventually } from '../support/eventually.ts'
import { startGateway, type NodeOptions, type RunningGateway } from '../support/gateway.ts'
import { mcpUpstream, type McpUpstream } from '../support/mcp-upstream.ts'
import { ownPostgres, postgresUrl, type OwnPostgres } from '../support/postgres.ts'
import { leaks, secrets, type Secrets } from '../support/secrets.ts'
import { tcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { json, upstreamEmulator, type Emulator } from '../support/upstream-emulator.ts'
import { client, type Client } from './client.ts'
import { violations, type Entry, type FinalState } from './history.ts'

export interface House {
  readonly gateway: RunningGateway
  readonly one: string
  readonly two: string
  readonly nodes: readonly [string, string]
  readonly notes: McpUpstream
  readonly tickets: Emulator
  /** Between each node and its database. */
  readonly links: readonly TcpProxy[]
  /** The database server, when the test owns it. */
  readonly postgres: OwnPostgres | undefined
  readonly history: Entry[]
  readonly secrets: Secrets
  client(name: string, options?: { readonly person?: string; readonly profile?: string }): Client
  /** Asks the database itself, past every proxy. */
  query<Row extends object>(sql: string, params?: readonly (string | number | null)[]): Promise<Row[]>
  /** Checks the recorded history, the database and the secrets. @returns what was checked, in words */
  verify(): Promise<string>
  close(): Promise<void>
}

export interface HouseOptions {
  /** A server of the test's own, with these settings. */
  readonly postgres?: Readonly<Record<string, string>>
  readonly config?: Readonly<Record<string, unknown>>
  readonly environment?: Readonly<Record<string, string>>
  readonly perNode?: (index: number) => NodeOptions
  /** A further upstream. */
  readonly lost?: { readonly id: string; readonly url: string }
}

/** When a node that hears of nothing stops, and for how long the answer to a refresh is kept. */
const BOUNDS = { revocationMs: 10_000, replayMs: 60_000 }

export async function house(options: HouseOptions = {}): Promise<House> {
  const postgres = options.postgres === undefined ? undefined : await ownPostgres(options.postgres)
  const database = postgres === undefined ? await postgresUrl() : { url: postgres.url, close: () => Promise.resolve() }
  const [notes, tickets] = await Promise.all([mcpUpstream(), upstreamEmulator()])
  behave(tickets)
  const links = await Promise.all([0, 1].map(() => tcpProxy(Number(new URL(database.url).port))))
  const gateway = await startGateway({
    nodes: 2,
    store: 'postgres',
    database: database.url,
    config: {
      upstreams: [
        { id: 'notes', name: 'Notes', url: notes.url, connector: { type: 'none' } },
        { id: 'tickets', name: 'Tickets', url: tickets.mcp, connector: { type: 'oauth' } },
        ...(options.lost === undefined ? [] : [options.lost]),
      ],
      rules: [{ id: 'everything', effect: 'allow', groups: ['engineering', 'sales'] }],
      ...options.config,
    },
    environment: options.environment ?? {},
    perNode: (index) => {
      const own = options.perNode?.(index) ?? {}
      return { ...own, config: { store: through(database.url, links[index]?.port ?? 0), ...own.config } }
    },
  })
  const [one = '', two = ''] = gateway.nodes
  const history: Entry[] = []
  const known = secrets()
  const db = openDatabase(database.url)
  const query: House['query'] = (sql, params) => db.query(sql, params)
  return {
    gateway,
    one,
    two,
    nodes: [one, two],
    notes,
    tickets,
    links,
    postgres,
    history,
    secrets: known,
    client: (name, { person = 'alice', profile = 'notes' } = {}) => client({ issuer: gateway.issuer, name, person, profile, history, secrets: known }),
    query,
    async verify() {
      const state = await finalState(query)
      assert.deepEqual(violations(history, state, BOUNDS), [])
      known.add('upstream token', ...tickets.secrets)
      assert.deepEqual(await leaks(known, gateway), [])
      return `${history.length} requests, ${state.grants.length} grants and ${state.audit.length} audit events hold I1 to I4; none of ${known.parts.size} secrets stands anywhere in the clear`
    },
    async close() {
      await gateway.close()
      await db.close()
      await Promise.all([notes.close(), tickets.close(), ...links.map((link) => link.close())])
      await database.close()
      postgres?.stop('immediate')
    },
  }
}

function through(url: string, port: number): string {
  const proxied = new URL(url)
  proxied.port = String(port)
  return proxied.href
}

/** The ticket tracker: signs everybody in at once, and serves tools to whoever brings a token that is still good. */
function behave(tickets: Emulator): void {
  tickets.on.set('/authorize', ({ query }) => {
    const back = new URL(query.get('redirect_uri') ?? '')
    back.search = new URLSearchParams({ code: `upstream-code-${query.get('code_challenge') ?? ''}`, state: query.get('state') ?? '', iss: tickets.issuer }).toString()
    return { status: 302, headers: { location: back.href } }
  })
  tickets.on.set('/mcp', ({ headers, body }) => {
    if (headers.authorization?.startsWith('Bearer access-') !== true) return undefined
    const message = JSON.parse(body) as { id: unknown; method: string }
    const tool = { name: 'read_note', description: 'Reads', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } }
    const content = message.method === 'tools/list' ? { ttlMs: 60_000, cacheScope: 'public', tools: [tool] } : { content: [{ type: 'text', text: 'ticket' }] }
    return json({ jsonrpc: '2.0', id: message.id, result: { resultType: 'complete', ...content } })
  })
}

/** I4 and I2, read from the database when all is over. */
async function finalState(query: House['query']): Promise<FinalState> {
  const grants = await query<{ id: string; revoked_at: number | null }>('SELECT id, revoked_at FROM grants')
  const tokens = await query<{ hash: string; grant_id: string; used_at: number | null }>('SELECT hash, grant_id, used_at FROM refresh_tokens')
  const connections = await query<{ user_id: string; upstream: string }>('SELECT user_id, upstream FROM connections')
  const audit = await query<{ action: string; grant_id: string | null; subject: string | null; event: string }>('SELECT action, grant_id, subject, event FROM audit')
  return {
    grants: grants.map(({ id, revoked_at: at }) => ({ id, revoked: at !== null })),
    refreshTokens: tokens.map(({ hash, grant_id: grant, used_at: at }) => ({ hash, grant, used: at !== null })),
    connections: connections.map(({ user_id: user, upstream }) => `${user} ${upstream}`),
    audit: audit.map(({ action, grant_id: grant, subject, event }) => {
      const { upstream, detail } = JSON.parse(event) as { upstream?: string; detail?: { jti?: string } }
      return { action, ...(grant === null ? {} : { grant }), ...(detail?.jti === undefined ? {} : { jti: detail.jti }), ...(upstream === undefined ? {} : { connection: `${subject ?? ''} ${upstream}` }) }
    }),
  }
}

export interface Fault {
  /** Of the list of faults, such as `X07`. */
  readonly id: string
  readonly injected: string
  readonly expected: string
}

/** One fault as a test; `run` returns what was observed, in words, for the matrix of faults. */
export function fault({ id, injected, expected }: Fault, run: () => Promise<string>): void {
  test(`${id} ${injected}: ${expected}`, { timeout: 120_000 }, async (t) => {
    const observed = await run()
    t.diagnostic(JSON.stringify({ id, injected, expected, observed }))
  })
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Waits for what may take a while, as somebody has to find out that a node or a database is back. */
export function until(what: string, isSo: () => boolean | Promise<boolean>, ms = 30_000): Promise<number> {
  return eventually(what, isSo, ms)
}
