// Rotation: one successor per refresh token, the same answer for the same request soon after, the end of the grant for
// everything else. Two nodes over one database.
import assert from 'node:assert/strict'
import { client, eachCluster, RESOURCE, resource, type Answer, type Cluster } from '../support/token-nodes.ts'

function assertRefused(answer: Answer, code = 'invalid_grant', status = 400): void {
  assert.equal(answer.body['error'], code, answer.text)
  assert.equal(answer.status, status)
}

async function unused(cluster: Cluster, grantId: string): Promise<number> {
  return (await cluster.db.query('SELECT hash FROM refresh_tokens WHERE grant_id = $1 AND used_at IS NULL', [grantId])).length
}

async function revoked(cluster: Cluster, grantId: string): Promise<boolean> {
  const [row] = await cluster.db.query('SELECT revoked_at FROM grants WHERE id = $1', [grantId])
  return row?.['revoked_at'] !== null
}

function tokenOf(answer: Answer): string {
  return String(answer.body['refresh_token'])
}

eachCluster('a refresh token is used once and has one successor (RFC 9700 §4.14.2, AS-26)', async (cluster) => {
  const { refreshToken, accessToken, grantId } = await cluster.signIn()
  cluster.now += 600_000
  const answer = await cluster.refresh(refreshToken, { resource: RESOURCE })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.deepEqual(Object.keys(answer.body).sort(), ['access_token', 'expires_in', 'refresh_token', 'scope', 'token_type'])
  assert.equal(answer.body['expires_in'], 900)
  assert.notEqual(answer.body['access_token'], accessToken)
  assert.notEqual(tokenOf(answer), refreshToken)
  const next = await cluster.refresh(tokenOf(answer), {}, cluster.nodes[1])
  assert.equal(next.status, 200)
  assert.equal(await unused(cluster, grantId), 1)
  const generations = (await cluster.events('token.refreshed')).map((event) => event.detail?.['generation'])
  assert.deepEqual(generations, [1, 2])
  const [grant] = await cluster.db.query('SELECT last_used_at FROM grants')
  assert.equal(grant?.['last_used_at'], Math.floor(cluster.now / 1000))
})

eachCluster('a client that lost the answer gets the same tokens again, from any node, for 60 seconds (C02)', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const first = await cluster.refresh(refreshToken)
  cluster.now += 60_000
  const again = await cluster.refresh(refreshToken, { scope: 'mcp.write mcp.read', resource: RESOURCE }, cluster.nodes[1])
  assert.equal(again.status, 200)
  assert.equal(again.body['access_token'], first.body['access_token'])
  assert.equal(tokenOf(again), tokenOf(first))
  assert.equal(again.body['scope'], first.body['scope'])
  // The lifetime that is left, not the one that was.
  assert.equal(again.body['expires_in'], 840)
  assert.equal((await cluster.events('token.refreshed')).length, 1)
  const [event] = await cluster.events('token.replayed')
  assert.deepEqual({ grantId: event?.grantId, outcome: event?.outcome }, { grantId, outcome: 'success' })
  assert.equal(await unused(cluster, grantId), 1)
  assert.equal((await cluster.refresh(tokenOf(again))).status, 200)
})

eachCluster('a refresh token that comes back after 60 seconds ends the grant (RFC 9700 §4.14.2, C01)', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const first = await cluster.refresh(refreshToken)
  cluster.now += 61_000
  const verifier = cluster.nodes[1].tokens.verifier
  assert.equal((await verifier.verify(String(first.body['access_token']), RESOURCE)).grantId, grantId)
  assertRefused(await cluster.refresh(refreshToken, {}, cluster.nodes[1]))
  await assert.rejects(verifier.verify(String(first.body['access_token']), RESOURCE), { reason: 'cut' })
  assertRefused(await cluster.refresh(tokenOf(first)))
  assert.equal(await revoked(cluster, grantId), true)
  assert.deepEqual((await cluster.events('token.reuse_detected')).map((event) => [event.grantId, event.reason]), [[grantId, 'refresh token used again']])
})

