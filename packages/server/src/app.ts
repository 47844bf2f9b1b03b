// Owns the wiring: every room's factory is called once, here or in wiring/, with what it needs, and all routes meet in one
// table. It does nothing by itself and decides nothing.
import { profileEndpoints } from './admin/profiles.ts'
import { assetRoutes } from './http/assets.ts'
import { failed, inBackground } from './http/background.ts'
import { healthRoutes } from './http/health.ts'
import type { Route } from './http/route.ts'
import { router } from './http/router.ts'
import type { ServerOptions } from './http/server.ts'
import { bridgeStore } from './store/bridge.ts'
import { lateSessionStore } from './store/late-sessions.ts'
import { taskStore } from './store/tasks.ts'
import { deviceStore } from './store/devices.ts'
import { proofStore } from './store/proofs.ts'
import { pushedRequestStore } from './store/pushed-requests.ts'
import { unready } from './store/readiness.ts'
import type { Tokens } from './token/routes.ts'
import { upstreamRoom } from './wiring/accounts.ts'
import { ruleRoom, adminRoom } from './wiring/administration.ts'
import { clientRoom, registrationRoom } from './wiring/applications.ts'
import { authorizeRoom, tokenRoom } from './wiring/authorization-server.ts'
import { dataPlane, decisionPoint } from './wiring/data-plane.ts'
import { type AppDeps, type Ground, groundFloor } from './wiring/ground.ts'
import { identityRoom } from './wiring/people.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
/** Registrations that nobody used for this long, and that hold no grant, are forgotten. */
const UNUSED_CLIENT_MS = 90 * DAY_MS
/** A registration costs its maker nothing: one that led to no sign-in must not stay. */
const NEVER_USED_CLIENT_MS = 7 * DAY_MS
/** What nobody decided for this long is asked again, if anybody still wants it. */
const FORGOTTEN_REQUEST_MS = 30 * DAY_MS
const DECIDED_REQUEST_MS = 90 * DAY_MS

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
  const token = tokenRoom(ground, applications, people, accounts)
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
    if (change.kind === 'signing-keys') inBackground(deps, 'reload of the signing keys', async () => void (await Promise.all([deps.keys.reload(), deps.assertionKeys?.reload(), deps.federationKeys?.reload()])))
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

async function maintain({ approvalStore, policy, keys, assertionKeys, federationKeys, clientStore, identityStore, authorizeStore, connectionStore, storedProfiles: stored, store, log, now }: Ground, token: Tokens): Promise<void> {
  const at = now()
  const tasks = {
    // Read again, as a reload may have failed.
    'signing keys': () => keys.maintain().then(() => keys.reload()),
    'assertion keys': async () => assertionKeys?.maintain().then(() => assertionKeys.reload()),
    'keys for Entra ID': async () => federationKeys?.maintain().then(() => federationKeys.reload()),
    tokens: () => token.maintain(),
    proofs: () => proofStore(store).reap(at),
    profiles: () => stored.reload(),
    rules: () => policy.reload(),
    approvals: () => approvalStore.reap({ pending: at - FORGOTTEN_REQUEST_MS, decided: at - DECIDED_REQUEST_MS }),
    clients: () => clientStore.reap({ used: at - UNUSED_CLIENT_MS, never: at - NEVER_USED_CLIENT_MS }, at),
    sessions: () => identityStore.reap(at),
    authorizations: () => authorizeStore.reap(at),
    devices: () => deviceStore(store).reap(at),
    'pushed requests': () => pushedRequestStore(store).reap(at),
    connections: () => connectionStore.reap(at),
    bridges: () => bridgeStore(store).reap(at),
    'late sessions': () => lateSessionStore(store).reap(at),
    'task names': () => taskStore(store).reap(at),
  }
  // One that fails keeps none of the others from being done.
  for (const [task, run] of Object.entries(tasks)) await run().catch((error: unknown) => failed(log, `maintenance of ${task}`, error))
}
