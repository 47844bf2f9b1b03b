// Redeeming a code: POST /token with grant_type=authorization_code, on two nodes over one database.
import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import type { JSONWebKeySet } from 'jose'
import { hash } from '../../src/oauth/secret.ts'
import { rateLimit } from '../../src/http/rate-limit.ts'
import { client, eachCluster, ISSUER, LIFETIMES, RESOURCE, resource, type Answer, type Cluster } from '../support/token-nodes.ts'

function claims(token: unknown): Record<string, unknown> {
  return JSON.parse(Buffer.from(String(token).split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
}

function assertRefused(answer: Answer, code: string, status = 400): void {
  assert.equal(answer.body['error'], code, answer.text)
  assert.equal(answer.status, status)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.equal('access_token' in answer.body, false)
}

async function alive(cluster: Cluster, token: unknown, at = RESOURCE): Promise<boolean> {
  return cluster.nodes[1].tokens.verifier.verify(String(token), at).then(() => true, () => false)
}

eachCluster('a code becomes an access token of RFC 9068 and a refresh token, in one transaction with its record, and neither is stored (RFC 6749 §4.1.3, §5.1, AS-25, AS-31)', async (cluster) => {
  const { form, grantId, code } = await cluster.approve({ authTime: 1_700_000_000, acr: 'urn:mfa', amr: ['pwd', 'otp'] })
  const answer = await cluster.nodes[0].post('/token', form)
  assert.equal(answer.status, 200)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.equal(answer.headers.get('pragma'), 'no-cache')
  assert.equal(answer.headers.get('access-control-allow-origin'), '*')
  const { access_token: token, refresh_token: refresh, ...rest } = answer.body
  assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 900, scope: 'mcp.read mcp.write' })
  const at = Math.floor(cluster.now / 1000)
  const { jti, ...known } = claims(token)
  assert.match(String(jti), /^jti_/)
  assert.deepEqual(known, {
    iss: ISSUER, sub: 'usr_alice', aud: RESOURCE, client_id: 'app', scope: 'mcp.read mcp.write', iat: at, exp: at + 900, grant: grantId,
    auth_time: 1_700_000_000, acr: 'urn:mfa', amr: ['pwd', 'otp'],
  })
  const [head = '', body = '', signature = ''] = String(token).split('.')
  const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as Record<string, unknown>
  assert.deepEqual({ alg: header['alg'], typ: header['typ'] }, { alg: 'ES256', typ: 'at+jwt' })
  const jwks = (await cluster.nodes[1].get('/jwks')).body as unknown as JSONWebKeySet
  const key = createPublicKey({ key: jwks.keys.find(({ kid }) => kid === header['kid'])!, format: 'jwk' })
  assert.ok(verify('sha256', Buffer.from(`${head}.${body}`), { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url')))
  assert.match(String(refresh), /^lyd_rt_/)
  const [event] = await cluster.events('token.issued')
  assert.deepEqual({ subject: event?.subject, clientId: event?.clientId, grantId: event?.grantId, resource: event?.resource }, { subject: 'usr_alice', clientId: 'app', grantId, resource: RESOURCE })
  const rows = await cluster.db.query('SELECT hash, used_at, expires_at FROM refresh_tokens')
  assert.deepEqual(rows.map((row) => ({ ...row })), [{ hash: hash(String(refresh)), used_at: null, expires_at: at + LIFETIMES.refreshToken }])
  // Neither the code nor a token is anywhere in the database.
  const everything = JSON.stringify([await cluster.db.query('SELECT * FROM refresh_tokens'), await cluster.db.query('SELECT * FROM codes'), await cluster.db.query('SELECT * FROM audit')])
  for (const secret of [code, String(token), String(refresh)]) assert.equal(everything.includes(secret), false)
})

eachCluster('what is not known of the sign-in is not in the token: never auth_time 0 (RFC 9470)', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  for (const claim of ['auth_time', 'acr', 'amr']) assert.equal(claim in claims(accessToken), false)
})

eachCluster('redirect_uri and resource may be left out, and the resource may be spelled with a slash (OAuth 2.1 §4.1.3, RFC 8707 §2.2)', async (cluster) => {
  const { form } = await cluster.approve()
  const { redirect_uri: _, resource: __, ...bare } = form as Record<string, string>
  assert.equal((await cluster.nodes[0].post('/token', bare)).status, 200)
  const again = await cluster.approve()
  assert.equal((await cluster.nodes[0].post('/token', { ...again.form, resource: `${RESOURCE}/` })).status, 200)
})

eachCluster('a failed check consumes no code, and the right request still gets its token (RFC 6749 §4.1.3, RFC 7636 §4.6, B04, B07)', async (cluster) => {
  const { form, code } = await cluster.approve()
  const attempts: [string, Record<string, string>, string][] = [
    ['another client', { client_id: 'other' }, 'invalid_grant'],
    ['another redirect URI', { redirect_uri: 'http://127.0.0.1:4712/callback' }, 'invalid_grant'],
    ['a wrong verifier', { code_verifier: 'x'.repeat(43) }, 'invalid_grant'],
    ['the challenge as verifier', { code_verifier: String((await cluster.db.query('SELECT code_challenge FROM codes'))[0]?.['code_challenge']) }, 'invalid_grant'],
    ['a short verifier', { code_verifier: form['code_verifier']!.slice(0, 42) }, 'invalid_grant'],
    ['a verifier with other characters', { code_verifier: `${form['code_verifier']} ` }, 'invalid_grant'],
    ['no verifier', { code_verifier: '' }, 'invalid_request'],
    ['another resource', { resource: resource('sales') }, 'invalid_target'],
    ['a truncated code', { code: code.slice(0, -1) }, 'invalid_grant'],
    ['a longer code', { code: `${code}A` }, 'invalid_grant'],
    ['no code', { code: '' }, 'invalid_request'],
  ]
  for (const [what, change, error] of attempts) {
    const answer = await cluster.nodes[0].post('/token', { ...form, ...change })
    assert.equal(answer.body['error'], error, what)
    assert.equal(answer.status, 400, what)
  }
  assert.equal((await cluster.db.query('SELECT * FROM codes WHERE consumed_at IS NOT NULL')).length, 0)
  assert.equal((await cluster.db.query('SELECT * FROM refresh_tokens')).length, 0)
  const refusals = await cluster.events('token.refused')
  assert.equal(refusals.length, attempts.length)
  assert.ok(refusals.some((event) => event.reason === 'code_verifier does not match' && event.clientId === 'app' && event.reference !== undefined))
  assert.equal((await cluster.nodes[0].post('/token', form)).status, 200)
})

eachCluster('answers to wrong codes do not tell what is wrong (RFC 6749 §5.2, B04)', async (cluster) => {
  const { form } = await cluster.approve()
  const answers = await Promise.all([{ client_id: 'other' }, { code_verifier: 'x'.repeat(43) }, { code: 'nothing' }].map((change) => cluster.nodes[0].post('/token', { ...form, ...change })))
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1)
})

eachCluster('a code ends after a minute (RFC 6749 §4.1.2, ASVS 10.4.3, B09)', async (cluster) => {
  const late = await cluster.approve()
  cluster.now += 59_000
  const early = await cluster.nodes[0].post('/token', (await cluster.approve()).form)
  assert.equal(early.status, 200)
  cluster.now += 1000
  assertRefused(await cluster.nodes[0].post('/token', late.form), 'invalid_grant')
})

eachCluster('a code that is used again ends everything that came of it, on both nodes (RFC 6749 §4.1.2, OAuth 2.1 §4.1.3, B05)', async (cluster) => {
  const { form, grantId, accessToken, refreshToken } = await cluster.signIn()
  const bystander = await cluster.signIn({ userId: 'usr_bob' })
  assert.equal(await alive(cluster, accessToken), true)
  assertRefused(await cluster.nodes[1].post('/token', form), 'invalid_grant')
  assert.equal(await alive(cluster, accessToken), false)
  assertRefused(await cluster.refresh(refreshToken), 'invalid_grant')
  assert.ok(cluster.changes.some((change) => change.kind === 'grant' && change.key === grantId))
  const [event] = await cluster.events('token.reuse_detected')
  assert.deepEqual({ grantId: event?.grantId, outcome: event?.outcome }, { grantId, outcome: 'failure' })
  assert.equal(await alive(cluster, bystander.accessToken), true)
})

eachCluster('a client that did not get the code cannot end anything with it (B07)', async (cluster) => {
  const { form, accessToken } = await cluster.signIn()
  assertRefused(await cluster.nodes[1].post('/token', { ...form, client_id: 'other' }), 'invalid_grant')
  assert.equal(await alive(cluster, accessToken), true)
})

eachCluster('of 50 who redeem one code on two nodes at once exactly one succeeds, and no token stays alive (B06)', async (cluster) => {
  const { form, grantId } = await cluster.approve()
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => cluster.nodes[index % 2 === 0 ? 0 : 1].post('/token', form)))
  const winners = answers.filter(({ status }) => status === 200)
  assert.equal(winners.length, 1)
  assert.ok(answers.every(({ status, body }) => status === 200 || (status === 400 && body['error'] === 'invalid_grant')))
  assert.equal(await alive(cluster, winners[0]?.body['access_token']), false)
  assertRefused(await cluster.refresh(winners[0]?.body['refresh_token']), 'invalid_grant')
  assert.equal((await cluster.events('token.issued')).length, 1)
  assert.equal((await cluster.events('token.reuse_detected')).length, 1)
  assert.equal((await cluster.db.query('SELECT * FROM refresh_tokens WHERE grant_id = $1', [grantId])).length, 0)
})