eachCluster('a used refresh token is noticed whatever else is wrong with the request', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  await cluster.refresh(refreshToken)
  cluster.now += 61_000
  assertRefused(await cluster.refresh(refreshToken, { scope: 'mcp.everything', resource: 'https://elsewhere.example' }))
  assert.equal(await revoked(cluster, grantId), true)
})

eachCluster('a used refresh token is noticed after its row is gone, until the grant ends', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const second = tokenOf(await cluster.refresh(refreshToken))
  const third = tokenOf(await cluster.refresh(second))
  cluster.now += 20 * 86_400_000
  await cluster.nodes[0].tokens.maintain()
  assert.equal((await cluster.db.query('SELECT * FROM refresh_tokens')).length, 1)
  assertRefused(await cluster.refresh(refreshToken))
  assert.equal(await revoked(cluster, grantId), true)
  assertRefused(await cluster.refresh(third))
  assert.equal((await cluster.events('token.reuse_detected'))[0]?.reason, 'an old refresh token was used again')
})

eachCluster('tidying up keeps answers that may still be repeated, and tokens that may still be used', async (cluster) => {
  const { refreshToken } = await cluster.signIn()
  const first = await cluster.refresh(refreshToken)
  cluster.now += 60_000
  await cluster.nodes[1].tokens.maintain()
  assert.equal(tokenOf(await cluster.refresh(refreshToken)), tokenOf(first))
  cluster.now += 29 * 86_400_000
  await cluster.nodes[1].tokens.maintain()
  assert.equal((await cluster.refresh(tokenOf(first))).status, 200)
})

eachCluster('a made-up token ends nobody\'s grant, not even one that resembles a real one (C15)', async (cluster) => {
  const { refreshToken, accessToken } = await cluster.signIn()
  const [secret = '', family = ''] = refreshToken.split('.')
  const wrong = [refreshToken.slice(0, -1), `${refreshToken}A`, `${secret}.${Array.from(family).toReversed().join('')}`, secret, `.${secret}`, family, accessToken, 'x', ' ', `${refreshToken}.`]
  for (const token of wrong) {
    const answer = await cluster.refresh(token)
    assert.equal(answer.status, 400, token)
  }
  assert.equal((await cluster.events('token.reuse_detected')).length, 0)
  assert.equal((await cluster.refresh(refreshToken)).status, 200)
})

eachCluster('a refresh token in the hands of another client ends the grant, used or not (RFC 6749 §10.4, C04)', async (cluster) => {
  for (const used of [false, true]) {
    const { refreshToken, grantId } = await cluster.signIn()
    if (used) await cluster.refresh(refreshToken)
    assertRefused(await cluster.refresh(refreshToken, { client_id: 'other' }, cluster.nodes[1]))
    assert.equal(await revoked(cluster, grantId), true)
    const event = (await cluster.events('token.reuse_detected')).at(-1)
    assert.deepEqual({ clientId: event?.clientId, by: event?.detail?.['presented_by'] }, { clientId: 'app', by: 'other' })
  }
})

eachCluster('inside the window another scope gets no answer and ends nothing', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const first = await cluster.refresh(refreshToken, { scope: 'mcp.read' })
  assert.equal(first.body['scope'], 'mcp.read')
  assertRefused(await cluster.refresh(refreshToken))
  assertRefused(await cluster.refresh(refreshToken, { scope: 'mcp.write' }))
  assertRefused(await cluster.refresh(refreshToken, { resource: resource('sales') }), 'invalid_target')
  assert.equal(await revoked(cluster, grantId), false)
  assert.equal((await cluster.refresh(refreshToken, { scope: 'mcp.read' })).body['access_token'], first.body['access_token'])
})

