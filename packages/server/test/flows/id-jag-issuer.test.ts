// Lanyard as the issuer of ID-JAGs, by token exchange, for authorization servers elsewhere that an administrator approved
// (draft-ietf-oauth-identity-assertion-authz-grant §4.3). Two nodes over one database.
import assert from 'node:assert/strict'
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify, type JSONWebKeySet } from 'jose'
import { machines } from '../../src/identity/machines.ts'
import { hash } from '../../src/oauth/secret.ts'
import type { IdJagAudience } from '../../src/token/exchange/id-jag.ts'
import type { ExchangeRule } from '../../src/token/exchange/rules.ts'
import { proofKey } from '../support/dpop.ts'
import { client, eachCluster, ISSUER, RESOURCE, type Answer, type Cluster, type World } from '../support/token-nodes.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const SECRET = 's'.repeat(32)
const CHAT: IdJagAudience = { issuer: 'https://auth.chat.example/', resources: ['https://mcp.chat.example/', 'https://mcp.chat.example/admin'], scopes: ['chat.read', 'chat.history'], clients: new Map([['app', 'app-at-chat']]) }
const RULE: ExchangeRule = { id: 'to-chat', clients: ['app', 'other'], targets: ['https://auth.chat.example', 'https://auth.sales.example'] }

type Form = Readonly<Record<string, string>>

function prepare(world: World): void {
  const confidential = { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)], grantTypes: ['authorization_code', 'refresh_token', EXCHANGE] } as const
  for (const id of ['app', 'other']) world.clients.set(id, client(id, confidential))
  world.exchange = [RULE]
  world.audiences = [CHAT, { issuer: 'https://auth.sales.example', resources: ['https://mcp.sales.example/mcp'], clients: new Map([['app', 'x']]), groups: ['sales'], tenant: 'blue' }]
}

function each(name: string, run: (cluster: Cluster) => Promise<void>): void {
  eachCluster(name, run, prepare)
}

async function signIn(cluster: Cluster, clientId = 'app'): Promise<string> {
  const approved = await cluster.approve({ clientId, authTime: 1_700_000_000, acr: 'phr', amr: ['hwk'] })
  const answer = await cluster.nodes[0].post('/token', { ...approved.form, client_secret: SECRET })
  return String(answer.body['access_token'])
}

function ask(cluster: Cluster, token: string, form: Form = {}, headers: Form = {}): Promise<Answer> {
  return cluster.nodes[1].post('/token', { grant_type: EXCHANGE, client_id: 'app', client_secret: SECRET, requested_token_type: ID_JAG, subject_token: token, subject_token_type: ACCESS_TOKEN, audience: CHAT.issuer, resource: 'https://mcp.chat.example/', scope: 'chat.read', ...form }, headers)
}

each('an ID-JAG is issued for a pair of audience and resource that was approved, to the client as it is called there (ID-JAG §3, §4.3, RFC 8693 §2.2.1)', async (cluster) => {
  const token = await signIn(cluster)
  const answer = await ask(cluster, token)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const { access_token: assertion, ...said } = answer.body
  assert.deepEqual(said, { token_type: 'N_A', issued_token_type: ID_JAG, expires_in: 300, scope: 'chat.read' })
  const jwks = (await cluster.nodes[0].get('/jwks')).body as unknown as JSONWebKeySet
  const { payload, protectedHeader } = await jwtVerify(String(assertion), createLocalJWKSet(jwks), { issuer: ISSUER, typ: 'oauth-id-jag+jwt', currentDate: new Date(cluster.now) })
  const at = Math.floor(cluster.now / 1000)
  const { jti, ...claims } = payload
  assert.deepEqual(claims, { iss: ISSUER, sub: 'usr_alice', aud: 'https://auth.chat.example/', client_id: 'app-at-chat', iat: at, exp: at + 300, resource: 'https://mcp.chat.example/', scope: 'chat.read', auth_time: 1_700_000_000, acr: 'phr', amr: ['hwk'] })
  // Of keys that sign nothing else, so that it is no access token here, nor could be.
  assert.equal(cluster.nodes[0].keys.publicKey(protectedHeader.kid ?? ''), undefined)
  await assert.rejects(cluster.nodes[0].tokens.verifier.verify(String(assertion), RESOURCE), { reason: 'typ' })
  const [event] = await cluster.events('assertion.issued')
  assert.deepEqual([event?.subject, event?.clientId, event?.detail?.['audience'], event?.detail?.['client_there'], event?.detail?.['jti']], ['usr_alice', 'app', 'https://auth.chat.example/', 'app-at-chat', jti])
  const everything = JSON.stringify([await cluster.db.query('SELECT event FROM audit'), await cluster.db.query('SELECT * FROM grants')])
  assert.equal(everything.includes(String(assertion).split('.')[2] ?? '-'), false)
  assert.equal((await cluster.db.query('SELECT id FROM grants')).length, 1, 'no grant is kept for it')
})

