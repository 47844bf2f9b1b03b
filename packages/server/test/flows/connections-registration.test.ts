// What Lanyard is at an upstream's authorization server: configured, known by its document, or registered there.
import assert from 'node:assert/strict'
import { eachTickets, upstream, type Cluster } from '../support/connection-nodes.ts'
import { json, upstreamEmulator } from '../support/upstream-emulator.ts'

const SECRET = 'the-configured-secret'
const clientOf = async (cluster: Cluster, node = 0): Promise<string | null> => (await cluster.nodes[node]!.begin('tickets')).searchParams.get('client_id')
const lastReason = async (cluster: Cluster): Promise<string> => (await cluster.events('connection.failed')).at(-1)?.reason ?? ''
const refused = async (cluster: Cluster, status = 502): Promise<void> => {
  const [node] = cluster.nodes
  assert.equal((await node.post('/connections/tickets', { csrf: await node.csrf('tickets') })).status, status)
}

eachTickets('a configured client before a metadata document before registration (C-11, C-29)', async (cluster, tickets) => {
  tickets.metadata = { client_id_metadata_document_supported: true }
  cluster.upstreams = [upstream('tickets', tickets.mcp, { type: 'oauth', clientId: 'configured', clientSecret: SECRET })]
  assert.equal(await clientOf(cluster), 'configured')
  cluster.upstreams = [upstream('tickets', tickets.mcp)]
  assert.equal(await clientOf(cluster), `${cluster.issuer}/connections/tickets/client.json`)
  assert.equal(tickets.at('/register').length, 0)
  tickets.metadata = {}
  cluster.now += 11 * 60_000
  assert.equal(await clientOf(cluster), 'client-1')
  assert.equal(tickets.at('/register').length, 1)
})

eachTickets('the metadata document is what its address says: one per upstream, one redirect URI (C-12, E01)', async (cluster, tickets) => {
  cluster.upstreams = [upstream('tickets', tickets.mcp), upstream('other', 'https://other.example/mcp')]
  const documents = await Promise.all(['tickets', 'other'].map(async (name) => {
    const page = await cluster.nodes[0].get(`/connections/${name}/client.json`, 'nobody')
    assert.equal(page.status, 200)
    assert.match(page.headers.get('content-type') ?? '', /^application\/json/)
    return JSON.parse(page.text) as Record<string, unknown>
  }))
  documents.forEach((document, index) => {
    const base = `${cluster.issuer}/connections/${index === 0 ? 'tickets' : 'other'}`
    assert.equal(document['client_id'], `${base}/client.json`)
    assert.deepEqual(document['redirect_uris'], [`${base}/callback`])
    assert.deepEqual(document['grant_types'], ['authorization_code', 'refresh_token'])
    assert.equal(typeof document['client_name'], 'string')
  })
})

eachTickets('a gateway on loopback has no metadata document that a server could fetch: it registers, as a native application (C-13)', async (cluster, tickets) => {
  tickets.metadata = { client_id_metadata_document_supported: true }
  assert.equal(await clientOf(cluster), 'client-1')
  assert.equal((JSON.parse(tickets.at('/register')[0]?.body ?? '') as Record<string, unknown>)['application_type'], 'native')
}, { issuer: 'http://127.0.0.1:8080' })

eachTickets('it registers once for both nodes, with everything that it needs (RFC 7591 §2, C-13, C-14)', async (cluster, tickets) => {
  const first = await Promise.all([clientOf(cluster, 0), clientOf(cluster, 1)])
  assert.equal(new Set(first).size, 1, 'of two registrations at once, one stands')
  const count = tickets.at('/register').length
  assert.equal(await clientOf(cluster, 1), first[0])
  assert.equal(tickets.at('/register').length, count)
  assert.deepEqual(JSON.parse(tickets.at('/register')[0]?.body ?? ''), {
    client_name: 'Lanyard',
    client_uri: cluster.issuer,
    redirect_uris: [`${cluster.issuer}/connections/tickets/callback`],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'web',
  })
})

