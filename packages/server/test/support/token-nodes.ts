// Two nodes that issue tokens over one database, with real keys, sealing and store; clients, people and policy are
// what the test says.
import { createHash, randomBytes } from 'node:crypto'
import type { Change, Cutoffs } from '../../src/audit/change.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import type { Client } from '../../src/clients/client.ts'
import { outbound } from '../../src/http/outbound.ts'
import { rateLimit, type RateLimit } from '../../src/http/rate-limit.ts'
import { router } from '../../src/http/router.ts'
import { NO_MACHINES, type Machines } from '../../src/identity/machines.ts'
import { presentedTokens } from '../../src/identity/presented.ts'
import { identityProviders, type ProviderSettings } from '../../src/identity/providers/index.ts'
import { recognition } from '../../src/identity/recognize.ts'
import { EVERY_SCOPE, type ScopeMapping } from '../../src/identity/scope-mapping.ts'
import type { User } from '../../src/identity/user.ts'
import { sealer, stateSealer, type Sealer, type StateSealer } from '../../src/keys/seal.ts'
import { keyRing, type KeyRing } from '../../src/keys/signing.ts'
import { OAuthError } from '../../src/oauth/error.ts'
import { canonicalResource, type Resource } from '../../src/oauth/resource.ts'
import { hash, newId, newSecret } from '../../src/oauth/secret.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { changeFeed, cutoffs, recordChange, type RunningFeed } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import { deviceStore } from '../../src/store/devices.ts'
import { keyStore } from '../../src/store/keys.ts'
import { proofStore } from '../../src/store/proofs.ts'
import { stepUpStore } from '../../src/store/step-ups.ts'
import { tokenStore } from '../../src/store/tokens.ts'
import { identityStore } from '../../src/store/users.ts'
import { idJagMint } from '../../src/token/assertions/mint.ts'
import { proofCheck } from '../../src/token/dpop.ts'
import { idJagIssuer, type IdJagAudience } from '../../src/token/exchange/id-jag.ts'
import type { ExchangeRule } from '../../src/token/exchange/rules.ts'
import { tokens, type Tokens } from '../../src/token/routes.ts'
import type { TokenStore } from '../../src/token/token-store.ts'
import { testApprovals } from './approvals.ts'
import { eachDatabase, type Handles } from './databases.ts'
import { assertionWorld, testAssertions, type AssertionWorld } from './id-jag.ts'

export const ISSUER = 'https://lanyard.example'
export const RESOURCE = resource('engineering')
export const SCOPE = ['mcp.read', 'mcp.write']
export const LIFETIMES = { accessToken: 900, refreshToken: 30 * 86_400, grant: 90 * 86_400 }

export function resource(profile: string): Resource {
  const value = canonicalResource(`${ISSUER}/mcp/${profile}`)
  if (value === undefined) throw new Error('no resource')
  return value
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Record<string, unknown>
}

export interface Node {
  readonly tokens: Tokens
  readonly store: TokenStore
  readonly cutoffs: Cutoffs
  readonly keys: KeyRing
  post(path: string, form: Readonly<Record<string, string>> | string, headers?: Readonly<Record<string, string>>): Promise<Answer>
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Answer>
}

/** What the test may change while the nodes run. */
export interface World {
  /** Milliseconds since the epoch. */
  now: number
  readonly clients: Map<string, Client>
  readonly users: Map<string, User>
  readonly ended: Set<string>
  machines: Machines
  readonly assertions: AssertionWorld
  scopes: ScopeMapping
  reachable: boolean
  fresh: boolean
  requireNonce: boolean
  limits: { requests: RateLimit; floods: RateLimit }
  readonly introspectors: Map<string, readonly string[]>
  /** Read when the nodes start. */
  exchange: readonly ExchangeRule[]
  /** The authorization servers elsewhere that ID-JAGs are issued for. */
  audiences: readonly IdJagAudience[]
  providers: readonly ProviderSettings[]
  /** Runs before a rotation or consumption is written: to hold a request there. */
  beforeWrite: () => Promise<void>
}

