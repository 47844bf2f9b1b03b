// The rooms that a person walks through, wired as the product wires them: authorization endpoint, sign-in, connections,
// own page, over a real store. Clients, rules, the identity provider's answers and the clock are what the test says.
import { createHash, randomBytes } from 'node:crypto'
import type { ApprovalSettings } from '../../src/approval/approval.ts'
import type { Approvals } from '../../src/approval/approvals.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { deviceAuthorizationEndpoint } from '../../src/authorize/device-authorization.ts'
import { devicePageRoutes, type UserCodeLimits } from '../../src/authorize/device-page.ts'
import type { DeviceRules } from '../../src/authorize/device.ts'
import { authorizeRoutes } from '../../src/authorize/endpoint.ts'
import { pushEndpoint } from '../../src/authorize/par.ts'
import { homeRoutes } from '../../src/authorize/home.ts'
import { stepUpRoutes } from '../../src/authorize/step-up-page.ts'
import type { Client, ClientAuthentication } from '../../src/clients/client.ts'
import { assetRoutes } from '../../src/http/assets.ts'
import { cookies } from '../../src/http/cookies.ts'
import { rateLimit, type RateLimit } from '../../src/http/rate-limit.ts'
import type { Route } from '../../src/http/route.ts'
import { router } from '../../src/http/router.ts'
import { listen } from '../../src/http/server.ts'
import { flows } from '../../src/identity/flow.ts'
import { login } from '../../src/identity/login.ts'
import type { IdentityProvider, LoginOptions } from '../../src/identity/providers/provider.ts'
import { EVERY_SCOPE, type ScopeMapping } from '../../src/identity/scope-mapping.ts'
import { sessions } from '../../src/identity/sessions.ts'
import type { Identity, User } from '../../src/identity/user.ts'
import { sealer, stateSealer, type Sealer, type StateSealer } from '../../src/keys/seal.ts'
import type { NoticeContent } from '../../src/notices/notice.ts'
import { OAuthError } from '../../src/oauth/error.ts'
import { hash, newSecret } from '../../src/oauth/secret.ts'
import { canonicalResource, type Resource } from '../../src/oauth/resource.ts'
import { policy, type Policy, type Rule } from '../../src/policy/policy.ts'
import { authorizeStore } from '../../src/store/authorize.ts'
import { connectionStore } from '../../src/store/connections.ts'
import { deviceStore } from '../../src/store/devices.ts'
import { pushedRequestStore } from '../../src/store/pushed-requests.ts'
import { profileStore } from '../../src/store/profiles.ts'
import { proofStore } from '../../src/store/proofs.ts'
import { stepUpStore } from '../../src/store/step-ups.ts'
import { identityStore } from '../../src/store/users.ts'
import { proofCheck } from '../../src/token/dpop.ts'
import { provenKey } from '../../src/token/possession.ts'
import type { ConnectionStart, Connector } from '../../src/upstreams/connectors/connector.ts'
import type { Connectors } from '../../src/upstreams/connectors/index.ts'
import { connectionRoutes, connections } from '../../src/upstreams/connection-routes.ts'
import type { ConnectionStore } from '../../src/upstreams/connection-store.ts'
import { profileEditing } from '../../src/upstreams/profile-edit.ts'
import type { ProfileSettings } from '../../src/upstreams/profiles.ts'
import { storedProfiles, type LiveProfiles } from '../../src/upstreams/stored-profiles.ts'
import type { Profile, Profiles, Upstream } from '../../src/upstreams/upstream.ts'
import { vault, type Vault } from '../../src/vault/credential.ts'
import { userCodeLimits } from '../../src/wiring/devices.ts'
import { OPEN, testApprovals } from './approvals.ts'
import { browser, type Browser, type Page } from './browser.ts'
import { eachStore, type TestStore } from './store.ts'

export const PROVIDER = 'https://idp.example'
export const CALLBACK = 'https://app.example/cb'
export const SESSION_MS = 12 * 3600_000
const DAY_SECONDS = 86_400

