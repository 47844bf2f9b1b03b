// Two nodes that know, register and authenticate clients over one database, with the real router, stores and token
// revocation endpoint; the web that they fetch from is what the test says.
import { randomBytes } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT, type JWK, type JWTPayload } from 'jose'
import type { Approvals } from '../../src/approval/approvals.ts'
import type { Change } from '../../src/audit/change.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { clientAuthentication } from '../../src/clients/authentication.ts'
import type { Applications, Clients } from '../../src/clients/client.ts'
import type { ClientStore } from '../../src/clients/client-store.ts'
import { metadataDocuments } from '../../src/clients/metadata-document.ts'
import { registrationRoutes } from '../../src/clients/registration.ts'
import { clients, type PreRegisteredClient } from '../../src/clients/registry.ts'
import { remoteKeys } from '../../src/clients/remote-keys.ts'
import { softwareStatements, type SoftwareStatementSettings } from '../../src/clients/software-statement.ts'
import { OutboundError, type Outbound, type OutboundRequest } from '../../src/http/outbound.ts'
import { rateLimit, type RateLimit } from '../../src/http/rate-limit.ts'
import { router } from '../../src/http/router.ts'
import { sealer } from '../../src/keys/seal.ts'
import { keyRing, type KeyRing } from '../../src/keys/signing.ts'
import type { NoticeContent } from '../../src/notices/notice.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import { clientStore } from '../../src/store/clients.ts'
import type { Database } from '../../src/store/database.ts'
import { keyStore } from '../../src/store/keys.ts'
import { tokenStore } from '../../src/store/tokens.ts'
import { revocationEndpoint } from '../../src/token/revoke.ts'
import { testApprovals } from './approvals.ts'
import { eachDatabase, type Handles } from './databases.ts'

export const ISSUER = 'https://lanyard.example'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly body: Record<string, unknown>
}

