// A refresh token of Lanyard as the subject of an ID-JAG: the next assertion without another sign-in
// (draft-ietf-oauth-identity-assertion-authz-grant §4.3). Two nodes over one database.
import assert from 'node:assert/strict'
import { decodeJwt } from 'jose'
import { hash } from '../../src/oauth/secret.ts'
import { proofKey, type ProofKey } from '../support/dpop.ts'
import { client, eachCluster, ISSUER, LIFETIMES, RESOURCE, type Answer, type Cluster, type World } from '../support/token-nodes.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const TYPE = 'urn:ietf:params:oauth:token-type:'
const SECRET = 's'.repeat(32)
const CHAT = { issuer: 'https://auth.chat.example/', resources: ['https://mcp.chat.example/'], scopes: ['chat.read'], clients: new Map([['app', 'app-at-chat']]), groups: ['engineering', 'chat'] }
const CONFIDENTIAL = { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)], grantTypes: ['authorization_code', 'refresh_token', EXCHANGE] } as const

type Form = Readonly<Record<string, string>>

function prepare(world: World): void {
  for (const id of ['app', 'other']) world.clients.set(id, client(id, CONFIDENTIAL))
  world.exchange = [{ id: 'to-chat', clients: ['app', 'other'], targets: ['https://auth.chat.example', RESOURCE] }]
  world.audiences = [CHAT]
}

function each(name: string, run: (cluster: Cluster) => Promise<void>, more: (world: World) => void = () => undefined): void {
  eachCluster(name, run, (world) => {
    prepare(world)
    more(world)
  })
}

interface Grant {
  readonly grantId: string
  readonly token: string
}

async function signIn(cluster: Cluster, clientId = 'app'): Promise<Grant> {
  const approved = await cluster.approve({ clientId, authTime: 1_700_000_000, acr: 'phr', amr: ['hwk'] })
  const answer = await cluster.nodes[0].post('/token', { ...approved.form, client_secret: SECRET })
  return { grantId: approved.grantId, token: String(answer.body['refresh_token']) }
}

function ask(cluster: Cluster, token: string, form: Form = {}, headers: Form = {}): Promise<Answer> {
  return cluster.nodes[1].post('/token', { grant_type: EXCHANGE, client_id: 'app', client_secret: SECRET, requested_token_type: `${TYPE}id-jag`, subject_token: token, subject_token_type: `${TYPE}refresh_token`, audience: CHAT.issuer, scope: 'chat.read', ...form }, headers)
}

async function next(cluster: Cluster, token: string): Promise<string> {
  const answer = await cluster.refresh(token, { client_secret: SECRET })
  assert.equal(answer.status, 200, answer.text)
  return String(answer.body['refresh_token'])
}

async function lives(cluster: Cluster, { grantId }: Grant): Promise<boolean> {
  return (await cluster.nodes[0].store.findGrant(grantId)) !== undefined
}

/** @returns the reason in the audit trail */
async function refused(cluster: Cluster, answer: Answer): Promise<string> {
  assert.deepEqual([answer.status, answer.body['error'], answer.body['access_token']], [400, 'invalid_request', undefined])
  const event = (await cluster.events('token.refused')).at(-1)
  return event?.reason ?? ''
}

each('ID-JAG §4.3, §4.3.4: a refresh token brings one assertion after another, and is neither used up nor renewed', async (cluster) => {
  const grant = await signIn(cluster)
  const rows = (): Promise<unknown> => cluster.db.query('SELECT * FROM refresh_tokens ORDER BY hash')
  const before = await rows()
  const made: string[] = []
  for (const group of ['engineering', 'chat']) {
    // Hours later: no access token is left of the sign-in, and what is known of the person is newer.
    cluster.now += 3_600_000
    const alice = cluster.users.get('usr_alice')
    assert.ok(alice)
    cluster.users.set('usr_alice', { ...alice, groups: [group], email: `${group}@acme.example` })
    const answer = await ask(cluster, grant.token)
    assert.equal(answer.status, 200, answer.text)
    const { access_token: assertion, ...said } = answer.body
    assert.deepEqual(said, { token_type: 'N_A', issued_token_type: `${TYPE}id-jag`, expires_in: 300, scope: 'chat.read' })
    const { iss, sub, aud, client_id: there, email, auth_time: at, acr, amr } = decodeJwt(String(assertion))
    assert.deepEqual([iss, sub, aud, there, email, at, acr, amr], [ISSUER, 'usr_alice', CHAT.issuer, 'app-at-chat', `${group}@acme.example`, 1_700_000_000, 'phr', ['hwk']])
    made.push(String(assertion))
  }
  assert.deepEqual(await rows(), before)
  const events = await cluster.events('assertion.issued')
  assert.deepEqual(events.map(({ subject, clientId, grantId, detail }) => [subject, clientId, grantId, detail?.['subject_kind'], detail?.['jti']]), made.map((assertion) => ['usr_alice', 'app', grant.grantId, 'lanyard refresh_token', decodeJwt(assertion).jti]))
  const everything = JSON.stringify(await cluster.db.query('SELECT event FROM audit'))
  for (const secret of [grant.token, ...made]) assert.equal(everything.includes(secret.slice(-20)), false)
  // It is good as ever where it belongs, and its successor takes its place here.
  const successor = await next(cluster, grant.token)
  assert.equal((await ask(cluster, successor)).status, 200)
})