export interface Cluster extends World {
  readonly db: Database
  readonly nodes: readonly [Node, Node]
  /** Two nodes that start anew over the same database and keys: nothing of the old ones' memory is left. */
  restart(): Promise<readonly [Node, Node]>
  /** All recorded events, as the database has them. */
  events(action?: string): Promise<AuditEvent[]>
  readonly changes: Change[]
  /** Ends, on all nodes, what was issued before. */
  cut(kind: Change['kind'], key: string): Promise<void>
  approve(options?: Partial<Approval>): Promise<Approved>
  /** Approves and redeems the code. */
  signIn(options?: Partial<Approval>): Promise<SignedIn>
  refresh(token: unknown, more?: Readonly<Record<string, string>>, node?: Node): Promise<Answer>
}

export interface Approval {
  readonly clientId: string
  readonly userId: string
  readonly resource: Resource
  readonly scope: readonly string[]
  readonly authTime: number
  readonly acr: string
  readonly amr: readonly string[]
}

export interface Approved {
  readonly grantId: string
  readonly code: string
  readonly form: Readonly<Record<string, string>>
}

export interface SignedIn extends Approved {
  readonly accessToken: string
  readonly refreshToken: string
}

export function client(id: string, more: Partial<Client> = {}): Client {
  return {
    id,
    kind: 'dynamic',
    name: id,
    redirectUris: ['http://127.0.0.1/callback'],
    grantTypes: ['authorization_code', 'refresh_token'],
    tokenEndpointAuthMethods: ['none'],
    secretHashes: [],
    digest: id,
    ...more,
  }
}

/** Runs a test over two nodes, on the databases that `LANYARD_TEST_STORE` says. */
export function eachCluster(name: string, run: (cluster: Cluster) => Promise<void>, prepare: (world: World) => void = () => undefined): void {
  eachDatabase(name, (handles) => within(handles, run, prepare))
}

async function within(handles: Handles, run: (cluster: Cluster) => Promise<void>, prepare: (world: World) => void): Promise<void> {
  const feeds: RunningFeed[] = []
  try {
    await run(await makeCluster(handles, feeds, prepare))
  } finally {
    for (const feed of feeds) feed.close()
  }
}

async function makeCluster(handles: Handles, feeds: RunningFeed[], prepare: (world: World) => void): Promise<Cluster> {
  const plenty = rateLimit({ limit: 100_000, windowMs: 60_000, now: Date.now })
  const world: World = {
    now: Date.now(),
    clients: new Map(['app', 'other'].map((id) => [id, client(id)])),
    users: new Map(['usr_alice', 'usr_bob'].map((id) => [id, { id, provider: 'corp', issuer: 'https://idp.example', subject: id, groups: ['engineering'], disabled: false }])),
    ended: new Set(),
    machines: NO_MACHINES,
    assertions: assertionWorld(),
    scopes: EVERY_SCOPE,
    reachable: true,
    fresh: true,
    requireNonce: false,
    limits: { requests: plenty, floods: plenty },
    introspectors: new Map(),
    exchange: [],
    audiences: [],
    providers: [],
    beforeWrite: () => Promise.resolve(),
  }
  prepare(world)
  const changes: Change[] = []
  const keys = [{ id: 'k1', key: randomBytes(32) }]
  const secrets = { sealer: sealer(keys), state: stateSealer(keys) }
  const start = async (): Promise<readonly [Node, Node]> => [await makeNode(world, handles[0], feeds, changes, secrets), await makeNode(world, handles[1], feeds, changes, secrets)]
  const cluster: Cluster = Object.assign(world, {
    db: handles[0],
    nodes: await start(),
    changes,
    async restart() {
      for (const feed of feeds.splice(0)) feed.close()
      return start()
    },
    async events(action?: string) {
      const rows = await handles[0].query<{ event: string; action: string }>('SELECT event, action FROM audit ORDER BY seq')
      return rows.filter((row) => action === undefined || row.action === action).map((row) => JSON.parse(row.event) as AuditEvent)
    },
    cut: (kind: Change['kind'], key: string) => handles[0].transaction((tx) => recordChange(tx, { kind, key, at: world.now }, (made) => feeds.forEach((feed) => feed.deliver(made)))),
    approve: (options: Partial<Approval> = {}) => approve(handles[0], world, options),
    async signIn(options: Partial<Approval> = {}) {
      const approved = await approve(handles[0], world, options)
      const { status, body } = await cluster.nodes[0].post('/token', approved.form)
      if (status !== 200) throw new Error(`the code was refused: ${JSON.stringify(body)}`)
      return { ...approved, accessToken: String(body['access_token']), refreshToken: String(body['refresh_token']) }
    },
    refresh: (token: unknown, more: Readonly<Record<string, string>> = {}, node?: Node) =>
      (node ?? cluster.nodes[0]).post('/token', { grant_type: 'refresh_token', client_id: 'app', refresh_token: String(token), ...more }),
  })
  return cluster
}