each('what nobody approved is refused: audience, resource, client, person, scope (ID-JAG §4.3.2, RFC 8693 §2.2.2)', async (cluster) => {
  const token = await signIn(cluster)
  const wrong: readonly (readonly [Form, string])[] = [
    [{ audience: 'https://auth.chat.example' }, 'invalid_target'],
    [{ audience: 'https://evil.example' }, 'invalid_target'],
    [{ audience: ISSUER }, 'invalid_target'],
    [{ audience: '' }, 'invalid_target'],
    [{ resource: 'https://mcp.sales.example/mcp' }, 'invalid_target'],
    [{ resource: 'https://mcp.chat.example/other' }, 'invalid_target'],
    [{ resource: '' }, 'invalid_target'],
    [{ audience: 'https://auth.sales.example', resource: 'https://mcp.sales.example/mcp' }, 'invalid_target'],
    [{ scope: 'chat.write' }, 'invalid_scope'],
    [{ scope: 'chat.read"' }, 'invalid_scope'],
    [{ subject_token: 'x' }, 'invalid_request'],
    [{ requested_token_type: 'urn:ietf:params:oauth:token-type:saml2' }, 'invalid_target'],
    [{ client_id: 'other' }, 'invalid_request'],
  ]
  for (const [form, code] of wrong) {
    const answer = await ask(cluster, token, form)
    assert.deepEqual([answer.status, answer.body['error']], [400, code], JSON.stringify(form))
  }
  const mapped = await ask(cluster, await signIn(cluster, 'other'), { client_id: 'other' })
  assert.equal(mapped.body['error'], 'invalid_target', 'a client that is none there')
  assert.equal((await cluster.events('assertion.issued')).length, 0)
  assert.equal((await cluster.events('token.refused')).length, wrong.length + 1)
  const narrowed = await ask(cluster, token, { scope: 'chat.read chat.write' })
  assert.deepEqual([narrowed.body['scope'], decodeJwt(String(narrowed.body['access_token']))['scope']], ['chat.read', 'chat.read'])
  assert.equal((await ask(cluster, token, { scope: '' })).body['scope'], 'chat.read chat.history')
  assert.equal(decodeJwt(String((await ask(cluster, token, { resource: 'https://mcp.chat.example/admin' })).body['access_token']))['resource'], 'https://mcp.chat.example/admin')
})

eachCluster('G08: the scope is never wider than the rule that names the audience, whatever the audience has (RFC 8693 §5)', async (cluster) => {
  const [token, far] = [await signIn(cluster), { audience: 'https://far.example', resource: 'https://far.example/mcp/notes' }]
  const scopeOf = async (scope: string): Promise<unknown> => (await ask(cluster, token, { ...far, scope })).body['scope']
  assert.deepEqual([await scopeOf('mcp.read mcp.write'), await scopeOf('mcp.notes.read'), await scopeOf('')], ['mcp.read', 'mcp.notes.read', 'mcp.read'])
  const wider = await ask(cluster, token, { ...far, scope: 'mcp.write other' })
  assert.deepEqual([wider.status, wider.body['error']], [400, 'invalid_scope'])
  const issued = await cluster.events('assertion.issued')
  assert.deepEqual(issued.map(({ detail }) => detail?.['exchange_rule']), [['reads'], ['reads'], ['reads']])
  // A rule that names no scope adds none.
  assert.equal((await ask(cluster, token)).body['scope'], 'chat.read')
}, (world) => {
  prepare(world)
  world.exchange = [RULE, { id: 'reads', clients: ['app'], targets: ['https://far.example'], scopes: ['mcp.read'] }]
  world.audiences = [CHAT, { issuer: 'https://far.example', resources: ['https://far.example/mcp/notes'], clients: new Map([['app', 'app-there']]) }]
})

