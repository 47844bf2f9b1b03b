// How Lanyard finds an upstream's authorization server, and what it refuses to believe.
import assert from 'node:assert/strict'
import { eachTickets, upstream, type Cluster } from '../support/connection-nodes.ts'
import { json, type Emulator } from '../support/upstream-emulator.ts'

const PRM = '/.well-known/oauth-protected-resource'
const AS = '/.well-known/oauth-authorization-server'
const OIDC = '/.well-known/openid-configuration'

/** Submits the connect form, and asserts that it is refused before the browser goes anywhere and before anything is registered. */
async function refused(cluster: Cluster, tickets: Emulator, reason: RegExp, status = 502): Promise<void> {
  const [node] = cluster.nodes
  const page = await node.post('/connections/tickets', { csrf: await node.csrf('tickets') })
  assert.equal(page.status, status, page.text)
  assert.equal(page.location, undefined)
  assert.equal(tickets.at('/register').length + tickets.at('/token').length, 0)
  assert.equal((await cluster.db.query('SELECT * FROM connection_attempts')).length, 0)
  assert.match((await cluster.events('connection.failed')).at(-1)?.reason ?? '', reason)
  assert.deepEqual(await cluster.events('connection.started'), [])
}

eachTickets('the address in the challenge of a 401 comes first (RFC 9728 §5.1, C-1)', async (cluster, tickets) => {
  tickets.on.set('/mcp', () => ({ status: 401, headers: { 'www-authenticate': `Bearer error="invalid_token", resource_metadata="${tickets.issuer}/elsewhere", scope="x"` } }))
  tickets.on.set('/elsewhere', () => json({ resource: tickets.mcp, authorization_servers: [tickets.issuer] }))
  await cluster.nodes[0].begin('tickets')
  assert.deepEqual(tickets.asked.map(({ method, path }) => `${method} ${path}`), ['POST /mcp', 'GET /elsewhere', `GET ${AS}`, 'POST /register'])
  assert.equal(tickets.asked[0]?.headers.authorization, undefined)
})

eachTickets('without an address in the challenge: inserted before the path, then at the root (RFC 9728 §3.1, C-1)', async (cluster, tickets) => {
  tickets.on.set('/mcp', () => ({ status: 401, headers: { 'www-authenticate': 'Bearer' } }))
  tickets.on.set(`${PRM}/mcp`, () => ({ status: 404 }))
  tickets.on.set(PRM, () => json({ resource: tickets.issuer, authorization_servers: [tickets.issuer] }))
  const url = await cluster.nodes[0].begin('tickets')
  assert.deepEqual(tickets.asked.map(({ path }) => path), ['/mcp', `${PRM}/mcp`, PRM, AS, '/register'])
  assert.equal(url.searchParams.get('resource'), tickets.issuer)
})

eachTickets('the metadata of a server with a path is looked for at three addresses in order (RFC 8414 §3.1, C-2)', async (cluster, tickets) => {
  const issuer = `${tickets.issuer}/tenant`
  tickets.resource = { authorization_servers: [issuer] }
  tickets.metadata = { issuer }
  tickets.on.set(`/tenant${OIDC}`, () => json({ issuer, authorization_endpoint: `${issuer}/a`, token_endpoint: `${issuer}/t`, registration_endpoint: `${tickets.issuer}/register`, code_challenge_methods_supported: ['S256'] }))
  const url = await cluster.nodes[0].begin('tickets')
  assert.deepEqual(tickets.asked.slice(2).map(({ path }) => path), [`${AS}/tenant`, `${OIDC}/tenant`, `/tenant${OIDC}`, '/register'])
  assert.equal(url.pathname, '/tenant/a')
})

eachTickets('an upstream of 2025-03-26 without resource metadata is its own authorization server', async (cluster, tickets) => {
  tickets.on.set('/mcp', () => ({ status: 401 }))
  tickets.on.set(`${PRM}/mcp`, () => ({ status: 404 }))
  const url = await cluster.nodes[0].begin('tickets')
  assert.equal(url.searchParams.get('resource'), tickets.mcp)
})

eachTickets('metadata of another issuer is refused, letter by letter (RFC 8414 §3.3, C-3, E03)', async (cluster, tickets) => {
  for (const issuer of [`${tickets.issuer}/`, tickets.issuer.toUpperCase(), 'https://honest.example']) {
    tickets.metadata = { issuer }
    await refused(cluster, tickets, /another issuer/)
  }
  tickets.metadata = {}
  await cluster.connected('tickets')
})

eachTickets('resource metadata of another resource is refused (RFC 9728 §3.3, C-4)', async (cluster, tickets) => {
  const { issuer, mcp } = tickets
  for (const resource of ['https://honest.example/mcp', `${issuer}/mc`, `${mcp}/deeper`, `${mcp}#x`, `${mcp}?tenant=2`, mcp.replace('//', '//user@'), 'no address']) {
    tickets.resource = { resource }
    await refused(cluster, tickets, /another resource/)
  }
  for (const resource of [`${mcp}/`, issuer]) {
    tickets.resource = { resource }
    cluster.now += 11 * 60_000
    assert.equal((await cluster.nodes[0].begin('tickets')).searchParams.get('resource'), resource)
  }
})