eachCluster('scope and resource only narrow, and the successor keeps all that was granted (RFC 6749 §6, RFC 8707 §2.2)', async (cluster) => {
  const { refreshToken } = await cluster.signIn()
  assertRefused(await cluster.refresh(refreshToken, { scope: 'mcp.read mcp.admin' }), 'invalid_scope')
  assertRefused(await cluster.refresh(refreshToken, { scope: 'mcp."read"' }), 'invalid_scope')
  assertRefused(await cluster.refresh(refreshToken, { resource: resource('sales') }), 'invalid_target')
  const two = `grant_type=refresh_token&client_id=app&refresh_token=${refreshToken}&resource=${RESOURCE}&resource=${resource('sales')}`
  assertRefused(await cluster.nodes[0].post('/token', two), 'invalid_target')
  // As it was asked for at the authorization endpoint: clients repeat it to the letter.
  const narrow = await cluster.refresh(refreshToken, { scope: 'openid profile email mcp.read offline_access' })
  assert.equal(narrow.body['scope'], 'mcp.read')
  const caller = await cluster.nodes[0].tokens.verifier.verify(String(narrow.body['access_token']), RESOURCE)
  assert.deepEqual(caller.scope, ['mcp.read'])
  // RS-9: what lies within a scope that was granted was granted, and is one request in whatever order it stands.
  const within = await cluster.refresh(tokenOf(narrow), { scope: 'mcp.notes.write mcp.notes.read' })
  assert.deepEqual([within.status, within.body['scope']], [200, 'mcp.notes.read mcp.notes.write'])
  const again = await cluster.refresh(tokenOf(narrow), { scope: 'mcp.notes.read mcp.notes.write' }, cluster.nodes[1])
  assert.equal(again.body['access_token'], within.body['access_token'])
  assert.equal((await cluster.refresh(tokenOf(within))).body['scope'], 'mcp.read mcp.write')
  const reading = await cluster.signIn({ scope: ['mcp.notes.read'] })
  for (const scope of ['mcp.read', 'mcp.notes.write', 'mcp.other.read']) assertRefused(await cluster.refresh(reading.refreshToken, { scope }), 'invalid_scope')
})

eachCluster('50 callers on two nodes with one refresh token: one rotation, one answer for all, and the grant lives (C03)', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => cluster.refresh(refreshToken, {}, cluster.nodes[index % 2 === 0 ? 0 : 1])))
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
  assert.equal(new Set(answers.map(tokenOf)).size, 1)
  assert.equal(new Set(answers.map(({ body }) => body['access_token'])).size, 1)
  assert.equal((await cluster.events('token.refreshed')).length, 1)
  assert.equal((await cluster.events('token.replayed')).length, 49)
  assert.equal(await unused(cluster, grantId), 1)
  assert.equal((await cluster.refresh(tokenOf(answers[0]!))).status, 200)
})

eachCluster('50 callers, round after round: the successor of the successor is one as well (C03)', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  let token = refreshToken
  for (let round = 1; round <= 5; round += 1) {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => cluster.refresh(token, {}, cluster.nodes[index % 2 === 0 ? 0 : 1])))
    assert.equal(new Set(answers.map(tokenOf)).size, 1)
    token = tokenOf(answers[0]!)
    assert.equal(await unused(cluster, grantId), 1)
    assert.equal((await cluster.events('token.refreshed')).length, round)
  }
})

eachCluster('a node that ends between the rotation and its answer loses nothing: the client asks again (C02)', async (cluster) => {
  const { refreshToken } = await cluster.signIn()
  const plain = cluster.nodes[0].store
  const lost = { rotated: false }
  // The write is done, the answer never leaves.
  const rotate = plain.rotate.bind(plain)
  Object.assign(plain, {
    rotate: async (...args: Parameters<typeof rotate>) => {
      lost.rotated = await rotate(...args)
      throw new Error('killed')
    },
  })
  const silenced = console.error
  console.error = () => undefined
  assert.equal((await cluster.refresh(refreshToken)).status, 500)
  console.error = silenced
  assert.equal(lost.rotated, true)
  const [, other] = await cluster.restart()
  const again = await cluster.refresh(refreshToken, {}, other)
  assert.equal(again.status, 200)
  assert.equal((await cluster.refresh(tokenOf(again), {}, other)).status, 200)
  assert.equal((await cluster.events('token.refreshed')).length, 2)
})

