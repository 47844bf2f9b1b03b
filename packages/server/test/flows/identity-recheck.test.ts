// The provider is asked again, with the refresh token that it gave: what it says counts everywhere, and what keeps it
// from saying anything changes nothing.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { sealer } from '../../src/keys/seal.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import { eventually } from '../support/eventually.ts'
import { addGrant, CHECK_MS, eachIdentity, ISSUER, settingsOf, whoami, type IdentityCluster } from '../support/identity-nodes.ts'
import { signed, signingKey } from '../support/openid-provider.ts'

async function signIn(cluster: IdentityCluster): Promise<{ userId: string; cookie: string; grantId: string }> {
  const visitor = cluster.nodes[0].browser()
  const { user } = await whoami(visitor)
  const grantId = await addGrant(cluster.db, user.id, cluster.now())
  return { userId: user.id, grantId, cookie: `__Host-lanyard_session=${visitor.cookies('lanyard.example').get('__Host-lanyard_session')}` }
}

async function groups(cluster: IdentityCluster, userId: string): Promise<readonly string[] | undefined> {
  return (await cluster.nodes[1].store.findUser(userId))?.groups
}

async function tokensOf(cluster: IdentityCluster, userId: string): Promise<{ refreshToken?: string; idToken: string }> {
  const [row] = await cluster.db.query('SELECT tokens FROM users WHERE id = $1', [userId])
  return JSON.parse(cluster.sealer.open(String(row?.['tokens']) as Sealed, ['users', userId, 'tokens']))
}

/** The next request to the token endpoint waits until it is answered. */
function hold(cluster: IdentityCluster): Promise<ServerResponse> {
  return new Promise((resolve) => {
    cluster.idp.behave.instead = (path, response) => {
      if (path !== '/token') return false
      delete cluster.idp.behave.instead
      resolve(response)
      return true
    }
  })
}

const refuse = (response: ServerResponse, error = 'invalid_grant'): void => void response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))

eachIdentity('the provider is asked again after a while, and its groups count on every node', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId, cookie } = await signIn(cluster)
  idp.behave.person = { groups: ['sales'], name: 'Alice B.' }
  cluster.ahead += CHECK_MS - 1000
  assert.equal(await nodes[1].recheck.recheck(userId), 'active')
  assert.deepEqual([idp.count('/token'), await groups(cluster, userId)], [1, ['engineering']])
  // A node remembers for half a minute whom it found active: a check may be late by that.
  cluster.ahead += 30_001
  const before = await tokensOf(cluster, userId)
  assert.equal(await nodes[1].recheck.recheck(userId), 'active')
  assert.deepEqual([idp.count('/token'), await groups(cluster, userId)], [2, ['sales']])
  const after = await tokensOf(cluster, userId)
  assert.notEqual(after.refreshToken, before.refreshToken)
  assert.deepEqual([...idp.refreshTokens], [after.refreshToken], 'the newest refresh token is not the one that is kept')
  assert.equal((await nodes[0].request('/whoami', { headers: { cookie } })).status, 200)
  assert.equal(await nodes[0].recheck.recheck(userId), 'active')
  assert.equal(idp.count('/token'), 2)
})

eachIdentity('of 50 parallel rechecks on two nodes one asks the provider', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId } = await signIn(cluster)
  cluster.ahead += CHECK_MS + 1000
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => nodes[index % 2 === 0 ? 0 : 1].recheck.recheck(userId)))
  assert.deepEqual(new Set(answers), new Set(['active']))
  assert.equal(idp.count('/token'), 2)
})