eachTickets('a registration is bound to its issuer and upstream: another server gets another one, the first keeps its own (C-10)', async (cluster, tickets) => {
  const other = await upstreamEmulator()
  try {
    other.metadata = { registration_endpoint: `${other.issuer}/register` }
    other.on.set('/register', () => json({ client_id: 'there' }, 201))
    assert.equal(await clientOf(cluster), 'client-1')
    tickets.resource = { authorization_servers: [other.issuer] }
    cluster.now += 11 * 60_000
    assert.equal(await clientOf(cluster), 'there')
    tickets.resource = {}
    cluster.now += 11 * 60_000
    assert.equal(await clientOf(cluster), 'client-1')
    assert.deepEqual((await cluster.db.query('SELECT issuer FROM upstream_clients ORDER BY issuer')).map((row) => row['issuer']), [tickets.issuer, other.issuer].sort())
  } finally {
    await other.close()
  }
})

eachTickets('a configured secret goes to the server that it was used with, or that is configured, and to no other (C-10, E03)', async (cluster, tickets) => {
  const evil = await upstreamEmulator()
  const [node, second] = cluster.nodes
  const settings = { type: 'oauth', clientId: 'configured', clientSecret: SECRET } as const
  try {
    cluster.upstreams = [upstream('tickets', tickets.mcp, settings)]
    await cluster.connected('tickets')
    assert.equal(tickets.at('/token')[0]?.headers.authorization, `Basic ${Buffer.from(`configured:${SECRET}`).toString('base64')}`)
    // The upstream changed hands, and names a server of its own.
    tickets.resource = { authorization_servers: [evil.issuer] }
    cluster.now += 11 * 60_000
    for (const at of [node, second]) {
      assert.equal((await at.post('/connections/tickets', { csrf: await at.csrf('tickets') })).status, 502)
      assert.match(await lastReason(cluster), /another authorization server than before/)
      await assert.rejects(at.oauth.credential('usr_alice', cluster.upstreams[0]!), { name: 'UpstreamUnavailable' })
    }
    cluster.upstreams = [upstream('tickets', tickets.mcp, { ...settings, issuer: tickets.issuer })]
    cluster.now += 11 * 60_000
    await refused(cluster)
    assert.match(await lastReason(cluster), /does not name the authorization server/)
    assert.equal(evil.at('/token').length, 0)
    // The operator says that it moved.
    cluster.upstreams = [upstream('tickets', tickets.mcp, { ...settings, issuer: evil.issuer })]
    await cluster.connected('tickets')
    assert.equal(evil.at('/token').length, 1)
  } finally {
    await evil.close()
  }
})

eachTickets('how it authenticates: as the server knows how, a secret only where it has one (RFC 6749 §2.3.1)', async (cluster, tickets) => {
  const settings = { type: 'oauth', clientId: 'an id', clientSecret: 'a:b/c' } as const
  const authenticated = async (methods: readonly string[] | undefined, connector: Parameters<typeof upstream>[2]) => {
    tickets.metadata = { token_endpoint_auth_methods_supported: methods }
    cluster.upstreams = [upstream('tickets', tickets.mcp, connector)]
    cluster.now += 11 * 60_000
    await cluster.connected('tickets')
    const { headers, form } = tickets.at('/token').at(-1) ?? assert.fail()
    return [headers.authorization, form.get('client_id'), form.get('client_secret')]
  }
  const basic = `Basic ${Buffer.from('an+id:a%3Ab%2Fc').toString('base64')}`
  assert.deepEqual(await authenticated(undefined, settings), [basic, null, null])
  assert.deepEqual(await authenticated(['client_secret_post', 'client_secret_basic'], settings), [basic, null, null])
  assert.deepEqual(await authenticated(['client_secret_post'], settings), [undefined, 'an id', 'a:b/c'])
  assert.deepEqual(await authenticated(['none'], { type: 'oauth', clientId: 'an id' }), [undefined, 'an id', null])
})