eachCluster('a restart of all nodes forgets neither that a token was used nor when (C05)', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const first = await cluster.refresh(refreshToken)
  cluster.now += 50_000
  const [soon] = await cluster.restart()
  assert.equal(tokenOf(await cluster.refresh(refreshToken, {}, soon)), tokenOf(first))
  cluster.now += 11_000
  const [late] = await cluster.restart()
  assertRefused(await cluster.refresh(refreshToken, {}, late))
  assert.equal(await revoked(cluster, grantId), true)
  const [later] = await cluster.restart()
  await assert.rejects(later.tokens.verifier.verify(String(first.body['access_token']), RESOURCE), { reason: 'cut' })
})

eachCluster('a clock that is behind the one that rotated widens no window', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  const first = await cluster.refresh(refreshToken)
  cluster.now -= 30_000
  assert.equal(tokenOf(await cluster.refresh(refreshToken)), tokenOf(first))
  cluster.now -= 40_000
  assertRefused(await cluster.refresh(refreshToken))
  assert.equal(await revoked(cluster, grantId), true)
})

eachCluster('an unused refresh token ends after 30 days, and each use gives 30 more', async (cluster) => {
  const slow = await cluster.signIn()
  const { refreshToken } = await cluster.signIn({ userId: 'usr_bob' })
  cluster.now += 29 * 86_400_000
  const next = tokenOf(await cluster.refresh(refreshToken))
  cluster.now += 86_400_000
  assertRefused(await cluster.refresh(slow.refreshToken))
  assert.equal((await cluster.events('token.reuse_detected')).length, 0)
  assert.equal((await cluster.refresh(next)).status, 200)
})

eachCluster('who left gets no token, and does not get back in when enabled again (C07)', async (cluster) => {
  const alice = cluster.users.get('usr_alice')!
  const leave: [string, () => void, () => void][] = [
    ['user disabled', () => cluster.users.set('usr_alice', { ...alice, disabled: true }), () => cluster.users.set('usr_alice', alice)],
    ['unknown user', () => cluster.users.delete('usr_alice'), () => cluster.users.set('usr_alice', alice)],
    ['ended by the identity provider', () => cluster.ended.add('usr_alice'), () => cluster.ended.delete('usr_alice')],
  ]
  for (const [reason, go, comeBack] of leave) {
    const { refreshToken, grantId, accessToken } = await cluster.signIn()
    go()
    assertRefused(await cluster.refresh(refreshToken))
    comeBack()
    assertRefused(await cluster.refresh(refreshToken))
    assert.equal(await revoked(cluster, grantId), true, reason)
    await assert.rejects(cluster.nodes[1].tokens.verifier.verify(accessToken, RESOURCE), { reason: 'cut' })
    assert.equal((await cluster.events('token.revoked')).at(-1)?.reason, reason)
  }
  assert.equal((await cluster.events('token.refreshed')).length, 0)
})

eachCluster('the repeated answer is for those alone who could get a new one (C04)', async (cluster) => {
  const { refreshToken } = await cluster.signIn()
  assert.equal((await cluster.refresh(refreshToken)).status, 200)
  cluster.ended.add('usr_alice')
  assertRefused(await cluster.refresh(refreshToken))
})

eachCluster('whose rules allow nothing any more gets no token, and gets one when they do again', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  cluster.reachable = false
  assertRefused(await cluster.refresh(refreshToken))
  assert.equal((await cluster.events('token.refused')).at(-1)?.reason, 'policy allows nothing of the resource')
  cluster.reachable = true
  assert.equal((await cluster.refresh(refreshToken)).status, 200)
  assert.equal(await revoked(cluster, grantId), false)
})