/** What the test may change while the house stands. */
export interface World {
  /** Milliseconds since the epoch. */
  now: number
  readonly clients: Map<string, Client>
  rules: Policy
  flood: RateLimit
  devices: DeviceRules
  entries: UserCodeLimits
  requirePushed: boolean
  /** Where requests come from. */
  address: string
  /** Who the identity provider says is there, and how. */
  person: Partial<Identity> & { readonly subject: string }
  /** Who may hold which scopes. */
  scopes: ScopeMapping
  /** Seals what browsers carry. */
  readonly state: StateSealer
  /** What the gateway asked the identity provider for, sign-in by sign-in. */
  readonly asked: LoginOptions[]
  /** What was started at upstream providers. */
  readonly connecting: ConnectionStart[]
  upstreams: Upstream[]
  /** Whether applications must be approved; what administrators are told. */
  approval: ApprovalSettings
  readonly told: NoticeContent[]
  /** Profiles besides each upstream alone and `engineering`, which is all of them. */
  readonly profiles: Profile[]
  /** What goes wrong at an upstream's provider: before the browser goes there, or when it is back. */
  readonly broken: Map<string, { readonly at: 'connect' | 'finish'; readonly error: Error }>
}

export interface House extends World {
  readonly issuer: string
  /** Where it listens, which is the issuer unless the test named another one. */
  readonly listening: string
  readonly store: TestStore
  /** A browser of its own; it stops at addresses that are not the gateway's. */
  browser(): Browser
  /** Opens an address and signs in wherever the identity provider is reached. */
  open(person: Browser, url: string): Promise<Page>
  /** Opens a request of a client, see `request`. */
  ask(person: Browser, changes?: Changes): Promise<Page>
  request(changes?: Changes): string
  /** Sends one request with this browser's cookies and follows nothing. */
  send(person: Browser | undefined, path: string, init?: { readonly form?: Readonly<Record<string, string>>; readonly headers?: Readonly<Record<string, string>> }): Promise<Response>
  resource(profile: string): Resource
  events(action?: AuditEvent['action']): readonly AuditEvent[]
  rows<Row extends object>(table: Table): Promise<Row[]>
  close(): Promise<void>
}

export type Table = 'applications' | 'application_decisions' | 'approval_requests' | 'notices' | 'authorization_requests' | 'codes' | 'grants' | 'consents' | 'connections' | 'connection_attempts' | 'device_codes' | 'pushed_requests' | 'profiles' | 'sessions' | 'step_ups' | 'audit'
/** Parameters of an authorization request; undefined leaves one out, a list repeats it. */
export type Changes = Readonly<Record<string, string | readonly string[] | undefined>>

/** What a house with real providers has instead of the test's own. */
export interface Furniture {
  readonly issuer: string
  readonly sealer: Sealer
  readonly vault: Vault
  readonly connections: ConnectionStore
  readonly now: () => number
}

export interface HouseOptions {
  readonly providers?: (furniture: Furniture) => Promise<readonly IdentityProvider[]>
  readonly connectors?: (furniture: Furniture) => Connectors
  readonly upstreams?: (furniture: Furniture) => readonly Upstream[]
  /** The public origin when it is not where the house listens; then requests must name it as their host. */
  readonly issuer?: string
}

export const VERIFIER = 'v'.repeat(43)
export const CHALLENGE = createHash('sha256').update(VERIFIER).digest('base64url')

export function client(id: string, more: Partial<Client> = {}): Client {
  return {
    id,
    kind: 'dynamic',
    name: 'Editor',
    redirectUris: [CALLBACK, 'http://127.0.0.1/callback', 'editor://callback'],
    grantTypes: ['authorization_code', 'refresh_token'],
    tokenEndpointAuthMethods: ['none'],
    secretHashes: [],
    digest: 'digest-1',
    ...more,
  }
}

export const EVERYTHING: Rule = { id: 'everything', effect: 'allow' }

export async function openHouse(store: TestStore, options: HouseOptions = {}): Promise<House> {
  let answer: (request: Request, env: object) => Response | Promise<Response> = () => new Response(null, { status: 503 })
  const server = await listen({ listen: '127.0.0.1:0', fetch: (request, env) => answer(request, env), mcp: async (_request, response) => void response.end() })
  const issuer = options.issuer ?? server.address
  const world: World = {
    now: Date.now(),
    clients: new Map([client('editor'), client('other', { name: 'Other' })].map((each) => [each.id, each])),
    rules: policy([EVERYTHING]),
    flood: rateLimit({ limit: 100_000, windowMs: 60_000, now: Date.now }),
    devices: { allow: ['pre-registered', 'verified', 'unverified'], freshSignIn: true },
    entries: userCodeLimits(() => world.now),
    requirePushed: false,
    address: '192.0.2.1',
    person: { subject: 'alice' },
    scopes: EVERY_SCOPE,
    state: stateSealer([{ id: 'k1', key: randomBytes(32) }]),
    asked: [],
    connecting: [],
    approval: OPEN,
    told: [],
    upstreams: [upstream('notes', 'none'), upstream('tickets', 'oauth')],
    profiles: [],
    broken: new Map(),
  }
  const routes = await wire(issuer, world, store, options)
  const log = (line: object): void => console.error(line)
  answer = router(routes, { issuer, hosts: [], clientAddress: () => world.address, log }).fetch
  return Object.assign(tools(issuer, server.address, world, store), { close: () => server.close(0) })
}

