// Two nodes that connect accounts over one database: real routes, connector, store, sealing and outbound client; who is
// signed in, and what is allowed, are what the test says.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { AuditEvent } from '../../src/audit/event.ts'
import { csrfToken } from '../../src/http/csrf.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { router } from '../../src/http/router.ts'
import type { SignedIn } from '../../src/identity/sign-in.ts'
import { sealer, stateSealer, type Sealer, type StateSealer } from '../../src/keys/seal.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { changeFeed, recordChange, type RunningFeed } from '../../src/store/changes.ts'
import { connectionStore } from '../../src/store/connections.ts'
import type { Database } from '../../src/store/database.ts'
import { connectionRoutes, connections, type ConnectionDeps } from '../../src/upstreams/connection-routes.ts'
import type { ConnectionStore } from '../../src/upstreams/connection-store.ts'
import type { Connections } from '../../src/upstreams/connections.ts'
import { connectors, type Connectors } from '../../src/upstreams/connectors/index.ts'
import { oauthConnector, type OAuthConnector } from '../../src/upstreams/connectors/oauth/connector.ts'
import { revoker } from '../../src/upstreams/revoker.ts'
import type { ConnectorSettings, Upstream } from '../../src/upstreams/upstream.ts'
import { vault } from '../../src/vault/credential.ts'
import { eachDatabase, type Handles } from './databases.ts'
import { upstreamEmulator, type Emulator } from './upstream-emulator.ts'

/** A browser session that the test may use: alice has two. */
export type SessionName = 'alice' | 'alice-elsewhere' | 'bob' | 'nobody'

export interface Page {
  readonly status: number
  readonly text: string
  readonly headers: Headers
  /** Where it redirects, when it does. */
  readonly location: string | undefined
}

export interface Node {
  readonly store: ConnectionStore
  readonly oauth: OAuthConnector
  readonly connector: Connectors
  readonly connections: Connections
  revoke(): Promise<void>
  get(path: string, session?: SessionName, headers?: Readonly<Record<string, string>>): Promise<Page>
  post(path: string, form: Readonly<Record<string, string>>, session?: SessionName, headers?: Readonly<Record<string, string>>): Promise<Page>
  /** The hidden field of the connect page. */
  csrf(upstream: string, session?: SessionName): Promise<string>
  /** Loads the connect page and submits its form: the upstream's authorization request. */
  begin(upstream: string, session?: SessionName): Promise<URL>
  disconnect(upstream: string, session?: SessionName): Promise<Page>
  /** What this node hears of the others. */
  readonly feed: RunningFeed
  finish(upstream: string, answer: Readonly<Record<string, string>>, session?: SessionName): Promise<Page>
}

export interface World {
  /** Milliseconds since the epoch. */
  now: number
  upstreams: Upstream[]
  mayConnect: boolean
  revocationsDue: number
  /** Runs before a refreshed credential is written: to fail or hold the write. */
  beforeRefreshWrite: () => Promise<void>
  /** Runs after a connection was read, before the reader sees it. */
  afterRead: () => Promise<void>
}

export interface Cluster extends World {
  readonly issuer: string
  readonly db: Database
  readonly nodes: readonly [Node, Node]
  readonly sealer: Sealer
  readonly state: StateSealer
  readonly outbound: Outbound
  readonly bugs: unknown[]
  /** Connects an account at an upstream that approves at once. */
  connected(upstream: string, session?: SessionName): Promise<void>
  /** All recorded events, as the database has them. */
  events(action?: string): Promise<AuditEvent[]>
  /** Everything that the database holds, as text. */
  dump(): Promise<string>
}

export const CLUSTER_ISSUER = 'https://lanyard.example'

export function upstream(id: string, url: string, connector: ConnectorSettings = { type: 'oauth' }): Upstream {
  return { id, name: `The ${id}`, url, connector, readOnlyTools: [], timeoutMs: 5000 }
}

export interface ClusterOptions {
  /** http on loopback makes Lanyard a native application, without a metadata document. */
  readonly issuer?: string
}

/** Runs a test over two nodes, on the databases that `LANYARD_TEST_STORE` says. */
export function eachConnectionCluster(name: string, run: (cluster: Cluster) => Promise<void>, options: ClusterOptions = {}): void {
  eachDatabase(name, (handles) => within(handles, run, options))
}

/** The same with one upstream, `tickets`, which is an emulator with an authorization server of its own. */
export function eachTickets(name: string, run: (cluster: Cluster, tickets: Emulator) => Promise<void>, options?: ClusterOptions): void {
  eachConnectionCluster(name, async (cluster) => {
    const tickets = await upstreamEmulator()
    cluster.upstreams = [upstream('tickets', tickets.mcp)]
    try {
      await run(cluster, tickets)
    } finally {
      await tickets.close()
    }
  }, options)
}

async function within(handles: Handles, run: (cluster: Cluster) => Promise<void>, options: ClusterOptions): Promise<void> {
  const feeds: RunningFeed[] = []
  const client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  try {
    const cluster = await makeCluster(handles, feeds, client, options)
    await run(cluster)
    assert.deepEqual(cluster.bugs, [], 'a request ended in an error page of status 500')
  } finally {
    for (const feed of feeds) feed.close()
    await client.close()
  }
}