eachCluster('a grant that is revoked while its code is redeemed yields no token', async (cluster) => {
  const { form, grantId } = await cluster.approve()
  cluster.beforeWrite = async () => void (await cluster.nodes[1].store.revokeGrant(grantId, Math.floor(cluster.now / 1000), []))
  assertRefused(await cluster.nodes[0].post('/token', form), 'invalid_grant')
  assert.equal((await cluster.db.query('SELECT * FROM refresh_tokens')).length, 0)
  assert.equal((await cluster.events('token.issued')).length, 0)
})

eachCluster('requests that are no token requests are told so (RFC 6749 §3.2, §5.2, C14)', async (cluster) => {
  const { form } = await cluster.approve()
  const [node] = cluster.nodes
  const text = new URLSearchParams(form).toString()
  assertRefused(await node.post('/token', `${text}&code=x`), 'invalid_request')
  assertRefused(await node.post('/token', `${text}&client_id=app`), 'invalid_request')
  assertRefused(await node.post('/token', { ...form, grant_type: '' }), 'invalid_request')
  assertRefused(await node.post('/token', { ...form, grant_type: 'password' }), 'unsupported_grant_type')
  assertRefused(await node.post('/token', { ...form, client_id: 'nobody' }), 'invalid_client', 401)
  assertRefused(await node.post('/token', JSON.stringify(form), { 'content-type': 'application/json' }), 'invalid_request')
  assertRefused(await node.post('/token', text, { 'content-type': 'text/plain' }), 'invalid_request')
  assertRefused(await node.post('/token', text, { 'content-type': 'application/json, application/x-www-form-urlencoded' }), 'invalid_request')
  assertRefused(await node.post('/token', `${text}&padding=${'x'.repeat(100_000)}`), 'invalid_request')
  assert.equal((await node.get('/token')).status, 405)
  // Parameters of the query string are no parameters of the request.
  assertRefused(await node.post(`/token?${text}`, ''), 'invalid_client', 401)
  assert.equal((await node.post('/token', text, { 'content-type': 'application/x-www-form-urlencoded; charset=UTF-8' })).status, 200)
})