/** Runs a test in a house of its own, on the stores that `LANYARD_TEST_STORE` says. */
export function eachHouse(name: string, run: (house: House) => Promise<void>, options: HouseOptions = {}): void {
  eachStore(name, async (store) => {
    const house = await openHouse(store, options)
    try {
      await run(house)
    } finally {
      await house.close()
    }
  })
}

export function upstream(id: string, type: 'none' | 'oauth', more: Partial<Upstream> = {}): Upstream {
  const name = `${id.charAt(0).toUpperCase()}${id.slice(1)}`
  return { id, name, url: `https://${id}.example/mcp`, connector: { type }, readOnlyTools: [], timeoutMs: 1000, ...more }
}

async function wire(issuer: string, world: World, store: TestStore, options: HouseOptions): Promise<readonly Route[]> {
  const now = (): number => world.now
  const keys = [{ id: 'k1', key: randomBytes(32) }]
  const secrets = sealer(keys)
  const identity = identityStore(store)
  const connectionRows = connectionStore(store)
  const jar = cookies(issuer)
  const providers = new Map<string, IdentityProvider>()
  const common = { issuer, now, audit: store.audit, sealer: secrets, state: world.state, flows: flows(jar), sessions: sessions({ cookies: jar, store: identity, providers, idleMs: SESSION_MS, now }) }
  const furniture: Furniture = { issuer, sealer: secrets, vault: vault(secrets), connections: connectionRows, now }
  world.upstreams = [...(options.upstreams?.(furniture) ?? world.upstreams)]
  for (const provider of (await options.providers?.(furniture)) ?? [askedProvider(world)]) providers.set(provider.id, provider)
  const signIn = login({ ...common, providers, store: identity, cookies: jar, sessionMs: SESSION_MS, flood: () => ({ allowed: true, retryAfter: 0 }) })
  const connecting = {
    ...common,
    signIn,
    upstreams: world.upstreams,
    connector: options.connectors?.(furniture) ?? askedConnectors(world, furniture),
    store: connectionRows,
    vault: furniture.vault,
    mayConnect: (user: { readonly id: string; readonly groups: readonly string[] }, to: Upstream) => world.rules.mayConnect({ subject: user.id, groups: user.groups, upstream: to.id }),
    revocationDue: () => undefined,
  }
  const rows = profileStore(store)
  // The store of a test tells nobody of changes; whoever makes one waits until it is known.
  const stored = await storedProfiles(rows, { subscribe: () => undefined })
  const mayConnect = (input: Parameters<Policy['mayConnect']>[0]): boolean => world.rules.mayConnect(input)
  const editing = profileEditing({ issuer, store: rows, live: stored, upstreams: world.upstreams, declared: [{ id: 'engineering', name: 'Engineering', upstreams: [] }], policy: { mayConnect }, now })
  const shared = {
    ...common,
    signIn,
    clients: { find: (id: string) => findClient(world, id) },
    profiles: profilesOf(issuer, world, stored),
    stored,
    editing,
    policy: {
      mayReach: (input: Parameters<Policy['mayReach']>[0]) => world.rules.mayReach(input),
      mayConnect,
    },
    connections: connections(connecting),
    approvals: houseApprovals(world, store),
    store: authorizeStore(store),
    stepUps: stepUpStore(store),
    scopes: { mayHold: (user: Pick<User, 'groups' | 'roles'>, scope: string) => world.scopes.mayHold(user, scope), narrow: (user: Pick<User, 'groups' | 'roles'>, scope: readonly string[]) => world.scopes.narrow(user, scope) },
    grantSeconds: 90 * DAY_SECONDS,
    flood: (key: string) => world.flood(key),
    ...deviceSteps(world, store),
    pushed: pushedRequestStore(store),
    get requirePushed() {
      return world.requirePushed
    },
  }
  return [...assetRoutes(), pushEndpoint({ ...shared, authentication: authentication(world), provenKey: (each, proof) => provenKey({ check: proofCheck({ store: proofStore(store), state: world.state, requireNonce: false, now }), required: false }, each, proof, `${issuer}/par`) }), ...deviceRoutes(world, store, shared), ...authorizeRoutes(shared), ...stepUpRoutes(shared), ...homeRoutes(shared), ...signIn.routes, ...connectionRoutes(connecting)]
}

