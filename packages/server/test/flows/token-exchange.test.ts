// Token exchange of Lanyard's own access tokens: who may, for what, who acts, and that everything ends with what it came of.
import assert from 'node:assert/strict'
import { decodeJwt } from 'jose'
import type { Actor } from '../../src/authorize/authorization.ts'
import { machines } from '../../src/identity/machines.ts'
import { scopeMapping } from '../../src/identity/scope-mapping.ts'
import { hash } from '../../src/oauth/secret.ts'
import type { ExchangeRule } from '../../src/token/exchange/rules.ts'
import { proofKey } from '../support/dpop.ts'
import { client, eachCluster, ISSUER, RESOURCE, resource, type Answer, type Cluster, type Node, type World } from '../support/token-nodes.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token'
const SECRET = 's'.repeat(32)
const SALES = resource('sales')
const TO_SALES: ExchangeRule = { id: 'to-sales', clients: ['agent', 'second', 'public'], issuedTo: ['app', 'agent'], targets: [SALES], actors: ['machine:agent'] }

function prepare(world: World, rules: readonly ExchangeRule[] = [TO_SALES]): void {
  const confidential = { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)], grantTypes: [EXCHANGE, 'client_credentials'] } as const
  for (const id of ['agent', 'second', 'server', 'stranger']) world.clients.set(id, client(id, confidential))
  world.clients.set('public', client('public', { kind: 'pre-registered', grantTypes: [EXCHANGE] }))
  world.clients.set('unregistered', client('unregistered', { ...confidential, grantTypes: ['client_credentials'] }))
  world.machines = machines(ISSUER, [{ clientId: 'agent', name: 'Agent', groups: ['engineering'] }])
  world.exchange = rules
}

function eachExchange(name: string, run: (cluster: Cluster) => Promise<void>, rules?: readonly ExchangeRule[]): void {
  eachCluster(name, run, (world) => prepare(world, rules))
}

type Form = Readonly<Record<string, string>>

function exchange(cluster: Cluster, subject: string, form: Form = {}, node: Node = cluster.nodes[0], headers: Form = {}): Promise<Answer> {
  return node.post('/token', { grant_type: EXCHANGE, client_id: 'agent', client_secret: SECRET, subject_token: subject, subject_token_type: ACCESS_TOKEN, resource: SALES, ...form }, headers)
}

const tokenOf = (answer: Answer): string => String(answer.body['access_token'])
const actOf = (token: string): unknown => decodeJwt(token)['act']

async function grants(cluster: Cluster): Promise<number> {
  return (await cluster.db.query('SELECT id FROM grants')).length
}

/** Refused with this code, and nothing was written but the refusal. */
async function refused(cluster: Cluster, attempt: () => Promise<Answer>, code: string): Promise<string> {
  const before = await grants(cluster)
  const issued = (await cluster.events('token.issued')).length
  const answer = await attempt()
  assert.deepEqual([answer.status, answer.body['error'], answer.body['access_token']], [400, code, undefined], answer.text)
  assert.equal(await grants(cluster), before)
  assert.equal((await cluster.events('token.issued')).length, issued)
  const event = (await cluster.events('token.refused')).at(-1)
  assert.deepEqual([event?.outcome, event?.detail?.['error']], ['failure', code])
  return event?.reason ?? ''
}

