// Owns the wiring: every room's factory is called here once, with what it needs, and all routes meet in one table. It
// does nothing by itself and decides nothing.
import { adminRoutes } from './admin/admin.ts'
import { pinEndpoints } from './admin/pins.ts'
import { policyRoom } from './admin/policy.ts'
import { administration, withAdministration } from './admin/administration.ts'
import { applicationEndpoints } from './admin/applications.ts'
import { approvalEndpoints } from './admin/approvals.ts'
import type { Endpoint } from './admin/endpoint.ts'
import { profileEndpoints } from './admin/profiles.ts'
import { approvals } from './approval/approvals.ts'
import { decisions } from './approval/decisions.ts'
import { authorizeRoutes } from './authorize/endpoint.ts'
import { elevation } from './authorize/step-up-link.ts'
import { stepUpRoutes } from './authorize/step-up-page.ts'
import { homeRoutes } from './authorize/home.ts'
import { ASSERTION_ALGORITHMS } from './clients/assertion.ts'
import { clientAuthentication } from './clients/authentication.ts'
import { metadataDocuments } from './clients/metadata-document.ts'
import { CLIENT_AUTH_METHODS } from './clients/metadata.ts'
import { registrationRoutes } from './clients/registration.ts'
import { clients } from './clients/registry.ts'
import { remoteKeys } from './clients/remote-keys.ts'
import { softwareStatements } from './clients/software-statement.ts'
import type { Config } from './config/load.ts'
import { acrValues, approvalSettings, emailSettings, externalPolicySettings, introspectors, preRegisteredClients, profileSettings, providerSettings, scopeEntries, statementSettings, tokenLifetimes, upstreamSettings } from './config/settings.ts'
import { decisionPointRoutes } from './gateway/decision-point.ts'
import { gateway } from './gateway/gateway.ts'
import type { ApiCatalogue } from './gateway/openapi/catalogue.ts'
import { clientAddress, proxyCheck } from './http/address.ts'
import { assetRoutes } from './http/assets.ts'
import { failed, inBackground } from './http/background.ts'
import { cookies } from './http/cookies.ts'
import { healthRoutes } from './http/health.ts'
import type { Outbound } from './http/outbound.ts'
import { rateLimit, type RateLimit } from './http/rate-limit.ts'
import type { Route } from './http/route.ts'
import { router, type RouterSettings } from './http/router.ts'
import type { ServerOptions } from './http/server.ts'
import { flows } from './identity/flow.ts'
import { knownUsers } from './identity/known-users.ts'
import { login } from './identity/login.ts'
import { identityProviders } from './identity/providers/index.ts'
import { recheck } from './identity/recheck.ts'
import { scopeMapping } from './identity/scope-mapping.ts'
import { sessions } from './identity/sessions.ts'
import type { Sealer, StateSealer } from './keys/seal.ts'
import type { KeyRing } from './keys/signing.ts'
import { emailTarget } from './notices/email.ts'
import type { Notices } from './notices/notice.ts'
import { outbox } from './notices/outbox.ts'
import { webhookTarget } from './notices/webhook.ts'
import { externalPolicy } from './policy/external.ts'
import type { LivePolicy } from './policy/live-policy.ts'
import { approvalStore } from './store/applications.ts'
import { authorizeStore } from './store/authorize.ts'
import { callRecords } from './store/call-records.ts'
import { clientStore } from './store/clients.ts'
import { connectionStore } from './store/connections.ts'
import { outboxStore } from './store/notices.ts'
import type { Store } from './store/open.ts'
import { bridgeStore } from './store/bridge.ts'
import { pinStore } from './store/pins.ts'
import { profileStore } from './store/profiles.ts'
import { unready } from './store/readiness.ts'
import { ruleStore } from './store/rules.ts'
import { tokenStore } from './store/tokens.ts'
import { identityStore } from './store/users.ts'
import { stepUpStore } from './store/step-ups.ts'
import { tokens, type Tokens } from './token/routes.ts'
import { connectionRoutes, connections } from './upstreams/connection-routes.ts'
import { connectors } from './upstreams/connectors/index.ts'
import { oauthConnector } from './upstreams/connectors/oauth/connector.ts'
import { profileEditing } from './upstreams/profile-edit.ts'
import { profiles } from './upstreams/profiles.ts'
import { protectedServers, withProtectedServers } from './upstreams/protected-servers.ts'
import { revoker } from './upstreams/revoker.ts'
import type { LiveProfiles } from './upstreams/stored-profiles.ts'
import { vault } from './vault/credential.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
/** One address may stand for a whole company: what guards against floods is this many times what one client may do. */
const FLOOD_FACTOR = 100
/** Registrations that nobody used for this long, and that hold no grant, are forgotten. */
const UNUSED_CLIENT_MS = 90 * DAY_MS
/** A registration costs its maker nothing: one that led to no sign-in must not stay. */
const NEVER_USED_CLIENT_MS = 7 * DAY_MS
/** What nobody decided for this long is asked again, if anybody still wants it. */
const FORGOTTEN_REQUEST_MS = 30 * DAY_MS
const DECIDED_REQUEST_MS = 90 * DAY_MS