each('an assertion is about a person’s sign-in: a machine has none to vouch for (ID-JAG §1, §3)', async (cluster) => {
  cluster.clients.set('app', client('app', { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)], grantTypes: ['client_credentials', 'authorization_code', 'refresh_token', EXCHANGE] }))
  cluster.machines = machines(ISSUER, [{ clientId: 'app', name: 'App', groups: ['engineering'] }])
  const own = await cluster.nodes[0].post('/token', { grant_type: 'client_credentials', client_id: 'app', client_secret: SECRET, resource: RESOURCE })
  assert.equal(own.status, 200, own.text)
  const answer = await ask(cluster, String(own.body['access_token']))
  assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_target'])
  assert.deepEqual([(await cluster.events('assertion.issued')).length, (await cluster.events('token.refused')).at(-1)?.reason], [0, 'token exchange: the subject is no person'])
  assert.equal((await ask(cluster, await signIn(cluster))).status, 200)
})

each('who is in a group of the audience gets one, with what our tenant is called there', async (cluster) => {
  const token = await signIn(cluster)
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice)
  const form = { audience: 'https://auth.sales.example', resource: 'https://mcp.sales.example/mcp', scope: 'any.thing' }
  assert.equal((await ask(cluster, token, form)).body['error'], 'invalid_target')
  cluster.users.set('usr_alice', { ...alice, groups: ['engineering', 'sales'], email: 'alice@acme.example', emailVerified: true })
  const claims = decodeJwt(String((await ask(cluster, token, form)).body['access_token']))
  assert.deepEqual([claims['aud_tenant'], claims['scope'], claims['email'], claims['email_verified']], ['blue', 'any.thing', 'alice@acme.example', true])
})

each('whoever proves a key gets an assertion that is bound to it (ID-JAG §7.5.1, RFC 9449 §5)', async (cluster) => {
  const token = await signIn(cluster)
  const key = await proofKey()
  const answer = await ask(cluster, token, {}, { dpop: await key.prove({ htm: 'POST', htu: `${ISSUER}/token`, iat: Math.floor(cluster.now / 1000) }) })
  assert.equal(answer.body['token_type'], 'N_A')
  assert.deepEqual(decodeJwt(String(answer.body['access_token']))['cnf'], { jkt: key.jkt })
})

each('an assertion does not outlive the token that it came of, and nothing comes of one that has ended (G10)', async (cluster) => {
  const token = await signIn(cluster)
  cluster.now += 800_000
  const { exp } = decodeJwt(token)
  const answer = await ask(cluster, token)
  assert.deepEqual([answer.body['expires_in'], decodeJwt(String(answer.body['access_token'])).exp], [100, exp])
  const [grant] = await cluster.db.query('SELECT id FROM grants')
  await cluster.nodes[0].store.revokeGrant(String(grant?.['id']), Math.floor(cluster.now / 1000), [])
  assert.equal((await ask(cluster, token)).body['error'], 'invalid_request')
  const again = await signIn(cluster)
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice)
  cluster.users.set('usr_alice', { ...alice, disabled: true })
  assert.equal((await ask(cluster, again)).body['error'], 'invalid_request')
})

each('the metadata says what can be exchanged for, and the keys of assertions are published beside those of access tokens (ID-JAG §6.1)', async (cluster) => {
  const { body } = await cluster.nodes[0].get('/.well-known/oauth-authorization-server')
  assert.deepEqual(body['identity_chaining_requested_token_types_supported'], [ID_JAG])
  const { keys } = (await cluster.nodes[0].get('/jwks')).body as unknown as JSONWebKeySet
  assert.equal(keys.length, 4)
  const assertion = String((await ask(cluster, await signIn(cluster))).body['access_token'])
  assert.ok(keys.some(({ kid }) => kid === decodeProtectedHeader(assertion).kid))
})
