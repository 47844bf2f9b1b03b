// The end of a connection: gone here at once, revoked at its provider as soon as that answers.
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { eachTickets, upstream, type Cluster } from '../support/connection-nodes.ts'
import { json, upstreamEmulator } from '../support/upstream-emulator.ts'

const queue = (cluster: Cluster) => cluster.db.query<{ id: string; upstream: string; user_id: string; attempts: number; not_before: number; credential: string }>('SELECT * FROM pending_revocations')

eachTickets('disconnecting removes the credential here and revokes both tokens there (RFC 7009 §2.1, E15)', async (cluster, tickets) => {
  const [node, other] = cluster.nodes
  await cluster.connected('tickets')
  await cluster.connected('tickets', 'bob')
  const [refresh, access] = [tickets.secrets[0], tickets.secrets[1]]
  const page = await node.disconnect('tickets')
  assert.deepEqual([page.status, page.location], [303, '/'])
  assert.equal(cluster.revocationsDue, 1)
  assert.equal(await node.oauth.credential('usr_alice', cluster.upstreams[0]!), 'connection_required')
  assert.notEqual(await node.oauth.credential('usr_bob', cluster.upstreams[0]!), 'connection_required')
  assert.deepEqual((await queue(cluster)).map((row) => [row.user_id, row.upstream, row.attempts]), [['usr_alice', 'tickets', 0]])
  assert.equal(tickets.at('/revoke').length, 0)
  await other.revoke()
  const expected = [[refresh, 'refresh_token'], [access, 'access_token']].map(([token, hint]) => ({ token, token_type_hint: hint, client_id: 'client-1' }))
  assert.deepEqual(tickets.at('/revoke').map(({ form }) => Object.fromEntries(form)), expected)
  assert.deepEqual(await queue(cluster), [])
  await node.revoke()
  assert.equal(tickets.at('/revoke').length, 2)
  assert.deepEqual((await cluster.events()).slice(-2).map(({ action, outcome, subject, upstream: at }) => [action, outcome, subject, at]), [
    ['connection.deleted', 'success', 'usr_alice', 'tickets'],
    ['connection.revoked', 'success', 'usr_alice', 'tickets'],
  ])
  assert.equal((await cluster.events('connection.deleted')).at(-1)?.address, '192.0.2.1')
  // There is nothing to end any more, and nothing is recorded of it.
  const count = (await cluster.events()).length
  assert.equal((await node.disconnect('tickets')).status, 303)
  assert.equal((await cluster.events()).length, count)
  assert.equal(cluster.revocationsDue, 1)
})

eachTickets('what was connected is shown and can be ended also when its upstream needs no account any more, or is gone', async (cluster, tickets) => {
  const [node] = cluster.nodes
  const [before] = cluster.upstreams
  assert.ok(before !== undefined)
  await cluster.connected('tickets')
  const shown = async () => (await node.connections.list('usr_alice')).map(({ upstream: { id, name }, state }) => [id, name, state])
  assert.deepEqual(await shown(), [['tickets', before.name, 'active']])
  cluster.upstreams = [{ ...before, connector: { type: 'none' } }]
  // Connectors are made once for a configuration: a node that starts with this one has another.
  const [, restarted] = cluster.nodes
  const listed = await restarted.connections.list('usr_alice')
  assert.deepEqual(listed.map(({ state }) => state), ['unused'])
  assert.equal((await restarted.disconnect('tickets')).status, 303)
  await restarted.revoke()
  assert.equal(tickets.at('/revoke').length, 2)

  cluster.upstreams = [before]
  await cluster.connected('tickets')
  cluster.upstreams = []
  assert.deepEqual(await shown(), [['tickets', 'tickets', 'unused']])
  // Nobody else ends it.
  await node.disconnect('tickets', 'bob')
  assert.equal((await cluster.db.query('SELECT 1 AS one FROM connections')).length, 1)
  await node.disconnect('tickets')
  assert.deepEqual(await shown(), [])
  await node.revoke()
  assert.equal((await cluster.events('connection.revoked')).at(-1)?.reason, 'the upstream is not configured any more')
})

