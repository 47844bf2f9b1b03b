// Upstream credentials stay good: refreshed once for all callers of all nodes, never lost, never ended by a loser.
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { eachTickets, upstream, type Cluster, type Node } from '../support/connection-nodes.ts'
import { eventually } from '../support/eventually.ts'
import { json, upstreamEmulator, type Asked, type Emulator, type Reply } from '../support/upstream-emulator.ts'

interface Scene {
  readonly cluster: Cluster
  readonly tickets: Emulator
  readonly nodes: readonly [Node, Node]
  /** The access token of alice's call, or why there is none. */
  token(node?: Node): Promise<string>
  /** The refresh requests that the upstream saw. */
  refreshes(): Asked[]
  /** The newest secret of the kind that the upstream gave. */
  newest(kind: 'access' | 'refresh'): string
  row(): Promise<Record<string, unknown>>
}

function each(name: string, run: (scene: Scene) => Promise<void>): void {
  eachTickets(name, async (cluster, tickets) => {
    const { nodes } = cluster
    await cluster.connected('tickets')
    await run({
      cluster,
      tickets,
      nodes,
      async token(node = nodes[0]) {
        const credential = await node.connector(cluster.upstreams[0]!).credential('usr_alice', cluster.upstreams[0]!)
        return credential === 'connection_required' ? credential : (credential.headers['authorization'] ?? '').replace('Bearer ', '')
      },
      refreshes: () => tickets.at('/token').filter(({ form }) => form.get('grant_type') === 'refresh_token'),
      newest: (kind) => tickets.secrets.findLast((secret) => secret.startsWith(kind)) ?? '',
      row: async () => (await cluster.db.query<Record<string, string | number | null>>('SELECT * FROM connections'))[0] ?? {},
    })
  })
}

/** A promise and what resolves it. */
function gate(): { readonly open: () => void; readonly passed: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { open: resolve, passed: promise }
}

const rejected = { name: 'UpstreamUnavailable' }

each('a credential is served from memory, and refreshed a minute before it ends, with the resource (RFC 8707 §2.2, C-7, C-8)', async ({ cluster, tickets, token, refreshes, newest, nodes }) => {
  const first = newest('access')
  const refreshToken = newest('refresh')
  assert.equal(await token(), first)
  cluster.now += 539_000
  assert.equal(await token(), first)
  assert.equal(refreshes().length, 0)
  cluster.now += 2000
  const second = await token()
  assert.notEqual(second, first)
  assert.equal(second, newest('access'))
  assert.deepEqual(Object.fromEntries(refreshes()[0]?.form ?? []), { grant_type: 'refresh_token', refresh_token: refreshToken, client_id: 'client-1', resource: tickets.mcp })
  assert.equal(await token(nodes[1]), second)
  assert.equal(refreshes().length, 1)
  const [event] = await cluster.events('connection.refreshed')
  assert.deepEqual([event?.subject, event?.upstream, event?.detail], ['usr_alice', 'tickets', { rotated: true }])
})

each('a rotated refresh token is used next; one that is not replaced goes on (RFC 6749 §6)', async ({ cluster, tickets, token, refreshes, newest }) => {
  const used: string[] = []
  tickets.on.set('/token', ({ form }) => {
    used.push(form.get('refresh_token') ?? '')
    return used.length === 2 ? json({ access_token: 'kept', token_type: 'bearer', expires_in: 600 }) : undefined
  })
  const expected = [newest('refresh')]
  for (let round = 0; round < 2; round += 1) {
    cluster.now += 600_000
    await token()
    expected.push(newest('refresh'))
  }
  assert.equal(await token(), 'kept')
  cluster.now += 600_000
  assert.equal(await token(), newest('access'))
  // The second answer brought none, so the third request used the same again.
  assert.deepEqual(used, [expected[0], expected[1], expected[1]])
  assert.equal(refreshes().length, 3)
})

