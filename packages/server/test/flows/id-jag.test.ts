// ID-JAGs at the token endpoint: what they must say, that each is good once on all nodes, and whose people they are of
// (draft-ietf-oauth-identity-assertion-authz-grant, MCP Enterprise-Managed Authorization). Two nodes over one database.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { decodeJwt } from 'jose'
import { hash } from '../../src/oauth/secret.ts'
import { proofKey, type ProofKey } from '../support/dpop.ts'
import { assertingProvider, jws, JWT_BEARER, trust, type AssertingProvider, type Changes } from '../support/id-jag.ts'
import { client, eachCluster, ISSUER, RESOURCE, resource, type Answer, type Cluster } from '../support/token-nodes.ts'

const OKTA = 'https://acme.okta.example'
const APP = 'https://app.example/client.json'

interface Scene {
  readonly provider: AssertingProvider
  present(changes?: Changes, form?: Readonly<Record<string, string>>, node?: 0 | 1): Promise<Answer>
  send(assertion: string, form?: Readonly<Record<string, string>>, node?: 0 | 1, headers?: Readonly<Record<string, string>>): Promise<Answer>
}

async function scene(cluster: Cluster): Promise<Scene> {
  const provider = await assertingProvider(OKTA, { sub: '00u1', aud: ISSUER, client_id: APP, resource: RESOURCE, scope: 'mcp.read mcp.write' })
  trust(cluster.assertions, provider)
  cluster.clients.set(APP, client(APP, { kind: 'metadata-document', grantTypes: ['authorization_code', 'refresh_token', JWT_BEARER] }))
  const send: Scene['send'] = (assertion, form = {}, node = 0, headers = {}) => cluster.nodes[node].post('/token', { grant_type: JWT_BEARER, client_id: APP, assertion, ...form }, headers)
  return { provider, send, present: (changes, form, node) => send(provider.assertion(cluster.now, changes), form, node) }
}

async function rows(cluster: Cluster): Promise<Readonly<Record<string, number>>> {
  const tables = ['grants', 'users', 'used_assertions', 'refresh_tokens']
  return Object.fromEntries(await Promise.all(tables.map(async (table) => [table, (await cluster.db.query(`SELECT * FROM ${table}`)).length] as const)))
}

const NOTHING = { grants: 0, users: 0, used_assertions: 0, refresh_tokens: 0 }

function claimsOf({ body }: Answer): Readonly<Record<string, unknown>> {
  return decodeJwt(String(body['access_token']))
}

/** Refused, before anything was written; and the same with nothing wrong succeeds. */
async function assertRefused(cluster: Cluster, answer: Answer, reason: RegExp, code = 'invalid_grant'): Promise<void> {
  assert.deepEqual([answer.status, answer.body['error']], [400, code], answer.text)
  assert.equal(answer.text.includes('access_token'), false)
  assert.deepEqual(await rows(cluster), NOTHING)
  const event = (await cluster.events('token.refused')).at(-1)
  assert.match(event?.reason ?? '', reason)
  assert.equal(event?.clientId, APP)
  assert.ok(event.reason?.includes(OKTA) === true || /of no kind|no workload|no JWT|too long|iss/.test(event.reason ?? ''), 'who made it is recorded')
}

eachCluster('an ID-JAG is exchanged for an access token of its resource, without a refresh token (ID-JAG §4.4, EMA §7)', async (cluster) => {
  const { present } = await scene(cluster)
  const answer = await present({ claims: { auth_time: Math.floor(cluster.now / 1000) - 60, acr: 'phr', amr: ['mfa', 'hwk'], email: 'alice@acme.example' } })
  assert.equal(answer.status, 200, JSON.stringify((await cluster.events('token.refused')).at(-1)))
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.deepEqual(Object.keys(answer.body).sort(), ['access_token', 'expires_in', 'scope', 'token_type'])
  assert.deepEqual([answer.body['token_type'], answer.body['scope']], ['Bearer', 'mcp.read mcp.write'])
  const claims = claimsOf(answer)
  assert.deepEqual([claims['aud'], claims['client_id'], claims['acr'], claims['auth_time']], [RESOURCE, APP, 'phr', Math.floor(cluster.now / 1000) - 60])
  const caller = await cluster.nodes[1].tokens.verifier.verify(String(answer.body['access_token']), RESOURCE)
  assert.deepEqual([caller.user.provider, caller.user.issuer, caller.user.subject, caller.user.email], ['corp', OKTA, '00u1', 'alice@acme.example'])
  assert.deepEqual(caller.authentication, { authTime: Math.floor(cluster.now / 1000) - 60, acr: 'phr', amr: ['mfa', 'hwk'] })
  assert.deepEqual(await rows(cluster), { grants: 1, users: 1, used_assertions: 1, refresh_tokens: 0 })
  assert.deepEqual((await cluster.db.query('SELECT id FROM applications')).map(({ id }) => id), [APP], 'administrators see it')
  const [event] = await cluster.events('token.issued')
  assert.deepEqual([event?.subject, event?.clientId, event?.resource, event?.detail?.['assertion_issuer'], event?.detail?.['grant_type']], [caller.user.id, APP, RESOURCE, OKTA, JWT_BEARER])
})

