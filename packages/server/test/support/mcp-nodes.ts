// Two nodes of the data plane over one database, with real keys, tokens, policy, sealing and audit, listening on
// loopback in front of upstreams that a test scripts; people, rules and accounts are what the test says.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { request as httpRequest, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { Change } from '../../src/audit/change.ts'
import type { AuditAction, AuditEvent, Recorder } from '../../src/audit/event.ts'
import type { Client } from '../../src/clients/client.ts'
import { gateway, type Gateway } from '../../src/gateway/gateway.ts'
import { apiCatalogue } from '../../src/gateway/openapi/catalogue.ts'
import { clientAddress } from '../../src/http/address.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { rateLimit } from '../../src/http/rate-limit.ts'
import { router } from '../../src/http/router.ts'
import { listen } from '../../src/http/server.ts'
import { presentedTokens } from '../../src/identity/presented.ts'
import { identityProviders, type ProviderSettings } from '../../src/identity/providers/index.ts'
import { recognition } from '../../src/identity/recognize.ts'
import type { ScopeMapping } from '../../src/identity/scope-mapping.ts'
import type { User } from '../../src/identity/user.ts'
import { sealer, stateSealer, type Sealer, type StateSealer } from '../../src/keys/seal.ts'
import { keyRing, type KeyRing } from '../../src/keys/signing.ts'
import { canonicalResource, type Resource } from '../../src/oauth/resource.ts'
import { newId } from '../../src/oauth/secret.ts'
import type { ExternalPolicy } from '../../src/policy/external.ts'
import { policy, type Policy, type Rule } from '../../src/policy/policy.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { changeFeed, cutoffs, recordChange, type RunningFeed } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import { keyStore } from '../../src/store/keys.ts'
import { bridgeStore } from '../../src/store/bridge.ts'
import { lateSessionStore } from '../../src/store/late-sessions.ts'
import { taskStore } from '../../src/store/tasks.ts'
import { pinStore } from '../../src/store/pins.ts'
import { proofStore } from '../../src/store/proofs.ts'
import { identityStore } from '../../src/store/users.ts'
import { proofCheck } from '../../src/token/dpop.ts'
import { tokenIssuer } from '../../src/token/issue.ts'
import { acceptingVerifier, type Acceptance } from '../../src/token/presented.ts'
import type { GrantRecord } from '../../src/token/token-store.ts'
import { accessTokenVerifier } from '../../src/token/verify.ts'
import { apiKeyConnector } from '../../src/upstreams/connectors/api-key.ts'
import type { Connector, Credential, Possession } from '../../src/upstreams/connectors/connector.ts'
import { noneConnector } from '../../src/upstreams/connectors/none.ts'
import { profiles, type ProfileSettings } from '../../src/upstreams/profiles.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { testApprovals } from './approvals.ts'
import { eachDatabase, type Handles } from './databases.ts'
import { mcpUpstream, type McpUpstream } from './mcp-upstream.ts'

export const ISSUER = 'https://lanyard.example'
export const MODERN = '2026-07-28'
export const LEGACY = '2025-11-25'
export const API_KEY = 'the-weather-key'
/** How many refused tokens of one network are written down in a minute. */
export const REFUSED_PER_MINUTE = 200

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** The JSON-RPC message, or what else the JSON is; empty when it is none. */
  readonly body: Record<string, unknown>
  /** The messages of an event stream. */
  readonly events: Record<string, unknown>[]
}

export interface Stream {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly message: IncomingMessage
  /** What has come so far. */
  readonly text: () => string
  /** Waits until what has come satisfies the test, or the stream ends. */
  until(seen: (text: string) => boolean): Promise<string>
  /** Whether it ended whole, or was cut off. */
  readonly ended: Promise<'whole' | 'cut'>
  /** Goes away without a word. */
  leave(): void
}

export interface Sent {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly body?: string | Buffer
}