each('50 callers on two nodes: one refresh upstream, and all get the new token (E10, X15)', async ({ cluster, tickets, token, refreshes, newest, nodes }) => {
  await Promise.all([token(nodes[0]), token(nodes[1])])
  for (let round = 1; round <= 3; round += 1) {
    cluster.now += 601_000
    tickets.on.set('/token', async () => {
      await delay(150)
      return undefined
    })
    const before = newest('access')
    const tokens = await Promise.all(Array.from({ length: 50 }, (_, index) => token(nodes[index % 2])))
    assert.equal(refreshes().length, round)
    assert.notEqual(newest('access'), before)
    assert.deepEqual([...new Set(tokens)], [newest('access')])
  }
  assert.equal((await cluster.events('connection.refreshed')).length, 3)
})

each('while a token is still good, nobody waits for its refresh', async ({ cluster, tickets, token, refreshes, newest, nodes }) => {
  const old = newest('access')
  await token(nodes[1])
  cluster.now += 545_000
  const { open, passed } = gate()
  tickets.on.set('/token', async () => {
    await passed
    return undefined
  })
  const first = token(nodes[0])
  await eventually('the refresh', () => refreshes().length === 1)
  assert.equal(await token(nodes[1]), old)
  open()
  assert.equal(await first, newest('access'))
  assert.equal(refreshes().length, 1)
})

each('invalid_grant ends the connection, once, and its user must connect again (RFC 6749 §5.2)', async ({ cluster, tickets, token, refreshes, newest, nodes, row }) => {
  tickets.on.set('/token', () => json({ error: 'invalid_grant' }, 400))
  cluster.now += 600_000
  const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => token(nodes[index % 2])))
  assert.deepEqual([...new Set(answers)], ['connection_required'])
  assert.equal(refreshes().length, 1)
  assert.equal((await row())['state'], 'reconnect_needed')
  assert.deepEqual((await cluster.events('connection.failed')).map(({ reason }) => reason), ['the upstream ended it'])
  assert.equal(await token(), 'connection_required')
  assert.equal(refreshes().length, 1)
  tickets.on.delete('/token')
  await cluster.connected('tickets')
  assert.equal(await token(nodes[1]), newest('access'))
})

each('a server that is down, slow, broken or confused ends nothing (X17)', async ({ cluster, tickets, token, newest, row }) => {
  const troubles: readonly (Reply | 'reset')[] = [
    { status: 500 }, { status: 503, body: 'busy' }, { status: 429 }, json({ error: 'slow_down' }, 429), { status: 302, headers: { location: 'http://127.0.0.1:1/' } },
    { status: 200, body: '<html>' }, { status: 200, headers: { 'content-type': 'application/json' }, body: '{' }, json({ error: 'temporarily_unavailable' }, 400), json({ error: 'invalid_grant' }, 503),
    json({ error: 'invalid_request' }, 400), json({ access_token: 'x', token_type: 'mac' }), json({ access_token: 'a b', token_type: 'bearer' }), 'reset',
  ]
  const old = newest('access')
  for (const [index, trouble] of troubles.entries()) {
    tickets.on.set('/token', () => {
      if (trouble === 'reset') throw new Error('reset')
      return trouble
    })
    // Still good for a while, and then not.
    if (index === 0) cluster.now += 570_000
    else cluster.now += 1000
    assert.equal(await token(), old, JSON.stringify(trouble))
  }
  cluster.now += 60_000
  for (const trouble of troubles) {
    tickets.on.set('/token', () => {
      if (trouble === 'reset') throw new Error('reset')
      return trouble
    })
    await assert.rejects(token(), rejected, JSON.stringify(trouble))
    assert.deepEqual([(await row())['state'], (await row())['lease']], ['active', null])
  }
  tickets.on.delete('/token')
  assert.equal(await token(), newest('access'))
  assert.notEqual(newest('access'), old)
})

each('metadata that fails at the time of a refresh ends nothing either', async ({ cluster, tickets, token, newest, nodes, refreshes }) => {
  cluster.now += 3600_000
  tickets.on.set('/mcp', () => ({ status: 503 }))
  // This node never discovered, and that one knows what was.
  await assert.rejects(token(nodes[1]), rejected)
  assert.equal(refreshes().length, 0)
  assert.equal(await token(nodes[0]), newest('access'))
  tickets.on.delete('/mcp')
  tickets.metadata = { issuer: 'https://evil.example' }
  cluster.now += 3600_000
  await assert.rejects(token(nodes[0]), rejected)
  assert.match((await cluster.events('connection.failed')).at(-1)?.reason ?? '', /another issuer/)
  tickets.metadata = {}
  assert.equal(await token(nodes[1]), newest('access'))
})