each('ID-JAG §4.3.3, RFC 9700 §4.14.2: a used token is refused, and one that was used long ago ends its grant', async (cluster) => {
  const grant = await signIn(cluster)
  const successor = await next(cluster, grant.token)
  cluster.now += 30_000
  assert.equal(await refused(cluster, await ask(cluster, grant.token)), 'token exchange: the refresh token was used, and has a successor')
  assert.deepEqual([await lives(cluster, grant), (await ask(cluster, successor)).status], [true, 200])
  cluster.now += 31_000
  assert.equal(await refused(cluster, await ask(cluster, grant.token)), 'token exchange: refresh token used again')
  assert.equal(await lives(cluster, grant), false)
  assert.deepEqual((await cluster.events('token.reuse_detected')).map(({ grantId, reason }) => [grantId, reason]), [[grant.grantId, 'refresh token used again']])
  assert.equal(await refused(cluster, await ask(cluster, successor)), 'token exchange: unknown refresh token')
  assert.equal((await cluster.events('assertion.issued')).length, 1)
})

each('ID-JAG §4.3.3, C04: the token of another client is a stolen one, and ends its grant', async (cluster) => {
  const [grant, others] = [await signIn(cluster), await signIn(cluster, 'other')]
  assert.equal((await ask(cluster, grant.token)).status, 200)
  assert.equal(await refused(cluster, await ask(cluster, others.token)), 'token exchange: refresh token of another client')
  assert.deepEqual([await lives(cluster, grant), await lives(cluster, others)], [true, false])
  const [event] = await cluster.events('token.reuse_detected')
  assert.deepEqual([event?.clientId, event?.grantId, event?.detail?.['presented_by']], ['other', others.grantId, 'app'])
  assert.equal((await cluster.refresh(others.token, { client_id: 'other', client_secret: SECRET })).body['error'], 'invalid_grant')
})

each('ID-JAG §4.3.3: what a refresh would be refused for is refused: ended, expired, cut, disabled, ended by the provider, policy', async (cluster) => {
  const ending: readonly (readonly [string, boolean, (grant: Grant) => unknown])[] = [
    ['unknown refresh token', false, ({ grantId }) => cluster.nodes[0].store.revokeGrant(grantId, Math.floor(cluster.now / 1000), [])],
    ['policy allows nothing of the resource', true, () => (cluster.reachable = false)],
    ['user disabled', false, () => cluster.users.set('usr_alice', { id: 'usr_alice', provider: 'corp', issuer: 'https://idp.example', subject: 'usr_alice', groups: ['engineering'], disabled: true })],
    ['ended by the identity provider', false, () => cluster.ended.add('usr_alice')],
    ['revoked', false, async ({ grantId }) => {
      cluster.now += 2000
      await cluster.cut('grant', grantId)
    }],
  ]
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice)
  for (const [reason, isLeft, end] of ending) {
    const grant = await signIn(cluster)
    assert.equal((await ask(cluster, grant.token)).status, 200)
    await end(grant)
    const count = (await cluster.events('assertion.issued')).length
    assert.equal(await refused(cluster, await ask(cluster, grant.token)), `token exchange: ${reason}`)
    assert.equal((await cluster.events('assertion.issued')).length, count)
    assert.equal(await lives(cluster, grant), isLeft, reason)
    cluster.users.set('usr_alice', alice)
    cluster.ended.clear()
    cluster.reachable = true
  }
  const grant = await signIn(cluster)
  cluster.fresh = false
  const unknown = await ask(cluster, grant.token)
  assert.deepEqual([unknown.status, unknown.body['error']], [503, 'temporarily_unavailable'])
  cluster.fresh = true
  cluster.now += (LIFETIMES.refreshToken - 100) * 1000
  const last = await ask(cluster, grant.token)
  assert.deepEqual([last.body['expires_in'], decodeJwt(String(last.body['access_token'])).exp], [100, Math.floor(cluster.now / 1000) + 100])
  cluster.now += 100_000
  assert.equal(await refused(cluster, await ask(cluster, grant.token)), 'token exchange: refresh token expired')
})