export interface AppDeps {
  readonly config: Config
  readonly store: Store
  readonly keys: KeyRing
  readonly sealer: Sealer
  readonly state: StateSealer
  readonly outbound: Outbound
  readonly storedProfiles: LiveProfiles
  /** The tools that HTTP APIs' documents make. */
  readonly apis?: ApiCatalogue
  readonly policy: LivePolicy
  readonly log: RouterSettings['log']
  readonly now: () => number
}

export interface App extends Pick<ServerOptions, 'fetch' | 'mcp'> {
  /** The route table: everything that is answered besides the MCP endpoints. */
  readonly routes: readonly Route[]
  /** Forgets what is over and rotates what is due: to be called every few minutes, on any node. */
  maintain(): Promise<void>
  /** Revokes at their providers the credentials of ended connections: to be called more often. */
  revokeDue(): Promise<void>
  /** Sends notices that are due: to be called more often still. */
  sendNotices(): Promise<void>
  /** Ends the open streams of the MCP endpoints. */
  close(): void
}

export function app(deps: AppDeps): App {
  const ground = groundFloor(deps)
  const applications = clientRoom(ground)
  const people = identityRoom(ground)
  const accounts = upstreamRoom(ground, people)
  const token = tokenRoom(ground, applications, people)
  const plane = dataPlane(ground, applications, accounts, token)
  const routes = [
    ...healthRoutes({ unready: () => unready(deps.store) }),
    ...assetRoutes(),
    ...people.login.routes,
    ...authorizeRoom(ground, applications, people, accounts),
    ...token.routes,
    ...registrationRoom(ground, token),
    ...accounts.routes,
    ...plane.routes,
    ...decisionPoint(ground, applications),
    ...adminRoom(ground, people, token, [...profileEndpoints({ ...ground, stored: ground.storedProfiles }), ...ruleRoom(ground, applications)]),
  ]
  const { issuer, hosts } = deps.config
  const hono = router(routes, { issuer, hosts, clientAddress: ground.address, log: deps.log })
  deps.store.feed.subscribe((change) => {
    // A reload that fails is made up for by the next maintenance; a revoked key is refused by its cutoff meanwhile.
    if (change.kind === 'signing-keys') inBackground(deps, 'reload of the signing keys', () => deps.keys.reload())
  })
  return {
    routes,
    fetch: (request, env) => hono.fetch(request, env),
    mcp: (request, response) => plane.handle(request, response),
    maintain: () => maintain(ground, token),
    revokeDue: accounts.revokeDue,
    sendNotices: () => applications.notices.sendDue(),
    close: () => plane.close(),
  }
}

type Ground = ReturnType<typeof groundFloor>

/** What most rooms stand on. */
function groundFloor(deps: AppDeps) {
  const { config, store, now } = deps
  const upstreams = upstreamSettings(config)
  const external = externalPolicySettings(config)
  const administrators = administration(config.issuer, config.admins?.groups ?? [])
  const declared = profileSettings(config)
  const served = profiles(config.issuer, upstreams, declared, deps.storedProfiles)
  const servers = protectedServers(config.issuer, served, config.forwardAuth)
  const perMinute = (limit: number): RateLimit => rateLimit({ limit, windowMs: MINUTE_MS, now })
  return {
    ...deps,
    issuer: config.issuer,
    audit: store.audit,
    upstreams,
    administrators,
    external: external === undefined ? {} : { external: externalPolicy(external, { outbound: deps.outbound, now }) },
    profiles: withAdministration(withProtectedServers(served, servers), administrators),
    servers,
    isProxy: proxyCheck(config.trustedProxies),
    address: clientAddress(config.trustedProxies),
    cookies: cookies(config.issuer),
    clientStore: clientStore(store),
    approvalStore: approvalStore(store),
    identityStore: identityStore(store),
    connectionStore: connectionStore(store),
    authorizeStore: authorizeStore(store),
    tokenStore: tokenStore(store),
    declared,
    editing: profileEditing({ issuer: config.issuer, store: profileStore(store), live: deps.storedProfiles, upstreams, declared, policy: deps.policy, now }),
    limits: {
      requests: perMinute(config.limits.tokenRequestsPerMinute),
      floods: perMinute(config.limits.tokenRequestsPerMinute * FLOOD_FACTOR),
      authorizations: perMinute(config.limits.tokenRequestsPerMinute * FLOOD_FACTOR),
      refusedTokens: perMinute(config.limits.tokenRequestsPerMinute * FLOOD_FACTOR),
      registrations: rateLimit({ limit: config.limits.registrationsPerHour * FLOOD_FACTOR, windowMs: HOUR_MS, now }),
    },
  }
}