each('the store fails after the upstream rotated: the new token is held, written again, and answered when it is safe (E11, X14)', async ({ cluster, token, refreshes, newest, nodes, row }) => {
  let failures = 4
  const { version } = await row()
  const answered: string[] = []
  cluster.beforeRefreshWrite = async () => {
    if (failures-- > 0) throw new Error('the database is gone')
  }
  cluster.now += 600_000
  const calls = [nodes[0], nodes[0], nodes[1]].map(async (node) => {
    const value = await token(node)
    answered.push(value)
    assert.ok(failures < 0, 'answered before it was stored')
    return value
  })
  await eventually('two failed writes', () => failures === 2)
  // The lease may run out meanwhile: this node still knows better than to use what is stored.
  const late = token(nodes[0])
  assert.deepEqual(answered, [])
  assert.deepEqual([...new Set(await Promise.all([...calls, late]))], [newest('access')])
  assert.equal(refreshes().length, 1)
  assert.equal((await row())['version'], Number(version) + 1)
  // Not the dead one is used next.
  cluster.now += 600_000
  assert.equal(await token(nodes[1]), newest('access'))
})

each('a node that holds what it could not store does not use what is stored, even when its lease is over (E11, X14)', async ({ cluster, token, refreshes, newest, nodes, row }) => {
  const { open, passed } = gate()
  let failures = 0
  cluster.beforeRefreshWrite = async () => {
    failures += 1
    if (failures === 1) throw new Error('the database is gone')
    await passed
  }
  cluster.now += 600_000
  const first = token(nodes[0])
  await eventually('the second write', () => failures === 2)
  cluster.now += 31_000
  // A new call, not one that waits for the same promise.
  const [tracker] = cluster.upstreams as [typeof cluster.upstreams[0]]
  const second = nodes[0].oauth.refused('usr_alice', tracker, String((await row())['version']))
  await delay(250)
  assert.equal(refreshes().length, 1)
  open()
  assert.equal(await first, newest('access'))
  await second
  assert.equal(await token(nodes[1]), newest('access'))
  assert.equal(refreshes().length, 1)
})

each('a write whose answer was lost is not made twice', async ({ cluster, token, refreshes, newest, nodes, row }) => {
  const { version } = await row()
  const { refresh } = nodes[0].store
  let lost = 0
  nodes[0].store.refresh = async (...given) => {
    const stored = await refresh(...given)
    if ((lost += 1) === 1) throw new Error('the connection broke')
    return stored
  }
  cluster.now += 600_000
  assert.equal(await token(), newest('access'))
  assert.deepEqual([lost, refreshes().length, (await row())['version']], [2, 1, Number(version) + 1])
  assert.equal((await cluster.db.query('SELECT * FROM pending_revocations')).length, 0)
})

each('a holder that died: others wait for its lease, then one of them refreshes (X13)', async ({ cluster, token, refreshes, newest, nodes }) => {
  const record = (await nodes[0].store.find({ userId: 'usr_alice', upstream: 'tickets' })) ?? assert.fail()
  cluster.now += 600_000
  assert.equal(await nodes[0].store.claimRefresh(record, record.version, { holder: 'dead', now: cluster.now, until: cluster.now + 30_000 }), true)
  const calls = [nodes[0], nodes[1]].map((node) => assert.rejects(token(node), rejected))
  await delay(250)
  assert.equal(refreshes().length, 0)
  cluster.now += 15_000
  await delay(150)
  assert.equal(refreshes().length, 0)
  // Nobody waits for longer than 20 seconds.
  cluster.now += 6000
  await Promise.all(calls)
  cluster.now += 10_000
  assert.deepEqual(await Promise.all([token(nodes[0]), token(nodes[1])]), [newest('access'), newest('access')])
  assert.equal(refreshes().length, 1)
})