async function makeNode(world: World, db: Database, feeds: RunningFeed[], changes: Change[], { sealer: secrets, state }: { readonly sealer: Sealer; readonly state: StateSealer }): Promise<Node> {
  const now = (): number => world.now
  const feed = await changeFeed(db, Date.now)
  feeds.push(feed)
  const parts = {
    db,
    audit: auditLog(db, () => undefined, now),
    changed: (tx: Parameters<typeof recordChange>[0], change: Change) =>
      recordChange(tx, change, (made) => {
        changes.push(made)
        for (const each of feeds) each.deliver(made)
      }),
  }
  const known = await cutoffs(db, feed, { maxTokenLifetimeMs: LIFETIMES.accessToken * 1000, now })
  const live: Cutoffs = {
    get fresh() {
      return world.fresh
    },
    isCut: (token) => known.isCut(token),
  }
  const keys = await keyRing({ store: keyStore(parts), sealer: secrets, algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: 1000, now })
  const assertionKeys = world.audiences.length === 0 ? undefined : await keyRing({ store: keyStore(parts, 'assertion'), sealer: secrets, algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: 1000, now })
  const plain = tokenStore(parts)
  const devices = deviceStore(parts)
  const store: TokenStore = {
    ...plain,
    rotate: async (change, events) => world.beforeWrite().then(() => plain.rotate(change, events)),
    consumeCode: async (change, events) => world.beforeWrite().then(() => plain.consumeCode(change, events)),
  }
  const people = identityStore(parts)
  const providers = identityProviders(world.providers, { outbound: outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true }), now })
  const made = tokens({
    issuer: ISSUER,
    store,
    keys,
    stepUps: stepUpStore(parts),
    devices: { poll: devices.poll, consumeDevice: async (change, events) => world.beforeWrite().then(() => devices.consumeDevice(change, events)) },
    sealer: secrets,
    authentication: { authenticate: async (request) => authenticate(world, request.params.get('client_id'), request.params.get('client_secret')) },
    users: { find: async (id) => world.machines.find(id) ?? world.users.get(id) ?? people.findUser(id) },
    assertions: testAssertions(world.assertions, { issuer: ISSUER, parts, store, cutoffs: live, profiles: { byResource: (value) => profile(value) }, lifetimes: LIFETIMES, approvals: testApprovals({ parts, feed, now }), mayReach: ({ upstream }) => world.reachable && upstream === 'notes', now }),
    machines: { ofClient: (id) => world.machines.ofClient(id), find: (id) => world.machines.find(id) },
    ...(assertionKeys && { otherKeys: [assertionKeys] }),
    exchangeTargets: assertionKeys === undefined ? [] : [idJagIssuer({ issuer: ISSUER, audiences: world.audiences, mint: idJagMint({ issuer: ISSUER, keys: assertionKeys, now }), recorder: parts.audit, now })],
    recheck: { recheck: async (id) => (world.ended.has(id) ? 'ended' : 'active') },
    scopes: { mayHold: (user, scope) => world.scopes.mayHold(user, scope), narrow: (user, scope) => world.scopes.narrow(user, scope) },
    approvals: testApprovals({ parts, feed, now }),
    cutoffs: live,
    policy: { mayReach: ({ upstream }) => world.reachable && upstream === 'notes' },
    profiles: { byResource: (value) => profile(value), all: () => [RESOURCE, resource('sales')].flatMap((value) => profile(value) ?? []) },
    recorder: parts.audit,
    ...(world.exchange.length === 0 ? {} : { exchange: { rules: world.exchange, presented: presentedTokens({ providers, people: recognition({ store: people, now }) }) } }),
    lifetimes: LIFETIMES,
    limits: { requests: (key) => world.limits.requests(key), floods: (key) => world.limits.floods(key) },
    proof: { check: (proof, target) => proofCheck({ store: proofStore(parts), state, requireNonce: world.requireNonce, now })(proof, target), required: false },
    mayIntrospect: (id, value) => world.introspectors.get(id)?.includes(value) ?? false,
    metadata: { authMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'], assertionAlgorithms: ['ES256'], registration: { dynamic: true, clientIdMetadataDocuments: true } },
    now,
  })
  const app = router(made.routes, { issuer: ISSUER, hosts: [], clientAddress: () => '192.0.2.1', log: (line) => console.error(line) })
  const ask = async (path: string, { headers, ...init }: Omit<RequestInit, 'headers'> & { headers?: Readonly<Record<string, string>> }): Promise<Answer> => {
    const response = await app.request(`${ISSUER}${path}`, { ...init, headers: { host: new URL(ISSUER).host, ...headers } })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {} }
  }
  return {
    tokens: made,
    store,
    cutoffs: live,
    keys,
    post: (path, form, headers = {}) =>
      ask(path, { method: 'POST', body: typeof form === 'string' ? form : new URLSearchParams(form).toString(), headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers } }),
    get: (path, headers = {}) => ask(path, { headers }),
  }
}