eachExchange('a token for one resource is exchanged for one of another, narrower and no longer than the first, and says who acts (RFC 8693 §2.2.1, §4.1)', async (cluster) => {
  const { accessToken, grantId } = await cluster.signIn({ scope: ['mcp.read'], authTime: 1_700_000_000, acr: 'strong' })
  cluster.now += 600_000
  const answer = await exchange(cluster, accessToken)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.deepEqual(Object.keys(answer.body).sort(), ['access_token', 'expires_in', 'issued_token_type', 'scope', 'token_type'])
  assert.deepEqual([answer.body['issued_token_type'], answer.body['token_type'], answer.body['scope'], answer.body['expires_in']], [ACCESS_TOKEN, 'Bearer', 'mcp.read', 300])
  const caller = await cluster.nodes[1].tokens.verifier.verify(tokenOf(answer), SALES)
  assert.deepEqual(
    { user: caller.user.id, clientId: caller.clientId, scope: caller.scope, actor: caller.actor, parents: caller.parents, authentication: caller.authentication },
    { user: 'usr_alice', clientId: 'agent', scope: ['mcp.read'], actor: { sub: 'agent', iss: ISSUER }, parents: [grantId], authentication: { authTime: 1_700_000_000, acr: 'strong' } },
  )
  assert.equal(decodeJwt(tokenOf(answer)).exp, decodeJwt(accessToken).exp)
  await assert.rejects(cluster.nodes[0].tokens.verifier.verify(tokenOf(answer), RESOURCE), { reason: 'audience' })
  const event = (await cluster.events('token.issued')).at(-1)
  assert.deepEqual(
    { subject: event?.subject, clientId: event?.clientId, resource: event?.resource, detail: { ...event?.detail, jti: '' } },
    { subject: 'usr_alice', clientId: 'agent', resource: SALES, detail: { jti: '', scope: 'mcp.read', grant_type: EXCHANGE, actor: 'agent', subject_kind: 'lanyard access_token', exchange_rule: ['to-sales'] } },
  )
  const recorded = JSON.stringify(await cluster.events())
  for (const secret of [accessToken, tokenOf(answer), SECRET]) assert.equal(recorded.includes(secret), false)
})

eachExchange('nothing is exchanged by who is not named, not confidential, or not registered for it (RFC 8693 §2.1, §5)', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  await refused(cluster, () => exchange(cluster, accessToken, { client_id: 'stranger' }), 'invalid_request')
  await refused(cluster, () => exchange(cluster, accessToken, { client_id: 'public', client_secret: '' }), 'unauthorized_client')
  await refused(cluster, () => exchange(cluster, accessToken, { client_id: 'unregistered' }), 'unauthorized_client')
  assert.equal((await exchange(cluster, accessToken, { client_secret: 'wrong' })).status, 401)
  assert.equal((await exchange(cluster, accessToken)).status, 200)
})

eachExchange('G08: a token of a client that no rule names is exchanged by that client and by whoever it was made for alone (RFC 8693 §2.1)', async (cluster) => {
  const other = await cluster.signIn({ clientId: 'other' })
  assert.match(await refused(cluster, () => exchange(cluster, other.accessToken), 'invalid_request'), /issued to another client/)
  // The server that the token was presented to.
  cluster.introspectors.set('agent', [RESOURCE])
  assert.equal((await exchange(cluster, other.accessToken)).status, 200)
  cluster.introspectors.set('agent', [SALES])
  await refused(cluster, () => exchange(cluster, other.accessToken), 'invalid_request')
  // The client itself, which then acts for nobody else.
  const own = await cluster.nodes[0].post('/token', { grant_type: 'client_credentials', client_id: 'agent', client_secret: SECRET, resource: RESOURCE })
  const answer = await exchange(cluster, tokenOf(own))
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual([decodeJwt(tokenOf(answer)).sub, actOf(tokenOf(answer))], ['machine:agent', undefined])
})

