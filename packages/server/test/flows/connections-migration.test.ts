// An upstream that moves to another authorization server.
import assert from 'node:assert/strict'
import { eachConnectionCluster, upstream, type Cluster } from '../support/connection-nodes.ts'
import { upstreamEmulator, type Emulator } from '../support/upstream-emulator.ts'

const MINUTE_MS = 60_000

/** The tickets' own authorization server at first, and a second one that the upstream may name. */
function each(name: string, run: (cluster: Cluster, tickets: Emulator, other: Emulator) => Promise<void>): void {
  eachConnectionCluster(name, async (cluster) => {
    const [tickets, other] = await Promise.all([upstreamEmulator(), upstreamEmulator()])
    try {
      // The metadata document would be the same at both: registrations show whose is used where.
      cluster.upstreams = [upstream('tickets', tickets.mcp)]
      await run(cluster, tickets, other)
    } finally {
      await Promise.all([tickets.close(), other.close()])
    }
  })
}

const refuse = async (cluster: Cluster, node: 0 | 1 = 0): Promise<unknown> => {
  const { oauth } = cluster.nodes[node]
  const [tickets] = cluster.upstreams
  const credential = await oauth.credential('usr_alice', tickets!)
  assert.notEqual(credential, 'connection_required')
  if (credential !== 'connection_required') await oauth.refused('usr_alice', tickets!, credential.version)
  return oauth.credential('usr_alice', tickets!)
}

each('an upstream that refuses a token and names another authorization server ends the connection, and the next one is made there (C-10, SEP-2352)', async (cluster, tickets, other) => {
  await cluster.connected('tickets')
  tickets.resource = { authorization_servers: [other.issuer] }
  assert.equal(await refuse(cluster), 'connection_required')
  assert.deepEqual((await cluster.events('connection.failed')).map(({ reason }) => reason), ['the upstream has another authorization server now'])
  const asked = tickets.asked.length
  await cluster.connected('tickets')
  assert.equal(other.at('/register').length, 1)
  assert.equal(other.at('/token').length, 1)
  // Nothing that one server gave is ever shown to the other one.
  assert.equal(other.asked.some(({ body, headers }) => tickets.secrets.some((secret) => body.includes(secret) || JSON.stringify(headers).includes(secret))), false)
  assert.deepEqual(tickets.asked.slice(asked).map(({ path }) => path).filter((path) => path === '/token' || path === '/register'), [])
})

each('an upstream that refuses a token and stays where it is is refreshed there', async (cluster, tickets) => {
  await cluster.connected('tickets')
  const before = await cluster.nodes[0].oauth.credential('usr_alice', cluster.upstreams[0]!)
  const after = await refuse(cluster)
  assert.notEqual(after, 'connection_required')
  assert.notDeepEqual(after, before)
  assert.equal(tickets.at('/token').length, 2)
})

each('an upstream that refuses every token is asked what it names once a minute, not for each call', async (cluster, tickets) => {
  await cluster.connected('tickets')
  const known = tickets.at('/mcp').length
  for (let call = 0; call < 5; call += 1) assert.notEqual(await refuse(cluster), 'connection_required')
  assert.equal(tickets.at('/mcp').length, known + 1)
  cluster.now += MINUTE_MS
  await refuse(cluster)
  assert.equal(tickets.at('/mcp').length, known + 2)
})

each('a node that knows the old server alone finishes what another node began at the new one', async (cluster, tickets, other) => {
  const [one, two] = cluster.nodes
  await cluster.connected('tickets')
  // Both nodes know the old server.
  await two.begin('tickets')
  tickets.resource = { authorization_servers: [other.issuer] }
  assert.equal(await refuse(cluster), 'connection_required')
  const url = await one.begin('tickets')
  assert.equal(url.origin, other.issuer)
  const page = await two.finish('tickets', { code: 'a-code', state: url.searchParams.get('state') ?? '' })
  assert.equal(page.status, 200, page.text)
  assert.equal(other.at('/token').length, 1)
})

each('an attempt that was begun at the old server does not finish at the new one (RFC 9700 §4.4)', async (cluster, tickets, other) => {
  await cluster.connected('tickets')
  const url = await cluster.nodes[0].begin('tickets')
  tickets.resource = { authorization_servers: [other.issuer] }
  assert.equal(await refuse(cluster), 'connection_required')
  const page = await cluster.nodes[0].finish('tickets', { code: 'a-code', state: url.searchParams.get('state') ?? '' })
  assert.equal(page.status, 502)
  assert.equal(other.at('/token').length, 0)
  assert.equal((await cluster.events('connection.failed')).at(-1)?.reason, 'the authorization server changed meanwhile')
})
