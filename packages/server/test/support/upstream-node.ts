// A node of the gateway with one upstream, from the pages to the data plane: connector, store, sealing and outbound client
// of the product. Who calls, and who is signed in in the browser, is one person who is there already.
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gateway } from '../../src/gateway/gateway.ts'
import { clientAddress } from '../../src/http/address.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import { router } from '../../src/http/router.ts'
import type { SignedIn } from '../../src/identity/sign-in.ts'
import { sealer, stateSealer } from '../../src/keys/seal.ts'
import { policy } from '../../src/policy/policy.ts'
import type { AuditSink } from '../../src/store/audit-log.ts'
import { connectionStore } from '../../src/store/connections.ts'
import { openStore } from '../../src/store/open.ts'
import { bridgeStore } from '../../src/store/bridge.ts'
import { lateSessionStore } from '../../src/store/late-sessions.ts'
import { taskStore } from '../../src/store/tasks.ts'
import { pinStore } from '../../src/store/pins.ts'
import { connectionRoutes, connections } from '../../src/upstreams/connection-routes.ts'
import { connectors, type ConnectorDeps } from '../../src/upstreams/connectors/index.ts'
import { oauthConnector } from '../../src/upstreams/connectors/oauth/connector.ts'
import { profiles } from '../../src/upstreams/profiles.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { vault } from '../../src/vault/credential.ts'
import { testApprovals } from './approvals.ts'
import { browser, type Browser } from './browser.ts'

/** The gateway's public name: as it is https, Lanyard is a client that hosts its metadata document. */
const ISSUER = 'https://lanyard.example'
const DAY_MS = 86_400_000

export interface UpstreamNode {
  /** The gateway's MCP endpoint of the upstream, for who brings any token. */
  readonly url: string
  readonly browser: Browser
  /** Why connections failed, from the audit trail. */
  readonly failures: string[]
  close(): Promise<void>
}

/** Where alice signed in, and what she brought from there. */
export type SignedInAt = (outbound: Outbound) => Pick<ConnectorDeps, 'providers' | 'providerTokens'>

const NOWHERE: SignedInAt = () => ({ providers: new Map(), providerTokens: { current: () => Promise.resolve(undefined), redeem: () => Promise.resolve(undefined) } })

export async function startUpstreamNode(upstream: Upstream, signedInAt: SignedInAt = NOWHERE): Promise<UpstreamNode> {
  const keys = [{ id: 'k1', key: randomBytes(32) }]
  const failures: string[] = []
  const now = Date.now
  const sink: AuditSink = (events) => {
    for (const { event: { action, reason } } of events) if (reason !== undefined) failures.push(`${action}: ${reason}`)
  }
  const store = await openStore('sqlite::memory:', { sink, now, maxTokenLifetimeMs: DAY_MS })
  // Upstreams listen on this machine, some by its name and on either family.
  const client = outbound({ allow: ['127.0.0.0/8', '::1/128'], discoveredLoopback: true })
  const shared = { issuer: ISSUER, outbound: client, sealer: sealer(keys), vault: vault(sealer(keys)), store: connectionStore(store), audit: store.audit, now }
  const connector = connectors(oauthConnector({ ...shared, feed: store.feed }), { ...shared, feed: store.feed, users: { find: () => Promise.resolve(ALICE.user) }, ...signedInAt(client) })
  const pages = {
    ...shared,
    upstreams: [upstream],
    connector,
    state: stateSealer(keys),
    sessions: { current: () => Promise.resolve(ALICE) },
    signIn: { start: () => Promise.reject(new Error('alice is signed in')) },
    mayConnect: () => true,
    revocationDue: () => undefined,
  }
  const log = (line: Readonly<Record<string, unknown>>): void => console.error(line)
  const app = router(connectionRoutes(pages), { issuer: ISSUER, hosts: [], clientAddress: () => '127.0.0.1', log })
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const own = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const plane = gateway({
    ...shared,
    hosts: [own],
    allowedOrigins: [],
    clientAddress: clientAddress([]),
    profiles: profiles(ISSUER, [upstream], []),
    connector,
    connections: connections(pages),
    proof: { required: false, check: () => Promise.reject(new Error('no token is bound here')) },
    verifier: { verify: (_token, resource) => Promise.resolve({ user: ALICE.user, clientId: 'client', grantId: 'grt_conformance', scope: ['mcp.write'], resource, issuedAt: seconds(now()), expiresAt: seconds(now() + DAY_MS), kid: 'k1', authentication: {}, standing: { application: { id: 'client', verified: false }, required: false, holdChanged: false, decisions: [] } }) },
    policy: policy([{ id: 'everything', effect: 'allow' }]),
    approvals: testApprovals({ parts: store, feed: store.feed, now }),
    cutoffs: store.cutoffs,
    feed: store.feed,
    pins: pinStore(store),
    bridgeStore: bridgeStore(store),
    lateSessionStore: lateSessionStore(store),
    taskStore: taskStore(store),
    state: pages.state,
    streams: client.streams,
    flood: () => ({ allowed: true, retryAfter: 0 }),
    log,
  })
  server.on('request', (request, response) => void plane.handle(request, response))
  return {
    url: `http://${own}/mcp/${upstream.id}`,
    // What the browser opens at the gateway's name is answered here; everything else is the network's.
    browser: browser({ fetch: async (url, init) => (url.startsWith(`${ISSUER}/`) ? app.request(url, { ...init, headers: { ...Object.fromEntries(new Headers(init.headers)), host: new URL(url).host } }) : fetch(url, init)) }),
    failures,
    async close() {
      plane.close()
      server.close()
      server.closeAllConnections()
      await client.close()
      await store.close()
    },
  }
}

const ALICE: SignedIn = {
  session: { id: 'ses_alice', userId: 'usr_alice', provider: 'corp', expiresAt: Number.MAX_SAFE_INTEGER },
  user: { id: 'usr_alice', provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups: [], disabled: false },
  secret: randomBytes(32).toString('base64url'),
}

function seconds(milliseconds: number): number {
  return Math.floor(milliseconds / 1000)
}