eachExchange('G08: what is no access token of Lanyard that is good now is refused alike (RFC 8693 §2.2.2)', async (cluster) => {
  const { accessToken, refreshToken } = await cluster.signIn()
  const [header = '', payload = '', signature = ''] = accessToken.split('.')
  const idToken = cluster.nodes[0].keys.sign({ ...decodeJwt(accessToken) }, 'JWT')
  const bad = { truncated: `${header}.${payload}.${signature.slice(1)}`, 'two parts': `${header}.${payload}`, 'a refresh token': refreshToken, 'another type': idToken, nothing: 'x' }
  for (const [name, token] of Object.entries(bad)) assert.match(await refused(cluster, () => exchange(cluster, token), 'invalid_request'), /token exchange: an access token is refused/, name)
  await refused(cluster, () => exchange(cluster, accessToken, { subject_token_type: ID_TOKEN }), 'invalid_request')
  await refused(cluster, () => exchange(cluster, accessToken, { subject_token_type: 'urn:ietf:params:oauth:token-type:saml2' }), 'invalid_request')
  await refused(cluster, () => exchange(cluster, accessToken, { subject_token_type: '' }), 'invalid_request')
  await refused(cluster, () => exchange(cluster, accessToken, { subject_token: '' }), 'invalid_request')
  cluster.now += 901_000
  assert.match(await refused(cluster, () => exchange(cluster, accessToken), 'invalid_request'), /expired/)
  assert.equal((await exchange(cluster, (await cluster.signIn()).accessToken)).status, 200)
})

eachExchange('G08: the target is one that exists, that a rule names, that the person may reach, and one alone (RFC 8693 §2.2.2, RFC 8707 §2)', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  await refused(cluster, () => exchange(cluster, accessToken, { resource: RESOURCE }), 'invalid_target')
  await refused(cluster, () => exchange(cluster, accessToken, { resource: 'https://elsewhere.example/mcp' }), 'invalid_target')
  await refused(cluster, () => exchange(cluster, accessToken, { resource: 'nowhere' }), 'invalid_target')
  await refused(cluster, () => exchange(cluster, accessToken, { resource: '' }), 'invalid_target')
  await refused(cluster, () => exchange(cluster, accessToken, { audience: RESOURCE }), 'invalid_target')
  await refused(cluster, () => exchange(cluster, accessToken, { requested_token_type: ID_TOKEN }), 'invalid_target')
  cluster.reachable = false
  await refused(cluster, () => exchange(cluster, accessToken), 'invalid_target')
  cluster.reachable = true
  assert.equal((await exchange(cluster, accessToken)).status, 200)
  assert.equal((await exchange(cluster, accessToken, { resource: '', audience: SALES, requested_token_type: ACCESS_TOKEN })).status, 200)
  assert.equal((await exchange(cluster, accessToken, { resource: `${SALES}/` })).status, 200)
})

eachExchange('G08: the scope is never wider than the subject token, the rule, and the person (RFC 8693 §5, RFC 6749 §3.3)', async (cluster) => {
  const reading = await cluster.signIn({ scope: ['mcp.read'] })
  for (const scope of ['mcp.write', 'mcp.read mcp.write', 'mcp.notes.write', 'admin', 'mcp.other.read', 'a"b']) await refused(cluster, () => exchange(cluster, reading.accessToken, { scope }), 'invalid_scope')
  for (const [scope, given] of [['mcp.notes.read', 'mcp.notes.read'], ['mcp.read openid', 'mcp.read'], ['', 'mcp.read']] as const) assert.equal((await exchange(cluster, reading.accessToken, { scope })).body['scope'], given, scope)
  const narrow = await cluster.signIn({ scope: ['mcp.notes.write'] })
  assert.equal((await exchange(cluster, narrow.accessToken)).body['scope'], 'mcp.notes.write')
  cluster.scopes = scopeMapping([{ scopes: ['mcp.write'], groups: ['nobody'] }])
  await refused(cluster, () => exchange(cluster, reading.accessToken), 'invalid_scope')
})

eachExchange('G08: a rule bounds the scope as well', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  await refused(cluster, () => exchange(cluster, accessToken, { scope: 'mcp.write' }), 'invalid_scope')
  assert.equal((await exchange(cluster, accessToken)).body['scope'], 'mcp.read')
}, [{ ...TO_SALES, scopes: ['mcp.read'] }])