eachCluster('an ID-JAG that says anything wrong is refused before anything is written (ID-JAG §4.4.1, EMA §7, G11)', async (cluster) => {
  const { present } = await scene(cluster)
  const at = Math.floor(cluster.now / 1000)
  const wrong: readonly (readonly [Changes, RegExp])[] = [
    [{ header: { typ: 'JWT' } }, /of no kind|no workload/],
    [{ header: { typ: undefined } }, /of no kind|no workload/],
    [{ header: { typ: 'at+jwt' } }, /of no kind|no workload/],
    [{ header: { typ: 'oauth-id-jag+jwt2' } }, /of no kind|no workload/],
    [{ claims: { aud: [ISSUER, 'https://other.example'] } }, /aud/],
    [{ claims: { aud: [] } }, /aud/],
    [{ claims: { aud: `${ISSUER}/` } }, /aud/],
    [{ claims: { aud: `${ISSUER}/token` } }, /aud/],
    [{ claims: { aud: 'https://other.example' } }, /aud/],
    [{ claims: { aud: undefined } }, /aud/],
    [{ claims: { client_id: 'app' } }, /client_id/],
    [{ claims: { client_id: undefined } }, /client_id/],
    [{ claims: { sub: undefined } }, /sub/],
    [{ claims: { sub: '' } }, /sub/],
    [{ claims: { sub: 'a\u0000' } }, /sub/],
    [{ claims: { sub: 'a\ud800' } }, /sub/],
    [{ claims: { name: 'A\u0000' } }, /name/],
    [{ claims: { acr: 'x\u0000' } }, /acr/],
    [{ claims: { jti: undefined } }, /jti/],
    [{ claims: { exp: undefined } }, /exp/],
    [{ claims: { iat: undefined } }, /iat/],
    [{ claims: { exp: at - 61 } }, /exp/],
    [{ claims: { iat: at + 120, exp: at + 400 } }, /ahead/],
    [{ claims: { nbf: at + 120 } }, /ahead|signature/],
    [{ claims: { exp: at + 86_400 } }, /too long/],
    [{ claims: { resource: undefined } }, /resource/],
    [{ claims: { resource: 'https://other.example/mcp' } }, /resource/],
    [{ claims: { resource: resource('nowhere') } }, /resource/],
    [{ claims: { resource: [RESOURCE, resource('sales')] } }, /resource/],
    [{ claims: { scope: ['mcp.read'] } }, /scope/],
    [{ claims: { scope: 'chat.read' } }, /scope/],
    [{ claims: { scope: '' } }, /scope/],
    [{ claims: { authorization_details: [{ type: 'mcp' }] } }, /authorization_details/],
    [{ claims: { cnf: { 'x5t#S256': 'x' } } }, /cnf/],
    [{ claims: { cnf: { jkt: 'x', jku: 'y' } } }, /cnf/],
    [{ claims: { cnf: { jkt: 'thumbprint' } } }, /cnf/],
    [{ claims: { act: 'somebody' } }, /act/],
    [{ claims: { act: { iss: OKTA } } }, /act/],
    [{ claims: { tenant: 'acme' } }, /tenant/],
    [{ claims: { aud_tenant: 'acme' } }, /aud_tenant/],
    [{ claims: { iss: 'https://unknown.example' } }, /iss/],
    [{ claims: { iss: ISSUER } }, /iss/],
    [{ claims: { iss: `${OKTA}/` } }, /iss/],
    [{ header: { crit: ['b64'], b64: false } }, /signature/],
  ]
  for (const [changes, reason] of wrong) await assertRefused(cluster, await present(changes), reason)
  const [trusted] = cluster.assertions.trusted.splice(0)
  await assertRefused(cluster, await present(), /iss/)
  cluster.assertions.trusted.push(trusted ?? assert.fail())
  assert.equal((await present()).status, 200)
  assert.equal((await present({ claims: { aud: [ISSUER] } })).status, 200, 'the only element of an array')
  assert.equal((await present({ header: { typ: 'application/oauth-id-jag+jwt' } })).status, 200)
})