type Applications = ReturnType<typeof clientRoom>

function clientRoom(ground: Ground) {
  const { config, issuer, store, clientStore, outbound, audit, now } = ground
  const registry = clients({
    preRegistered: preRegisteredClients(config),
    ...(config.registration.clientIdMetadataDocuments ? { documents: metadataDocuments({ outbound, audit, fetched: (client) => judging.seen(client), now }) } : {}),
    statementIssuers: statementSettings(config).issuers.map(({ issuer }) => issuer),
    store: clientStore,
    feed: store.feed,
    now,
  })
  const authentication = clientAuthentication({ issuer, tokenEndpoint: `${issuer}/token`, clients: registry, store: clientStore, outbound, audit, now })
  const letters = noticeRoom(ground)
  const judging = approvals({
    settings: approvalSettings(config),
    applications: registry,
    store: ground.approvalStore,
    notices: letters,
    noticeDue: () => inBackground(ground, 'sending of notices', () => letters.sendDue()),
    feed: store.feed,
    now,
  })
  return { clients: registry, authentication, approvals: judging, notices: letters }
}

function noticeRoom({ config, issuer, store, outbound, now }: Ground): Notices {
  const email = emailSettings(config)
  const targets = [...config.notices.webhooks.map((webhook) => webhookTarget(webhook, outbound)), ...(email === undefined ? [] : [emailTarget(email)])]
  return outbox({ gateway: issuer, targets, store: outboxStore(store), now })
}

function registrationRoom({ config, issuer, clientStore, outbound, limits, audit, now }: Ground, { grantTypes }: Tokens): readonly Route[] {
  if (!config.registration.dynamic) return []
  const { registrationsPerHour } = config.limits
  const statements = softwareStatements(statementSettings(config), remoteKeys(outbound, now), now)
  return registrationRoutes({ issuer, store: clientStore, audit, grantTypes, statements, registrationsPerHour, flood: limits.registrations, now })
}

type People = ReturnType<typeof identityRoom>

function identityRoom({ config, issuer, identityStore: store, store: { feed }, cookies, sealer, state, outbound, limits, audit, now }: Ground) {
  const { idleHours, absoluteHours, recheckMinutes } = config.sessions
  const providers = identityProviders(providerSettings(config), { outbound, now })
  const browserFlows = flows(cookies)
  const browserSessions = sessions({ cookies, store, providers, idleMs: idleHours * HOUR_MS, now })
  return {
    flows: browserFlows,
    sessions: browserSessions,
    login: login({ issuer, providers, store, sealer, state, flows: browserFlows, sessions: browserSessions, cookies, audit, sessionMs: absoluteHours * HOUR_MS, flood: limits.authorizations, now }),
    recheck: recheck({ providers, store, sealer, audit, feed, everyMs: recheckMinutes * MINUTE_MS, now }),
  }
}

type Accounts = ReturnType<typeof upstreamRoom>

function upstreamRoom(ground: Ground, { sessions, login }: People) {
  const { issuer, upstreams, connectionStore: store, sealer, state, outbound, audit, policy: rules, now } = ground
  const safe = vault(sealer)
  const oauth = oauthConnector({ issuer, outbound, sealer, vault: safe, store, audit, feed: ground.store.feed, now })
  const connector = connectors(oauth)
  const revokeDue = revoker({ store, upstreams, oauth, now })
  const deps = {
    issuer,
    upstreams,
    connector,
    store,
    vault: safe,
    sealer,
    state,
    sessions,
    signIn: login,
    audit,
    mayConnect: (user: { readonly id: string; readonly groups: readonly string[] }, upstream: { readonly id: string }) =>
      rules.mayConnect({ subject: user.id, groups: user.groups, upstream: upstream.id }),
    revocationDue: () => inBackground(ground, 'revocation at a provider', revokeDue),
    now,
  }
  return { connector, connections: connections(deps), routes: connectionRoutes(deps), revokeDue }
}

function tokenRoom(ground: Ground, { authentication, approvals: judging }: Applications, { recheck }: People): Tokens {
  const { config, issuer, tokenStore: store, keys, sealer, identityStore, policy: rules, limits, audit, now } = ground
  return tokens({
    issuer,
    store,
    keys,
    sealer,
    authentication,
    users: knownUsers((userId) => identityStore.findUser(userId), ground.store.feed),
    stepUps: stepUpStore(ground.store),
    scopes: scopeMapping(scopeEntries(ground.config)),
    recheck,
    approvals: judging,
    cutoffs: ground.store.cutoffs,
    policy: rules,
    profiles: ground.profiles,
    recorder: audit,
    lifetimes: tokenLifetimes(config),
    limits,
    mayIntrospect: introspectors(config),
    metadata: { authMethods: CLIENT_AUTH_METHODS, assertionAlgorithms: ASSERTION_ALGORITHMS, acrValues: acrValues(config), registration: config.registration },
    now,
  })
}

