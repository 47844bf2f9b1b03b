// The device code at the token endpoint, while it waits, when it was answered, and when many ask at once on two nodes.
import assert from 'node:assert/strict'
import type { PendingRequest } from '../../src/authorize/authorize-store.ts'
import { DEVICE_CODE } from '../../src/oauth/grant-type.ts'
import { hash, newId, newSecret } from '../../src/oauth/secret.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { authorizeStore } from '../../src/store/authorize.ts'
import { deviceStore } from '../../src/store/devices.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { proofKey } from '../support/dpop.ts'
import { client, eachCluster as eachPlainCluster, RESOURCE, resource, SCOPE, type Answer, type Cluster, type Node } from '../support/token-nodes.ts'

function eachCluster(name: string, run: (cluster: Cluster) => Promise<void>): void {
  eachPlainCluster(name, async (cluster) => {
    for (const id of ['tv', 'radio']) cluster.clients.set(id, client(id, { grantTypes: [DEVICE_CODE, 'refresh_token'] }))
    await run(cluster)
  })
}

interface Device {
  readonly id: string
  readonly code: string
  readonly expiresAt: number
}

function parts({ db }: Cluster): StoreParts {
  return { db, audit: auditLog(db, () => undefined), changed: async () => undefined }
}

function store(cluster: Cluster): ReturnType<typeof deviceStore> {
  return deviceStore(parts(cluster))
}

async function ask(cluster: Cluster, clientId = 'tv'): Promise<Device> {
  const code = newSecret('lyd_dc')
  const id = newId('dev')
  const expiresAt = cluster.now + 600_000
  assert.equal(await store(cluster).add({ id, hash: hash(code), userCodeHash: hash(id), clientId, resource: RESOURCE, scope: SCOPE, reference: 'r', address: '192.0.2.9', pollSeconds: 5, createdAt: cluster.now, expiresAt }), true)
  return { id, code, expiresAt }
}

/** A person who is signed in enters the code. */
async function enter(cluster: Cluster, device: Device): Promise<{ readonly requestId: string; readonly sessionId: string }> {
  const [requestId, sessionId] = [newId('req'), newId('ses')]
  await cluster.db.query(`INSERT INTO sessions (hash, id, user_id, provider, last_used_at, expires_at) VALUES ($1, $1, 'usr_alice', 'corp', $2, $2)`, [sessionId, cluster.now + 3600_000])
  const pending: PendingRequest = {
    id: requestId,
    flowHash: hash('flow'),
    request: { clientId: 'tv', resource: RESOURCE, scope: SCOPE, prompt: [], device: { id: device.id, userCode: 'sealed', address: '192.0.2.9', askedAt: cluster.now } },
    progress: {},
    reference: 'r',
    createdAt: cluster.now,
    expiresAt: device.expiresAt,
  }
  await authorizeStore(parts(cluster)).addRequest(pending, 100)
  return { requestId, sessionId }
}

async function approve(cluster: Cluster, device: Device, clientId = 'tv'): Promise<string> {
  const { requestId, sessionId } = await enter(cluster, device)
  const grantId = newId('grt')
  const granted = await store(cluster).grant(requestId, sessionId, device.id, { id: grantId, userId: 'usr_alice', clientId, resource: RESOURCE, scope: SCOPE, authTime: 7, acr: 'urn:mfa', amr: ['pwd', 'otp'] }, cluster.now)
  assert.equal(granted, true)
  return grantId
}

function poll(cluster: Cluster, { code }: Pick<Device, 'code'>, more: Readonly<Record<string, string>> = {}, node: Node = cluster.nodes[0], headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return node.post('/token', { grant_type: DEVICE_CODE, client_id: 'tv', device_code: code, ...more }, headers)
}

async function error(answer: Promise<Answer>): Promise<unknown> {
  const { status, body } = await answer
  assert.equal(status, 400, JSON.stringify(body))
  return body['error']
}

const UNKNOWN = { code: `lyd_dc_${'A'.repeat(43)}` }