function deviceSteps(world: World, store: TestStore) {
  const rules: DeviceRules = {
    get allow() {
      return world.devices.allow
    },
    get freshSignIn() {
      return world.devices.freshSignIn
    },
  }
  return { devices: { rules, store: deviceStore(store), state: world.state } }
}

type DeviceDeps = Omit<Parameters<typeof devicePageRoutes>[0] & Parameters<typeof deviceAuthorizationEndpoint>[0], 'rules' | 'devices' | 'entries' | 'authentication' | 'requests'>

/** Clients authenticate by their secret, or say who they are. */
function deviceRoutes(world: World, store: TestStore, shared: DeviceDeps): readonly Route[] {
  const { devices } = deviceSteps(world, store)
  const entries: UserCodeLimits = { person: (key) => world.entries.person(key), network: (key) => world.entries.network(key), everybody: (key) => world.entries.everybody(key), recorded: (key) => world.entries.recorded(key) }
  const deps = { ...shared, rules: devices.rules, devices: devices.store, entries }
  return [...devicePageRoutes(deps), deviceAuthorizationEndpoint({ ...deps, authentication: authentication(world), requests: shared.flood })]
}

function authentication(world: World): ClientAuthentication {
  return {
    async authenticate({ params }) {
      const found = await findClient(world, params.get('client_id') ?? '')
      if (found.tokenEndpointAuthMethods.includes('none') || found.secretHashes.includes(hash(params.get('client_secret') ?? ''))) return found
      throw new OAuthError('invalid_client', 'the client could not be authenticated')
    },
  }
}

/** Its settings may change while the house stands. */
function houseApprovals(world: World, store: TestStore): Pick<Approvals, 'standingOf' | 'ask' | 'used'> {
  const made = (): Approvals => testApprovals({ parts: store, feed: { subscribe: () => undefined, fresh: false }, now: () => world.now, settings: world.approval, find: (id) => world.clients.get(id), told: world.told })
  return { standingOf: (each) => made().standingOf(each), ask: (each) => made().ask(each), used: (each) => made().used(each) }
}

async function findClient(world: World, id: string): Promise<Client> {
  const found = world.clients.get(id)
  if (found === undefined) throw new OAuthError('invalid_client', 'the client is not known here; register it again', { reason: 'there is no such registration' })
  return found
}

/** Each upstream alone, one profile of them all, those of the test, and those that are stored. */
function profilesOf(issuer: string, world: World, stored: LiveProfiles): Profiles {
  const all = (): readonly Profile[] => [
    ...world.upstreams.map((each): Profile => ({ id: each.id, name: each.name, upstreams: [each], resource: resourceOf(issuer, each.id) })),
    { id: 'engineering', name: 'Engineering', upstreams: world.upstreams, resource: resourceOf(issuer, 'engineering') },
    ...world.profiles,
    ...[...stored.published()].map(made),
  ]
  const made = (settings: ProfileSettings): Profile => ({ ...settings, upstreams: world.upstreams.filter(({ id }) => settings.upstreams.includes(id)), resource: resourceOf(issuer, settings.id) })
  const byId = (id: string): Profile | undefined => {
    const own = stored.find(id)
    return all().find((profile) => profile.id === id) ?? (own === undefined ? undefined : made(own))
  }
  return { all, byId, byResource: (resource) => byId(resource.startsWith(`${issuer}/mcp/`) ? resource.slice(`${issuer}/mcp/`.length) : ''), httpById: () => undefined }
}

function resourceOf(issuer: string, id: string): Resource {
  const resource = canonicalResource(`${issuer}/mcp/${id}`)
  if (resource === undefined) throw new Error(`${id} makes no resource`)
  return resource
}

/** An identity provider that says what the test says: the room around it, from state to session, is real. */
function askedProvider(world: World): IdentityProvider {
  return {
    id: 'corp',
    name: 'Corp',
    async authorizationUrl(secrets, options) {
      world.asked.push(options)
      return new URL(`${PROVIDER}/authorize?${new URLSearchParams({ state: secrets.state, redirect_uri: options.redirectUri }).toString()}`)
    },
    async finish(_callback, _secrets, options) {
      const { subject, ...more } = world.person
      const asked = options.maxAge !== undefined || options.prompt === 'login' ? { authTime: Math.floor(world.now / 1000) } : {}
      return { provider: 'corp', issuer: PROVIDER, subject, name: subject, email: `${subject}@corp.example`, groups: ['staff'], tokens: { idToken: 'id-token' }, ...asked, ...more }
    },
  }
}

