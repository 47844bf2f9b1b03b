// Clients that authenticate by what their platform says of them, on two nodes over one database.
import assert from 'node:assert/strict'
import { after } from 'node:test'
import { basicAuthorization } from '../../src/oauth/basic.ts'
import { ASSERTION_TYPE, eachClientWorld, ISSUER, signer, type Answer, type ClientNode, type ClientOptions, type ClientWorld } from '../support/client-nodes.ts'
import { gitHubActions, kubernetes, spiffe } from '../support/platforms.ts'

const [GITHUB, CLUSTER, DOMAIN, KEY] = await Promise.all([gitHubActions(), kubernetes(), spiffe('example.org'), signer('k1')])
after(() => Promise.all([GITHUB.close(), CLUSTER.close(), DOMAIN.close()]))

const base = { name: 'x', redirectUris: [], grantTypes: ['client_credentials', 'urn:ietf:params:oauth:grant-type:jwt-bearer'] } as const
const OPTIONS: ClientOptions = {
  preRegistered: [
    { ...base, id: 'deploy', tokenEndpointAuthMethod: 'workload_identity', workloadIdentities: [{ issuer: GITHUB.issuer, subject: 'repo:acme/app:**', audience: ISSUER }, { issuer: CLUSTER.issuer, subject: 'system:serviceaccount:ci:deployer', audience: ISSUER }] },
    { ...base, id: 'other', tokenEndpointAuthMethod: 'workload_identity', workloadIdentities: [{ issuer: GITHUB.issuer, subject: 'repo:acme/other:**', audience: ISSUER }] },
    ...['twice', 'again'].map((id) => ({ ...base, id, tokenEndpointAuthMethod: 'workload_identity' as const, workloadIdentities: [{ issuer: GITHUB.issuer, subject: 'repo:acme/twice:**', audience: ISSUER }] })),
    { ...base, id: 'both', tokenEndpointAuthMethod: 'workload_identity', workloadIdentities: [{ issuer: GITHUB.issuer, subject: 'repo:acme/both:**', audience: ISSUER }, { issuer: DOMAIN.issuer, subject: 'spiffe://example.org/ns/ci/sa/job', audience: ISSUER, jwksUri: DOMAIN.bundle }] },
    { ...base, id: 'signed', tokenEndpointAuthMethod: 'private_key_jwt', jwks: { keys: [KEY.jwk] } },
  ],
}
const SPIFFE_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

const job = (repository = 'acme/app', more: Readonly<Record<string, unknown>> = {}): Promise<string> => GITHUB.sign(GITHUB.job(repository, { aud: ISSUER, ...more }))

/** The platforms are reached by the web that the nodes see. */
function connect(world: ClientWorld): void {
  for (const url of [`${GITHUB.issuer}/.well-known/openid-configuration`, `${GITHUB.issuer}/.well-known/jwks`, `${CLUSTER.issuer}/.well-known/openid-configuration`, `${CLUSTER.issuer}/openid/v1/jwks`, DOMAIN.bundle]) {
    world.web.pages.set(url, async () => ({ body: await (await fetch(url)).json() }))
  }
}

const present = (node: ClientNode, jwt: string, more: Readonly<Record<string, string>> = {}): Promise<Answer> =>
  node.prove({ client_id: 'deploy', client_assertion_type: ASSERTION_TYPE, client_assertion: jwt, ...more })

async function refused(world: ClientWorld, answer: Answer, reason: string, clientId?: string, error: readonly [number, string] = [401, 'invalid_client']): Promise<void> {
  assert.deepEqual([answer.status, answer.body['error']], error, answer.text)
  const event = (await world.events('client.refused')).at(-1)
  assert.deepEqual([event?.reason, event?.clientId], [reason, clientId])
}

eachClientWorld('a client is the workload that its platform says it is, on every node and more than once (RFC 7523 §2.2, RFC 7521 §4.2)', async (world) => {
  connect(world)
  const jwt = await job()
  for (const node of world.nodes) for (let count = 0; count < 2; count += 1) assert.equal((await present(node, jwt)).status, 200)
  assert.equal((await present(world.nodes[0], await CLUSTER.sign(CLUSTER.pod('ci', 'deployer', ISSUER)))).status, 200)
  // What is used once is remembered; of this nothing is.
  assert.equal((await world.db.query('SELECT * FROM client_assertions')).length, 0)
  assert.deepEqual([...new Set(world.web.options.map(({ provenance }) => provenance))], ['configured'])
  assert.deepEqual(await world.events('client.refused'), [])
}, OPTIONS)

eachClientWorld('what is presented as a JWT-SVID is one: of a workload of SPIFFE, and for this gateway alone (draft-ietf-oauth-spiffe-client-auth §3.1)', async (world) => {
  connect(world)
  const [node] = world.nodes
  const svid = (more: Readonly<Record<string, unknown>> = {}, audience: string | readonly string[] = ISSUER): Promise<string> => DOMAIN.sign({ ...DOMAIN.svid('/ns/ci/sa/job', audience), ...more })
  const asSvid = { client_id: 'both', client_assertion_type: SPIFFE_TYPE }
  await refused(world, await present(node, await job('acme/both'), asSvid), 'workload: issuer', 'both')
  await refused(world, await present(node, await job(), { ...asSvid, client_id: 'deploy' }), 'method not registered', 'deploy')
  await refused(world, await present(node, await svid({}, [ISSUER, 'https://other.example']), asSvid), 'workload: audience', 'both')
  await refused(world, await present(node, await svid({ sub: 'spiffe://example.org/ns/ci/sa/other' }), asSvid), 'workload: subject', 'both')
  // The twins, and as the assertions of RFC 7523 that both are too.
  assert.equal((await present(node, await svid(), asSvid)).status, 200)
  for (const jwt of [await svid(), await job('acme/both')]) assert.equal((await present(node, jwt, { client_id: 'both' })).status, 200)
}, OPTIONS)