export interface Node {
  readonly address: string
  readonly plane: Gateway
  readonly keys: KeyRing
  readonly feed: RunningFeed
  send(sent: Sent): Promise<Answer>
  /** The same, answered as soon as the headers are there. */
  open(sent: Sent): Promise<Stream>
  /** The same, for a client that goes away before there is an answer: what it returns makes it go. */
  begin(sent: Sent): () => void
}

/** What the test may change while the nodes run. */
export interface World {
  /** Milliseconds since the epoch. */
  now: number
  readonly users: Map<string, User>
  policy: Policy
  /** Whether applications must be approved. */
  readonly approval: { required: boolean; holdChanged: boolean }
  /** Whoever of the clients is not known here is an application of its own, unverified. */
  readonly applications: Map<string, Client>
  fresh: boolean
  /** Connected accounts of `tickets`, by user: the access token that the upstream is sent. */
  readonly accounts: Map<string, string>
  /** The key that accounts' tokens are bound to, when they are. */
  possession?: Possession
  /** Told when the upstream refused a credential: what the next one is, or undefined when the account is lost. */
  renew: (userId: string, refused: string) => string | undefined
  /** Told what an account lacks: what to connect it with, or undefined when that would not help. */
  stepUp: (lacking: readonly string[]) => readonly string[] | undefined
  /** Which tokens of which identity providers are accepted besides: read when the nodes start. */
  accept?: { readonly providers: readonly ProviderSettings[]; readonly accepted: ReadonlyMap<string, Acceptance>; readonly scopes?: ScopeMapping }
  /** Runs before an event is recorded: to fail or hold it. */
  beforeRecord: () => Promise<void>
  /** Runs before a user is read: to fail or hold it. */
  beforeUser: () => Promise<void>
}

export interface Cluster extends World {
  readonly nodes: readonly [Node, Node]
  readonly db: Database
  readonly notes: McpUpstream
  readonly tickets: McpUpstream
  readonly weather: McpUpstream
  readonly bugs: Readonly<Record<string, unknown>>[]
  readonly state: StateSealer
  /** Refreshes of upstream credentials. */
  readonly refusals: string[]
  token(options?: Partial<TokenOptions>): string
  /** Signs whatever claims with the nodes' own key. */
  sign(claims: Record<string, unknown>, typ?: string): string
  revoke(change: Pick<Change, 'kind' | 'key'>): Promise<void>
  events(action?: AuditAction): Promise<AuditEvent[]>
  /** New nodes over the same database and keys: nothing of the old ones' memory is left. */
  restart(): Promise<readonly [Node, Node]>
}

export interface TokenOptions {
  readonly userId: string
  readonly clientId: string
  readonly profile: string
  /** Instead of the profile's, for what is not under `/mcp`. */
  readonly resource: string
  readonly scope: readonly string[]
  readonly grantId: string
  readonly lifetime: number
  /** The key that the token is bound to. */
  readonly jkt: string
}

export interface ClusterOptions {
  readonly rules?: readonly Rule[]
  readonly upstreams?: Partial<Upstream>
  /** Besides the three: with addresses of their own. */
  readonly more?: () => Promise<readonly Upstream[]>
  readonly allowedOrigins?: readonly string[]
  /** What a decision point of somebody else says; there is none when absent. */
  readonly external?: ExternalPolicy['ask']
  /** Besides each upstream alone, and all of them. */
  readonly profiles?: readonly ProfileSettings[]
}

/** Everything for alice and her colleagues, reading for sales, and no deleting for anybody. */
export const RULES: readonly Rule[] = [
  { id: 'engineering', effect: 'allow', groups: ['engineering'] },
  { id: 'sales', effect: 'allow', groups: ['sales'], tools: ['read_*', 'connect_account'] },
  { id: 'nobody-deletes', effect: 'deny', tools: ['delete_*'] },
]

/** Runs a test over two nodes, on the databases that `LANYARD_TEST_STORE` says. */
export function eachMcpCluster(name: string, run: (cluster: Cluster) => Promise<void>, options: ClusterOptions = {}): void {
  eachDatabase(name, (handles) => within(handles, run, options))
}