eachCluster('a subject that was cut off refreshes nothing that was granted before', async (cluster) => {
  const before = await cluster.signIn()
  cluster.now += 5000
  await cluster.db.query('INSERT INTO changes (kind, key, at) VALUES ($1, $2, $3)', ['subject', 'usr_alice', cluster.now])
  const [node] = await cluster.restart()
  assertRefused(await cluster.refresh(before.refreshToken, {}, node))
  cluster.now += 5000
  const after = await cluster.approve()
  assert.equal((await node.post('/token', after.form)).status, 200)
})

eachCluster('a client that is gone, or registered for less now, refreshes nothing (C07)', async (cluster) => {
  const { refreshToken } = await cluster.signIn()
  cluster.clients.delete('app')
  assertRefused(await cluster.refresh(refreshToken), 'invalid_client', 401)
  cluster.clients.set('app', client('app', { grantTypes: ['authorization_code'] }))
  assertRefused(await cluster.refresh(refreshToken), 'unauthorized_client')
})

eachCluster('a grant that is revoked while its token is rotated yields no token', async (cluster) => {
  const { refreshToken, grantId } = await cluster.signIn()
  cluster.beforeWrite = async () => void (await cluster.nodes[1].store.revokeGrant(grantId, Math.floor(cluster.now / 1000), []))
  assertRefused(await cluster.refresh(refreshToken))
  assert.equal((await cluster.db.query('SELECT * FROM refresh_tokens')).length, 0)
  assert.equal((await cluster.events('token.refreshed')).length, 0)
})

eachCluster('rotation and revocation at once leave nothing that can be used', async (cluster) => {
  for (let round = 0; round < 10; round += 1) {
    const { refreshToken, grantId } = await cluster.signIn()
    const [answers] = await Promise.all([
      Promise.all(Array.from({ length: 4 }, (_, index) => cluster.refresh(refreshToken, {}, cluster.nodes[index % 2 === 0 ? 0 : 1]))),
      cluster.nodes[1].store.revokeGrant(grantId, Math.floor(cluster.now / 1000), []),
    ])
    for (const answer of answers) {
      if (answer.status !== 200) continue
      assertRefused(await cluster.refresh(tokenOf(answer)))
      await assert.rejects(cluster.nodes[0].tokens.verifier.verify(String(answer.body['access_token']), RESOURCE), { reason: 'cut' })
    }
    assert.equal((await cluster.db.query('SELECT * FROM refresh_tokens WHERE grant_id = $1', [grantId])).length, 0)
  }
})

eachCluster('the database itself refuses a second usable refresh token of a grant', async (cluster) => {
  const { grantId } = await cluster.signIn()
  const insert = 'INSERT INTO refresh_tokens (hash, family, grant_id, generation, created_at, expires_at) VALUES ($1, $1, $2, 7, 1, 2)'
  await assert.rejects(cluster.db.query(insert, ['forged', grantId]))
})

eachCluster('what is stored of an answer opens in its own row alone, and holds no token in the clear', async (cluster) => {
  const first = await cluster.signIn()
  const second = await cluster.signIn()
  const answer = await cluster.refresh(first.refreshToken)
  await cluster.refresh(second.refreshToken)
  const rows = await cluster.db.query<{ hash: string; successor: string; grant_id: string }>('SELECT hash, successor, grant_id FROM refresh_tokens WHERE used_at IS NOT NULL')
  assert.equal(JSON.stringify(rows).includes(tokenOf(answer)), false)
  const stolen = rows.find((row) => row.grant_id === first.grantId)!
  await cluster.db.query('UPDATE refresh_tokens SET successor = $1 WHERE grant_id = $2 AND used_at IS NOT NULL', [stolen.successor, second.grantId])
  const silenced = console.error
  console.error = () => undefined
  const mixed = await cluster.refresh(second.refreshToken)
  console.error = silenced
  assert.equal(mixed.status, 500)
  assert.equal(mixed.text.includes(tokenOf(answer)), false)
  assert.equal(tokenOf(await cluster.refresh(first.refreshToken)), tokenOf(answer))
})