eachCluster('only the keys of the issuer, and algorithms of key pairs, verify an ID-JAG (RFC 8725 §3.1, G01, G02)', async (cluster) => {
  const { provider, send } = await scene(cluster)
  const [, payload = ''] = provider.assertion(cluster.now).split('.')
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kid = provider.jwks.keys[0]?.kid
  const jwk = other.publicKey.export({ format: 'jwk' })
  const unsigned = `${Buffer.from(JSON.stringify({ alg: 'none', typ: 'oauth-id-jag+jwt' })).toString('base64url')}.${payload}.`
  const forged = [
    unsigned,
    jws({ alg: 'ES256', typ: 'oauth-id-jag+jwt', kid }, claims, other.privateKey),
    jws({ alg: 'ES256', typ: 'oauth-id-jag+jwt', kid, jwk }, claims, other.privateKey),
    jws({ alg: 'ES256', typ: 'oauth-id-jag+jwt', kid: '../../keys', jku: 'https://evil.example/jwks' }, claims, other.privateKey),
    jws({ alg: 'HS256', typ: 'oauth-id-jag+jwt', kid }, claims, other.privateKey),
    `${provider.assertion(cluster.now).slice(0, -4)}AAAA`,
    'x.y.z',
    'x'.repeat(20_000),
  ]
  for (const assertion of forged) await assertRefused(cluster, await send(assertion), /signature|no JWT|too long|no workload/)
  assert.equal((await send(jws({ alg: 'ES256', typ: 'oauth-id-jag+jwt', kid }, claims, generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey))).status, 400)
  assert.equal((await send(provider.assertion(cluster.now))).status, 200)
})

eachCluster('each ID-JAG is good once, on all nodes, until it expires (EMA §7.4.2, G11)', async (cluster) => {
  const { provider, send, present } = await scene(cluster)
  const assertion = provider.assertion(cluster.now)
  assert.equal((await send(assertion, {}, 0)).status, 200)
  const again = await send(assertion, {}, 1)
  assert.deepEqual([again.status, again.body['error']], [400, 'invalid_grant'])
  assert.match((await cluster.events('token.refused')).at(-1)?.reason ?? '', /jti/)
  // The same `jti` in another assertion of the same issuer is the same, in one of another issuer it is not.
  const { jti } = decodeJwt(assertion)
  assert.equal((await present({ claims: { jti, sub: '00u2' } })).status, 400)
  const other = await assertingProvider('https://other.idp.example', { sub: '00u1', aud: ISSUER, client_id: APP, resource: RESOURCE })
  trust(cluster.assertions, other, { provider: 'other' })
  assert.equal((await send(other.assertion(cluster.now, { claims: { jti } }))).status, 200)
  assert.equal((await rows(cluster))['grants'], 2)
  // Forgotten when nobody would accept it any more, and not before.
  cluster.now += 340_000
  await cluster.nodes[0].tokens.maintain()
  assert.equal((await send(assertion)).status, 400)
  assert.equal((await rows(cluster))['used_assertions'], 2)
  // X06: also by a node whose clock is ahead of the others'.
  cluster.now += 60_000
  await cluster.nodes[0].tokens.maintain()
  cluster.now -= 60_000
  assert.match((await send(assertion, {}, 1)).text, /invalid_grant/)
  assert.match((await cluster.events('token.refused')).at(-1)?.reason ?? '', /jti was used before/)
  cluster.now += 150_000
  await cluster.nodes[0].tokens.maintain()
  assert.equal((await rows(cluster))['used_assertions'], 0)
  assert.equal((await send(assertion)).status, 400)
})

