// A client that stands for itself: what it is given, what it is not, and that everything that ends a client ends it.
import assert from 'node:assert/strict'
import { machines, type MachineSettings } from '../../src/identity/machines.ts'
import { scopeMapping } from '../../src/identity/scope-mapping.ts'
import { hash } from '../../src/oauth/secret.ts'
import { client, eachCluster, ISSUER, RESOURCE, resource, type Answer, type Cluster, type Node } from '../support/token-nodes.ts'

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const SECRET = 's'.repeat(32)
const REPORT: MachineSettings = { clientId: 'report', name: 'Nightly report', owner: 'alice@example.com', groups: ['reporting'] }

/** Two nodes that know a machine, a confidential client that is none, and a public client. */
function eachMachine(name: string, run: (cluster: Cluster) => Promise<void>, settings: Partial<MachineSettings> = {}): void {
  eachCluster(name, async (cluster) => {
    const confidential = { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)], grantTypes: ['client_credentials'] } as const
    for (const id of ['report', 'web']) cluster.clients.set(id, client(id, confidential))
    cluster.clients.set('public', client('public', { kind: 'pre-registered', grantTypes: ['client_credentials'] }))
    cluster.machines = machines(ISSUER, [{ ...REPORT, ...settings }])
    await run(cluster)
  })
}

const ask = (cluster: Cluster, form: Readonly<Record<string, string>> = {}, node: Node = cluster.nodes[0]): Promise<Answer> =>
  node.post('/token', { grant_type: 'client_credentials', client_id: 'report', client_secret: SECRET, resource: RESOURCE, ...form })

const tokenOf = (answer: Answer): string => String(answer.body['access_token'])

async function grants(cluster: Cluster): Promise<number> {
  return (await cluster.db.query('SELECT id FROM grants')).length
}

async function refused(cluster: Cluster, answer: Answer, code: string, status = 400): Promise<void> {
  assert.deepEqual([answer.status, answer.body['error']], [status, code], answer.text)
  assert.equal((await cluster.events('token.refused')).at(-1)?.outcome, 'failure')
  assert.equal(await grants(cluster), 0)
  assert.deepEqual(await cluster.events('token.issued'), [])
}

eachMachine('a machine gets an access token for itself, and no refresh token (RFC 6749 §4.4.2, §4.4.3, RFC 9068 §2.2)', async (cluster) => {
  const answer = await ask(cluster, { scope: 'mcp.read' })
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.deepEqual(Object.keys(answer.body).sort(), ['access_token', 'expires_in', 'scope', 'token_type'])
  assert.deepEqual([answer.body['token_type'], answer.body['expires_in'], answer.body['scope']], ['Bearer', 900, 'mcp.read'])
  const caller = await cluster.nodes[1].tokens.verifier.verify(tokenOf(answer), RESOURCE)
  assert.deepEqual(
    { id: caller.user.id, kind: caller.user.kind, owner: caller.user.owner, groups: caller.user.groups, clientId: caller.clientId, scope: caller.scope },
    { id: 'machine:report', kind: 'machine', owner: 'alice@example.com', groups: ['reporting'], clientId: 'report', scope: ['mcp.read'] },
  )
  const [event] = await cluster.events('token.issued')
  assert.deepEqual(
    { subject: event?.subject, owner: event?.owner, clientId: event?.clientId, verified: event?.verified, resource: event?.resource, type: event?.detail?.['grant_type'] },
    { subject: 'machine:report', owner: 'alice@example.com', clientId: 'report', verified: true, resource: RESOURCE, type: 'client_credentials' },
  )
  assert.equal((await cluster.db.query('SELECT hash FROM refresh_tokens')).length, 0)
  assert.equal(JSON.stringify(await cluster.events()).includes(SECRET), false)
})

eachMachine('a public client, and a client that is no machine, gets nothing (RFC 6749 §4.4)', async (cluster) => {
  await refused(cluster, await cluster.nodes[0].post('/token', { grant_type: 'client_credentials', client_id: 'public', resource: RESOURCE }), 'unauthorized_client')
  await refused(cluster, await ask(cluster, { client_id: 'web' }), 'unauthorized_client')
  await refused(cluster, await ask(cluster, { client_id: 'app', client_secret: '' }), 'unauthorized_client')
  assert.equal((await ask(cluster, { client_secret: 'wrong' })).status, 401)
  assert.equal((await ask(cluster)).status, 200)
})