eachIdentity('invalid_grant ends sessions and grants on all nodes (RFC 6749 §5.2)', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId, cookie, grantId } = await signIn(cluster)
  idp.behave.person = { sub: 'bob', groups: [] }
  const bob = await signIn(cluster)
  const token = { userId, clientId: 'app', grantId, kid: 'k', issuedAt: Math.floor(cluster.now() / 1000) }
  cluster.ahead += CHECK_MS + 1000
  idp.refreshTokens.clear()
  assert.equal(await nodes[1].recheck.recheck(userId), 'ended')
  for (const node of nodes) {
    assert.equal((await node.request('/whoami', { headers: { cookie } })).status, 303)
    assert.equal((await node.request('/whoami', { headers: { cookie: bob.cookie } })).status, 200)
    await eventually('the token is cut', () => node.cutoffs.isCut(token))
    assert.equal(node.cutoffs.isCut({ ...token, userId: bob.userId, grantId: bob.grantId }), false)
  }
  const grants = await cluster.db.query('SELECT id, revoked_at FROM grants')
  assert.deepEqual(
    new Map(grants.map((row) => [row['id'], row['revoked_at'] !== null])),
    new Map([
      [grantId, true],
      [bob.grantId, false],
    ]),
  )
  assert.deepEqual((await cluster.events('subject.revoked')).map(({ subject, reason }) => [subject, reason]), [[userId, 'the identity provider ended the sign-in']])
  assert.equal((await cluster.rows('users')).find((row) => row['id'] === userId)?.['tokens'], null)
  // Whoever may sign in again is the same user, with a session and a cutoff behind them.
  idp.behave.person = { sub: 'alice', groups: ['engineering'] }
  const again = await signIn(cluster)
  assert.equal(again.userId, userId)
  assert.equal(nodes[0].cutoffs.isCut({ ...token, grantId: again.grantId, issuedAt: Math.floor(cluster.now() / 1000) + 1 }), false)
})

for (const [title, wrong] of [
  ['an error of the provider', (response: ServerResponse) => void response.writeHead(500).end()],
  ['a page', (response: ServerResponse) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')],
  ['a broken connection', (response: ServerResponse) => void response.destroy()],
  ['temporarily_unavailable', (response: ServerResponse) => refuse(response, 'temporarily_unavailable')],
  ['invalid_client: our own registration', (response: ServerResponse) => refuse(response, 'invalid_client')],
  ['unauthorized_client', (response: ServerResponse) => refuse(response, 'unauthorized_client')],
] as const) {
  eachIdentity(`a recheck that meets ${title} changes nothing`, async (cluster) => {
    const { nodes } = cluster
    const { userId, cookie, grantId } = await signIn(cluster)
    const before = await tokensOf(cluster, userId)
    cluster.ahead += CHECK_MS + 1000
    const held = hold(cluster)
    const checked = nodes[0].recheck.recheck(userId)
    wrong(await held)
    assert.equal(await checked, 'active')
    assert.deepEqual([await tokensOf(cluster, userId), await groups(cluster, userId)], [before, ['engineering']])
    assert.equal((await nodes[1].request('/whoami', { headers: { cookie } })).status, 200)
    assert.equal((await cluster.db.query('SELECT revoked_at FROM grants WHERE id = $1', [grantId]))[0]?.['revoked_at'], null)
    const [degraded] = await cluster.events('provider.degraded')
    assert.deepEqual([degraded?.subject, degraded?.outcome], [userId, 'failure'])
    // Not at once again, but when it is time; then it is as before.
    assert.equal(await nodes[1].recheck.recheck(userId), 'active')
    assert.equal((await cluster.events('provider.degraded')).length, 1)
    cluster.ahead += CHECK_MS + 1000
    assert.equal(await nodes[1].recheck.recheck(userId), 'active')
    assert.notEqual((await tokensOf(cluster, userId)).refreshToken, before.refreshToken)
  })
}

eachIdentity('a rotated refresh token is kept although the rest of the recheck fails', async (cluster) => {
  const { idp, nodes } = cluster
  idp.behave.onlyUserinfo = ['groups']
  const { userId, cookie } = await signIn(cluster)
  const before = await tokensOf(cluster, userId)
  idp.behave.instead = (path, response) => path === '/userinfo' && response.writeHead(503).end() !== undefined
  for (let round = 1; round <= 3; round += 1) {
    cluster.ahead += CHECK_MS + 1000
    assert.equal(await nodes[0].recheck.recheck(userId), 'active', `round ${round}`)
    assert.equal((await cluster.events('provider.degraded')).length, round)
    assert.deepEqual(await groups(cluster, userId), ['engineering'])
  }
  assert.notEqual((await tokensOf(cluster, userId)).refreshToken, before.refreshToken)
  delete idp.behave.instead
  idp.behave.person = { groups: ['sales'] }
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await nodes[0].recheck.recheck(userId), 'active')
  assert.deepEqual(await groups(cluster, userId), ['sales'])
  assert.equal((await nodes[0].request('/whoami', { headers: { cookie } })).status, 200)
})