eachCluster('RFC 7519 §2: times with fractions of a second are times, and such an ID-JAG is good once too', async (cluster) => {
  const { provider, send } = await scene(cluster)
  const at = cluster.now / 1000
  const assertion = provider.assertion(cluster.now, { claims: { iat: at - 0.123456789, exp: at + 60.123456789 } })
  assert.deepEqual([(await send(assertion)).status, (await send(assertion, {}, 1)).status], [200, 400])
})

eachCluster('of many requests with one ID-JAG at once, on two nodes, one gets a token (EMA §7.4.2)', async (cluster) => {
  const { provider, send } = await scene(cluster)
  const assertion = provider.assertion(cluster.now)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => send(assertion, {}, index % 2 === 0 ? 0 : 1)))
  assert.deepEqual(answers.map(({ status }) => status).filter((status) => status === 200).length, 1)
  assert.ok(answers.every(({ status, body }) => status === 200 || body['error'] === 'invalid_grant'))
  assert.deepEqual(await rows(cluster), { grants: 1, users: 1, used_assertions: 1, refresh_tokens: 0 })
  assert.equal((await cluster.events('token.issued')).length, 1)
})

eachCluster('the scope is what is asked for, granted by the identity provider, and known here (EMA §7, ID-JAG §4.4.1)', async (cluster) => {
  const { present } = await scene(cluster)
  const scopes: readonly (readonly [string | undefined, string | undefined, string])[] = [
    ['mcp.read mcp.write', undefined, 'mcp.read mcp.write'],
    ['mcp.read', 'mcp.read mcp.write', 'mcp.read'],
    ['mcp.write chat.read', 'mcp.read', 'mcp.read'],
    ['mcp.notes.read', undefined, 'mcp.notes.read'],
    [undefined, undefined, 'mcp.read mcp.write'],
    [undefined, 'mcp.read', 'mcp.read'],
  ]
  for (const [granted, asked, expected] of scopes) {
    const answer = await present({ claims: { scope: granted } }, asked === undefined ? {} : { scope: asked })
    assert.equal(answer.body['scope'], expected, answer.text)
    assert.equal(claimsOf(answer)['scope'], expected)
  }
  assert.equal((await present({ claims: { scope: 'mcp.read' } }, { scope: 'mcp.write' })).body['error'], 'invalid_grant')
})

eachCluster('of several resources the request names one of the assertion\'s (RFC 8707 §2.2)', async (cluster) => {
  const { present } = await scene(cluster)
  const both = { claims: { resource: [RESOURCE, resource('sales')] } }
  assert.equal(claimsOf(await present(both, { resource: resource('sales') }))['aud'], resource('sales'))
  assert.equal((await present({}, { resource: resource('sales') })).body['error'], 'invalid_grant')
  assert.equal(claimsOf(await present({ claims: { resource: `${RESOURCE}/` } }))['aud'], RESOURCE)
})

eachCluster('one subject of two issuers is two people, and an address makes nobody the same (ASVS 10.3.3, G12)', async (cluster) => {
  const { present, send } = await scene(cluster)
  const other = await assertingProvider('https://identity.claude.example/issuers/acme', { sub: '00u1', aud: ISSUER, client_id: APP, resource: RESOURCE })
  trust(cluster.assertions, other, { provider: 'claude' })
  const email = 'alice@acme.example'
  const first = claimsOf(await present({ claims: { email } }))['sub']
  const second = claimsOf(await send(other.assertion(cluster.now, { claims: { email, email_verified: true } })))['sub']
  assert.notEqual(first, second)
  assert.equal(claimsOf(await present())['sub'], first)
  assert.equal(claimsOf(await present({ claims: { sub: '00u2', email } }))['sub'] === first, false)
  assert.equal((await cluster.db.query('SELECT id FROM users')).length, 3)
})