eachCluster('a device waits, is told so, and gets the tokens that were approved, once (RFC 8628 §3.4, §3.5, L04)', async (cluster) => {
  const device = await ask(cluster)
  assert.equal(await error(poll(cluster, device)), 'authorization_pending')
  cluster.now += 5000
  assert.equal(await error(poll(cluster, device, {}, cluster.nodes[1])), 'authorization_pending')
  const grantId = await approve(cluster, device)
  cluster.now += 5000
  const answer = await poll(cluster, device)
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual([answer.body['token_type'], answer.body['scope'], answer.headers.get('cache-control')], ['Bearer', SCOPE.join(' '), 'no-store'])
  const claims = JSON.parse(Buffer.from(String(answer.body['access_token']).split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, unknown>
  assert.deepEqual([claims['sub'], claims['aud'], claims['client_id'], claims['grant'], claims['acr'], claims['auth_time']], ['usr_alice', RESOURCE, 'tv', grantId, 'urn:mfa', 7])
  assert.equal(await error(poll(cluster, device)), 'invalid_grant')
  assert.equal(await error(poll(cluster, device, {}, cluster.nodes[1])), 'invalid_grant')
  // What was issued before lives on.
  assert.equal((await cluster.refresh(answer.body['refresh_token'], { client_id: 'tv' })).status, 200)
  const [issued] = await cluster.events('token.issued')
  assert.deepEqual([issued?.subject, issued?.clientId, issued?.grantId], ['usr_alice', 'tv', grantId])
  // Waiting decides nothing, so nothing of it is recorded.
  assert.deepEqual((await cluster.events('token.refused')).map(({ reason }) => reason), ['device code: used', 'device code: used'])
})

eachCluster('slow_down raises the interval by five seconds for good, on all nodes (RFC 8628 §3.5, L04)', async (cluster) => {
  const device = await ask(cluster)
  const after = async (seconds: number, node = 0): Promise<unknown> => {
    cluster.now += seconds * 1000
    return error(poll(cluster, device, {}, cluster.nodes[node === 0 ? 0 : 1]))
  }
  assert.equal(await after(0), 'authorization_pending')
  assert.equal(await after(2, 1), 'slow_down')
  assert.equal(await after(5), 'slow_down')
  assert.equal(await after(15, 1), 'authorization_pending')
  // Ten seconds and five more, by then.
  assert.equal(await after(10), 'slow_down')
  assert.equal(await after(20), 'authorization_pending')
  const [row] = await cluster.db.query<{ poll_seconds: number }>('SELECT poll_seconds FROM device_codes')
  assert.equal(row?.poll_seconds, 20)
  await approve(cluster, device)
  assert.equal((await poll(cluster, device)).status, 200)
})

eachCluster('a question that comes half a second early is none too many (RFC 8628 §3.5)', async (cluster) => {
  const device = await ask(cluster)
  await poll(cluster, device)
  for (let asked = 0; asked < 5; asked += 1) {
    cluster.now += 4500
    assert.equal(await error(poll(cluster, device)), 'authorization_pending')
  }
})

eachCluster('denied, expired, of another client, of nobody: each is told apart from waiting (RFC 8628 §3.5, L04)', async (cluster) => {
  const denied = await ask(cluster)
  const { requestId } = await enter(cluster, denied)
  assert.equal(await store(cluster).deny(requestId, denied.id), true)
  assert.equal(await error(poll(cluster, denied)), 'access_denied')
  assert.equal(await error(poll(cluster, denied)), 'access_denied')
  const late = await ask(cluster)
  const theirs = await ask(cluster)
  await approve(cluster, theirs)
  // Another client learns nothing and uses nothing up.
  assert.equal(await error(poll(cluster, theirs, { client_id: 'radio' })), 'invalid_grant')
  assert.equal(await error(poll(cluster, late, { client_id: 'radio' })), 'invalid_grant')
  assert.equal(await error(poll(cluster, UNKNOWN)), 'invalid_grant')
  assert.equal(await error(poll(cluster, theirs, { client_id: 'app' })), 'unauthorized_client')
  assert.equal(await error(cluster.nodes[0].post('/token', { grant_type: DEVICE_CODE, client_id: 'tv' })), 'invalid_request')
  assert.equal(await error(poll(cluster, theirs, { resource: resource('sales') })), 'invalid_target')
  assert.equal((await poll(cluster, theirs, { resource: RESOURCE })).status, 200)
  cluster.now = late.expiresAt
  assert.equal(await error(poll(cluster, late)), 'expired_token')
  assert.equal(await error(poll(cluster, denied)), 'access_denied')
  cluster.now += 2 * 3600_000
  await store(cluster).reap(cluster.now)
  assert.equal(await error(poll(cluster, late)), 'invalid_grant')
  assert.deepEqual(await cluster.db.query('SELECT id FROM device_codes'), [])
})

eachCluster('what was approved in the last second can still be fetched for a minute (RFC 8628 §3.5)', async (cluster) => {
  const [soon, never] = [await ask(cluster), await ask(cluster)]
  cluster.now = soon.expiresAt - 1000
  await approve(cluster, soon)
  await approve(cluster, never)
  cluster.now += 30_000
  assert.equal((await poll(cluster, soon)).status, 200)
  cluster.now += 31_000
  assert.equal(await error(poll(cluster, never)), 'expired_token')
})

eachCluster('many ask at once for what was approved, on two nodes: one gets tokens, and they live (RFC 8628 §3.5, L04)', async (cluster) => {
  const device = await ask(cluster)
  const grantId = await approve(cluster, device)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => poll(cluster, device, {}, cluster.nodes[index % 2 === 0 ? 0 : 1])))
  const [won, ...others] = answers.filter(({ status }) => status === 200)
  assert.ok(won)
  assert.deepEqual(others, [])
  assert.deepEqual([...new Set(answers.filter((each) => each !== won).map(({ body }) => body['error']))], ['invalid_grant'])
  assert.equal((await cluster.db.query('SELECT hash FROM refresh_tokens WHERE grant_id = $1', [grantId])).length, 1)
  assert.equal((await cluster.events('token.issued')).length, 1)
  assert.equal((await cluster.refresh(won.body['refresh_token'], { client_id: 'tv' }, cluster.nodes[1])).status, 200)
})