async function makeCluster(handles: Handles, feeds: RunningFeed[], client: Outbound, options: ClusterOptions): Promise<Cluster> {
  const key = { id: 'k1', key: randomBytes(32) }
  const world: World = { now: Date.now(), upstreams: [], mayConnect: true, revocationsDue: 0, beforeRefreshWrite: () => Promise.resolve(), afterRead: () => Promise.resolve() }
  const shared: Shared = { issuer: options.issuer ?? CLUSTER_ISSUER, sealer: sealer([key]), state: stateSealer([key]), outbound: client, bugs: [] }
  const nodes = [await makeNode(world, shared, handles[0], feeds), await makeNode(world, shared, handles[1], feeds)] as const
  return Object.assign(world, shared, {
    db: handles[0],
    nodes,
    async connected(name: string, session: SessionName = 'alice') {
      const url = await nodes[0].begin(name, session)
      const page = await nodes[0].finish(name, { code: 'a-code', state: url.searchParams.get('state') ?? '' }, session)
      assert.equal(page.status, 200, page.text)
    },
    async events(action?: string) {
      const rows = await handles[0].query<{ event: string; action: string }>('SELECT event, action FROM audit ORDER BY seq')
      return rows.filter((row) => action === undefined || row.action === action).map((row) => JSON.parse(row.event) as AuditEvent)
    },
    async dump() {
      const tables = ['connections', 'connection_attempts', 'upstream_clients', 'pending_revocations', 'audit', 'changes']
      return JSON.stringify(await Promise.all(tables.map((table) => handles[0].query(`SELECT * FROM ${table}`))))
    },
  })
}

interface Shared {
  readonly issuer: string
  readonly sealer: Sealer
  readonly state: StateSealer
  readonly outbound: Outbound
  readonly bugs: unknown[]
}

async function makeNode(world: World, shared: Shared, db: Database, feeds: RunningFeed[]): Promise<Node> {
  const now = (): number => world.now
  const feed = await changeFeed(db, Date.now)
  feeds.push(feed)
  const audit = auditLog(db, () => undefined, now)
  const plain = connectionStore({ db, audit, changed: (tx, change) => recordChange(tx, change, (own) => feed.deliver(own)) })
  const store: ConnectionStore = {
    ...plain,
    refresh: async (...given) => world.beforeRefreshWrite().then(() => plain.refresh(...given)),
    async find(key) {
      const record = await plain.find(key)
      await world.afterRead()
      return record
    },
  }
  const oauth = oauthConnector({ ...shared, store, vault: vault(shared.sealer), audit, feed, now })
  const connector = connectors(oauth, { ...shared, store, vault: vault(shared.sealer), feed, audit, users: { find: async (id) => [...sessions.values()].find(({ user }) => user.id === id)?.user }, providers: new Map(), providerTokens: { current: async () => undefined, redeem: async () => undefined }, now })
  const deps: ConnectionDeps = {
    ...shared,
    get upstreams() {
      return world.upstreams
    },
    connector,
    store,
    vault: vault(shared.sealer),
    sessions: { current: async (request) => sessions.get(request.headers.get('cookie') ?? '') },
    signIn: { start: async (_request, { returnTo }) => new Response(null, { status: 303, headers: { location: `/sign-in?return=${encodeURIComponent(returnTo)}` } }) },
    audit,
    mayConnect: () => world.mayConnect,
    revocationDue: () => void (world.revocationsDue += 1),
    now,
  }
  const app = router(connectionRoutes(deps), { issuer: shared.issuer, hosts: [], clientAddress: () => '192.0.2.1', log: (line) => shared.bugs.push(line) })
  const ask = async (path: string, session: SessionName, init: { method?: string; body?: string; headers?: Readonly<Record<string, string>> }): Promise<Page> => {
    const response = await app.request(`${shared.issuer}${path}`, { ...init, headers: { host: new URL(shared.issuer).host, cookie: session, ...init.headers } })
    return { status: response.status, text: await response.text(), headers: response.headers, location: response.headers.get('location') ?? undefined }
  }
  const node: Node = {
    store,
    oauth,
    connector,
    feed,
    connections: connections(deps),
    revoke: () => revoker({ store, upstreams: world.upstreams, oauth, now })(),
    get: (path, session = 'alice', headers = {}) => ask(path, session, { headers }),
    post: (path, form, session = 'alice', headers = {}) =>
      ask(path, session, {
        method: 'POST',
        body: new URLSearchParams(form).toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', origin: shared.issuer, 'sec-fetch-site': 'same-origin', ...headers },
      }),
    async csrf(name, session = 'alice') {
      const page = await node.get(`/connections/${name}`, session)
      assert.equal(page.status, 200, page.text)
      return /name="csrf" value="([^"]+)"/.exec(page.text)?.[1] ?? ''
    },
    async begin(name, session = 'alice') {
      const page = await node.post(`/connections/${name}`, { csrf: await node.csrf(name, session), continue: `/connections/${name}` }, session)
      assert.equal(page.status, 303, page.text)
      return new URL(page.location ?? '')
    },
    disconnect: (name, session = 'alice') => node.post(`/connections/${name}/disconnect`, { csrf: csrfToken(sessions.get(session)?.secret ?? '', `disconnect:${name}`), continue: '/' }, session),
    finish: (name, answer, session = 'alice') => node.get(`/connections/${name}/callback?${new URLSearchParams(answer).toString()}`, session),
  }
  return node
}

const sessions = new Map<string, SignedIn>(
  [['alice', 'alice'] as const, ['alice-elsewhere', 'alice'] as const, ['bob', 'bob'] as const].map(([session, person]) => [
    session,
    {
      session: { id: `ses_${session}`, userId: `usr_${person}`, provider: 'corp', expiresAt: Number.MAX_SAFE_INTEGER },
      user: { id: `usr_${person}`, provider: 'corp', issuer: 'https://idp.example', subject: person, groups: [], disabled: false },
      secret: randomBytes(32).toString('base64url'),
    },
  ]),
)