eachCluster('an address finds the person at the identity provider that an administrator named, once, and only a verified one of one person', async (cluster) => {
  const { present } = await scene(cluster)
  cluster.assertions.trusted[0] = { issuer: OKTA, provider: 'claude', algorithms: ['ES256'], linkByEmail: 'corp' }
  const add = (id: string, email: string, verified: 0 | 1, provider = 'corp'): Promise<unknown> =>
    cluster.db.query('INSERT INTO users (id, provider, issuer, subject, email, email_verified, groups, disabled, checked_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0)', [id, provider, 'https://idp.example', id, email, verified, '["engineering"]'])
  await add('usr_a', 'Alice@acme.example', 1)
  await add('usr_b', 'bob@acme.example', 0)
  await add('usr_c', 'carol@acme.example', 1, 'elsewhere')
  for (const id of ['usr_d', 'usr_e']) await add(id, 'dan@acme.example', 1)
  const who = async (claims: Readonly<Record<string, unknown>>, node: 0 | 1 = 0): Promise<unknown> => claimsOf(await present({ claims }, {}, node))['sub']
  assert.deepEqual(await Promise.all([who({ email: 'alice@ACME.example' }), who({ email: 'alice@acme.example' }, 1)]), ['usr_a', 'usr_a'])
  assert.deepEqual((await cluster.events('subject.linked')).map(({ subject, detail }) => [subject, detail?.['subject_there'], detail?.['provider']]), [['usr_a', '00u1', 'corp']])
  // The link stands by the subject: an address that changes hands takes nobody along.
  await cluster.db.query("UPDATE users SET email = 'gone@acme.example' WHERE id = 'usr_a'")
  await add('usr_f', 'alice@acme.example', 1)
  assert.equal(await who({ email: 'alice@acme.example' }), 'usr_a')
  assert.equal(await who({ sub: '00u2', email: 'alice@acme.example' }), 'usr_f')
  const others = await Promise.all([{ email: 'bob@acme.example' }, { email: 'carol@acme.example' }, { email: 'dan@acme.example' }, { email: 'alice@acme.example', email_verified: false }, {}].map((claims, index) => who({ sub: `other-${index}`, ...claims })))
  assert.ok(others.every((id) => !/^usr_[a-f]$/.test(String(id))), JSON.stringify(others))
  assert.equal(new Set(others).size, 5)
})

eachCluster('whoever signed in at the identity provider of the same issuer is the same person, and stays who they are (ID-JAG §3)', async (cluster) => {
  const { present } = await scene(cluster)
  await cluster.db.query('INSERT INTO users (id, provider, issuer, subject, name, email, groups, disabled, checked_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0)', ['usr_known', 'corp', OKTA, '00u1', 'Alice', 'alice@acme.example', '["engineering"]'])
  assert.equal(claimsOf(await present({ claims: { email: 'mallory@evil.example', name: 'Mallory', groups: ['admins'] } }))['sub'], 'usr_known')
  const [row] = await cluster.db.query('SELECT name, email, groups FROM users')
  assert.deepEqual([row?.['name'], row?.['email'], row?.['groups']], ['Alice', 'alice@acme.example', '["engineering"]'])
})

eachCluster('groups are taken from the claim that an administrator named, and from no other', async (cluster) => {
  const { provider, present, send } = await scene(cluster)
  cluster.assertions.trusted[0] = { issuer: OKTA, provider: 'corp', algorithms: ['ES256'], groupsClaim: 'teams' }
  const answer = await present({ claims: { groups: ['admins'], teams: ['sales', 7] } })
  const caller = await cluster.nodes[0].tokens.verifier.verify(String(answer.body['access_token']), RESOURCE)
  assert.deepEqual(caller.user.groups, ['sales'])
  // An assertion that says nothing of them changes nothing.
  assert.equal((await send(provider.assertion(cluster.now))).status, 200)
  const groups = async (): Promise<unknown> => (await cluster.db.query('SELECT groups FROM users'))[0]?.['groups']
  assert.equal(await groups(), '["sales"]')
  // AS-30: one that was made before the last word on them brings back nothing.
  const older = provider.assertion(cluster.now, { claims: { teams: ['admins'] } })
  cluster.now += 60_000
  assert.equal((await present({ claims: { teams: ['engineering'] } })).status, 200)
  assert.equal((await send(older)).status, 200)
  assert.equal(await groups(), '["engineering"]')
})