eachExchange('G08: who acts is proven by a token of its own, appended to the chain, and never taken from what a caller says (RFC 8693 §1.1, §2.1, §4.1)', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  const own = await cluster.nodes[0].post('/token', { grant_type: 'client_credentials', client_id: 'agent', client_secret: SECRET, resource: RESOURCE })
  const actor = { actor_token: tokenOf(own), actor_token_type: ACCESS_TOKEN }
  const answer = await exchange(cluster, accessToken, actor)
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(actOf(tokenOf(answer)), { sub: 'machine:agent', iss: ISSUER })
  await refused(cluster, () => exchange(cluster, accessToken, { actor_token: tokenOf(own) }), 'invalid_request')
  await refused(cluster, () => exchange(cluster, accessToken, { actor_token_type: ACCESS_TOKEN }), 'invalid_request')
  await refused(cluster, () => exchange(cluster, accessToken, { ...actor, actor_token_type: ID_TOKEN }), 'invalid_request')
  await refused(cluster, () => exchange(cluster, accessToken, { ...actor, actor_token: 'x' }), 'invalid_request')
  // Somebody else's, and one whom no rule lets act.
  const bob = await cluster.signIn({ userId: 'usr_bob' })
  assert.match(await refused(cluster, () => exchange(cluster, accessToken, { ...actor, actor_token: bob.accessToken }), 'invalid_request'), /another client/)
  assert.match(await refused(cluster, () => exchange(cluster, accessToken, { ...actor, client_id: 'second', actor_token: tokenOf(own) }), 'invalid_request'), /another client/)
  const bobs = await cluster.signIn({ userId: 'usr_bob', clientId: 'app' })
  const exchanged = await exchange(cluster, bobs.accessToken)
  assert.match(await refused(cluster, () => exchange(cluster, accessToken, { ...actor, actor_token: tokenOf(exchanged) }), 'invalid_request'), /no rule .* lets this actor/)
  // A claim of the request's own is no actor.
  assert.deepEqual(actOf(tokenOf(await exchange(cluster, accessToken, { act: '{"sub":"root"}' }))), { sub: 'agent', iss: ISSUER })
})

const PING_PONG: ExchangeRule = { id: 'ping-pong', clients: ['agent', 'second'], issuedTo: ['app', 'agent', 'second'], targets: [SALES, RESOURCE] }

eachExchange('G08: a chain keeps who acted before, in order, and ends at a bounded depth (RFC 8693 §4.1)', async (cluster) => {
  let token = (await cluster.signIn()).accessToken
  for (let round = 0; round < 4; round += 1) {
    const answer = await exchange(cluster, token, { client_id: round % 2 === 0 ? 'agent' : 'second' })
    assert.equal(answer.status, 200, answer.text)
    token = tokenOf(answer)
  }
  const names: string[] = []
  for (let act = actOf(token) as Actor | undefined; act !== undefined; act = act.act) names.push(act.sub)
  assert.deepEqual(names, ['second', 'agent', 'second', 'agent'])
  assert.match(await refused(cluster, () => exchange(cluster, token, { client_id: 'agent' }), 'invalid_request'), /too many/)
  // Without another who acts, the chain of grants is what ends.
  let own = tokenOf(await exchange(cluster, (await cluster.signIn()).accessToken))
  for (let round = 0; round < 7; round += 1) own = tokenOf(await exchange(cluster, own))
  assert.match(await refused(cluster, () => exchange(cluster, own), 'invalid_request'), /too many exchanges/)
}, [PING_PONG])