eachCluster('a client gets what it is registered for: no refresh token, or no code grant at all (RFC 7591 §2)', async (cluster) => {
  cluster.clients.set('short', client('short', { grantTypes: ['authorization_code'] }))
  cluster.clients.set('none', client('none', { grantTypes: ['client_credentials'] }))
  const short = await cluster.nodes[0].post('/token', (await cluster.approve({ clientId: 'short' })).form)
  assert.equal(short.status, 200)
  assert.equal('refresh_token' in short.body, false)
  assert.equal((await cluster.db.query('SELECT * FROM refresh_tokens')).length, 0)
  assertRefused(await cluster.nodes[0].post('/token', (await cluster.approve({ clientId: 'none' })).form), 'unauthorized_client')
})

eachCluster('a refresh token does not depend on offline_access', async (cluster) => {
  const { refreshToken } = await cluster.signIn({ scope: ['mcp.read'] })
  assert.equal((await cluster.refresh(refreshToken)).status, 200)
})

eachCluster('who is disabled, unknown or cut off between code and token gets none', async (cluster) => {
  const alice = cluster.users.get('usr_alice')!
  const disabled = await cluster.approve()
  cluster.users.set('usr_alice', { ...alice, disabled: true })
  assertRefused(await cluster.nodes[0].post('/token', disabled.form), 'invalid_grant')
  cluster.users.set('usr_alice', alice)
  // For good: the grant ended.
  assertRefused(await cluster.nodes[0].post('/token', disabled.form), 'invalid_grant')
  assert.equal((await cluster.events('token.revoked'))[0]?.reason, 'user disabled')
  assertRefused(await cluster.nodes[0].post('/token', (await cluster.approve({ userId: 'usr_nobody' })).form), 'invalid_grant')
  assert.equal((await cluster.nodes[0].post('/token', (await cluster.approve()).form)).status, 200)
})