eachTickets('a provider that is down is asked again, after longer and longer, until it answers', async (cluster, tickets) => {
  const [node, other] = cluster.nodes
  await cluster.connected('tickets')
  await node.disconnect('tickets')
  const troubles = [{ status: 503 }, { status: 429 }, { status: 500, body: '<html>' }, json({ error: 'invalid_request' }, 400)]
  for (const [index, trouble] of troubles.entries()) {
    tickets.on.set('/revoke', () => trouble)
    await node.revoke()
    assert.equal(tickets.at('/revoke').length, index + 1)
    await other.revoke()
    cluster.now += 30_000 * 2 ** index - 1
    await other.revoke()
    assert.equal(tickets.at('/revoke').length, index + 1, 'not before its time')
    cluster.now += 1
  }
  // Where the provider's metadata cannot be had either, nothing is lost.
  tickets.on.delete('/revoke')
  await other.revoke()
  assert.equal(tickets.at('/revoke').length, troubles.length + 2)
  assert.deepEqual(await queue(cluster), [])
  const [event, ...more] = await cluster.events('connection.revoked')
  assert.deepEqual([event?.outcome, event?.detail, more.length], ['success', { attempts: 5 }, 0])
})

eachTickets('it gives up after a day and a half, and says so', async (cluster, tickets) => {
  await cluster.connected('tickets')
  await cluster.nodes[0].disconnect('tickets')
  const start = cluster.now
  tickets.on.set('/revoke', () => ({ status: 503 }))
  for (let attempt = 1; attempt <= 12; attempt += 1) {
    assert.equal((await queue(cluster)).length, 1)
    await cluster.nodes[attempt % 2]!.revoke()
    cluster.now = Math.max(cluster.now, (await queue(cluster))[0]?.not_before ?? 0)
  }
  assert.deepEqual(await queue(cluster), [])
  assert.ok(cluster.now - start > 17 * 3600_000)
  const [event] = await cluster.events('connection.revoked')
  assert.deepEqual([event?.outcome, event?.reason, event?.detail], ['failure', 'the authorization server answers with an error', { attempts: 12 }])
})

eachTickets('what can never be revoked is told at once and not tried for days', async (cluster, tickets) => {
  const [node] = cluster.nodes
  const end = async (prepare: () => void): Promise<string | undefined> => {
    tickets.metadata = {}
    tickets.resource = {}
    cluster.upstreams = [upstream('tickets', tickets.mcp)]
    cluster.now += 3600_000
    await cluster.connected('tickets')
    await node.disconnect('tickets')
    prepare()
    cluster.now += 3600_000
    await node.revoke()
    assert.deepEqual(await queue(cluster), [])
    return (await cluster.events('connection.revoked')).at(-1)?.reason
  }
  const other = await upstreamEmulator()
  try {
    assert.equal(await end(() => undefined), undefined)
    const revoked = tickets.at('/revoke').length
    assert.match((await end(() => { tickets.metadata = { revocation_endpoint: undefined } })) ?? '', /revokes nothing/)
    assert.match((await end(() => { tickets.resource = { authorization_servers: [other.issuer] } })) ?? '', /another authorization server/)
    assert.match((await end(() => { cluster.upstreams = [upstream('tickets', tickets.mcp, { type: 'oauth', clientId: 'x' })] })) ?? '', /another client/)
    assert.match((await end(() => { cluster.upstreams = [] })) ?? '', /not configured/)
    // C-9: the token of one server is shown to no other.
    assert.equal(other.at('/revoke').length, 0)
    assert.equal(tickets.at('/revoke').length, revoked)
    // RFC 7009 §2.2.1: the access token ends by itself; the refresh token was revoked.
    tickets.on.set('/revoke', ({ form }) => (form.get('token_type_hint') === 'access_token' ? json({ error: 'unsupported_token_type' }, 400) : undefined))
    assert.equal(await end(() => undefined), undefined)
  } finally {
    await other.close()
  }
})

eachTickets('of two nodes at once, one revokes each credential', async (cluster) => {
  const [node, other] = cluster.nodes
  for (let round = 0; round < 10; round += 1) {
    const ids = Array.from({ length: 15 }, (_, index) => `rev_${round}_${index}`)
    for (const id of ids) await node.store.addRevocation({ id, userId: 'usr_alice', upstream: 'tickets', credential: 'sealed' as never, attempts: 0 }, cluster.now)
    const claims = await Promise.all([node, other, node, other].map(({ store }) => store.claimRevocations(cluster.now, { firstRetryMs: 30_000, limit: 20 })))
    assert.deepEqual(claims.flat().map(({ id }) => id).sort(), [...ids].sort())
    for (const { id } of claims.flat()) await node.store.endRevocation(id)
  }
})