eachExchange('G10: the child dies with its parent, on every node, however far removed; and no child is made of what ended', async (cluster) => {
  const { accessToken, refreshToken } = await cluster.signIn()
  const child = await exchange(cluster, accessToken)
  const grandchild = await exchange(cluster, tokenOf(child), { client_id: 'second', resource: RESOURCE }, cluster.nodes[1])
  assert.equal(grandchild.status, 200, grandchild.text)
  const verify = (answer: Answer, at: typeof SALES, node: Node): Promise<unknown> => node.tokens.verifier.verify(tokenOf(answer), at)
  await verify(child, SALES, cluster.nodes[1])
  await verify(grandchild, RESOURCE, cluster.nodes[0])
  assert.equal((await cluster.nodes[0].post('/revoke', { token: refreshToken, client_id: 'app' })).status, 200)
  for (const node of cluster.nodes) {
    await assert.rejects(verify(child, SALES, node), { reason: 'cut' })
    await assert.rejects(verify(grandchild, RESOURCE, node), { reason: 'cut' })
  }
  const introspected = await cluster.nodes[1].post('/introspect', { token: tokenOf(grandchild), client_id: 'second', client_secret: SECRET })
  assert.deepEqual(introspected.body, { active: false })
  await refused(cluster, () => exchange(cluster, accessToken), 'invalid_request')
  await refused(cluster, () => exchange(cluster, tokenOf(child)), 'invalid_request')
}, [PING_PONG])

eachExchange('G10: of a revocation and fifty exchanges at once, no token survives', async (cluster) => {
  const { accessToken, refreshToken } = await cluster.signIn()
  const answers = await Promise.all(
    Array.from({ length: 50 }, async (_, index) => {
      if (index === 25) await cluster.nodes[1].post('/revoke', { token: refreshToken, client_id: 'app' })
      return exchange(cluster, accessToken, {}, cluster.nodes[index % 2])
    }),
  )
  const good = answers.filter(({ status }) => status === 200)
  for (const answer of answers) assert.ok(answer.status === 200 || answer.status === 400, answer.text)
  for (const answer of good) for (const node of cluster.nodes) await assert.rejects(node.tokens.verifier.verify(tokenOf(answer), SALES), { reason: 'cut' })
})

eachExchange('G10: who is disabled, or whose access was ended, exchanges nothing any more', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice)
  cluster.users.set('usr_alice', { ...alice, disabled: true })
  await refused(cluster, () => exchange(cluster, accessToken), 'invalid_request')
  cluster.users.set('usr_alice', alice)
  assert.equal((await exchange(cluster, accessToken)).status, 200)
  cluster.now += 2000
  await cluster.cut('subject', 'usr_alice')
  await refused(cluster, () => exchange(cluster, accessToken), 'invalid_request')
})

eachExchange('G13: a token that is bound to a key is exchanged by who proves the key, and what is issued is bound to theirs (RFC 9449 §5, §7.2)', async (cluster) => {
  const [key, other] = [await proofKey(), await proofKey()]
  const prove = async (by: typeof key): Promise<Form> => ({ dpop: await by.prove({ htm: 'POST', htu: `${ISSUER}/token`, iat: Math.floor(cluster.now / 1000) }) })
  const approved = await cluster.approve()
  const bound = tokenOf(await cluster.nodes[0].post('/token', approved.form, await prove(key)))
  await refused(cluster, () => exchange(cluster, bound), 'invalid_request')
  const wrong = await prove(other)
  await refused(cluster, () => exchange(cluster, bound, {}, cluster.nodes[0], wrong), 'invalid_request')
  const answer = await exchange(cluster, bound, {}, cluster.nodes[0], await prove(key))
  assert.deepEqual([answer.status, answer.body['token_type']], [200, 'DPoP'], answer.text)
  assert.equal((await cluster.nodes[0].tokens.verifier.verify(tokenOf(answer), SALES)).jkt, key.jkt)
})

eachCluster('without a rule there is no token exchange at all, and the metadata does not name it (RFC 8414 §2)', async (cluster) => {
  const { accessToken } = await cluster.signIn()
  const answer = await exchange(cluster, accessToken)
  assert.deepEqual([answer.status, answer.body['error']], [400, 'unsupported_grant_type'])
  const metadata = await cluster.nodes[0].get('/.well-known/oauth-authorization-server')
  assert.equal((metadata.body['grant_types_supported'] as string[]).includes(EXCHANGE), false)
}, (world) => prepare(world, []))