eachTickets('a server that does not say S256 is refused (C-5)', async (cluster, tickets) => {
  for (const methods of [undefined, [], ['plain']]) {
    tickets.metadata = { code_challenge_methods_supported: methods }
    await refused(cluster, tickets, /S256/)
  }
  tickets.metadata = { code_challenge_methods_supported: ['plain', 'S256'] }
  assert.equal((await cluster.nodes[0].begin('tickets')).searchParams.get('code_challenge_method'), 'S256')
})

eachTickets('no script, file, plain or ambiguous address is opened or asked (C-20)', async (cluster, tickets) => {
  const bad = ['javascript:alert(1)', 'data:text/html,x', 'file:///etc/passwd', 'http://login.example/authorize', 'https://user:pass@login.example/', 'https://login.example/#x', 'authorize']
  for (const url of bad) {
    tickets.metadata = { authorization_endpoint: url }
    await refused(cluster, tickets, /not https/)
  }
  tickets.metadata = { token_endpoint: 'http://login.example/token' }
  await refused(cluster, tickets, /not https/)
  tickets.metadata = { authorization_endpoint: 'https://login.example/authorize?tenant=1' }
  const url = await cluster.nodes[0].begin('tickets')
  assert.equal(url.searchParams.get('tenant'), '1')
})

eachTickets('metadata that leads to a private address is refused, and nothing there is asked (C-19)', async (cluster, tickets) => {
  tickets.on.set('/mcp', () => ({ status: 401, headers: { 'www-authenticate': 'Bearer resource_metadata="http://169.254.169.254/latest"' } }))
  await refused(cluster, tickets, /may not be reached/)
  tickets.on.delete('/mcp')
  await cluster.nodes[0].begin('tickets')
})

eachTickets('no upstream can be used that names no server, or answers with anything but JSON', async (cluster, tickets) => {
  tickets.resource = { authorization_servers: [] }
  await refused(cluster, tickets, /names no authorization server/)
  tickets.resource = {}
  for (const body of ['<html>', '[]', 'null', '{"issuer":1}']) {
    tickets.on.set(AS, () => ({ status: 200, body }))
    await refused(cluster, tickets, /names no authorization server/)
  }
})

eachTickets('a server in trouble is not a server without metadata: 503 says try again, and the next address is not asked', async (cluster, tickets) => {
  for (const [path, status] of [['/mcp', 503], [`${PRM}/mcp`, 500], [AS, 502], [AS, 429]] as const) {
    tickets.on.set(path, () => ({ status }))
    await refused(cluster, tickets, /answers with an error|does not answer/, 503)
    assert.equal(tickets.asked.at(-1)?.path, path)
    tickets.on.delete(path)
  }
  await cluster.connected('tickets')
})

eachTickets('scopes: those of the challenge, else those of the resource, else none; configured ones before all (C-16)', async (cluster, tickets) => {
  const scopeOf = async (): Promise<string | null> => {
    cluster.now += 11 * 60_000
    return (await cluster.nodes[0].begin('tickets')).searchParams.get('scope')
  }
  assert.equal(await scopeOf(), null)
  tickets.metadata = { scopes_supported: ['everything', 'offline_access'] }
  assert.equal(await scopeOf(), null)
  tickets.resource = { scopes_supported: ['r1', 'r2'] }
  // C-14: a server that knows it may need it for a refresh token.
  assert.equal(await scopeOf(), 'r1 r2 offline_access')
  tickets.metadata = {}
  assert.equal(await scopeOf(), 'r1 r2')
  tickets.on.set('/mcp', () => ({ status: 401, headers: { 'www-authenticate': 'Bearer error_description="no scope=\\"evil\\" here", scope="c1 c2"' } }))
  assert.equal(await scopeOf(), 'c1 c2')
  tickets.on.set('/mcp', () => ({ status: 401, headers: { 'www-authenticate': 'Basic realm="x", Bearer x-scope="no", scope=single' } }))
  assert.equal(await scopeOf(), 'single')
  cluster.upstreams = [upstream('tickets', tickets.mcp, { type: 'oauth', scopes: ['configured'] })]
  assert.equal(await scopeOf(), 'configured')
})

eachTickets('what was discovered serves for ten minutes, and for longer while nobody answers', async (cluster, tickets) => {
  const [node] = cluster.nodes
  await Promise.all([node.begin('tickets'), node.begin('tickets', 'bob')])
  assert.equal(tickets.at(AS).length, 1, 'callers share one discovery')
  cluster.now += 9 * 60_000
  await node.begin('tickets')
  assert.equal(tickets.at(AS).length, 1)
  cluster.now += 2 * 60_000
  tickets.on.set('/mcp', () => ({ status: 503 }))
  await node.begin('tickets')
  assert.equal(tickets.at('/mcp').length, 2)
  tickets.on.delete('/mcp')
  await node.begin('tickets')
  assert.equal(tickets.at(AS).length, 2)
})
