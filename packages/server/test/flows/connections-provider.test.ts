// The whole way with a real authorization server at the upstream: npm oidc-provider, its sign-in page, its rules.
import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { startProvider, type RunningProvider } from '../../../demo/src/provider.ts'
import { browser, type Browser } from '../support/browser.ts'
import { eachConnectionCluster, upstream, type Cluster, type ClusterOptions, type Node } from '../support/connection-nodes.ts'

const SCOPE = 'tickets.read tickets.write'

interface Tracker extends RunningProvider {
  /** Each request as `METHOD path`, with the form's grant type or token hint where there is one. */
  readonly requests: string[]
  /** Whether it answers at all. */
  up: boolean
}

async function tracker(clients: Parameters<typeof startProvider>[0]['clients'], registration: boolean): Promise<Tracker> {
  const requests: string[] = []
  const state = { up: true }
  const provider = await startProvider({
    name: 'Tracker',
    port: 0,
    clients,
    registration,
    resource: (issuer) => ({ url: `${issuer}/mcp`, scope: SCOPE }),
    otherwise: async (request: IncomingMessage, response, issuer) => {
      const { pathname } = new URL(request.url ?? '/', issuer)
      requests.push(`${request.method} ${pathname}`)
      if (!state.up) {
        response.writeHead(503).end()
        return true
      }
      if (pathname === '/.well-known/oauth-protected-resource/mcp') {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ resource: `${issuer}/mcp`, authorization_servers: [issuer], scopes_supported: SCOPE.split(' ') }))
        return true
      }
      if (pathname !== '/mcp') return false
      response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${issuer}/.well-known/oauth-protected-resource/mcp"` })
      response.end()
      return true
    },
  })
  return Object.assign(state, provider, { requests })
}

function each(name: string, run: (cluster: Cluster, provider: Tracker) => Promise<void>, setup: { readonly registration: boolean; readonly clients: Parameters<typeof startProvider>[0]['clients'] }, options?: ClusterOptions): void {
  eachConnectionCluster(name, async (cluster) => {
    const provider = await tracker(setup.clients, setup.registration)
    cluster.upstreams = [upstream('tickets', `${provider.issuer}/mcp`)]
    try {
      await run(cluster, provider)
    } finally {
      await provider.close()
    }
  }, options)
}

const DYNAMIC = { registration: true, clients: [] }

/** From the form on Lanyard's page over the provider's own sign-in to the answer at the callback. */
async function connect(cluster: Cluster, node: Node, person = 'alice', own: Browser = browser({ stop: (url) => url.startsWith(cluster.issuer) })): Promise<{ answer: URL; url: URL; status: number }> {
  const url = await node.begin('tickets')
  const page = await own.approve(url.href, { person })
  const answer = new URL(page.url)
  assert.equal(`${answer.origin}${answer.pathname}`, `${cluster.issuer}/connections/tickets/callback`, page.text)
  return { url, answer, status: (await node.get(`${answer.pathname}${answer.search}`)).status }
}

async function payload(node: Node, cluster: Cluster): Promise<Record<string, unknown>> {
  const credential = await node.oauth.credential('usr_alice', cluster.upstreams[0]!)
  const token = credential === 'connection_required' ? '' : (credential.headers['authorization'] ?? '').replace('Bearer ', '')
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8') || '{}') as Record<string, unknown>
}

for (const [title, options] of [['a hosted gateway', {}], ['a gateway on loopback', { issuer: 'http://127.0.0.1:8080' }]] as const) {
  each(`${title} registers, connects, refreshes and disconnects at a real server`, async (cluster, provider) => {
    const [node, other] = cluster.nodes
    const { answer, url, status } = await connect(cluster, node)
    assert.equal(status, 200)
    // RFC 9207 §2: a server that announces it names itself, and Lanyard compared.
    assert.equal(answer.searchParams.get('iss'), provider.issuer)
    assert.equal(url.searchParams.get('scope'), `${SCOPE} offline_access`)
    const first = await payload(other, cluster)
    assert.deepEqual([first['aud'], first['iss'], first['sub'], first['scope']], [`${provider.issuer}/mcp`, provider.issuer, 'alice', SCOPE])
    const before = { rotations: (await cluster.events('connection.refreshed')).length, tokens: count(provider, 'POST /token') }
    cluster.now += 600_000
    const both = await Promise.all([node, other, node, other, node].map((at) => payload(at, cluster)))
    assert.equal(new Set(both.map((token) => token['jti'])).size, 1)
    assert.notEqual(both[0]?.['jti'], first['jti'])
    assert.equal(both[0]?.['aud'], `${provider.issuer}/mcp`)
    assert.equal(count(provider, 'POST /token'), before.tokens + 1)
    // The server rotates and ends the grant when one is used twice: a second refresh proves that the new one was stored.
    cluster.now += 600_000
    assert.notEqual((await payload(other, cluster))['jti'], both[0]?.['jti'])
    assert.equal((await cluster.events('connection.refreshed')).length, before.rotations + 2)
    await node.disconnect('tickets')
    provider.up = false
    await node.revoke()
    assert.equal((await cluster.db.query('SELECT * FROM pending_revocations')).length, 1)
    provider.up = true
    cluster.now += 30_000
    await other.revoke()
    assert.deepEqual(await cluster.db.query('SELECT * FROM pending_revocations'), [])
    assert.deepEqual((await cluster.events('connection.revoked')).map(({ outcome }) => outcome), ['success'])
    assert.ok(provider.requests.filter((request) => request === 'POST /token/revocation').length >= 2)
  }, DYNAMIC, options)
}

each('a grant that was ended at a real server is ended here, and made again', async (cluster) => {
  const [node, other] = cluster.nodes
  await connect(cluster, node)
  const stored = (await node.store.find({ userId: 'usr_alice', upstream: 'tickets' })) ?? assert.fail()
  // Its user ends it there: the tokens of this connection, revoked without Lanyard's doing.
  await node.disconnect('tickets')
  await node.revoke()
  await node.store.connect(stored, stored.credential, cluster.now)
  cluster.now += 600_000
  assert.equal(await other.oauth.credential('usr_alice', cluster.upstreams[0]!), 'connection_required')
  assert.equal((await cluster.events('connection.failed')).at(-1)?.reason, 'the upstream ended it')
  assert.equal((await connect(cluster, node)).status, 200)
  assert.equal((await payload(other, cluster))['sub'], 'alice')
}, DYNAMIC)

each('a configured client with a secret connects at a real server that registers nobody', async (cluster, provider) => {
  const [node] = cluster.nodes
  const page = await node.post('/connections/tickets', { csrf: await node.csrf('tickets') })
  assert.equal(page.status, 502)
  assert.match((await cluster.events('connection.failed'))[0]?.reason ?? '', /configure clientId and clientSecret/)
  cluster.upstreams = [upstream('tickets', `${provider.issuer}/mcp`, { type: 'oauth', clientId: 'lanyard', clientSecret: 'a secret: with/odd+characters', issuer: provider.issuer, scopes: ['tickets.read'] })]
  assert.equal((await connect(cluster, node, 'bob')).status, 200)
  const token = await payload(node, cluster)
  assert.deepEqual([token['client_id'], token['sub'], token['scope']], ['lanyard', 'bob', 'tickets.read'])
}, {
  registration: false,
  clients: [{ client_id: 'lanyard', client_secret: 'a secret: with/odd+characters', redirect_uris: ['https://lanyard.example/connections/tickets/callback'], grant_types: ['authorization_code', 'refresh_token'] }],
})

function count(provider: Tracker, request: string): number {
  return provider.requests.filter((seen) => seen === request).length
}