interface Shared {
  readonly world: World
  readonly upstreams: readonly Upstream[]
  readonly allowedOrigins: readonly string[]
  readonly external: Pick<ClusterOptions, 'external'>
  readonly profiles: readonly ProfileSettings[]
  readonly secrets: Sealer
  readonly state: StateSealer
  readonly client: Outbound
  readonly bugs: Readonly<Record<string, unknown>>[]
  readonly refusals: string[]
  readonly feeds: RunningFeed[]
  readonly closers: (() => Promise<void>)[]
}

async function within(handles: Handles, run: (cluster: Cluster) => Promise<void>, options: ClusterOptions): Promise<void> {
  const fixtures = await Promise.all([mcpUpstream(), mcpUpstream(), mcpUpstream()])
  const shared = prepare(fixtures, options, (await options.more?.()) ?? [])
  try {
    const cluster = await makeCluster(handles, fixtures, shared)
    await run(cluster)
    assert.deepEqual(cluster.bugs, [], 'a request ended in a fault of the gateway')
  } finally {
    for (const close of shared.closers) await close()
    for (const feed of shared.feeds) feed.close()
    await shared.client.close()
    await Promise.all(fixtures.map((fixture) => fixture.close()))
  }
}

type Fixtures = readonly [McpUpstream, McpUpstream, McpUpstream]

function prepare([notes, tickets, weather]: Fixtures, options: ClusterOptions, more: readonly Upstream[]): Shared {
  const key = { id: 'k1', key: randomBytes(32) }
  const upstream = (id: string, { url }: McpUpstream, connector: Upstream['connector']): Upstream => ({ id, name: `The ${id}`, url, connector, readOnlyTools: [], timeoutMs: 5000, ...options.upstreams })
  const person = (id: string, groups: readonly string[]): [string, User] => [id, { id, provider: 'corp', issuer: 'https://idp.example', subject: id, groups, disabled: false }]
  return {
    world: {
      now: Date.now(),
      users: new Map([person('usr_alice', ['engineering']), person('usr_anna', ['engineering']), person('usr_bob', ['sales']), person('usr_dana', [])]),
      policy: policy(options.rules ?? RULES),
      approval: { required: false, holdChanged: false },
      applications: new Map(),
      fresh: true,
      accounts: new Map(),
      renew: () => undefined,
      stepUp: () => undefined,
      beforeRecord: () => Promise.resolve(),
      beforeUser: () => Promise.resolve(),
    },
    upstreams: [
      upstream('notes', notes, { type: 'none' }),
      upstream('tickets', tickets, { type: 'oauth' }),
      upstream('weather', weather, { type: 'api-key', header: 'X-Api-Key', value: API_KEY }),
      ...more,
    ],
    allowedOrigins: options.allowedOrigins ?? [],
    external: options.external === undefined ? {} : { external: options.external },
    profiles: options.profiles ?? [],
    secrets: sealer([key]),
    state: stateSealer([key]),
    client: outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: false }),
    bugs: [],
    refusals: [],
    feeds: [],
    closers: [],
  }
}