eachCluster('policy is asked again when the token is issued, and its denial is not for good', async (cluster) => {
  const { form } = await cluster.approve()
  cluster.reachable = false
  assertRefused(await cluster.nodes[0].post('/token', form), 'invalid_grant')
  cluster.reachable = true
  assert.equal((await cluster.nodes[0].post('/token', form)).status, 200)
})

eachCluster('a node that does not know what was revoked issues nothing, and the client may try again', async (cluster) => {
  const { form } = await cluster.approve()
  cluster.fresh = false
  const answer = await cluster.nodes[0].post('/token', form)
  assertRefused(answer, 'temporarily_unavailable', 503)
  assert.equal(answer.headers.get('retry-after'), '5')
  cluster.fresh = true
  assert.equal((await cluster.nodes[0].post('/token', form)).status, 200)
})

eachCluster('no access token outlives its grant', async (cluster) => {
  const { refreshToken } = await cluster.signIn()
  let token: unknown = refreshToken
  // Refreshed every 25 days, so that only the end of the grant is in the way.
  for (let day = 0; day < 75; day += 25) {
    cluster.now += 25 * 86_400_000
    token = (await cluster.refresh(token)).body['refresh_token']
  }
  cluster.now += 15 * 86_400_000 - 60_000
  const last = await cluster.refresh(token)
  assert.equal(last.body['expires_in'], 60)
  cluster.now += 61_000
  assertRefused(await cluster.refresh(last.body['refresh_token']), 'invalid_grant')
})

eachCluster('the rate is limited per client and user, and one client of all users is no common budget', async (cluster) => {
  cluster.limits = { ...cluster.limits, requests: rateLimit({ limit: 3, windowMs: 60_000, now: () => cluster.now }) }
  for (let round = 0; round < 3; round += 1) assert.equal((await cluster.nodes[0].post('/token', (await cluster.approve()).form)).status, 200)
  const more = await cluster.approve()
  const refused = await cluster.nodes[0].post('/token', more.form)
  assertRefused(refused, 'too_many_requests', 429)
  assert.ok(Number(refused.headers.get('retry-after')) >= 1)
  assert.equal((await cluster.nodes[0].post('/token', (await cluster.approve({ userId: 'usr_bob' })).form)).status, 200)
  cluster.now += 30_000
  assert.equal((await cluster.nodes[0].post('/token', more.form)).status, 200)
})

eachCluster('guessing at the verifier of one code is limited', async (cluster) => {
  cluster.limits = { ...cluster.limits, requests: rateLimit({ limit: 3, windowMs: 60_000, now: () => cluster.now }) }
  const { form } = await cluster.approve()
  for (let round = 0; round < 3; round += 1) assertRefused(await cluster.nodes[0].post('/token', { ...form, code_verifier: `${round}`.repeat(43) }), 'invalid_grant')
  assertRefused(await cluster.nodes[0].post('/token', { ...form, code_verifier: 'x'.repeat(43) }), 'too_many_requests', 429)
})

eachCluster('an address that floods is refused before anything is read', async (cluster) => {
  cluster.limits = { ...cluster.limits, floods: rateLimit({ limit: 1, windowMs: 60_000, now: () => cluster.now }) }
  const { form } = await cluster.approve()
  assertRefused(await cluster.nodes[0].post('/token', { ...form, code: 'x' }), 'invalid_grant')
  assertRefused(await cluster.nodes[0].post('/token', form), 'too_many_requests', 429)
  assertRefused(await cluster.nodes[0].post('/revoke', { client_id: 'app', token: 'x' }), 'too_many_requests', 429)
  assert.equal((await cluster.events('token.refused')).length, 1)
})