eachMachine('the resource is one that exists here, and may be left out only where there is but one (RFC 8707 §2)', async (cluster) => {
  const { resource: _resource, ...without } = { resource: RESOURCE, grant_type: 'client_credentials', client_id: 'report', client_secret: SECRET }
  await refused(cluster, await cluster.nodes[0].post('/token', without), 'invalid_target')
  await refused(cluster, await ask(cluster, { resource: 'https://elsewhere.example/mcp' }), 'invalid_target')
  await refused(cluster, await ask(cluster, { resource: 'not an address' }), 'invalid_target')
  const two = new URLSearchParams({ ...without, resource: RESOURCE })
  two.append('resource', resource('sales'))
  await refused(cluster, await cluster.nodes[0].post('/token', two.toString()), 'invalid_target')
  const answer = await ask(cluster, { resource: resource('sales') })
  assert.equal(answer.status, 200)
  await assert.rejects(cluster.nodes[0].tokens.verifier.verify(tokenOf(answer), RESOURCE), { reason: 'audience' })
})

eachMachine('the scope is what the machine may hold of what it asks for, and is asked again at each call (RFC 6749 §3.3, AS-30)', async (cluster) => {
  for (const [asked, given] of [['mcp.read mcp.write', 'mcp.notes.read'], ['mcp.notes.write', 'mcp.notes.read'], ['mcp.notes.read openid', 'mcp.notes.read'], ['', 'mcp.notes.read']] as const) {
    assert.equal((await ask(cluster, { scope: asked })).body['scope'], given, asked)
  }
  const unknown = await ask(cluster, { scope: 'mcp.everything' })
  assert.deepEqual([unknown.status, unknown.body['error']], [400, 'invalid_scope'])
  assert.equal((await ask(cluster, { scope: 'a"b' })).body['error'], 'invalid_scope')
  const before = tokenOf(await ask(cluster))
  assert.equal((await cluster.nodes[0].tokens.verifier.verify(before, RESOURCE)).mayHold?.('mcp.notes.write'), false)
  cluster.machines = machines(ISSUER, [{ ...REPORT, scopes: ['mcp.tickets.read'] }])
  assert.deepEqual((await cluster.nodes[0].tokens.verifier.verify(before, RESOURCE)).scope, [])
}, { scopes: ['mcp.notes.read'] })

eachMachine('its groups decide what scopes it may hold, as they do for people', async (cluster) => {
  cluster.scopes = scopeMapping([{ scopes: ['mcp.notes.read'], groups: ['reporting'] }, { scopes: ['mcp.write'], groups: ['engineering'] }])
  assert.equal((await ask(cluster)).body['scope'], 'mcp.notes.read')
  cluster.machines = machines(ISSUER, [{ ...REPORT, groups: [] }])
  const answer = await ask(cluster)
  assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_grant'])
  assert.equal((await cluster.events('token.refused')).at(-1)?.reason, 'the person may hold none of the scopes')
  assert.equal(await grants(cluster), 1)
})

eachMachine('rules decide whether it may reach the resource at all', async (cluster) => {
  cluster.reachable = false
  await refused(cluster, await ask(cluster), 'invalid_grant')
  assert.equal((await cluster.events('token.refused')).at(-1)?.reason, 'policy allows nothing of the resource')
  cluster.reachable = true
  assert.equal((await ask(cluster)).status, 200)
})

eachMachine('no grant of a machine outlives its one token, and none stays in the store', async (cluster) => {
  const answer = await ask(cluster)
  cluster.now += 899_000
  assert.equal((await cluster.nodes[0].tokens.verifier.verify(tokenOf(answer), RESOURCE)).user.id, 'machine:report')
  cluster.now += 2000
  await assert.rejects(cluster.nodes[0].tokens.verifier.verify(tokenOf(answer), RESOURCE), { reason: 'expired' })
  cluster.now += 2 * 86_400_000
  await cluster.nodes[1].tokens.maintain()
  assert.equal(await grants(cluster), 0)
})