eachTickets('a refused registration is told, and nothing of its answer becomes a 500 (C-13)', async (cluster, tickets) => {
  const answers: readonly (readonly [string, number, number, RegExp])[] = [
    ['{"error":"invalid_redirect_uri","error_description":"no"}', 400, 502, /refused to register Lanyard \(400 invalid_redirect_uri\)/],
    ['{"error":"<b>"}', 403, 502, /\(403 an unknown code\)/],
    ['<html>', 201, 502, /\(201\)/],
    ['', 201, 502, /\(201\)/],
    ['null', 200, 502, /\(200\)/],
    ['{"client_id":""}', 201, 502, /\(201\)/],
    ['{"client_id":7}', 201, 502, /\(201\)/],
    ['<html>', 401, 502, /\(401\)/],
    ['', 302, 502, /\(302\)/],
    ['<html>', 502, 503, /answers with an error/],
    ['', 429, 503, /answers with an error/],
  ]
  for (const [body, status, expected, reason] of answers) {
    tickets.on.set('/register', () => ({ status, body, headers: { location: 'http://127.0.0.1:1/' } }))
    await refused(cluster, expected)
    assert.match(await lastReason(cluster), reason)
  }
  assert.equal((await cluster.db.query('SELECT * FROM upstream_clients')).length, 0)
  tickets.on.delete('/register')
  tickets.metadata = { registration_endpoint: undefined }
  cluster.now += 11 * 60_000
  await refused(cluster)
  assert.match(await lastReason(cluster), /configure clientId/)
  tickets.metadata = {}
  cluster.now += 11 * 60_000
  await cluster.connected('tickets')
})

eachTickets('a server that forgot Lanyard is registered at anew; the connections that it forgot must be made again', async (cluster, tickets) => {
  const [node] = cluster.nodes
  const [tracker] = cluster.upstreams as [typeof cluster.upstreams[0]]
  await cluster.connected('tickets')
  cluster.now += 3600_000
  // RFC 6749 §5.2: with a challenge, when the client tried to authenticate.
  tickets.on.set('/token', () => ({ ...json({ error: 'invalid_client' }, 401), headers: { 'content-type': 'application/json', 'www-authenticate': 'Basic realm="x"' } }))
  assert.equal(await node.oauth.credential('usr_alice', tracker), 'connection_required')
  assert.match(await lastReason(cluster), /does not know Lanyard any more/)
  assert.equal((await cluster.db.query('SELECT * FROM upstream_clients')).length, 0)
  tickets.on.delete('/token')
  await cluster.connected('tickets')
  assert.equal(tickets.at('/register').length, 2)
  assert.notEqual(await node.oauth.credential('usr_alice', tracker), 'connection_required')
  // The same at the end of connecting, where the server says so; a person's own URL cannot make it forget.
  const url = await node.begin('tickets')
  await node.finish('tickets', { error: 'invalid_client', state: url.searchParams.get('state') ?? '' })
  assert.equal((await cluster.db.query('SELECT * FROM upstream_clients')).length, 1)
  const again = await node.begin('tickets')
  tickets.on.set('/token', () => json({ error: 'invalid_client' }, 401))
  assert.equal((await node.finish('tickets', { code: 'c', state: again.searchParams.get('state') ?? '' })).status, 502)
  assert.equal((await cluster.db.query('SELECT * FROM upstream_clients')).length, 0)
})

eachTickets('a late loser does not remove the registration that another node made meanwhile', async (cluster, tickets) => {
  const [node] = cluster.nodes
  await node.begin('tickets')
  const old = (await node.store.findClient(tickets.issuer, 'tickets')) ?? assert.fail()
  await node.store.forgetClient(tickets.issuer, 'tickets', old)
  assert.equal(await clientOf(cluster), 'client-2')
  await node.store.forgetClient(tickets.issuer, 'tickets', old)
  assert.equal(await clientOf(cluster), 'client-2')
})

eachTickets('a registered secret that ended is replaced (RFC 7591 §3.2.1)', async (cluster, tickets) => {
  let count = 0
  const end = Math.floor(cluster.now / 1000) + 60
  tickets.on.set('/register', () => json({ client_id: `c${(count += 1)}`, client_secret: 's', client_secret_expires_at: count === 1 ? end : 0 }, 201))
  assert.equal(await clientOf(cluster), 'c1')
  cluster.now += 59_000
  assert.equal(await clientOf(cluster), 'c1')
  cluster.now += 2000
  assert.equal(await clientOf(cluster), 'c2')
  cluster.now += 1e10
  assert.equal(await clientOf(cluster), 'c2')
})
