// An upstream that a custom authorization server of Okta protects: found below the path of its issuer, with a client that an
// administrator registered, and refresh tokens that rotate. Against the emulator of Okta, which Okta's own SDK accepts.
import assert from 'node:assert/strict'
import { browser } from '../support/browser.ts'
import { CLUSTER_ISSUER, eachTickets, upstream, type Cluster, type Node, type Page } from '../support/connection-nodes.ts'
import { CLIENT_ID, CLIENT_SECRET, okta, type Okta } from '../support/okta/okta.ts'
import type { Emulator } from '../support/upstream-emulator.ts'

function eachOkta(name: string, run: (cluster: Cluster, emulator: Okta, tickets: Emulator) => Promise<void>): void {
  eachTickets(name, async (cluster, tickets) => {
    const emulator = await okta()
    emulator.now = () => cluster.now
    emulator.clients.set(CLIENT_ID, { ...emulator.clients.get(CLIENT_ID)!, rotates: true })
    tickets.resource = { authorization_servers: [emulator.customIssuer], scopes_supported: ['notes.read'] }
    cluster.upstreams = [upstream('tickets', tickets.mcp, { type: 'oauth', clientId: CLIENT_ID, clientSecret: CLIENT_SECRET })]
    try {
      await run(cluster, emulator, tickets)
    } finally {
      await emulator.close()
    }
  })
}

async function connect(node: Node, person = 'alice'): Promise<{ asked: URL; page: Page }> {
  const asked = await node.begin('tickets')
  const { url } = await browser({ stop: (to) => to.startsWith(`${CLUSTER_ISSUER}/connections/tickets/callback?`) }).approve(asked.href, { person })
  return { asked, page: await node.finish('tickets', Object.fromEntries(new URL(url).searchParams)) }
}

eachOkta('an upstream behind Okta is connected: metadata below the issuer’s path, scopes, refresh tokens that rotate (C-2, C-14)', async (cluster, emulator) => {
  const [one, two] = cluster.nodes
  const { asked, page } = await connect(one)
  assert.equal(page.status, 200, page.text)
  assert.deepEqual([asked.origin + asked.pathname, asked.searchParams.get('scope')], [`${emulator.customIssuer}/v1/authorize`, 'notes.read offline_access'])
  assert.ok(emulator.at('/.well-known/oauth-authorization-server/oauth2/default').length > 0, 'RFC 8414 was tried first')
  const [tickets] = cluster.upstreams
  assert.ok(tickets)
  const bearer = async (node: Node): Promise<string> => {
    const credential = await node.connector(tickets).credential('usr_alice', tickets)
    return credential === 'connection_required' ? credential : (credential.headers['authorization'] ?? '').slice(7)
  }
  const first = await bearer(one)
  assert.equal(emulator.access.get(first)?.person.id, '00u1alice')
  for (const node of [two, one, two]) {
    cluster.now += 3600_000
    const renewed = await bearer(node)
    assert.equal(emulator.access.get(renewed)?.person.id, '00u1alice')
  }
  assert.equal(emulator.refreshTokens.size, 4)
  // Whoever is no longer assigned at Okta has no account here either.
  const alice = emulator.people.get('alice')
  assert.ok(alice)
  alice.assigned = false
  cluster.now += 3600_000
  assert.equal(await bearer(one), 'connection_required')
})

eachOkta('without a registered client Okta registers nobody, and says so; a person who is not assigned is not connected', async (cluster) => {
  const [node] = cluster.nodes
  assert.equal((await connect(node, 'carol')).page.status, 403)
  assert.equal((await connect(node)).page.status, 200)
  cluster.upstreams = cluster.upstreams.map((each) => ({ ...each, connector: { type: 'oauth' } }))
  const page = await node.post('/connections/tickets', { csrf: await node.csrf('tickets'), continue: '/connections/tickets' })
  assert.equal(page.status, 502)
  assert.match((await cluster.events('connection.failed')).at(-1)?.reason ?? '', /refused to register|registers no clients/)
})