eachTickets('a node that waited for the lock of a claimed revocation does not claim it too', async (cluster) => {
  const [node, other] = cluster.nodes
  await node.store.addRevocation({ id: 'rev_1', userId: 'usr_alice', upstream: 'tickets', credential: 'sealed' as never, attempts: 0 }, cluster.now)
  let second: Promise<readonly unknown[]> | undefined
  await cluster.db.transaction(async (tx) => {
    // What a claim does, held open: the other node reads the row as due, and then finds it locked.
    const claimed = await tx.query('UPDATE pending_revocations SET attempts = attempts + 1, not_before = not_before + 30000 WHERE id = $1 RETURNING id', ['rev_1'])
    assert.equal(claimed.length, 1)
    second = other.store.claimRevocations(cluster.now, { firstRetryMs: 30_000, limit: 20 })
    await delay(200)
  })
  assert.deepEqual(await second, [])
  cluster.now += 30_000
  assert.deepEqual((await other.store.claimRevocations(cluster.now, { firstRetryMs: 30_000, limit: 20 })).map(({ id, attempts }) => [id, attempts]), [['rev_1', 2]])
})

eachTickets('a refresh that comes back after the connection ended: what it brought is revoked too (E15)', async (cluster, tickets) => {
  const [node, other] = cluster.nodes
  await cluster.connected('tickets')
  cluster.now += 600_000
  const { promise, resolve } = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  tickets.on.set('/token', async () => {
    asked.resolve()
    await promise
    return undefined
  })
  const call = node.oauth.credential('usr_alice', cluster.upstreams[0]!)
  await asked.promise
  await other.disconnect('tickets')
  resolve()
  assert.equal(await call, 'connection_required')
  await other.revoke()
  assert.deepEqual(new Set(tickets.at('/revoke').map(({ form }) => form.get('token') ?? '')), new Set(tickets.secrets))
  assert.equal(tickets.secrets.length, 4)
  assert.deepEqual(await queue(cluster), [])
  assert.deepEqual(await cluster.db.query('SELECT * FROM connections'), [])
})

eachTickets('a credential that no key opens any more can still be ended', async (cluster) => {
  const [node] = cluster.nodes
  await cluster.connected('tickets')
  await cluster.db.query(`UPDATE connections SET credential = 'v1.k0.AAAA.BBBB'`)
  assert.equal((await node.disconnect('tickets')).status, 303)
  assert.deepEqual(await cluster.db.query('SELECT * FROM connections'), [])
  assert.deepEqual(await queue(cluster), [])
  assert.equal((await cluster.events('connection.deleted')).length, 1)
})

eachTickets('a sealed credential opens in its own row alone: moved to another person it is nothing (E06, E08)', async (cluster) => {
  const [node] = cluster.nodes
  await cluster.connected('tickets')
  await cluster.connected('tickets', 'bob')
  await cluster.db.query(`UPDATE connections SET credential = (SELECT credential FROM connections WHERE user_id = 'usr_alice') WHERE user_id = 'usr_bob'`)
  await assert.rejects(node.oauth.credential('usr_bob', cluster.upstreams[0]!), { name: 'SealError' })
  assert.notEqual(await node.oauth.credential('usr_alice', cluster.upstreams[0]!), 'connection_required')
})

eachTickets('connecting again brings a version that no earlier connection had', async (cluster) => {
  const [node] = cluster.nodes
  const key = { userId: 'usr_alice', upstream: 'tickets' }
  await cluster.connected('tickets')
  const before = (await node.store.find(key)) ?? assert.fail()
  await node.disconnect('tickets')
  cluster.now += 1
  await cluster.connected('tickets')
  const after = (await node.store.find(key)) ?? assert.fail()
  assert.ok(after.version > before.version)
  // Who still works for the old one ends nothing.
  assert.equal(await node.store.needReconnect(key, { version: before.version }, cluster.now), false)
  assert.equal(await node.store.claimRefresh(key, before.version, { holder: 'x', now: cluster.now, until: cluster.now + 1 }), false)
  assert.equal((await node.store.find(key))?.state, 'active')
})

eachTickets('attempts that nobody finished are swept away', async (cluster) => {
  const [node] = cluster.nodes
  await node.begin('tickets')
  cluster.now += 5 * 60_000
  const url = await node.begin('tickets')
  cluster.now += 6 * 60_000
  await node.store.reap(cluster.now)
  assert.equal((await cluster.db.query('SELECT * FROM connection_attempts')).length, 1)
  assert.equal((await node.finish('tickets', { code: 'c', state: url.searchParams.get('state') ?? '' })).status, 200)
})
