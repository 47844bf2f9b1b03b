// What the store of devices, and of requests that were pushed, promises: each verb once, or not at all.
import assert from 'node:assert/strict'
import type { Authorization } from '../../src/authorize/authorization.ts'
import type { NewDeviceRequest } from '../../src/authorize/device-store.ts'
import type { Resource } from '../../src/oauth/resource.ts'
import { authorizeStore } from '../../src/store/authorize.ts'
import { deviceStore } from '../../src/store/devices.ts'
import { pushedRequestStore } from '../../src/store/pushed-requests.ts'
import { identityStore } from '../../src/store/users.ts'
import { eachPair, EVENT, hashed, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const RESOURCE = 'https://lanyard.example/mcp/notes' as Resource
const SESSION = 'session'

function device(id: string, more: Partial<NewDeviceRequest> = {}): NewDeviceRequest {
  return { id, hash: hashed(`code of ${id}`), userCodeHash: hashed(`user code of ${id}`), clientId: 'tv', resource: RESOURCE, scope: ['mcp.read', 'mcp.write'], reference: 'r', address: '192.0.2.1', pollSeconds: 5, createdAt: NOW, expiresAt: NOW + 600_000, ...more }
}

function granted(id: string): Authorization {
  return { id, userId: 'usr_1', clientId: 'tv', resource: RESOURCE, scope: ['mcp.read'], reach: ['notes'], authTime: 5, acr: 'urn:mfa', amr: ['pwd'] }
}

/** A person is signed in and has entered the code of a device, in a request of the device's name. */
async function entered(pair: StorePair, id: string): Promise<void> {
  await pair.db.query(`INSERT INTO sessions (hash, id, user_id, provider, last_used_at, expires_at) VALUES ($1, $1, 'usr_1', 'corp', $2, $2) ON CONFLICT (hash) DO NOTHING`, [SESSION, NOW])
  await authorizeStore(pair.one).addRequest({ id, flowHash: hashed('flow'), request: { clientId: 'tv', resource: RESOURCE, scope: ['mcp.read'], prompt: [], device: { id, userCode: 'sealed', address: '192.0.2.1', askedAt: NOW } }, progress: {}, reference: 'r', createdAt: NOW, expiresAt: NOW + 600_000 }, 100)
}

const poll = (pair: StorePair, id: string, now = NOW) => deviceStore(pair.two).poll({ hash: hashed(`code of ${id}`), clientId: 'tv', now })

eachPair('a device is found by its code while it waits, and one user code is one device’s', async (pair) => {
  const [store, other] = [deviceStore(pair.one), deviceStore(pair.two)]
  assert.equal(await store.add(device('one'), EVENT), true)
  const { hash: _hash, userCodeHash: _user, pollSeconds: _poll, ...known } = device('one')
  assert.deepEqual(await other.findWaiting(hashed('user code of one'), NOW + 599_999), known)
  assert.equal(await other.findWaiting(hashed('user code of one'), NOW + 600_000), undefined)
  assert.equal(await other.findWaiting(hashed('user code of two'), NOW), undefined)
  assert.equal(await other.add(device('two', { userCodeHash: hashed('user code of one') }), EVENT), false)
  assert.deepEqual([await pair.count('device_codes'), (await pair.actions()).length], [1, 1])
  await store.reap(NOW + 600_000 + 3600_000)
  assert.equal(await pair.count('device_codes'), 1)
  await store.reap(NOW + 600_001 + 3600_000)
  assert.equal(await pair.count('device_codes'), 0)
})

eachPair('of many answers to one device, on two nodes, one counts (RFC 8628 §3.3)', async (pair) => {
  await deviceStore(pair.one).add(device('one'))
  for (let index = 0; index < 20; index += 1) await entered(pair, `r${index}`)
  const made = await race(pair, (parts, index) => (index % 3 === 2 ? deviceStore(parts).deny(`r${index}`, 'one').then(() => false) : deviceStore(parts).grant(`r${index}`, SESSION, 'one', granted(`g${index}`), NOW, EVENT)))
  const count = made.filter(Boolean).length
  assert.ok(count <= 1)
  assert.equal(await pair.count('grants'), count)
  const after = await poll(pair, 'one')
  assert.equal(after.kind, count === 1 ? 'granted' : 'denied')
  assert.equal(await pair.count('authorization_requests'), 0)
})

eachPair('what was granted is used once, with its first refresh token (RFC 8628 §3.5)', async (pair) => {
  await deviceStore(pair.one).add(device('one'))
  await entered(pair, 'one')
  assert.equal(await deviceStore(pair.one).grant('one', SESSION, 'one', granted('g1'), NOW), true)
  assert.deepEqual(await poll(pair, 'one'), { kind: 'granted', authorization: granted('g1'), createdAt: NOW / 1000 })
  const use = (index: number) => ({ hash: hashed('code of one'), grantId: 'g1', at: NOW / 1000, jkt: 'key', refreshToken: { hash: hashed(`rt ${index}`), family: hashed('family'), grantId: 'g1', generation: 0, issuedAt: NOW / 1000, expiresAt: NOW / 1000 + 60 } })
  const done = await race(pair, (parts, index) => deviceStore(parts).consumeDevice(use(index), [EVENT]))
  assert.deepEqual(done.toSorted(), ['consumed', ...Array.from({ length: 19 }, () => 'spent')])
  assert.deepEqual([await pair.count('refresh_tokens'), (await pair.actions()).length, (await poll(pair, 'one')).kind], [1, 1, 'used'])
  assert.equal((await pair.db.query<{ jkt: string }>('SELECT jkt FROM grants'))[0]?.jkt, 'key')
})

eachPair('a grant and the end of its person’s access at once: whoever is first, no device has access afterwards (K04)', async (pair) => {
  for (let round = 0; round < 10; round += 1) {
    const id = `d${round}`
    await deviceStore(pair.one).add(device(id))
    await entered(pair, id)
    await Promise.all([deviceStore(pair.one).grant(id, SESSION, id, granted(`grant of ${id}`), NOW), identityStore(pair.two).revokeSubject('usr_1', NOW, EVENT)])
    assert.ok(['ended', 'waiting'].includes((await poll(pair, id)).kind))
    assert.equal(await deviceStore(pair.one).consumeDevice({ hash: hashed(`code of ${id}`), grantId: `grant of ${id}`, at: NOW / 1000 }, []), 'ended')
  }
  await deviceStore(pair.one).add(device('twin'))
  await entered(pair, 'twin')
  assert.equal(await deviceStore(pair.one).grant('twin', SESSION, 'twin', granted('twin'), NOW), true)
})

eachPair('a pushed request is taken once, by its client, within its time (RFC 9126 §2.2)', async (pair) => {
  const push = (id: string) => pushedRequestStore(pair.one).push({ hash: hashed(id), clientId: 'app', params: [['scope', 'mcp.read'], ['resource', 'a'], ['resource', 'b']], expiresAt: NOW + 60_000 }, EVENT)
  await push('one')
  assert.equal(await pushedRequestStore(pair.two).take(hashed('one'), 'other', NOW), undefined)
  const taken = await race(pair, (parts) => pushedRequestStore(parts).take(hashed('one'), 'app', NOW + 59_999))
  assert.deepEqual(taken.filter((each) => each !== undefined), [[['scope', 'mcp.read'], ['resource', 'a'], ['resource', 'b']]])
  await push('late')
  assert.equal(await pushedRequestStore(pair.two).take(hashed('late'), 'app', NOW + 60_000), undefined)
  await pushedRequestStore(pair.one).reap(NOW + 59_999)
  assert.equal(await pair.count('pushed_requests'), 1)
  await pushedRequestStore(pair.one).reap(NOW + 60_000)
  assert.equal(await pair.count('pushed_requests'), 0)
})

eachPair('no verb leaves anything behind when it cannot be recorded', async (pair) => {
  await rollsBack(pair, (parts) => deviceStore(parts).add(device('unrecorded'), EVENT))
  await rollsBack(pair, (parts) => pushedRequestStore(parts).push({ hash: hashed('one'), clientId: 'app', params: [], expiresAt: NOW }, EVENT))
  await deviceStore(pair.one).add(device('one'))
  await entered(pair, 'one')
  await rollsBack(pair, (parts) => deviceStore(parts).grant('one', SESSION, 'one', granted('g1'), NOW, EVENT))
  await rollsBack(pair, (parts) => deviceStore(parts).deny('one', 'one', EVENT))
  assert.equal(await deviceStore(pair.one).grant('one', SESSION, 'one', granted('g1'), NOW), true)
  await rollsBack(pair, (parts) => deviceStore(parts).consumeDevice({ hash: hashed('code of one'), grantId: 'g1', at: NOW / 1000 }, [EVENT]))
  assert.equal((await poll(pair, 'one')).kind, 'granted')
})