function authenticate(world: World, clientId: string | undefined, secret: string | undefined): Client {
  const found = world.clients.get(clientId ?? '')
  const authenticated = found?.tokenEndpointAuthMethods.includes('none') === true || (found?.secretHashes.includes(hash(secret ?? '')) ?? false)
  if (found === undefined || !authenticated) throw new OAuthError('invalid_client', 'the client could not be authenticated')
  return found
}

function profile(value: Resource) {
  const id = ['engineering', 'sales'].find((name) => resource(name) === value)
  if (id === undefined) return undefined
  const upstream = { id: 'notes', name: 'Notes', url: 'https://notes.example/mcp', connector: { type: 'none' as const }, readOnlyTools: [], timeoutMs: 1000 }
  return { id, name: id, upstreams: [upstream], resource: value }
}

async function approve(db: Database, world: World, options: Partial<Approval>): Promise<Approved> {
  const { clientId = 'app', userId = 'usr_alice', resource: at = RESOURCE, scope = SCOPE, authTime, acr, amr } = options
  const grantId = newId('grt')
  const code = newSecret('lyd_ac')
  const verifier = randomBytes(32).toString('base64url')
  const seconds = Math.floor(world.now / 1000)
  await db.query(
    'INSERT INTO grants (id, user_id, client_id, resource, scope, auth_time, acr, amr, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)',
    [grantId, userId, clientId, at, scope.join(' '), authTime ?? null, acr ?? null, amr === undefined ? null : JSON.stringify(amr), seconds],
  )
  await db.query('INSERT INTO codes (hash, grant_id, redirect_uri, code_challenge, expires_at) VALUES ($1, $2, $3, $4, $5)', [
    hash(code),
    grantId,
    'http://127.0.0.1:4711/callback',
    createHash('sha256').update(verifier).digest('base64url'),
    seconds + 60,
  ])
  const form = { grant_type: 'authorization_code', client_id: clientId, code, code_verifier: verifier, redirect_uri: 'http://127.0.0.1:4711/callback', resource: at }
  return { grantId, code, form }
}