async function makeCluster(handles: Handles, [notes, tickets, weather]: Fixtures, shared: Shared): Promise<Cluster> {
  const start = async (): Promise<readonly [Node, Node]> => [await makeNode(shared, handles[0]), await makeNode(shared, handles[1])]
  const nodes = await start()
  const issuer = tokenIssuer({ issuer: ISSUER, keys: nodes[0].keys, lifetimes: { accessToken: 900, refreshToken: 900, grant: 1e9 }, now: () => shared.world.now })
  return Object.assign(shared.world, {
    nodes,
    db: handles[0],
    notes,
    tickets,
    weather,
    bugs: shared.bugs,
    state: shared.state,
    refusals: shared.refusals,
    token(options: Partial<TokenOptions> = {}) {
      const { userId = 'usr_alice', clientId = 'app', profile = 'notes', scope = ['mcp.read', 'mcp.write'], grantId = newId('grt'), lifetime = 1e9, jkt } = options
      const authorization = { id: grantId, userId, clientId, resource: (options.resource ?? resourceOf(profile)) as Resource, scope }
      return issuer.accessToken({ authorization, scope, grantedAt: Math.floor(shared.world.now / 1000) + lifetime - 1e9, ...(jkt === undefined ? {} : { jkt }) }).token
    },
    sign: (claims: Record<string, unknown>, typ = 'at+jwt') => nodes[0].keys.sign(claims, typ),
    async revoke({ kind, key }: Pick<Change, 'kind' | 'key'>) {
      await handles[0].transaction((tx) =>
        recordChange(tx, { kind, key, at: shared.world.now }, (change) => {
          for (const feed of shared.feeds) feed.deliver(change)
        }),
      )
    },
    async events(action?: AuditAction) {
      const rows = await handles[0].query<{ event: string; action: string }>('SELECT event, action FROM audit ORDER BY seq')
      return rows.filter((row) => action === undefined || row.action === action).map((row) => JSON.parse(row.event) as AuditEvent)
    },
    async restart() {
      for (const close of shared.closers.splice(0)) await close()
      for (const feed of shared.feeds.splice(0)) feed.close()
      return start()
    },
  })
}

function resourceOf(profile: string): Resource {
  const value = canonicalResource(`${ISSUER}/mcp/${profile}`)
  if (value === undefined) throw new Error('no resource')
  return value
}

/** Of whatever token was made, the grant is there: what ends one is told by the feed. */
async function liveGrant(id: string): Promise<GrantRecord> {
  return { authorization: { id, userId: 'usr_alice', clientId: 'app', resource: resourceOf('notes'), scope: [] }, createdAt: 0 }
}

async function makeNode(shared: Shared, db: Database): Promise<Node> {
  const { world } = shared
  const now = (): number => world.now
  const feed = await changeFeed(db, Date.now)
  shared.feeds.push(feed)
  const plain = auditLog(db, () => undefined, now)
  const record: Recorder['record'] = (...events) => world.beforeRecord().then(() => plain.record(...events))
  const audit: Recorder = {
    record,
    begin: (...events) => {
      const written = record(...events)
      written.catch(() => undefined)
      return () => written
    },
  }
  const known = await cutoffs(db, feed, { maxTokenLifetimeMs: 900_000, now })
  const live = {
    get fresh() {
      return world.fresh
    },
    isCut: (token: Parameters<typeof known.isCut>[0]) => known.isCut(token),
  }
  const keys = await keyRing({ store: keyStore({ db, audit: plain, changed: async () => undefined }), sealer: shared.secrets, algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: 1000, now })
  const users = { find: async (id: string) => world.beforeUser().then(() => world.users.get(id)) }
  const approvals = testApprovals({ parts: { db, audit: plain, changed: (tx, change) => recordChange(tx, change, (own) => feed.deliver(own)) }, feed, now, settings: world.approval, find: (id) => world.applications.get(id) })
  const own = accessTokenVerifier({ issuer: ISSUER, keys, cutoffs: live, users, store: { findGrant: liveGrant }, approvals, now })
  const people = identityStore({ db, audit: plain, changed: (tx, change) => recordChange(tx, change, (made) => shared.feeds.forEach((each) => each.deliver(made))) })
  const plane = gateway({
    issuer: ISSUER,
    hosts: [],
    allowedOrigins: shared.allowedOrigins,
    ...(shared.external.external === undefined ? {} : { external: { ask: shared.external.external } }),
    clientAddress: clientAddress([]),
    profiles: profiles(ISSUER, shared.upstreams, shared.profiles),
    connector: connectorsOf(shared),
    connections: { connectUrl: (userId, upstream) => `${ISSUER}/connections/${upstream.id}?for=${userId}` },
    verifier: world.accept === undefined ? own : acceptingVerifier(own, { ...world.accept, cutoffs: live, approvals, presented: presentedTokens({ providers: identityProviders(world.accept.providers, { outbound: shared.client, now }), people: recognition({ store: people, now }) }) }),
    proof: { required: false, check: proofCheck({ store: proofStore({ db }), state: shared.state, requireNonce: false, now }) },
    approvals,
    policy: { decide: (input) => world.policy.decide(input), mayReach: (input) => world.policy.mayReach(input), restriction: (input) => world.policy.restriction(input), asksAnnotations: (upstream) => world.policy.asksAnnotations(upstream) },
    cutoffs: live,
    feed,
    pins: pinStore({ db, audit: plain, changed: (tx, change) => recordChange(tx, change, (own) => feed.deliver(own)) }),
    lateSessionStore: lateSessionStore({ db }),
    taskStore: taskStore({ db }),
    bridgeStore: bridgeStore({ db, audit: plain, changed: (tx, change) => recordChange(tx, change, (own) => feed.deliver(own)) }),
    state: shared.state,
    apis: apiCatalogue({ outbound: shared.client, now }),
    streams: shared.client.streams,
    audit,
    flood: rateLimit({ limit: REFUSED_PER_MINUTE, windowMs: 60_000, now }),
    log: (line) => shared.bugs.push(line),
    now,
  })
  const app = router(plane.routes, { issuer: ISSUER, hosts: [], clientAddress: () => '192.0.2.1', log: (line) => shared.bugs.push(line) })
  const server = await listen({ listen: '127.0.0.1:0', fetch: (request, env) => app.fetch(request, env), mcp: (request, response) => plane.handle(request, response) })
  shared.closers.push(async () => {
    plane.close()
    await server.close(0)
  })
  return { address: server.address, plane, keys, feed, send: (sent) => send(server.address, sent), open: (sent) => open(server.address, sent), begin: (sent) => begin(server.address, sent) }
}