eachCluster('a disabled person gets nothing, and neither does an assertion that is older than the end of their access (G10, G11)', async (cluster) => {
  const { provider, present, send } = await scene(cluster)
  const old = provider.assertion(cluster.now)
  assert.equal((await present()).status, 200)
  const [user] = await cluster.db.query('SELECT id FROM users')
  await cluster.db.query('UPDATE users SET disabled = 1')
  const answer = await present()
  assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_grant'])
  await cluster.db.query('UPDATE users SET disabled = 0')
  cluster.now += 5000
  await cluster.cut('subject', String(user?.['id']))
  assert.match((await send(old)).text, /invalid_grant/)
  assert.match((await cluster.events('token.refused')).at(-1)?.reason ?? '', /ended/)
  cluster.now += 2000
  assert.equal((await present()).status, 200)
})

eachCluster('an issuer with several tenants is trusted for one of them (ID-JAG §6.1)', async (cluster) => {
  const { provider, present } = await scene(cluster)
  cluster.assertions.trusted.splice(0)
  for (const tenant of ['acme', 'fabrikam']) cluster.assertions.trusted.push({ issuer: provider.issuer, provider: tenant, tenant, algorithms: ['ES256'] })
  const subs = []
  for (const tenant of ['acme', 'fabrikam']) subs.push(claimsOf(await present({ claims: { tenant } }))['sub'])
  assert.notEqual(subs[0], subs[1])
  for (const tenant of ['contoso', undefined, 7]) assert.equal((await present({ claims: { tenant } })).body['error'], 'invalid_grant')
  cluster.assertions.trusted[0] = { issuer: provider.issuer, provider: 'acme', tenant: 'acme', audienceTenant: 'blue', algorithms: ['ES256'] }
  assert.equal((await present({ claims: { tenant: 'acme' } })).status, 400)
  assert.equal((await present({ claims: { tenant: 'acme', aud_tenant: 'red' } })).status, 400)
  assert.equal((await present({ claims: { tenant: 'acme', aud_tenant: 'blue' } })).status, 200)
})

eachCluster('who acts for the person is carried on, with who says so (RFC 8693 §4.1)', async (cluster) => {
  const { present } = await scene(cluster)
  const act = { sub: 'wlp1', sub_profile: 'ai_agent', act: { sub: 'svc', iss: 'https://svc.example', other: 'dropped' } }
  const answer = await present({ claims: { act } })
  const expected = { sub: 'wlp1', iss: OKTA, sub_profile: 'ai_agent', act: { sub: 'svc', iss: 'https://svc.example' } }
  assert.deepEqual(claimsOf(answer)['act'], expected)
  const caller = await cluster.nodes[1].tokens.verifier.verify(String(answer.body['access_token']), RESOURCE)
  assert.deepEqual(caller.actor, expected)
  assert.equal((await cluster.events('token.issued')).at(-1)?.detail?.['actor'], 'wlp1')
  let deep: object = { sub: 'x' }
  for (let depth = 0; depth < 10; depth += 1) deep = { sub: 'x', act: deep }
  assert.equal((await present({ claims: { act: deep } })).body['error'], 'invalid_grant')
})

eachCluster('an ID-JAG that is bound to a key is worth nothing without it, and its token is bound to the same (ID-JAG §7.5.1, RFC 9449 §5, G13)', async (cluster) => {
  const { provider, send } = await scene(cluster)
  const [key, other] = [await proofKey(), await proofKey()]
  const prove = (by: ProofKey): Promise<string> => by.prove({ htm: 'POST', htu: `${ISSUER}/token`, iat: Math.floor(cluster.now / 1000) })
  const bound = (): string => provider.assertion(cluster.now, { claims: { cnf: { jkt: key.jkt } } })
  await assertRefused(cluster, await send(bound()), /key of cnf/)
  await assertRefused(cluster, await send(bound(), {}, 0, { dpop: await prove(other) }), /key of cnf/)
  const answer = await send(bound(), {}, 0, { dpop: await prove(key) })
  assert.deepEqual([answer.status, answer.body['token_type'], claimsOf(answer)['cnf']], [200, 'DPoP', { jkt: key.jkt }])
  // Of an assertion that names no key, whoever proves one gets a token that is bound to it.
  const chosen = await send(provider.assertion(cluster.now), {}, 1, { dpop: await prove(other) })
  assert.deepEqual([chosen.body['token_type'], claimsOf(chosen)['cnf']], ['DPoP', { jkt: other.jkt }])
})

