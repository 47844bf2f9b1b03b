// An account that is connected and lacks a scope: what is asked for at the next connection, and what is not.
import assert from 'node:assert/strict'
import { eachTickets, upstream, type Cluster } from '../support/connection-nodes.ts'
import { json, type Emulator } from '../support/upstream-emulator.ts'

function each(name: string, run: (cluster: Cluster, tickets: Emulator) => Promise<void>, scopes?: readonly string[]): void {
  eachTickets(name, async (cluster, tickets) => {
    tickets.resource = { scopes_supported: ['basic'] }
    cluster.upstreams = [upstream('tickets', tickets.mcp, { type: 'oauth', ...(scopes === undefined ? {} : { scopes }) })]
    await run(cluster, tickets)
  })
}

const stepUp = (cluster: Cluster, lacking: readonly string[], node: 0 | 1 = 0): Promise<readonly string[] | undefined> => cluster.nodes[node].oauth.stepUp('usr_alice', cluster.upstreams[0]!, lacking)

/** Opens the link of a call and submits its form: the authorization request. */
async function begin(cluster: Cluster, lacking: readonly string[], node: 0 | 1 = 0): Promise<URL> {
  const link = new URL(cluster.nodes[node].connections.connectUrl('usr_alice', cluster.upstreams[0]!, lacking))
  const page = await cluster.nodes[node].get(`${link.pathname}${link.search}`)
  assert.equal(page.status, 200, page.text)
  const field = (name: string): string => new RegExp(`name="${name}" value="([^"]+)"`).exec(page.text)?.[1] ?? ''
  const posted = await cluster.nodes[node].post('/connections/tickets', { csrf: field('csrf'), continue: '/connections/tickets', for: field('for') })
  assert.equal(posted.status, 303, posted.text)
  return new URL(posted.location ?? '')
}

async function connect(cluster: Cluster, url: URL): Promise<void> {
  const page = await cluster.nodes[1].finish('tickets', { code: 'a-code', state: url.searchParams.get('state') ?? '' })
  assert.equal(page.status, 200, page.text)
}

each('what was asked for and what a call lacks are asked for together (C-17, SEP-2350)', async (cluster) => {
  await cluster.connected('tickets')
  const wider = await stepUp(cluster, ['write', 'basic'])
  assert.deepEqual(wider, ['basic', 'write'])
  const url = await begin(cluster, wider)
  assert.equal(url.searchParams.get('scope'), 'basic write')
  await connect(cluster, url)
  assert.deepEqual(await stepUp(cluster, ['admin'], 1), ['basic', 'write', 'admin'])
})

each('what was asked for already is not asked for again, given or not, and also after a refresh (C-17)', async (cluster, tickets) => {
  // The server gives "a b", whatever it is asked for.
  await cluster.connected('tickets')
  assert.equal(await stepUp(cluster, ['basic']), undefined)
  await connect(cluster, await begin(cluster, (await stepUp(cluster, ['write']))!))
  for (const node of [0, 1] as const) assert.equal(await stepUp(cluster, ['write'], node), undefined)
  const credential = await cluster.nodes[0].oauth.credential('usr_alice', cluster.upstreams[0]!)
  assert.notEqual(credential, 'connection_required')
  if (credential !== 'connection_required') await cluster.nodes[0].oauth.refused('usr_alice', cluster.upstreams[0]!, credential.version)
  assert.equal(tickets.at('/token').at(-1)?.form.get('grant_type'), 'refresh_token')
  assert.equal(await stepUp(cluster, ['write'], 1), undefined)
  assert.deepEqual(await stepUp(cluster, ['more'], 1), ['basic', 'write', 'more'])
})

each('where the operator says what is asked for, no upstream asks for more (C-16)', async (cluster) => {
  await cluster.connected('tickets')
  assert.equal(await stepUp(cluster, ['write']), undefined)
  // Not even by a link that was made before the configuration.
  assert.equal((await begin(cluster, ['basic', 'write'])).searchParams.get('scope'), 'configured')
}, ['configured'])

each('the page says what is asked for, and asks for nothing that no link says', async (cluster) => {
  const [node] = cluster.nodes
  const link = new URL(node.connections.connectUrl('usr_alice', cluster.upstreams[0]!, ['basic', 'write <b>']))
  const page = await node.get(`${link.pathname}${link.search}`)
  assert.match(page.text, /<dd>basic write &lt;b&gt;<\/dd>/)
  assert.doesNotMatch((await node.get('/connections/tickets')).text, /Permissions that it asks for|name="for"/)
  const plain = await node.post('/connections/tickets', { csrf: await node.csrf('tickets'), continue: '/connections/tickets', lacking: 'admin', scope: 'admin' })
  assert.equal(new URL(plain.location ?? '').searchParams.get('scope'), 'basic')
})

each('a link for another person, or a changed one, begins nothing when its form is sent (RS-36)', async (cluster, tickets) => {
  const [node] = cluster.nodes
  const own = new URL(node.connections.connectUrl('usr_bob', cluster.upstreams[0]!, ['write'])).searchParams.get('for') ?? ''
  const csrf = await node.csrf('tickets')
  assert.equal((await node.post('/connections/tickets', { csrf, for: own })).status, 403)
  assert.equal((await node.post('/connections/tickets', { csrf, for: `${own.slice(0, -1)}${own.endsWith('A') ? 'B' : 'A'}` })).status, 400)
  assert.equal((await cluster.db.query('SELECT * FROM connection_attempts')).length, 0)
  assert.equal(tickets.at('/register').length, 0)
  assert.equal((await cluster.events('connection.failed')).at(-1)?.reason, 'the link is for another person')
  const mine = await node.post('/connections/tickets', { csrf: await node.csrf('tickets', 'bob'), for: own }, 'bob')
  assert.equal(new URL(mine.location ?? '').searchParams.get('scope'), 'basic write')
})

each('an upstream cannot make a request of any length, nor ask for an account that is not connected', async (cluster) => {
  assert.equal(await stepUp(cluster, ['write']), undefined)
  await cluster.connected('tickets')
  assert.equal(await stepUp(cluster, ['x'.repeat(2000)]), undefined)
  assert.equal((await stepUp(cluster, ['x'.repeat(500)]))?.length, 2)
})

each('a credential from before scopes were remembered counts what it was given', async (cluster, tickets) => {
  tickets.on.set('/token', () => json({ access_token: 'an-access-token', token_type: 'Bearer', scope: 'basic given' }))
  await cluster.connected('tickets')
  const [row] = await cluster.db.query<{ credential: string }>('SELECT credential FROM connections')
  const name = ['connections', 'usr_alice', 'tickets', 'credential']
  const { requested, ...before } = JSON.parse(cluster.sealer.open(row!.credential as Parameters<typeof cluster.sealer.open>[0], name)) as Record<string, unknown>
  assert.equal(requested, 'basic')
  await cluster.db.query('UPDATE connections SET credential = $1', [cluster.sealer.seal(JSON.stringify(before), name)])
  assert.equal(await stepUp(cluster, ['given']), undefined)
  assert.deepEqual(await stepUp(cluster, ['write']), ['basic', 'given', 'write'])
})