/** The real connectors where they need nothing; accounts of the people's own as the test says. */
function connectorsOf({ world, refusals }: Shared): (upstream: Upstream) => Connector {
  const none = noneConnector()
  const perUser: Connector = {
    perUser: true,
    connect: async () => Promise.reject(new Error('the test connects accounts itself')),
    async credential(userId): Promise<Credential> {
      const token = world.accounts.get(userId)
      return token === undefined ? 'connection_required' : { headers: { authorization: `Bearer ${token}` }, version: token, ...(world.possession && { possession: world.possession }) }
    },
    stepUp: async (_userId, _upstream, lacking) => world.stepUp(lacking),
    async refused(userId, _upstream, version) {
      refusals.push(version)
      if (world.accounts.get(userId) !== version) return
      const next = world.renew(userId, version)
      if (next === undefined) world.accounts.delete(userId)
      else world.accounts.set(userId, next)
    },
  }
  return ({ connector }) => {
    if (connector.type === 'none') return none
    return connector.type === 'api-key' ? apiKeyConnector(connector) : perUser
  }
}

function start(address: string, { method = 'POST', path = '/mcp/notes', headers = {}, body }: Sent): ClientRequest {
  const given = Object.fromEntries(Object.entries({ host: 'lanyard.example', ...headers }).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]))
  const { hostname, port } = new URL(address)
  // The path as it is: a URL would have its dots removed.
  const request = httpRequest({ hostname, port, path, method, headers: given, agent: false })
  request.end(body)
  return request
}

function begin(address: string, sent: Sent): () => void {
  const request = start(address, sent).on('error', () => undefined)
  return () => void request.destroy()
}