eachCluster('an ID-JAG is for clients of an administrator or with a metadata document, and for those of them that the issuer is trusted for (ID-JAG §7.1)', async (cluster) => {
  const { provider, present, send } = await scene(cluster)
  const own = { client_id: 'own', client_secret: 'secret' }
  const confidential = { grantTypes: [JWT_BEARER], tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('secret')] } as const
  const ask = (): Promise<Answer> => send(provider.assertion(cluster.now, { claims: { client_id: 'own' } }), own)
  for (const more of [confidential, { grantTypes: [JWT_BEARER] }]) {
    cluster.clients.set('own', client('own', { kind: 'dynamic', ...more }))
    assert.equal((await ask()).body['error'], 'unauthorized_client')
  }
  cluster.clients.set('own', client('own', { kind: 'pre-registered', ...confidential, grantTypes: ['authorization_code'] }))
  assert.equal((await ask()).body['error'], 'unauthorized_client', 'not registered for the grant type')
  assert.equal((await rows(cluster))['used_assertions'], 0)
  cluster.clients.set('own', client('own', { kind: 'pre-registered', ...confidential }))
  assert.equal((await ask()).status, 200)
  cluster.assertions.trusted[0] = { issuer: OKTA, provider: 'corp', algorithms: ['ES256'], clients: ['own'] }
  assert.equal((await present()).body['error'], 'invalid_grant')
  assert.equal((await ask()).status, 200)
})

eachCluster('where policy asks for a better sign-in for everything, the client hears so at once (RFC 9470 §3, ID-JAG §7.2)', async (cluster) => {
  const { present } = await scene(cluster)
  const strong = (authentication: unknown): boolean => (authentication as { acr?: string }).acr === 'phr'
  cluster.assertions.restriction = (authentication) => (strong(authentication) ? undefined : { allow: false, effect: 'step-up', rule: 'strong', challenge: { acrValues: ['phr', 'phrh'], maxAge: 300 } })
  const answer = await present()
  assert.deepEqual([answer.status, answer.body['error'], answer.body['acr_values'], answer.body['max_age']], [400, 'insufficient_user_authentication', 'phr phrh', 300])
  assert.equal((await rows(cluster))['grants'], 0)
  assert.equal((await present({ claims: { acr: 'phr' } })).status, 200)
  cluster.assertions.restriction = () => ({ allow: false, effect: 'approval', rule: 'ask' })
  assert.equal((await present()).status, 200, 'what waits for an administrator is decided call by call')
})

eachCluster('policy that allows nothing refuses, and keys that cannot be had are no fault of the assertion', async (cluster) => {
  const { provider, send, present } = await scene(cluster)
  cluster.reachable = false
  assert.equal((await present()).body['error'], 'invalid_grant')
  assert.equal((await rows(cluster))['grants'], 0)
  cluster.reachable = true
  cluster.assertions.keysDown = true
  const assertion = provider.assertion(cluster.now)
  const answer = await send(assertion)
  assert.deepEqual([answer.status, answer.body['error'], answer.headers.get('retry-after')], [503, 'temporarily_unavailable', '5'])
  cluster.assertions.keysDown = false
  assert.equal((await send(assertion)).status, 200, 'the same one: it was not used')
})

eachCluster('the metadata names the profile, the grant type, and nobody who is trusted (ID-JAG §6.2, §7.4, RFC 8414 §2)', async (cluster) => {
  await scene(cluster)
  const { body, text } = await cluster.nodes[0].get('/.well-known/oauth-authorization-server')
  assert.deepEqual(body['authorization_grant_profiles_supported'], ['urn:ietf:params:oauth:grant-profile:id-jag'])
  assert.ok((body['grant_types_supported'] as string[]).includes(JWT_BEARER))
  assert.equal(text.includes('okta'), false)
})

eachCluster('an ID-JAG is no access token, and no assertion is recorded (ID-JAG §3, G03)', async (cluster) => {
  const { provider, send } = await scene(cluster)
  const assertion = provider.assertion(cluster.now)
  await assert.rejects(cluster.nodes[0].tokens.verifier.verify(assertion, RESOURCE), { reason: 'typ' })
  assert.equal((await send(assertion)).status, 200)
  await send(assertion)
  const everything = JSON.stringify([await cluster.db.query('SELECT event FROM audit'), await cluster.db.query('SELECT * FROM used_assertions'), await cluster.db.query('SELECT * FROM grants')])
  for (const part of assertion.split('.')) assert.equal(everything.includes(part), false)
})