/** Upstream accounts that are connected as soon as the browser comes back. */
function askedConnectors(world: World, { vault: sealed, sealer: secrets, connections: rows, issuer, now }: Furniture): Connectors {
  const fail = ({ id }: Upstream, at: 'connect' | 'finish'): void => {
    const broken = world.broken.get(id)
    if (broken?.at === at) throw broken.error
  }
  const open: Connector = { perUser: false, credential: async () => ({ headers: {}, version: '0' }), refused: async () => undefined }
  const oauth: Connector = {
    ...open,
    perUser: true,
    asks: async (to) => [`${to.id}:read`, `${to.id}:write`],
    async connect(start) {
      fail(start.upstream, 'connect')
      world.connecting.push(start)
      const state = newSecret('lyd_st')
      await rows.addAttempt({ ...start, upstream: start.upstream.id, stateHash: hash(state), secrets: secrets.seal('{}', ['connection_attempts', hash(state), 'secrets']), expiresAt: now() + 600_000 })
      return new URL(`https://${start.upstream.id}.example/authorize?${new URLSearchParams({ state, redirect_uri: `${issuer}/connections/${start.upstream.id}/callback` }).toString()}`)
    },
    async finish(_callback, { userId, upstream: to }) {
      fail(to, 'finish')
      const credential = sealed.seal(userId, to.id, { accessToken: 'token', issuer: `https://${to.id}.example`, clientId: 'lanyard' })
      await rows.connect({ userId, upstream: to.id }, credential, now(), { action: 'connection.created', outcome: 'success', subject: userId, upstream: to.id })
      return []
    },
  }
  return (to) => (to.connector.type === 'oauth' ? oauth : open)
}

function tools(issuer: string, address: string, world: World, store: TestStore): Omit<House, 'close'> {
  const isOurs = (url: string): boolean => url === issuer || url.startsWith(`${issuer}/`)
  const made = (): Browser => browser({ stop: (url) => !isOurs(url) })
  const request = (changes: Changes = {}): string => {
    const url = new URL('/authorize', issuer)
    for (const [name, value] of Object.entries({ ...basics(issuer), ...changes })) for (const each of [value ?? []].flat()) url.searchParams.append(name, each)
    return url.href
  }
  const open = async (person: Browser, url: string): Promise<Page> => {
    let page = await person.open(url)
    while (page.url.startsWith(PROVIDER)) page = await person.open(callbackOf(page.url, 'code'))
    return page
  }
  const send: House['send'] = (person, path, { form, headers } = {}) => {
    const sent = [...(person?.cookies(new URL(issuer).hostname) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
    const posted = form === undefined ? {} : { method: 'POST', body: new URLSearchParams(form).toString() }
    const type = form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }
    return fetch(new URL(path, address), { ...posted, redirect: 'manual', headers: { ...(sent === '' ? {} : { cookie: sent }), ...type, ...headers } })
  }
  return Object.assign(world, {
    issuer,
    listening: address,
    store,
    browser: made,
    open,
    request,
    send,
    ask: (person: Browser, changes: Changes = {}) => open(person, request(changes)),
    resource: (id: string) => resourceOf(issuer, id),
    events: (action?: AuditEvent['action']) => store.events.filter((event) => action === undefined || event.action === action),
    rows: <Row extends object>(table: Table) => store.db.query<Row>(`SELECT * FROM ${table}`),
  })
}

function basics(issuer: string): Changes {
  return {
    response_type: 'code',
    client_id: 'editor',
    redirect_uri: CALLBACK,
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
    resource: `${issuer}/mcp/notes`,
    scope: 'mcp.read',
    state: 'client-state',
  }
}

/** What a provider's answer to this address is, when everything went well there. */
export function callbackOf(url: string, code: string): string {
  const asked = new URL(url).searchParams
  return `${asked.get('redirect_uri') ?? ''}?${new URLSearchParams({ state: asked.get('state') ?? '', code }).toString()}`
}

/** The answer that a page at the client's address carries. */
export function answerOf(page: Pick<Page, 'url'>): Readonly<Record<string, string>> {
  return Object.fromEntries(new URL(page.url).searchParams)
}

/** Presses a button of a page. @throws when there is none */
export async function press(person: Browser, page: Page, name: string, value?: string): Promise<Page> {
  const form = page.forms.find((each) => each.buttons.some(([label, given]) => label === name && (value === undefined || given === value)))
  if (form === undefined) throw new Error(`no button ${name} on ${page.url} (${page.status}):\n${page.text}`)
  const button = form.buttons.find(([label, given]) => label === name && (value === undefined || given === value))
  return person.submit(page, form, { [name]: button?.[1] ?? '' })
}
