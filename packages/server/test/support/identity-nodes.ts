// Two nodes on which people sign in, over one database: the real router, login routes, store and outbound client. One
// page, `/whoami`, stands for everything that needs a signed-in person.
import { randomBytes } from 'node:crypto'
import type { Change, Cutoffs } from '../../src/audit/change.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { cookies } from '../../src/http/cookies.ts'
import { csrfToken } from '../../src/http/csrf.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import type { RateLimit } from '../../src/http/rate-limit.ts'
import { router } from '../../src/http/router.ts'
import type { Route } from '../../src/http/route.ts'
import { flows } from '../../src/identity/flow.ts'
import type { IdentityStore } from '../../src/identity/identity-store.ts'
import { login } from '../../src/identity/login.ts'
import { identityProviders, type ProviderSettings } from '../../src/identity/providers/index.ts'
import type { OidcSettings } from '../../src/identity/providers/oidc.ts'
import { providerTokens, type ProviderTokens } from '../../src/identity/provider-tokens.ts'
import { recheck } from '../../src/identity/recheck.ts'
import { sessions } from '../../src/identity/sessions.ts'
import type { Recheck, SignInOptions } from '../../src/identity/sign-in.ts'
import { sealer, stateSealer, type Sealer, type StateSealer } from '../../src/keys/seal.ts'
import { newId } from '../../src/oauth/secret.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { changeFeed, cutoffs, recordChange, type RunningFeed } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import { identityStore } from '../../src/store/users.ts'
import { eachDatabase, type Handles } from './databases.ts'
import { browser, type Browser } from './browser.ts'
import { CLIENT_SECRET, openIdProvider, type OpenIdProvider } from './openid-provider.ts'

export const ISSUER = 'https://lanyard.example'
export const SESSION_MS = 12 * 3600_000
export const IDLE_MS = 3600_000
export const CHECK_MS = 300_000

export interface IdentityNode {
  readonly store: IdentityStore
  readonly recheck: Recheck
  readonly providerTokens: ProviderTokens
  readonly cutoffs: Cutoffs
  request(path: string, init?: Omit<RequestInit, 'headers'> & { readonly headers?: Readonly<Record<string, string>> }): Promise<Response>
  /** A browser that reaches this node under the issuer's name, and everything else by the network. */
  browser(): Browser
}

/** What the test may change while the nodes run. */
export interface IdentityWorld {
  /** Milliseconds that the nodes' clock is ahead of the system's. */
  ahead: number
  /** What `/whoami` asks of a sign-in. */
  options: Partial<SignInOptions>
  flood: RateLimit
}

export interface IdentityCluster extends IdentityWorld {
  readonly db: Database
  readonly idp: OpenIdProvider
  /** A second provider, with the identifier `other`. */
  readonly other: OpenIdProvider
  readonly now: () => number
  readonly sealer: Sealer
  readonly nodes: readonly [IdentityNode, IdentityNode]
  /** Nodes that start anew over the same database, with these providers. */
  start(settings: readonly ProviderSettings[], overrides?: NodeOverrides): Promise<IdentityNode>
  events(action?: string): Promise<AuditEvent[]>
  rows(table: 'users' | 'sessions' | 'logins'): Promise<Record<string, unknown>[]>
}

export interface NodeOverrides {
  /** Milliseconds that the provider may take to answer. */
  readonly deadlineMs?: number
}

export function settingsOf(idp: { readonly issuer: string }, more: Partial<OidcSettings> = {}): ProviderSettings<'oidc'> {
  return {
    type: 'oidc',
    id: 'corp',
    name: 'Corp',
    issuer: idp.issuer,
    clientId: 'lanyard',
    clientSecret: CLIENT_SECRET,
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    groupsClaim: 'groups',
    offlineAccess: 'scope',
    ...more,
  }
}

/** Runs a test over two nodes, on the databases that `LANYARD_TEST_STORE` says. */
export function eachIdentity(name: string, run: (cluster: IdentityCluster) => Promise<void>): void {
  eachDatabase(name, (handles) => within(handles, run))
}

interface Ground {
  readonly world: IdentityWorld
  readonly now: () => number
  readonly sealer: Sealer
  readonly state: StateSealer
  readonly feeds: RunningFeed[]
  readonly clients: Outbound[]
}