each('ID-JAG §4.3: it is for assertions alone; an access token is what a refresh brings, once', async (cluster) => {
  const grant = await signIn(cluster)
  const access = { requested_token_type: `${TYPE}access_token`, resource: RESOURCE, audience: '', scope: '' }
  assert.equal(await refused(cluster, await ask(cluster, grant.token, access)), 'token exchange: a refresh token of Lanyard is exchanged for assertions alone')
  assert.match(await refused(cluster, await ask(cluster, grant.token, { subject_token_type: `${TYPE}access_token` })), /access token is refused/)
  const refreshed = await cluster.refresh(grant.token, { client_secret: SECRET })
  const twin = await ask(cluster, String(refreshed.body['access_token']), { ...access, subject_token_type: `${TYPE}access_token` })
  assert.equal(twin.status, 200, twin.text)
  assert.equal((await ask(cluster, String(refreshed.body['refresh_token']))).status, 200)
})

each('RFC 8693 §2.1: rules that name tokens of an identity provider say nothing of Lanyard’s', async (cluster) => {
  const grant = await signIn(cluster)
  assert.equal(await refused(cluster, await ask(cluster, grant.token)), 'token exchange: no rule lets this client exchange tokens of Lanyard')
  assert.deepEqual([await lives(cluster, grant), (await cluster.events('assertion.issued')).length], [true, 0])
}, (world) => {
  world.exchange = [{ id: 'corp-to-chat', clients: ['app'], identityProvider: 'corp', tokenTypes: ['refresh_token'], audiences: ['app'], targets: ['https://auth.chat.example'] }]
})

each('RFC 9449 §5: a token that is bound to a key needs its proof, and the assertion is bound to it too (ID-JAG §7.5.1)', async (cluster) => {
  // A public client, which became one that authenticates.
  cluster.clients.set('app', client('app'))
  const [key, other] = await Promise.all([proofKey(), proofKey()])
  const proof = async (of: ProofKey): Promise<Form> => ({ dpop: await of.prove({ htm: 'POST', htu: `${ISSUER}/token`, iat: Math.floor(cluster.now / 1000) }) })
  const approved = await cluster.approve({ clientId: 'app' })
  const first = await cluster.nodes[0].post('/token', approved.form, await proof(key))
  assert.equal(first.body['token_type'], 'DPoP', first.text)
  const token = String(first.body['refresh_token'])
  cluster.clients.set('app', client('app', CONFIDENTIAL))
  for (const headers of [{}, await proof(other)]) assert.equal(await refused(cluster, await ask(cluster, token, {}, headers)), 'token exchange: refresh token without the key that it is bound to')
  assert.equal(await lives(cluster, { grantId: approved.grantId, token }), true)
  const answer = await ask(cluster, token, {}, await proof(key))
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(decodeJwt(String(answer.body['access_token']))['cnf'], { jkt: key.jkt })
})

each('assertions, a rotation and an end at the same time: whatever is issued was issued while the grant lived, and one token is left of a rotation', async (cluster) => {
  const grant = await signIn(cluster)
  const [refreshed, ...answers] = await Promise.all([cluster.refresh(grant.token, { client_secret: SECRET }), ...Array.from({ length: 12 }, () => ask(cluster, grant.token))])
  assert.equal(refreshed?.status, 200)
  for (const { status, body } of answers) assert.ok(status === 200 || body['error'] === 'invalid_request')
  assert.equal((await cluster.events('assertion.issued')).length, answers.filter(({ status }) => status === 200).length)
  const unused = await cluster.db.query('SELECT hash FROM refresh_tokens WHERE used_at IS NULL')
  assert.deepEqual([unused.length, await lives(cluster, grant)], [1, true])
  const successor = String(refreshed?.body['refresh_token'])
  const ending = cluster.nodes[0].store.revokeGrant(grant.grantId, Math.floor(cluster.now / 1000), [{ action: 'token.revoked', outcome: 'success' }])
  await Promise.all([ending, ...Array.from({ length: 12 }, () => ask(cluster, successor))])
  const count = (await cluster.events('assertion.issued')).length
  assert.equal(await refused(cluster, await ask(cluster, successor)), 'token exchange: unknown refresh token')
  assert.equal((await cluster.events('assertion.issued')).length, count)
})
