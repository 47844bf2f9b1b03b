// What the store of registered clients promises.
import assert from 'node:assert/strict'
import type { RegisteredClient, RegistrationLimits } from '../../src/clients/client-store.ts'
import { clientStore } from '../../src/store/clients.ts'
import { eachPair, EVENT, hashed, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const HOUR = 3600_000
const LIMITS: RegistrationLimits = { pending: 5, since: NOW - HOUR, abandoned: 2, abandonedBefore: NOW - HOUR }

function client(id: string, more: Partial<RegisteredClient> = {}): RegisteredClient {
  return {
    id,
    fingerprint: 'editor',
    metadata: {
      name: 'Editor',
      applicationType: 'native',
      redirectUris: ['http://127.0.0.1/cb'],
      grantTypes: ['authorization_code'],
      responseTypes: ['code'],
      tokenEndpointAuthMethod: 'none',
    } as unknown as RegisteredClient['metadata'],
    registrationTokenHash: hashed(`registration of ${id}`),
    createdAt: NOW,
    address: '192.0.2.0/24',
    ...more,
  }
}

async function addConsent(pair: StorePair, clientId: string): Promise<void> {
  await pair.db.query("INSERT INTO consents (user_id, client_id, redirect_host, resource, scope, client_digest, reach, granted_at) VALUES ('usr_a', $1, 'loopback', 'https://lanyard.example/mcp', 'mcp.read', 'd', '[]', $2)", [clientId, NOW])
}

async function consents(pair: StorePair): Promise<readonly string[]> {
  return (await pair.db.query<{ client_id: string }>('SELECT client_id FROM consents ORDER BY client_id')).map((row) => row.client_id)
}

async function ids(pair: StorePair): Promise<string[]> {
  return (await pair.db.query<{ id: string }>('SELECT id FROM clients ORDER BY id')).map((row) => row.id)
}

async function addGrant(pair: StorePair, clientId: string, revoked: number | null = null): Promise<void> {
  await pair.db.query(`INSERT INTO grants (id, user_id, client_id, resource, scope, created_at, last_used_at, revoked_at) VALUES ($1, 'usr_1', $2, 'r', 's', 1, 1, $3)`, [`grant of ${clientId}`, clientId, revoked])
}

eachPair('RFC 7591 §3.2.1: a client is read back as it was registered, and as it was changed', async (pair) => {
  const [store, other] = [clientStore(pair.one), clientStore(pair.two)]
  const plain = client('plain')
  const full = client('full', { secretHash: hashed('secret') })
  assert.equal(await store.addClient(plain, LIMITS, EVENT), true)
  assert.equal(await store.addClient(full, LIMITS, EVENT), true)
  assert.deepEqual(await other.findClient('plain'), plain)
  assert.deepEqual(await other.findClient('full'), full)
  assert.equal(await other.findClient('nobody'), undefined)
  await other.touchClient('plain', NOW + 1)
  assert.deepEqual(await store.findClient('plain'), { ...plain, lastUsedAt: NOW + 1 })
  const changed = { ...full, fingerprint: 'other', metadata: { ...full.metadata, name: 'Other' } }
  assert.equal(await store.updateClient(changed, NOW, EVENT), true)
  assert.deepEqual(await other.findClient('full'), changed)
  const before = await pair.snapshot()
  assert.equal(await store.updateClient(client('nobody'), NOW, EVENT), false)
  assert.deepEqual(await pair.snapshot(), before, 'of what was not changed nothing is recorded')
})

eachPair('of 20 registrations of one application from one address at once, as many as allowed are added', async (pair) => {
  const added = await race(pair, (parts, index) => clientStore(parts).addClient(client(`c${index}`), LIMITS, EVENT))
  assert.equal(added.filter(Boolean).length, 5)
  assert.equal(await pair.count('clients'), 5)
  assert.equal((await pair.actions()).length, 5)
  const store = clientStore(pair.two)
  assert.equal(await store.addClient(client('elsewhere', { address: '198.51.100.0/24' }), LIMITS, EVENT), true)
  assert.equal(await store.addClient(client('another', { fingerprint: 'another' }), LIMITS, EVENT), true)
  assert.equal(await store.addClient(client('more'), LIMITS, EVENT), false)
  await addGrant(pair, `c${added.indexOf(true)}`)
  assert.equal(await store.addClient(client('more'), LIMITS, EVENT), true, 'one of them is in use')
})

eachPair('unused registrations of before: the newest few stay, however often a client registers; used ones all', async (pair) => {
  const store = clientStore(pair.one)
  for (let age = 1; age <= 6; age += 1) {
    await store.addClient(client(`old${age}`, { createdAt: NOW - HOUR - age, address: `net${age}` }), { ...LIMITS, abandoned: 100 }, EVENT)
  }
  await addGrant(pair, 'old5')
  await addGrant(pair, 'old6', 1)
  await store.addClient(client('new'), LIMITS, EVENT)
  assert.deepEqual(await ids(pair), ['new', 'old1', 'old2', 'old5'])
})

eachPair('deleting a client ends its grants on all nodes, once, and nobody else\'s', async (pair) => {
  const store = clientStore(pair.one)
  for (const id of ['app', 'other']) {
    await store.addClient(client(id), LIMITS, EVENT)
    await addGrant(pair, id)
  }
  for (const id of ['app', 'other']) await addConsent(pair, id)
  const deleted = await race(pair, (parts) => clientStore(parts).deleteClient('app', NOW + 5000, EVENT))
  assert.deepEqual(await consents(pair), ['other'])
  assert.equal(deleted.filter(Boolean).length, 1)
  assert.deepEqual(await ids(pair), ['other'])
  assert.deepEqual(
    (await pair.db.query<{ id: string; revoked_at: number | null }>('SELECT id, revoked_at FROM grants ORDER BY id')).map((row) => [row.id, row.revoked_at]),
    [['grant of app', NOW / 1000 + 5], ['grant of other', null]],
  )
  assert.deepEqual(pair.changes.map(({ kind, key }) => [kind, key]), [['grant', 'grant of app'], ['client', 'app']])
  assert.equal((await pair.actions()).length, 3)
})

eachPair('RFC 7523 §3 (7): an assertion is used once by 20 at once, for each client by itself', async (pair) => {
  const used = await race(pair, (parts) => clientStore(parts).useAssertion('app', hashed('jti'), NOW))
  assert.equal(used.filter(Boolean).length, 1)
  assert.equal(await clientStore(pair.two).useAssertion('other', hashed('jti'), NOW), true)
  assert.equal(await clientStore(pair.two).useAssertion('app', hashed('another'), NOW), true)
})

eachPair('clients: no change stays whose event cannot be written', async (pair) => {
  await rollsBack(pair, (parts) => clientStore(parts).addClient(client('app'), LIMITS, EVENT))
  await clientStore(pair.one).addClient(client('app'), LIMITS, EVENT)
  await addGrant(pair, 'app')
  await rollsBack(pair, (parts) => clientStore(parts).updateClient(client('app', { fingerprint: 'x' }), NOW, EVENT))
  await rollsBack(pair, (parts) => clientStore(parts).deleteClient('app', NOW, EVENT))
})

eachPair('reap forgets unused clients without a grant and expired assertions, and nothing else', async (pair) => {
  const store = clientStore(pair.one)
  const day = 24 * HOUR
  const add = (id: string, createdAt: number) => store.addClient(client(id, { createdAt, fingerprint: id }), LIMITS, EVENT)
  await add('forgotten', NOW - 10 * day)
  await add('granted', NOW - 10 * day)
  await addGrant(pair, 'granted')
  await add('revoked', NOW - 10 * day)
  await addGrant(pair, 'revoked', 1)
  await add('used', NOW - 10 * day)
  await store.touchClient('used', NOW)
  await add('tried', NOW - 10 * day)
  await store.touchClient('tried', NOW - 4 * day)
  await add('untried', NOW - 4 * day)
  await add('young', NOW)
  await store.useAssertion('app', hashed('old'), NOW - 1)
  await store.useAssertion('app', hashed('live'), NOW + 1)
  for (const id of ['forgotten', 'revoked', 'used', 'https://app.example/client.json']) await addConsent(pair, id)
  await store.reap({ used: NOW - 5 * day, never: NOW - 3 * day }, NOW)
  assert.deepEqual(await ids(pair), ['granted', 'tried', 'used', 'young'])
  // O05: nor does what people approved for them stay; a client of another kind is in no table.
  assert.deepEqual(await consents(pair), ['https://app.example/client.json', 'used'])
  assert.equal(await store.useAssertion('app', hashed('live'), NOW + 1), false)
  assert.equal(await store.useAssertion('app', hashed('old'), NOW + 1), true)
  assert.equal(await pair.count('registration_turns'), 1)
})