async function within(handles: Handles, run: (cluster: IdentityCluster) => Promise<void>): Promise<void> {
  const world: IdentityWorld = { ahead: 0, options: {}, flood: () => ({ allowed: true, retryAfter: 0 }) }
  const now = (): number => Date.now() + world.ahead
  const keys = [{ id: 'k1', key: randomBytes(32) }]
  const ground: Ground = { world, now, sealer: sealer(keys), state: stateSealer(keys), feeds: [], clients: [] }
  const [idp, other] = await Promise.all([openIdProvider(now), openIdProvider(now)])
  try {
    const settings = [settingsOf(idp)]
    const cluster: IdentityCluster = Object.assign(world, {
      db: handles[0],
      idp,
      other,
      now,
      sealer: ground.sealer,
      nodes: [await makeNode(ground, handles[0], settings), await makeNode(ground, handles[1], settings)] as const,
      start: (given: readonly ProviderSettings[], overrides: NodeOverrides = {}) => makeNode(ground, handles[0], given, overrides),
      async events(action?: string) {
        const rows = await handles[0].query<{ event: string; action: string }>('SELECT event, action FROM audit ORDER BY seq')
        return rows.filter((row) => action === undefined || row.action === action).map((row) => JSON.parse(row.event) as AuditEvent)
      },
      rows: (table: string) => handles[0].query<Record<string, unknown>>(`SELECT * FROM ${table}`),
    })
    await run(cluster)
  } finally {
    for (const feed of ground.feeds) feed.close()
    await Promise.all([...ground.clients.map((client) => client.close()), idp.close(), other.close()])
  }
}

async function makeNode(ground: Ground, db: Database, settings: readonly ProviderSettings[], { deadlineMs }: NodeOverrides = {}): Promise<IdentityNode> {
  const { now } = ground
  const feed = await changeFeed(db, Date.now)
  ground.feeds.push(feed)
  const audit = auditLog(db, () => undefined, now)
  const store = identityStore({ db, audit, changed: (tx, change: Change) => recordChange(tx, change, (made) => feed.deliver(made)) })
  const client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
  ground.clients.push(client)
  const providers = identityProviders(settings, { outbound: deadlineMs === undefined ? client : impatient(client, deadlineMs), now })
  const jar = cookies(ISSUER)
  const current = sessions({ cookies: jar, store, providers, idleMs: IDLE_MS, now })
  const deps = { issuer: ISSUER, providers, store, sealer: ground.sealer, state: ground.state, flows: flows(jar), sessions: current, cookies: jar, audit, sessionMs: SESSION_MS, flood: (key: string) => ground.world.flood(key), now }
  const signIn = login(deps)
  const whoami: Route = {
    method: 'GET',
    path: '/whoami',
    access: 'session',
    errors: 'page',
    async respond(request, context) {
      const signedIn = await current.current(request)
      if (signedIn === undefined) return signIn.start(request, { returnTo: '/whoami', startAgainAt: '/whoami', reference: context.reference, ...ground.world.options })
      const { user, session, secret } = signedIn
      return Response.json({ user, session, csrf: csrfToken(secret, 'logout') })
    },
  }
  const app = router([...signIn.routes, whoami], { issuer: ISSUER, hosts: [], clientAddress: () => '192.0.2.1', log: (line) => console.error(line) })
  const request: IdentityNode['request'] = async (path, { headers, ...init } = {}) => app.request(new URL(path, ISSUER).href, { ...init, headers: { host: new URL(ISSUER).host, ...headers } })
  return {
    store,
    providerTokens: providerTokens({ providers, store, sealer: ground.sealer, feed, now }),
    recheck: recheck({ providers, store, sealer: ground.sealer, audit, feed, everyMs: CHECK_MS, now }),
    cutoffs: await cutoffs(db, feed, { maxTokenLifetimeMs: 900_000, now }),
    request,
    browser: () => browser({ fetch: (url, init) => (url.startsWith(`${ISSUER}/`) ? request(url, init as Parameters<typeof request>[1]) : fetch(url, init)) }),
  }
}

/** The same client with less patience, so that a slow provider need not be waited for. */
function impatient(client: Outbound, deadlineMs: number): Outbound {
  return { ...client, fetch: (provenance) => (url, init) => client.fetch(provenance)(url, { ...init, signal: AbortSignal.timeout(deadlineMs) }) }
}

/** A grant of a person, as consent leaves it. */
export async function addGrant(db: Database, userId: string, now: number): Promise<string> {
  const id = newId('grt')
  const seconds = Math.floor(now / 1000)
  await db.query('INSERT INTO grants (id, user_id, client_id, resource, scope, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $6)', [id, userId, 'app', `${ISSUER}/mcp/x`, 'mcp.read', seconds])
  return id
}

/** Signs in from nothing. @returns what `/whoami` says then. */
export async function whoami(visitor: Browser, path = '/whoami'): Promise<{ user: { id: string; issuer: string; subject: string; groups: string[]; email?: string; name?: string }; session: { id: string; authTime?: number; acr?: string }; csrf: string }> {
  const page = await visitor.open(`${ISSUER}${path}`)
  if (page.status !== 200) throw new Error(`not signed in: ${page.status} ${page.text}`)
  return JSON.parse(page.text)
}

/** The reference that an error page shows. */
export function referenceOf(text: string): string {
  return /<code>([0-9A-Z]{4}-[0-9A-Z]{4})<\/code>/.exec(text)?.[1] ?? 'none'
}