eachMachine('its tokens are introspected and revoked like any others (RFC 7009, RFC 7662)', async (cluster) => {
  const token = tokenOf(await ask(cluster))
  const other = tokenOf(await ask(cluster))
  const introspect = async (value: string) => (await cluster.nodes[1].post('/introspect', { client_id: 'report', client_secret: SECRET, token: value })).body
  const { active, sub, client_id: clientId, scope } = await introspect(token)
  assert.deepEqual({ active, sub, clientId, scope }, { active: true, sub: 'machine:report', clientId: 'report', scope: 'mcp.read mcp.write' })
  // Another client sees and ends nothing.
  assert.deepEqual((await cluster.nodes[1].post('/introspect', { client_id: 'web', client_secret: SECRET, token })).body, { active: false })
  assert.equal((await cluster.nodes[1].post('/revoke', { client_id: 'web', client_secret: SECRET, token })).body['error'], 'invalid_grant')
  assert.equal((await introspect(token))['active'], true)
  assert.equal((await cluster.nodes[0].post('/revoke', { client_id: 'report', client_secret: SECRET, token })).status, 200)
  assert.deepEqual(await introspect(token), { active: false })
  await assert.rejects(cluster.nodes[1].tokens.verifier.verify(token, RESOURCE), { reason: 'cut' })
  // The other token is of another grant.
  assert.equal((await cluster.nodes[1].tokens.verifier.verify(other, RESOURCE)).user.id, 'machine:report')
})

eachMachine('a client that is removed from the configuration takes its tokens along', async (cluster) => {
  const token = tokenOf(await ask(cluster))
  assert.equal((await cluster.nodes[1].tokens.verifier.verify(token, RESOURCE)).clientId, 'report')
  cluster.machines = machines(ISSUER, [])
  await assert.rejects(cluster.nodes[1].tokens.verifier.verify(token, RESOURCE), { reason: 'unknown_user' })
})

eachMachine('a cutoff of the machine or of its client ends every token on every node (C12)', async (cluster) => {
  for (const cut of [{ kind: 'client', key: 'report' }, { kind: 'subject', key: 'machine:report' }] as const) {
    const [node] = await cluster.restart()
    const token = tokenOf(await ask(cluster, {}, node))
    assert.notEqual(token, 'undefined')
    await cluster.cut(cut.kind, cut.key)
    await assert.rejects(node.tokens.verifier.verify(token, RESOURCE), { reason: 'cut' }, cut.kind)
    const again = await ask(cluster, {}, node)
    assert.equal(again.status, 400, again.text)
    await cluster.db.query('DELETE FROM changes')
  }
})

eachMachine('a node that does not know what was revoked gives nothing (H17)', async (cluster) => {
  cluster.fresh = false
  const answer = await ask(cluster)
  assert.deepEqual([answer.status, answer.body['error']], [503, 'temporarily_unavailable'])
  assert.equal(await grants(cluster), 0)
  cluster.fresh = true
  assert.equal((await ask(cluster)).status, 200)
})

eachMachine('no token outlives what a platform signed for it, and none is issued for what has ended (RFC 7521 §4.1)', async (cluster) => {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const assertion = `${part({ alg: 'ES256' })}.${part({ sub: 'repo:acme/app' })}.x`
  const at = Math.floor(cluster.now / 1000)
  // As clients/ verified it: its platform's clock may be a minute ahead, or behind.
  const asking = (expiresAt: number): Promise<Answer> => {
    const workload = { issuer: 'https://platform.example', subject: 'repo:acme/app', expiresAt, hash: hash(assertion) }
    cluster.clients.set('report', client('report', { kind: 'pre-registered', tokenEndpointAuthMethods: ['workload_identity'], secretHashes: [hash(SECRET)], grantTypes: [JWT_BEARER], workload }))
    return ask(cluster, { grant_type: JWT_BEARER, assertion })
  }
  await refused(cluster, await asking(at - 30), 'invalid_grant')
  await refused(cluster, await asking(at), 'invalid_grant')
  const answer = await asking(at + 30)
  assert.deepEqual([answer.status, answer.body['expires_in']], [200, 30], answer.text)
})