function authorizeRoom(ground: Ground, applications: Applications, people: People, accounts: Accounts): readonly Route[] {
  const deps = {
    issuer: ground.issuer,
    clients: applications.clients,
    approvals: applications.approvals,
    profiles: ground.profiles,
    sessions: people.sessions,
    signIn: people.login,
    policy: ground.policy,
    connections: accounts.connections,
    stored: ground.storedProfiles,
    editing: ground.editing,
    store: ground.authorizeStore,
    audit: ground.audit,
    flows: people.flows,
    flood: ground.limits.authorizations,
    grantSeconds: tokenLifetimes(ground.config).grant,
    now: ground.now,
    stepUps: stepUpStore(ground.store),
    scopes: scopeMapping(scopeEntries(ground.config)),
  }
  return [...homeRoutes(deps), ...authorizeRoutes(deps), ...stepUpRoutes({ ...deps, state: ground.state })]
}

function dataPlane(ground: Ground, { approvals: judging, notices }: Applications, { connector, connections }: Accounts, { verifier }: Tokens): ReturnType<typeof gateway> {
  const { config, issuer, store, state, outbound, limits, audit, log, now } = ground
  return gateway({
    issuer,
    hosts: config.hosts,
    allowedOrigins: config.allowedOrigins,
    clientAddress: ground.address,
    protectedServers: ground.servers,
    elevation: elevation({ issuer, state, stepUps: stepUpStore(store), grants: ground.tokenStore, now }),
    isProxy: ground.isProxy,
    proxyKey: config.forwardAuthKey,
    profiles: ground.profiles,
    connector,
    connections,
    verifier,
    policy: ground.policy,
    ...ground.external,
    cutoffs: store.cutoffs,
    feed: store.feed,
    pins: pinStore(store),
    bridgeStore: bridgeStore(store),
    notices,
    state,
    ...(ground.apis === undefined ? {} : { apis: ground.apis }),
    streams: outbound.streams,
    audit,
    flood: limits.refusedTokens,
    log,
    approvals: judging,
    now,
  })
}

function decisionPoint({ config, issuer, policy, upstreams, identityStore, store, limits, audit, now }: Ground, { clients: applications, authentication }: Applications): readonly Route[] {
  return decisionPointRoutes({ issuer, authentication, mayAsk: introspectors(config), policy, findUser: (id) => identityStore.findUser(id), applications, upstreams, cutoffs: store.cutoffs, audit, flood: limits.floods, now })
}

function ruleRoom({ store, policy, upstreams, identityStore, now }: Ground, { clients: applications }: Applications): readonly Endpoint[] {
  return policyRoom({ policy, upstreams, applications, store: ruleStore(store), records: callRecords(store), findUser: (id) => identityStore.findUser(id), now })
}

function adminRoom({ issuer, administrators, approvalStore: decided, store, audit, limits, now }: Ground, { sessions }: People, { verifier }: Tokens, endpoints: readonly Endpoint[]): readonly Route[] {
  const approving = { store: decided, decisions: decisions(decided, now) }
  return adminRoutes({ issuer, administration: administrators, sessions, verifier, cutoffs: store.cutoffs, audit, flood: limits.refusedTokens }, [...endpoints, ...pinEndpoints({ pins: pinStore(store), now }), ...approvalEndpoints(approving), ...applicationEndpoints(approving)])
}

async function maintain({ approvalStore, policy, keys, clientStore, identityStore, authorizeStore, connectionStore, storedProfiles: stored, store, log, now }: Ground, token: Tokens): Promise<void> {
  const at = now()
  const tasks = {
    // Read again, as a reload may have failed.
    'signing keys': () => keys.maintain().then(() => keys.reload()),
    tokens: () => token.maintain(),
    profiles: () => stored.reload(),
    rules: () => policy.reload(),
    approvals: () => approvalStore.reap({ pending: at - FORGOTTEN_REQUEST_MS, decided: at - DECIDED_REQUEST_MS }),
    clients: () => clientStore.reap({ used: at - UNUSED_CLIENT_MS, never: at - NEVER_USED_CLIENT_MS }, at),
    sessions: () => identityStore.reap(at),
    authorizations: () => authorizeStore.reap(at),
    connections: () => connectionStore.reap(at),
    bridges: () => bridgeStore(store).reap(at),
  }
  // One that fails keeps none of the others from being done.
  for (const [task, run] of Object.entries(tasks)) await run().catch((error: unknown) => failed(log, `maintenance of ${task}`, error))
}