eachIdentity('an ID token of another subject ends the sign-in; one that proves nothing changes nothing (OpenID Connect Core §12.2)', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId } = await signIn(cluster)
  for (const behave of [
    { sign: async (claims: Record<string, unknown>) => signed({ ...claims, groups: ['it-admins'] }, await signingKey()) },
    { idToken: (claims: Record<string, unknown>) => ({ ...claims, groups: ['it-admins'], iss: 'https://elsewhere.example' }) },
    { idToken: (claims: Record<string, unknown>) => ({ ...claims, groups: ['it-admins'], aud: 'another-client' }) },
    { idToken: (claims: Record<string, unknown>) => ({ ...claims, groups: ['it-admins'], at_hash: 'AAAA' }) },
  ]) {
    const whole = { ...idp.behave }
    Object.assign(idp.behave, behave)
    cluster.ahead += CHECK_MS + 1000
    assert.equal(await nodes[0].recheck.recheck(userId), 'active')
    assert.deepEqual(await groups(cluster, userId), ['engineering'])
    delete idp.behave.sign
    delete idp.behave.idToken
    Object.assign(idp.behave, whole)
    // The provider counts what it gave out with a wrong ID token as used; sign in anew for the next case.
    await signIn(cluster)
  }
  idp.behave.idToken = (claims) => ({ ...claims, sub: 'bob' })
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await nodes[0].recheck.recheck(userId), 'ended')
  assert.deepEqual((await cluster.rows('users')).map((row) => row['subject']), ['alice'])
  assert.deepEqual(await cluster.rows('sessions'), [])
})

eachIdentity('without a new ID token, groups are those of userinfo, or of the old ID token (OpenID Connect Core §12.2)', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId } = await signIn(cluster)
  idp.behave.tokens = (body) => ({ ...body, id_token: undefined })
  idp.behave.userinfo = (own) => ({ ...own, groups: undefined })
  const check = async (): Promise<readonly string[] | undefined> => {
    cluster.ahead += CHECK_MS + 1000
    assert.equal(await nodes[0].recheck.recheck(userId), 'active')
    assert.deepEqual(await cluster.events('provider.degraded'), [])
    return groups(cluster, userId)
  }
  assert.deepEqual(await check(), ['engineering'], 'nobody said that the groups ended')
  delete idp.behave.userinfo
  idp.behave.person = { groups: ['sales'] }
  assert.deepEqual(await check(), ['sales'])
  idp.behave.userinfo = (own) => ({ ...own, groups: [] })
  assert.deepEqual(await check(), [])
  idp.behave.userinfo = (own) => ({ ...own, sub: 'bob', groups: ['it-admins'] })
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await nodes[0].recheck.recheck(userId), 'active')
  assert.deepEqual(await groups(cluster, userId), [])
})

eachIdentity('groups that come from userinfo end there too', async (cluster) => {
  const { idp, nodes } = cluster
  idp.behave.onlyUserinfo = ['groups']
  const { userId } = await signIn(cluster)
  idp.behave.tokens = (body) => ({ ...body, id_token: undefined })
  idp.behave.userinfo = (own) => ({ ...own, groups: undefined })
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await nodes[0].recheck.recheck(userId), 'active')
  assert.deepEqual(await groups(cluster, userId), [])
})