export interface ClientNode {
  readonly clients: Clients & Applications
  readonly store: ClientStore
  readonly approvals: Approvals
  ask(method: string, path: string, init?: { readonly body?: string; readonly headers?: Readonly<Record<string, string>> }): Promise<Answer>
  register(metadata: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>
  /** Whether the client is who it says: the status of a revocation of no token, which only an authenticated client gets through with. */
  prove(form: Readonly<Record<string, string>>, authorization?: string): Promise<Answer>
}

/** The web as the nodes see it: pages by address, and every request that was made. */
export interface Web {
  readonly pages: Map<string, (options: OutboundRequest) => Page | Promise<Page>>
  readonly requests: string[]
  readonly options: OutboundRequest[]
}

export interface Page {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: unknown
}

export interface ClientWorld {
  /** Milliseconds since the epoch. */
  now: number
  /** Where requests come from. */
  address: string
  flood: RateLimit
  readonly web: Web
  readonly db: Database
  readonly nodes: readonly [ClientNode, ClientNode]
  readonly changes: Change[]
  readonly approval: { required: boolean; holdChanged: boolean }
  /** What administrators are told. */
  readonly told: NoticeContent[]
  /** Tells both nodes of a change that a third one made. */
  hear(change: Change): void
  events(action?: string): Promise<AuditEvent[]>
  /** Gives the client a grant that is not revoked. */
  grant(clientId: string): Promise<void>
  count(): Promise<number>
}

export interface ClientOptions {
  readonly preRegistered?: readonly PreRegisteredClient[]
  readonly grantTypes?: readonly string[]
  readonly documents?: boolean
  readonly statements?: SoftwareStatementSettings
}

/** Runs a test over two nodes, on the databases that `LANYARD_TEST_STORE` says. */
export function eachClientWorld(name: string, run: (world: ClientWorld) => Promise<void>, options: ClientOptions = {}): void {
  eachDatabase(name, async (handles) => run(await makeWorld(handles, options)))
}

async function makeWorld([db, other]: Handles, options: ClientOptions): Promise<ClientWorld> {
  const web: Web = { pages: new Map(), requests: [], options: [] }
  const state = { now: Date.now(), address: '192.0.2.1', flood: rateLimit({ limit: 100_000, windowMs: 60_000, now: Date.now }), web, changes: [] as Change[], listeners: [], approval: { required: false, holdChanged: false }, told: [] as NoticeContent[] }
  const now = (): number => state.now
  const secrets = sealer([{ id: 'k1', key: randomBytes(32) }])
  const keys = await keyRing({ store: keyStore(parts(db, state)), sealer: secrets, algorithm: 'ES256', rotateAfterMs: 1e12, overlapMs: 1000, now })
  return Object.assign(state, {
    db,
    nodes: [makeNode(db, state, keys, options), makeNode(other, state, keys, options)] as const,
    async events(action?: string) {
      const rows = await db.query<{ event: string; action: string }>('SELECT event, action FROM audit ORDER BY seq')
      return rows.filter((row) => action === undefined || row.action === action).map((row) => JSON.parse(row.event) as AuditEvent)
    },
    async grant(clientId: string) {
      await db.query('INSERT INTO grants (id, user_id, client_id, resource, scope, created_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $6)', [
        `grt_${randomBytes(8).toString('hex')}`,
        'usr_alice',
        clientId,
        `${ISSUER}/mcp`,
        'mcp.read',
        Math.floor(state.now / 1000),
      ])
    },
    hear: (change: Change) => {
      for (const listener of state.listeners as ((change: Change) => void)[]) listener(change)
    },
    async count() {
      const [row] = await db.query<{ n: number }>('SELECT COUNT(*) AS n FROM clients')
      return Number(row?.n)
    },
  })
}

type State = Pick<ClientWorld, 'now' | 'address' | 'flood' | 'web' | 'changes' | 'approval' | 'told'> & { readonly listeners: ((change: Change) => void)[] }

function parts(db: Database, state: State) {
  const changed = (tx: Parameters<typeof recordChange>[0], change: Change): Promise<void> => recordChange(tx, change, (made) => {
      state.changes.push(made)
      for (const listener of state.listeners) listener(made)
    })
  return { db, audit: auditLog(db, () => undefined, () => state.now), changed }
}

function makeNode(db: Database, state: State, keys: KeyRing, { preRegistered = [], grantTypes, documents = true, statements = { issuers: [], unknown: 'unverified' } }: ClientOptions): ClientNode {
  const now = (): number => state.now
  const own = parts(db, state)
  const { audit } = own
  const store = clientStore(own)
  const outbound = fakeOutbound(state.web)
  const found = clients({ preRegistered, statementIssuers: statements.issuers.map(({ issuer }) => issuer), ...(documents ? { documents: metadataDocuments({ outbound, audit, fetched: (client) => approvals.seen(client), now }) } : {}), store, feed: { subscribe: (listener) => void state.listeners.push(listener), fresh: true }, now })
  const approvals = testApprovals({ parts: own, feed: { subscribe: (listener) => void state.listeners.push(listener), fresh: true }, now, settings: state.approval, applications: { of: (id) => found.of(id) }, told: state.told })
  const authentication = clientAuthentication({ issuer: ISSUER, tokenEndpoint: `${ISSUER}/token`, clients: found, store, outbound, audit, now })
  const flood: RateLimit = (key) => state.flood(key)
  const routes = [
    ...registrationRoutes({ issuer: ISSUER, store, audit, statements: softwareStatements(statements, remoteKeys(outbound, now), now), grantTypes: grantTypes ?? ['authorization_code', 'refresh_token'], registrationsPerHour: 5, flood, now }),
    revocationEndpoint({ issuer: ISSUER, authentication, store: tokenStore(own), keys, recorder: audit, limits: { requests: flood, floods: flood }, now }),
  ]
  const app = router(routes, { issuer: ISSUER, hosts: [], clientAddress: () => state.address, log: (line) => console.error(line) })
  const ask: ClientNode['ask'] = async (method, path, { body, headers } = {}) => {
    const response = await app.request(`${ISSUER}${path}`, { method, headers: { host: 'lanyard.example', ...headers }, ...(body === undefined ? {} : { body }) })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {} }
  }
  return {
    clients: found,
    store,
    approvals,
    ask,
    register: (metadata, headers = {}) =>
      ask('POST', '/register', { body: typeof metadata === 'string' ? metadata : JSON.stringify(metadata), headers: { 'content-type': 'application/json', ...headers } }),
    prove: (form, authorization) =>
      ask('POST', '/revoke', {
        body: new URLSearchParams({ token: 'lyd_rt_none', ...form }).toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...(authorization === undefined ? {} : { authorization }) },
      }),
  }
}

function fakeOutbound(web: Web): Outbound {
  return {
    async request(url, options) {
      web.requests.push(String(url))
      web.options.push(options)
      const answer = await web.pages.get(String(url))?.(options)
      if (answer === undefined) throw new OutboundError('unreachable')
      return {
        status: answer.status ?? 200,
        headers: new Headers({ 'content-type': 'application/json', ...answer.headers }),
        body: typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body),
      }
    },
    fetch: () => () => Promise.reject(new Error('not used by clients')),
    get streams(): never {
      throw new Error('not used by clients')
    },
    close: () => Promise.resolve(),
  }
}

export interface Signer {
  readonly jwk: JWK
  readonly kid: string
  /** A client assertion (RFC 7523 §3) that is right but for what the test changes. */
  sign(claims: JWTPayload, header?: Readonly<Record<string, unknown>>): Promise<string>
}

export async function signer(kid: string, alg = 'ES256'): Promise<Signer> {
  const { privateKey, publicKey } = await generateKeyPair(alg)
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, alg },
    kid,
    sign: (claims, header = {}) => new SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey),
  }
}

export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