eachClientWorld('nobody is another client by what a platform says, nor without it (C09, C10)', async (world) => {
  connect(world)
  const [node] = world.nodes
  await refused(world, await present(node, await job('acme/other')), 'workload: subject', 'deploy')
  // What it claims stands in the trail, for whoever configured something else.
  assert.deepEqual((await world.events('client.refused')).at(-1)?.detail, { claimed_issuer: GITHUB.issuer, claimed_subject: 'repo:acme/other:ref:refs/heads/main' })
  await refused(world, await present(node, await job(), { client_id: 'other' }), 'workload: subject', 'other')
  await refused(world, await present(node, await job('acme/app', { aud: 'https://other.example' })), 'workload: audience', 'deploy')
  await refused(world, await node.prove({ client_id: 'deploy' }), 'method not registered', 'deploy')
  await refused(world, await node.prove({ client_id: 'deploy', client_secret: 'x' }), 'method not registered', 'deploy')
  await refused(world, await node.prove({}, basicAuthorization('deploy', 'x')), 'method not registered', 'deploy')
  // A client with keys of its own is no workload, and a workload makes no assertions.
  await refused(world, await present(node, await job(), { client_id: 'signed' }), 'assertion: signature', 'signed')
  const now = Math.floor(world.now / 1000)
  const own = (id: string): Promise<string> => KEY.sign({ iss: id, sub: id, aud: ISSUER, jti: `j-${id}`, iat: now, exp: now + 60 })
  await refused(world, await present(node, await own('deploy')), 'workload: issuer', 'deploy')
  await refused(world, await present(node, await own('signed'), { client_id: 'signed', client_assertion_type: SPIFFE_TYPE }), 'method not registered', 'signed')
  // The twins.
  assert.equal((await present(node, await own('signed'), { client_id: 'signed' })).status, 200)
  assert.equal((await present(node, await job('acme/other'), { client_id: 'other' })).status, 200)
  assert.equal((await present(node, await job())).status, 200)
}, OPTIONS)

eachClientWorld('a workload need not name its client, where there is but one that it can be (RFC 7521 §4.2)', async (world) => {
  connect(world)
  const [node] = world.nodes
  const unnamed = async (jwt: string, more: Readonly<Record<string, string>> = {}): Promise<Answer> => node.prove({ client_assertion_type: ASSERTION_TYPE, client_assertion: jwt, ...more })
  assert.equal((await unnamed(await job())).status, 200)
  assert.equal((await unnamed(await job('acme/other'))).status, 200)
  assert.equal((await node.prove({ grant_type: JWT_BEARER, assertion: await job() })).status, 200)
  await refused(world, await unnamed(await job('acme/twice')), 'several clients may be this workload', 'repo:acme/twice:ref:refs/heads/main')
  assert.equal((await unnamed(await job('acme/twice'), { client_id: 'twice' })).status, 200)
  await refused(world, await unnamed(await job('acme/nobody')), 'unknown client', 'repo:acme/nobody:ref:refs/heads/main')
  // Whoever claims to be a workload must be it: the claim alone finds the client.
  const forged = await KEY.sign(GITHUB.job('acme/app', { aud: ISSUER }), { kid: 'key-1' })
  await refused(world, await unnamed(forged), 'workload: signature', 'repo:acme/app:ref:refs/heads/main')
  await refused(world, await unnamed(await job('acme/app', { sub: 'signed' })), 'assertion: signature', 'signed')
}, OPTIONS)

eachClientWorld('two ways at once are refused, whatever they are worth (RFC 6749 §2.3, C09)', async (world) => {
  connect(world)
  const [node] = world.nodes
  for (const answer of [await present(node, await job(), { client_secret: 'x' }), await node.prove({ client_id: 'deploy', client_assertion_type: ASSERTION_TYPE, client_assertion: await job() }, basicAuthorization('deploy', 'x'))]) {
    assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_request'])
  }
}, OPTIONS)

eachClientWorld('the assertion of the grant is the client\'s proof where it asks for that grant, and nowhere else (RFC 7523 §2.1, §3.1)', async (world) => {
  connect(world)
  const [node] = world.nodes
  const jwt = await job()
  assert.equal((await node.prove({ client_id: 'deploy', grant_type: JWT_BEARER, assertion: jwt })).status, 200)
  await refused(world, await node.prove({ client_id: 'deploy', assertion: jwt }), 'method not registered', 'deploy')
  await refused(world, await node.prove({ client_id: 'deploy', grant_type: 'client_credentials', assertion: jwt }), 'method not registered', 'deploy')
  // RFC 7523 §3.1: as the grant it is an invalid one.
  await refused(world, await node.prove({ client_id: 'deploy', grant_type: JWT_BEARER, assertion: await job('acme/other') }), 'workload: subject', 'deploy', [400, 'invalid_grant'])
  await refused(world, await node.prove({ client_id: 'nobody', grant_type: JWT_BEARER, assertion: jwt }), 'unknown client', 'nobody')
  await refused(world, await node.prove({ client_id: 'deploy', grant_type: JWT_BEARER }), 'method not registered', 'deploy')
  await refused(world, await node.prove({ client_id: 'signed', grant_type: JWT_BEARER, assertion: jwt }), 'method not registered', 'signed')
  // No JWT is recorded, whatever came of it.
  const recorded = JSON.stringify(await world.events())
  for (const part of jwt.split('.')) assert.equal(recorded.includes(part), false)
}, OPTIONS)