eachCluster('many ask at once while nobody has answered: one of them waits, the others too often (RFC 8628 §3.5)', async (cluster) => {
  const device = await ask(cluster)
  const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => error(poll(cluster, device, {}, cluster.nodes[index % 2 === 0 ? 0 : 1]))))
  assert.deepEqual(answers.map(String).toSorted((one, other) => one.localeCompare(other)), ['authorization_pending', ...Array.from({ length: 9 }, () => 'slow_down')])
  const [row] = await cluster.db.query<{ poll_seconds: number }>('SELECT poll_seconds FROM device_codes')
  assert.equal(row?.poll_seconds, 50)
})

eachCluster('a grant that ended before the device fetched it gives it nothing, whoever is faster (K04, L04)', async (cluster) => {
  const device = await ask(cluster)
  const grantId = await approve(cluster, device)
  await cluster.nodes[1].store.revokeGrant(grantId, Math.floor(cluster.now / 1000), [])
  assert.equal(await error(poll(cluster, device)), 'invalid_grant')
  const raced = await ask(cluster)
  const racedGrant = await approve(cluster, raced)
  // Between the look at the code and its use.
  cluster.beforeWrite = async () => {
    cluster.beforeWrite = () => Promise.resolve()
    await cluster.nodes[1].store.revokeGrant(racedGrant, Math.floor(cluster.now / 1000), [])
  }
  assert.equal(await error(poll(cluster, raced)), 'invalid_grant')
  const disabled = await ask(cluster)
  await approve(cluster, disabled)
  const alice = cluster.users.get('usr_alice')
  assert.ok(alice)
  cluster.users.set('usr_alice', { ...alice, disabled: true })
  assert.equal(await error(poll(cluster, disabled)), 'invalid_grant')
  assert.deepEqual(await cluster.db.query('SELECT hash FROM refresh_tokens'), [])
  assert.deepEqual(await cluster.events('token.issued'), [])
  cluster.users.set('usr_alice', alice)
  const twin = await ask(cluster)
  await approve(cluster, twin)
  assert.equal((await poll(cluster, twin)).status, 200)
})

eachCluster('RFC 9449 §5: what a device proves a key for is bound to it', async (cluster) => {
  const device = await ask(cluster)
  await approve(cluster, device)
  const key = await proofKey()
  const prove = (): Promise<string> => key.prove({ htm: 'POST', htu: 'https://lanyard.example/token', iat: Math.floor(cluster.now / 1000) })
  const answer = await poll(cluster, device, {}, cluster.nodes[0], { dpop: await prove() })
  assert.deepEqual([answer.status, answer.body['token_type']], [200, 'DPoP'])
  assert.equal((await cluster.refresh(answer.body['refresh_token'], { client_id: 'tv' })).status, 400)
  const bound = await cluster.nodes[0].post('/token', { grant_type: 'refresh_token', client_id: 'tv', refresh_token: String(answer.body['refresh_token']) }, { dpop: await prove() })
  assert.equal(bound.status, 200)
})

eachCluster('the flow is in the metadata as it is served (RFC 8628 §4)', async (cluster) => {
  const { body } = await cluster.nodes[0].get('/.well-known/oauth-authorization-server')
  assert.equal(body['device_authorization_endpoint'], 'https://lanyard.example/device_authorization')
  assert.ok((body['grant_types_supported'] as string[]).includes(DEVICE_CODE))
})