async function open(address: string, sent: Sent): Promise<Stream> {
  const request = start(address, sent)
  const message = await new Promise<IncomingMessage>((resolve, reject) => request.once('response', resolve).once('error', reject))
  request.on('error', () => undefined)
  const chunks: Buffer[] = []
  const text = (): string => Buffer.concat(chunks).toString('utf8')
  let wake = (): void => undefined
  message.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    wake()
  })
  message.on('error', () => undefined)
  const ended = new Promise<'whole' | 'cut'>((resolve) => {
    message.once('close', () => {
      wake()
      resolve(message.complete ? 'whole' : 'cut')
    })
  })
  return {
    status: message.statusCode ?? 0,
    headers: message.headers,
    message,
    text,
    async until(seen) {
      while (!seen(text()) && !message.closed) await new Promise<void>((resolve) => (wake = resolve))
      return text()
    },
    ended,
    leave: () => void request.destroy(),
  }
}

async function send(address: string, sent: Sent): Promise<Answer> {
  const stream = await open(address, sent)
  const end = await stream.ended
  if (end === 'cut') throw new Error(`the answer was cut off after ${stream.status} ${stream.text().slice(0, 200)}`)
  const text = stream.text()
  const events = stream.headers['content-type']?.startsWith('text/event-stream') === true ? [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data ?? '') as Record<string, unknown>) : []
  return { status: stream.status, headers: stream.headers, text, body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {}, events }
}

type Params = Readonly<Record<string, unknown>>

/** A request of the revision 2026-07-28, whole; `more` changes its headers, and undefined removes one. */
export function modern(token: string, method: string, params: Params = {}, more: Readonly<Record<string, string | undefined>> = {}, id: unknown = 1): Sent {
  const { _meta, ...rest } = params
  const meta = { 'io.modelcontextprotocol/protocolVersion': MODERN, 'io.modelcontextprotocol/clientCapabilities': {}, ...(_meta as object) }
  const name = method === 'resources/read' ? rest['uri'] : method === 'tools/call' || method === 'prompts/get' ? rest['name'] : undefined
  return {
    headers: given({ ...common(token), 'mcp-protocol-version': MODERN, 'mcp-method': method, 'mcp-name': typeof name === 'string' ? name : undefined, ...more }),
    body: JSON.stringify({ jsonrpc: '2.0', id, method, params: { ...rest, _meta: meta } }),
  }
}

export function call(token: string, name: string, args: Params = {}, more: Readonly<Record<string, string | undefined>> = {}, id: unknown = 1): Sent {
  return modern(token, 'tools/call', { name, arguments: args }, more, id)
}

/** A request of the revision 2025-11-25. */
export function legacy(token: string, method: string, params: Params | undefined, session?: string, more: Readonly<Record<string, string | undefined>> = {}, id: unknown = 1): Sent {
  return {
    headers: given({ ...common(token), ...(method === 'initialize' ? {} : { 'mcp-protocol-version': LEGACY }), 'mcp-session-id': session, ...more }),
    body: JSON.stringify({ jsonrpc: '2.0', id, method, params }),
  }
}

/** A notification of the revision 2025-11-25. */
export function notify(token: string, method: string, params: Params = {}, session?: string): Sent {
  return { ...legacy(token, method, params, session), body: JSON.stringify({ jsonrpc: '2.0', method, params }) }
}

export function initialize(token: string, capabilities: Params = {}, more: Readonly<Record<string, string | undefined>> = {}): Sent {
  return legacy(token, 'initialize', { protocolVersion: LEGACY, capabilities, clientInfo: { name: 'test', version: '1' } }, undefined, more)
}

export function at(profile: string, sent: Sent): Sent {
  return { ...sent, path: `/mcp/${profile}` }
}

function common(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
}

function given(headers: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

/** The names of the tools in a list. */
export function toolNames(message: Readonly<Record<string, unknown>> | undefined): unknown[] {
  const { tools } = resultOf(message)
  return Array.isArray(tools) ? tools.map((tool: { readonly name: unknown }) => tool.name) : []
}

export function resultOf(message: Readonly<Record<string, unknown>> | undefined): Readonly<Record<string, unknown>> {
  return (message?.['result'] ?? {}) as Readonly<Record<string, unknown>>
}

export function errorOf(message: Readonly<Record<string, unknown>>): { code?: number; message?: string; data?: Record<string, unknown> } {
  return message['error'] ?? {}
}
