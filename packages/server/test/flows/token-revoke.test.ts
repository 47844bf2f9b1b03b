// Revocation (RFC 7009) and introspection (RFC 7662), on two nodes over one database.
import assert from 'node:assert/strict'
import { hash } from '../../src/oauth/secret.ts'
import { client, eachCluster, ISSUER, RESOURCE, resource, type Answer, type Cluster, type Node } from '../support/token-nodes.ts'

const SECRET = 'lyd_cs_a-secret-of-a-resource-server'
const INACTIVE = '{"active":false}'

function confidential(cluster: Cluster, id: string, resources: readonly string[] = []): void {
  cluster.clients.set(id, client(id, { tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)] }))
  cluster.introspectors.set(id, resources)
}

function introspect(node: Node, token: string, id = 'server', more: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return node.post('/introspect', { client_id: id, client_secret: SECRET, token, ...more })
}

eachCluster('any token of a grant ends the grant, on all nodes (RFC 7009 §2.1, C12)', async (cluster) => {
  const bystander = await cluster.signIn()
  for (const kind of ['refreshToken', 'accessToken', 'used refresh token'] as const) {
    const signedIn = await cluster.signIn()
    const { grantId, accessToken, refreshToken } = signedIn
    const current = kind === 'used refresh token' ? String((await cluster.refresh(refreshToken)).body['refresh_token']) : refreshToken
    const token = kind === 'used refresh token' ? refreshToken : signedIn[kind]
    const answer = await cluster.nodes[0].post('/revoke', { client_id: 'app', token })
    assert.equal(answer.status, 200)
    assert.equal(answer.text, '')
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    await assert.rejects(cluster.nodes[1].tokens.verifier.verify(accessToken, RESOURCE), { reason: 'cut' }, kind)
    assert.equal((await cluster.refresh(current, {}, cluster.nodes[1])).body['error'], 'invalid_grant')
    const event = (await cluster.events('token.revoked')).at(-1)
    assert.deepEqual({ grantId: event?.grantId, clientId: event?.clientId, subject: event?.subject }, { grantId, clientId: 'app', subject: 'usr_alice' })
    assert.ok(cluster.changes.some((change) => change.kind === 'grant' && change.key === grantId))
  }
  await cluster.nodes[1].tokens.verifier.verify(bystander.accessToken, RESOURCE)
  assert.equal((await cluster.refresh(bystander.refreshToken)).status, 200)
})

eachCluster('a node that has not heard of a revocation yet learns of it from the store, with every token that is new to it (C12)', async (cluster) => {
  const [ended, other] = [await cluster.signIn(), await cluster.signIn()]
  // As another node wrote it, before anybody is told.
  await cluster.db.query('UPDATE grants SET revoked_at = $1 WHERE id = $2', [Math.floor(cluster.now / 1000), ended.grantId])
  await assert.rejects(cluster.nodes[1].tokens.verifier.verify(ended.accessToken, RESOURCE), { reason: 'cut' })
  assert.equal((await cluster.nodes[1].tokens.verifier.verify(other.accessToken, RESOURCE)).grantId, other.grantId)
})

eachCluster('the type hint is a hint alone (RFC 7009 §2.1)', async (cluster) => {
  for (const hint of ['access_token', 'refresh_token', 'something']) {
    const { refreshToken } = await cluster.signIn()
    await cluster.nodes[0].post('/revoke', { client_id: 'app', token: refreshToken, token_type_hint: hint })
    assert.equal((await cluster.refresh(refreshToken)).status, 400)
  }
  assert.equal((await cluster.events('token.revoked')).length, 3)
})

eachCluster('unknown, expired and revoked tokens are revoked already (RFC 7009 §2.2)', async (cluster) => {
  const { refreshToken, accessToken } = await cluster.signIn()
  for (const token of ['x', `${refreshToken}x`, `${accessToken.slice(0, -2)}AA`]) assert.equal((await cluster.nodes[0].post('/revoke', { client_id: 'app', token })).status, 200)
  cluster.now += 901_000
  assert.equal((await cluster.nodes[0].post('/revoke', { client_id: 'app', token: accessToken })).status, 200)
  assert.equal((await cluster.events('token.revoked')).length, 0)
  for (let round = 0; round < 2; round += 1) assert.equal((await cluster.nodes[0].post('/revoke', { client_id: 'app', token: refreshToken })).status, 200)
  assert.equal((await cluster.events('token.revoked')).length, 1)
})

eachCluster('another client cannot revoke, and is told so; nobody can without being a client (RFC 7009 §2.1)', async (cluster) => {
  const { refreshToken, accessToken } = await cluster.signIn()
  for (const token of [refreshToken, accessToken]) {
    const answer = await cluster.nodes[0].post('/revoke', { client_id: 'other', token })
    assert.equal(answer.status, 400)
    assert.equal(answer.body['error'], 'invalid_grant')
  }
  assert.equal((await cluster.nodes[0].post('/revoke', { client_id: 'nobody', token: refreshToken })).status, 401)
  assert.equal((await cluster.nodes[0].post('/revoke', { client_id: 'app' })).body['error'], 'invalid_request')
  assert.equal((await cluster.nodes[0].post('/revoke', JSON.stringify({ client_id: 'app', token: refreshToken }), { 'content-type': 'application/json' })).status, 400)
  await cluster.nodes[1].tokens.verifier.verify(accessToken, RESOURCE)
  assert.equal((await cluster.refresh(refreshToken)).status, 200)
  assert.equal((await cluster.events('token.refused')).filter((event) => event.reason === 'revocation by another client').length, 2)
})