each('a holder that died after the upstream rotated: the dead token is tried once, and the user connects again (X13)', async ({ cluster, tickets, token, refreshes, nodes, row }) => {
  const record = (await nodes[0].store.find({ userId: 'usr_alice', upstream: 'tickets' })) ?? assert.fail()
  cluster.now += 600_000
  await nodes[0].store.claimRefresh(record, record.version, { holder: 'dead', now: cluster.now, until: cluster.now + 30_000 })
  tickets.on.set('/token', () => json({ error: 'invalid_grant' }, 400))
  cluster.now += 31_000
  assert.deepEqual(await Promise.all([token(nodes[0]), token(nodes[1]), token(nodes[1])]), ['connection_required', 'connection_required', 'connection_required'])
  assert.equal(refreshes().length, 1)
  assert.equal((await row())['state'], 'reconnect_needed')
})

each('a holder that was paused past its lease: its late write is refused (X16)', async ({ cluster, tickets, token, nodes, row, refreshes }) => {
  let count = 0
  tickets.on.set('/token', () => json({ access_token: `access-of-${(count += 1)}`, token_type: 'bearer', expires_in: 600, refresh_token: `refresh-of-${count}` }))
  const { open, passed } = gate()
  let held = false
  cluster.beforeRefreshWrite = async () => {
    if (held) return
    held = true
    await passed
  }
  cluster.now += 600_000
  const paused = token(nodes[0])
  await eventually('the paused write', () => held)
  cluster.now += 31_000
  assert.equal(await token(nodes[1]), 'access-of-2')
  const { credential, version } = await row()
  open()
  assert.equal(await paused, 'access-of-2')
  assert.deepEqual([(await row())['credential'], (await row())['version'], (await row())['state']], [credential, version, 'active'])
  assert.equal(refreshes().length, 2)
  // The loser's token is left alone: many servers would end the whole grant with it.
  assert.equal((await cluster.db.query('SELECT * FROM pending_revocations')).length, 0)
  assert.equal((await cluster.events('connection.refreshed')).length, 1)
})

each('a late write is refused already when another holds the lease, before that one has written (X16)', async ({ cluster, tickets, token, nodes, row }) => {
  const [write, answer] = [gate(), gate()]
  let asked = 0
  tickets.on.set('/token', async () => {
    const turn = (asked += 1)
    if (turn === 2) await answer.passed
    return json({ access_token: `access-of-${turn}`, token_type: 'bearer', expires_in: 600, refresh_token: `refresh-of-${turn}` })
  })
  let writes = 0
  cluster.beforeRefreshWrite = async () => {
    if ((writes += 1) === 1) await write.passed
  }
  cluster.now += 600_000
  const paused = token(nodes[0]).catch((error: unknown) => String(error))
  await eventually('the paused write', () => writes === 1)
  cluster.now += 31_000
  const winner = token(nodes[1])
  await eventually('the second refresh', () => asked === 2)
  const before = await row()
  write.open()
  assert.match(await paused, /refreshed elsewhere/)
  assert.deepEqual(await row(), before)
  answer.open()
  assert.equal(await winner, 'access-of-2')
  assert.equal(await token(nodes[0]), 'access-of-2')
})

each('a loser that hears invalid_grant ends neither the winner nor one that is about to win (X16)', async ({ cluster, tickets, token, nodes, row, refreshes }) => {
  for (const order of ['after', 'before'] as const) {
    const gates = [gate(), gate()] as const
    let asked = 0
    tickets.on.set('/token', async () => {
      const turn = (asked += 1) - 1
      await gates[turn]?.passed
      return turn === 0 ? json({ error: 'invalid_grant' }, 400) : json({ access_token: `winner-${order}`, token_type: 'bearer', expires_in: 600, refresh_token: 'next' })
    })
    cluster.now += 600_000
    const loser = token(nodes[0]).catch((error: unknown) => String(error))
    await eventually('the first refresh', () => asked === 1)
    cluster.now += 31_000
    const winner = token(nodes[1])
    await eventually('the second refresh', () => asked === 2)
    if (order === 'after') {
      gates[1].open()
      assert.equal(await winner, `winner-${order}`)
      gates[0].open()
    } else {
      gates[0].open()
      await delay(150)
      assert.equal((await row())['state'], 'active')
      gates[1].open()
    }
    assert.equal(await winner, `winner-${order}`)
    // Its 20 seconds are over, so it does not wait for one that is still at it.
    assert.match(await loser, order === 'after' ? /^winner-after$/ : /refreshed elsewhere/)
    assert.equal(await token(nodes[0]), `winner-${order}`)
    assert.equal((await row())['state'], 'active')
  }
  assert.equal(refreshes().length, 4)
  assert.deepEqual(await cluster.events('connection.failed'), [])
})