eachIdentity('a sign-in during a recheck counts for more than what the recheck brings', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId, cookie } = await signIn(cluster)
  cluster.ahead += CHECK_MS + 1000
  const held = hold(cluster)
  const checked = nodes[0].recheck.recheck(userId)
  const response = await held
  idp.behave.person = { sub: 'alice', groups: ['new'] }
  const anew = await signIn(cluster)
  refuse(response)
  assert.equal(await checked, 'active')
  for (const each of [cookie, anew.cookie]) assert.equal((await nodes[1].request('/whoami', { headers: { cookie: each } })).status, 200)
  assert.deepEqual(await cluster.events('subject.revoked'), [])
  const tokens = await tokensOf(cluster, userId)
  // And with an answer: neither tokens nor groups of the older sign-in replace the newer ones.
  cluster.ahead += CHECK_MS + 1000
  idp.behave.metadata = (own) => ({ ...own, userinfo_endpoint: undefined })
  const node = await cluster.start([settingsOf(idp)])
  const second = hold(cluster)
  const late = node.recheck.recheck(userId)
  const answer = await second
  idp.behave.person = { sub: 'alice', groups: ['newest'] }
  await signIn(cluster)
  const newest = await tokensOf(cluster, userId)
  answer.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ access_token: 'x', token_type: 'Bearer', refresh_token: 'rotated' }))
  assert.equal(await late, 'active')
  assert.notEqual(newest.refreshToken, tokens.refreshToken)
  assert.deepEqual([await tokensOf(cluster, userId), await groups(cluster, userId)], [newest, ['newest']])
})

eachIdentity('a provider that gives a refresh token at the first sign-in only is asked all the same', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId } = await signIn(cluster)
  const { refreshToken } = await tokensOf(cluster, userId)
  idp.behave.refreshTokens = false
  await signIn(cluster)
  assert.equal((await tokensOf(cluster, userId)).refreshToken, refreshToken)
  idp.behave.person = { sub: 'alice', groups: ['sales'] }
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await nodes[0].recheck.recheck(userId), 'active')
  assert.deepEqual(await groups(cluster, userId), ['sales'])
})

eachIdentity('who cannot be asked about stays; who is disabled or unknown does not', async (cluster) => {
  const { idp, nodes } = cluster
  idp.behave.refreshTokens = false
  const { userId } = await signIn(cluster)
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await nodes[0].recheck.recheck(userId), 'active')
  assert.equal(idp.count('/token'), 1)
  await cluster.db.query('UPDATE users SET disabled = 1')
  assert.equal(await nodes[1].recheck.recheck(userId), 'ended')
  cluster.ahead += 30_001
  assert.equal(await nodes[0].recheck.recheck(userId), 'ended')
  assert.equal(await nodes[0].recheck.recheck('usr_unknown'), 'ended')
})

eachIdentity('who signed in under a key that is gone signs in again', async (cluster) => {
  const { idp, nodes } = cluster
  const { userId, cookie } = await signIn(cluster)
  const removed = sealer([{ id: 'k-removed', key: randomBytes(32) }])
  await cluster.db.query('UPDATE users SET tokens = $1 WHERE id = $2', [removed.seal(JSON.stringify(await tokensOf(cluster, userId)), ['users', userId, 'tokens']), userId])
  cluster.ahead += CHECK_MS + 1000
  assert.equal(await nodes[0].recheck.recheck(userId), 'ended')
  assert.equal(idp.count('/token'), 1)
  assert.deepEqual((await cluster.events('subject.revoked')).map(({ reason }) => reason), ['the key of the sign-in was removed'])
  assert.equal((await nodes[1].request('/whoami', { headers: { cookie } })).status, 303)
  assert.equal(await nodes[1].recheck.recheck((await signIn(cluster)).userId), 'active')
})

eachIdentity('revokeSubject and a sign-in at once leave either a session or none, never half of one', async (cluster) => {
  const { nodes } = cluster
  const { userId } = await signIn(cluster)
  for (let round = 0; round < 5; round += 1) {
    const visitor = nodes[1].browser()
    await Promise.all([nodes[0].store.revokeSubject(userId, cluster.now()), whoami(visitor).catch(() => undefined)])
    const sessions = await cluster.rows('sessions')
    const [user] = await cluster.rows('users')
    // A session without the provider's tokens would never be asked about again.
    assert.equal(sessions.length > 0, user?.['tokens'] !== null, `round ${round}`)
    assert.equal((await visitor.open(`${ISSUER}/whoami`)).status, 200)
  }
})