eachCluster('the token of a node whose clock runs ahead ends with its grant as well', async (cluster) => {
  cluster.now += 30_000
  const { accessToken } = await cluster.signIn()
  cluster.now -= 30_000
  await cluster.nodes[1].tokens.verifier.verify(accessToken, RESOURCE)
  assert.equal((await cluster.nodes[1].post('/revoke', { client_id: 'app', token: accessToken })).status, 200)
  await assert.rejects(cluster.nodes[0].tokens.verifier.verify(accessToken, RESOURCE), { reason: 'cut' })
})

eachCluster('who stands for the resource reads its tokens (RFC 7662 §2.2, RFC 9470 §6.2)', async (cluster) => {
  confidential(cluster, 'server', [RESOURCE])
  const { accessToken } = await cluster.signIn({ authTime: 1_700_000_000, acr: 'urn:mfa', amr: ['pwd'] })
  const answer = await introspect(cluster.nodes[1], accessToken)
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const { jti, ...rest } = answer.body
  const at = Math.floor(cluster.now / 1000)
  assert.match(String(jti), /^jti_/)
  assert.deepEqual(rest, {
    active: true, scope: 'mcp.read mcp.write', client_id: 'app', token_type: 'Bearer', exp: at + 900, iat: at, sub: 'usr_alice', aud: RESOURCE, iss: ISSUER,
    auth_time: 1_700_000_000, acr: 'urn:mfa', amr: ['pwd'],
  })
  const [event] = await cluster.events('token.introspected')
  assert.deepEqual({ clientId: event?.clientId, active: event?.detail?.['active'], subject: event?.subject }, { clientId: 'server', active: true, subject: 'usr_alice' })
})

eachCluster('whatever is wrong, the answer is the same three words (RFC 7662 §2.2)', async (cluster) => {
  confidential(cluster, 'server', [RESOURCE])
  confidential(cluster, 'stranger', [resource('sales')])
  const { accessToken, refreshToken } = await cluster.signIn()
  const elsewhere = await cluster.signIn({ resource: resource('sales') })
  const node = cluster.nodes[0]
  for (const token of ['x', `${accessToken}x`, refreshToken, elsewhere.accessToken, '.', 'a.b.c']) assert.equal((await introspect(node, token)).text, INACTIVE, token)
  assert.equal((await introspect(node, accessToken, 'stranger')).text, INACTIVE)
  assert.equal((await introspect(node, accessToken, 'server', { token_type_hint: 'refresh_token' })).body['active'], true)
  cluster.now += 900_000
  assert.equal((await introspect(node, accessToken)).text, INACTIVE)
})

eachCluster('a client sees its own tokens, and a refresh token is nobody else\'s business (RFC 7662 §4)', async (cluster) => {
  confidential(cluster, 'web')
  confidential(cluster, 'server', [RESOURCE])
  const approved = await cluster.approve({ clientId: 'web' })
  const issued = await cluster.nodes[0].post('/token', { ...approved.form, client_secret: SECRET })
  const refresh = String(issued.body['refresh_token'])
  assert.equal((await introspect(cluster.nodes[0], String(issued.body['access_token']), 'web')).body['active'], true)
  const answer = await introspect(cluster.nodes[0], refresh, 'web')
  const at = Math.floor(cluster.now / 1000)
  assert.deepEqual(answer.body, { active: true, scope: 'mcp.read mcp.write', client_id: 'web', sub: 'usr_alice', iss: ISSUER, iat: at, exp: at + 30 * 86_400 })
  assert.equal((await introspect(cluster.nodes[0], refresh, 'server')).text, INACTIVE)
  await cluster.refresh(refresh, { client_id: 'web', client_secret: SECRET })
  assert.equal((await introspect(cluster.nodes[0], refresh, 'web')).text, INACTIVE)
})

eachCluster('introspection is live: revoked grants, disabled users and cutoffs count at once', async (cluster) => {
  confidential(cluster, 'server', [RESOURCE])
  const first = await cluster.signIn()
  // Straight into the database: this node has heard of nothing.
  await cluster.db.query('UPDATE grants SET revoked_at = $1 WHERE id = $2', [1, first.grantId])
  assert.equal((await introspect(cluster.nodes[0], first.accessToken)).text, INACTIVE)
  const second = await cluster.signIn()
  const alice = cluster.users.get('usr_alice')!
  cluster.users.set('usr_alice', { ...alice, disabled: true })
  assert.equal((await introspect(cluster.nodes[0], second.accessToken)).text, INACTIVE)
  cluster.users.set('usr_alice', alice)
  assert.equal((await introspect(cluster.nodes[0], second.accessToken)).body['active'], true)
  cluster.fresh = false
  assert.equal((await introspect(cluster.nodes[0], second.accessToken)).status, 503)
})

eachCluster('a public client or nobody at all introspects nothing (RFC 7662 §2.1)', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  for (const form of [{ client_id: 'app', token: accessToken }, { token: accessToken }]) {
    const answer = await cluster.nodes[0].post('/introspect', form)
    assert.equal(answer.status, 401)
    assert.equal(answer.body['error'], 'invalid_client')
    assert.equal('active' in answer.body, false)
  }
  confidential(cluster, 'server', [RESOURCE])
  assert.equal((await cluster.nodes[0].post('/introspect', { client_id: 'server', client_secret: 'wrong', token: accessToken })).status, 401)
  assert.equal((await introspect(cluster.nodes[0], '')).body['error'], 'invalid_request')
  // Who proved to be nobody is recorded by whoever asked for the proof.
  const recorded = (await cluster.events('token.refused')).map(({ clientId, reason, detail }) => [clientId, reason, detail?.['error']])
  assert.deepEqual(recorded, [['app', 'introspection by a public client', 'invalid_client'], ['server', 'token is missing', 'invalid_request']])
})