each('tokens that live for seconds, or not at all, cost one refresh per call and no loop', async ({ cluster, tickets, token, refreshes, newest }) => {
  tickets.lifetime = 30
  cluster.now += 600_000
  assert.equal(await token(), newest('access'))
  cluster.now += 14_000
  assert.equal(await token(), newest('access'))
  assert.equal(refreshes().length, 1)
  cluster.now += 2000
  await token()
  assert.equal(refreshes().length, 2)
  tickets.lifetime = 0
  cluster.now += 30_000
  for (let calls = 3; calls <= 5; calls += 1) {
    assert.equal(await token(), newest('access'))
    assert.equal(refreshes().length, calls)
  }
})

each('a token that the upstream refuses is replaced once for all who were refused', async ({ cluster, tickets, nodes, refreshes, newest, token }) => {
  const [tracker] = cluster.upstreams as [typeof cluster.upstreams[0]]
  const credential = await nodes[0].oauth.credential('usr_alice', tracker)
  await nodes[1].oauth.credential('usr_alice', tracker)
  const { version } = credential === 'connection_required' ? assert.fail() : credential
  await Promise.all([...nodes, ...nodes, ...nodes].map((node) => node.oauth.refused('usr_alice', tracker, version)))
  assert.equal(refreshes().length, 1)
  assert.equal(await token(nodes[0]), newest('access'))
  assert.equal(await token(nodes[1]), newest('access'))
  // An old refusal that arrives late changes nothing, and one that this node has forgotten still counts.
  await nodes[0].oauth.refused('usr_alice', tracker, version)
  assert.equal(refreshes().length, 1)
  const next = await nodes[0].oauth.credential('usr_alice', tracker)
  nodes[0].feed.deliver({ kind: 'connection', key: 'usr_alice tickets', at: 0 })
  cluster.now += 30_000
  await nodes[0].oauth.refused('usr_alice', tracker, next === 'connection_required' ? '' : next.version)
  assert.equal(refreshes().length, 2)
  cluster.now += 30_000
  tickets.on.set('/token', () => ({ status: 503 }))
  const last = await nodes[0].oauth.credential('usr_alice', tracker)
  await assert.rejects(nodes[0].oauth.refused('usr_alice', tracker, last === 'connection_required' ? '' : last.version), rejected)
})

each('an upstream that refuses everything has a token made twice a minute, however often it is called', async ({ cluster, nodes, refreshes }) => {
  const [tracker] = cluster.upstreams as [typeof cluster.upstreams[0]]
  const refusedCall = async (): Promise<string> => {
    const credential = await nodes[0].oauth.credential('usr_alice', tracker)
    if (credential === 'connection_required') return assert.fail()
    await nodes[0].oauth.refused('usr_alice', tracker, credential.version)
    return credential.version
  }
  const first = await refusedCall()
  const second = await refusedCall()
  assert.notEqual(second, first)
  for (let call = 0; call < 5; call += 1) assert.equal(await refusedCall(), second)
  assert.equal(refreshes().length, 1)
  cluster.now += 30_000
  await refusedCall()
  assert.equal(refreshes().length, 2)
})

each('without a refresh token a connection lasts as long as its token (C-14)', async ({ cluster, tickets, nodes, row }) => {
  const [tracker] = cluster.upstreams as [typeof cluster.upstreams[0]]
  tickets.on.set('/token', () => json({ access_token: 'only', token_type: 'bearer', expires_in: 600 }))
  await cluster.connected('tickets')
  cluster.now += 599_000
  assert.notEqual(await nodes[1].oauth.credential('usr_alice', tracker), 'connection_required')
  cluster.now += 1000
  assert.equal(await nodes[1].oauth.credential('usr_alice', tracker), 'connection_required')
  assert.equal((await row())['state'], 'reconnect_needed')
  tickets.on.set('/token', () => json({ access_token: 'endless', token_type: 'bearer' }))
  await cluster.connected('tickets')
  cluster.now += 1e9
  const credential = await nodes[0].oauth.credential('usr_alice', tracker)
  assert.notEqual(credential, 'connection_required')
  await nodes[0].oauth.refused('usr_alice', tracker, credential === 'connection_required' ? '' : credential.version)
  assert.equal(await nodes[0].oauth.credential('usr_alice', tracker), 'connection_required')
})

each('an upstream that gives less is told; one that answers for another account is not believed (E13)', async ({ cluster, tickets, token, row }) => {
  const idToken = (sub: string): string => {
    const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const seconds = Math.floor(Date.now() / 1000)
    return `${part({ alg: 'RS256' })}.${part({ iss: tickets.issuer, aud: 'client-1', sub, iat: seconds, exp: seconds + 600 })}.${part({})}`
  }
  const answer = (more: object): Reply => json({ access_token: 'x', token_type: 'bearer', expires_in: 600, refresh_token: 'y', scope: 'a b', ...more })
  tickets.on.set('/token', () => answer({ id_token: idToken('alice-there') }))
  await cluster.connected('tickets')
  tickets.on.set('/token', () => answer({ id_token: idToken('alice-there'), scope: 'a' }))
  cluster.now += 600_000
  assert.equal(await token(), 'x')
  assert.deepEqual((await cluster.events('connection.refreshed'))[0]?.detail, { rotated: false, scopeLost: ['b'] })
  tickets.on.set('/token', () => answer({ access_token: 'of-mallory', id_token: idToken('mallory') }))
  cluster.now += 600_000
  assert.equal(await token(), 'connection_required')
  assert.equal((await row())['state'], 'reconnect_needed')
  assert.match((await cluster.events('connection.failed'))[0]?.reason ?? '', /another account/)
})

each('a credential is sent to the issuer that it came from, by the client that it was issued to, and no other (C-9, C-10)', async ({ cluster, tickets, token, refreshes, row }) => {
  const evil = await upstreamEmulator()
  try {
    tickets.resource = { authorization_servers: [evil.issuer] }
    cluster.now += 3600_000
    assert.equal(await token(), 'connection_required')
    assert.equal(evil.at('/token').length + refreshes().length, 0)
    assert.equal((await row())['state'], 'reconnect_needed')
    tickets.resource = {}
    cluster.now += 3600_000
    await cluster.connected('tickets')
    cluster.upstreams = [upstream('tickets', tickets.mcp, { type: 'oauth', clientId: 'another' })]
    cluster.now += 3600_000
    assert.equal(await token(), 'connection_required')
    assert.equal(refreshes().length, 0)
    assert.deepEqual((await cluster.events('connection.failed')).map(({ reason }) => reason), ['the upstream has another authorization server now', 'Lanyard is another client at the upstream now'])
  } finally {
    await evil.close()
  }
})

each('what ended is not served from memory: not on this node, not on the other, not when it was being read meanwhile (K05)', async ({ cluster, token, newest, nodes }) => {
  const { open, passed } = gate()
  let reading = false
  cluster.afterRead = async () => {
    reading = true
    await passed
  }
  const reader = token(nodes[0])
  await eventually('the read', () => reading)
  cluster.afterRead = () => Promise.resolve()
  assert.equal(await token(nodes[1]), newest('access'))
  assert.equal((await nodes[0].disconnect('tickets')).status, 303)
  open()
  await reader
  assert.equal(await token(nodes[0]), 'connection_required')
  await eventually('the other node hears', async () => (await token(nodes[1])) === 'connection_required')
})

each('memory follows the end of a person, and trusts nothing for longer than five minutes', async ({ cluster, token, newest, nodes }) => {
  assert.equal(await token(), newest('access'))
  await cluster.db.query('DELETE FROM connections')
  nodes[0].feed.deliver({ kind: 'subject', key: 'usr_ali', at: 0 })
  nodes[0].feed.deliver({ kind: 'connection', key: 'usr_alice other', at: 0 })
  assert.equal(await token(), newest('access'))
  nodes[0].feed.deliver({ kind: 'subject', key: 'usr_alice', at: 0 })
  assert.equal(await token(), 'connection_required')
  await cluster.connected('tickets')
  assert.equal(await token(), newest('access'))
  await cluster.db.query('DELETE FROM connections')
  cluster.now += 5 * 60_000
  assert.equal(await token(), 'connection_required')
})
