// What the store of connections promises: one refresh, no writer over another, no revocation forgotten or made twice.
import assert from 'node:assert/strict'
import type { Sealed } from '../../src/oauth/secret.ts'
import { connectionStore } from '../../src/store/connections.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import type { AttemptRecord, ConnectionRecord, PendingRevocation } from '../../src/upstreams/connection-store.ts'
import { eachPair, EVENT, hashed, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const KEY = { userId: 'usr_1', upstream: 'tickets' }
const sealed = (text: string): Sealed => `v1.k.${text}` as Sealed

const attempt: AttemptRecord = { stateHash: hashed('state'), ...KEY, sessionId: 'ses_1', secrets: sealed('verifier'), returnTo: '/', reference: 'r', expiresAt: NOW + 1000 }

async function connected(pair: StorePair, key = KEY): Promise<ConnectionRecord> {
  await connectionStore(pair.one).connect(key, sealed('first'), NOW, EVENT)
  const record = await connectionStore(pair.two).find(key)
  assert.ok(record)
  return record
}

const revocation = (id: string) => (record: ConnectionRecord): PendingRevocation => ({ id, userId: record.userId, upstream: record.upstream, credential: sealed(`to end ${record.credential}`), attempts: 0 })

const announced = (pair: StorePair): string[] => pair.changes.map(({ kind, key }) => `${kind} ${key}`)

eachPair('an attempt is taken out by one of 20 callbacks at once, as it was, and never after its end', async (pair) => {
  const store = connectionStore(pair.one)
  await store.addAttempt(attempt)
  const taken = await race(pair, (parts) => connectionStore(parts).takeAttempt(hashed('state'), NOW))
  assert.deepEqual(taken.filter((each) => each !== undefined), [attempt])
  await store.addAttempt(attempt)
  assert.equal(await store.takeAttempt(hashed('another'), NOW), undefined)
  assert.equal(await store.takeAttempt(hashed('state'), NOW + 1000), undefined)
  assert.equal(await pair.count('connection_attempts'), 1)
  await store.reap(NOW + 1000)
  assert.equal(await pair.count('connection_attempts'), 1)
  await store.reap(NOW + 1001)
  assert.equal(await pair.count('connection_attempts'), 0)
})

eachPair('of 20 that add a connection at once one does, and what stands there already is left as it is', async (pair) => {
  const added = await race(pair, (parts) => connectionStore(parts).add(KEY, sealed('first'), NOW, EVENT))
  assert.equal(added.filter((each) => each).length, 1)
  assert.equal(await pair.count('audit'), 1)
  const before = await connectionStore(pair.one).find(KEY)
  assert.equal(await connectionStore(pair.two).add(KEY, sealed('second'), NOW + 5, EVENT), false)
  assert.deepEqual(await connectionStore(pair.one).find(KEY), before)
  await rollsBack(pair, (parts) => connectionStore(parts).add({ ...KEY, upstream: 'notes' }, sealed('third'), NOW, EVENT))
})

eachPair('the account of the gateway\'s own is forgotten when nobody used it for a month, and people\'s never are', async (pair) => {
  const store = connectionStore(pair.one)
  await connected(pair)
  await store.add({ userId: 'service:abc', upstream: 'tickets' }, sealed('first'), NOW, EVENT)
  await store.reap(NOW + 30 * 86_400_000)
  assert.equal(await pair.count('connections'), 2)
  await store.reap(NOW + 30 * 86_400_000 + 1)
  assert.ok(await store.find(KEY))
  assert.equal(await pair.count('connections'), 1)
})

eachPair('connecting again raises the version; other users and upstreams are not touched', async (pair) => {
  const first = await connected(pair)
  assert.deepEqual({ ...first, version: 0 }, { ...KEY, version: 0, credential: sealed('first'), state: 'active', connectedAt: NOW })
  await connected(pair, { userId: 'usr_2', upstream: 'tickets' })
  await connected(pair, { userId: 'usr_1', upstream: 'notes' })
  const store = connectionStore(pair.two)
  await store.connect(KEY, sealed('second'), NOW + 5, EVENT)
  const second = await store.find(KEY)
  assert.ok(second && second.version > first.version)
  assert.deepEqual([second.credential, second.connectedAt], [sealed('second'), NOW + 5])
  assert.deepEqual((await store.list('usr_1')).map((record) => [record.upstream, record.credential]), [['notes', sealed('first')], ['tickets', sealed('second')]])
  assert.deepEqual(await store.list('nobody'), [])
  assert.equal(announced(pair).length, 4)
})

eachPair('a version never comes back: not after disconnecting and connecting again', async (pair) => {
  const before = await connected(pair)
  const store = connectionStore(pair.one)
  await store.disconnect(KEY, () => undefined, NOW + 1, EVENT)
  await store.connect(KEY, sealed('again'), NOW + 2, EVENT)
  const after = await store.find(KEY)
  assert.ok(after && after.version > before.version)
  assert.equal(await store.claimRefresh(KEY, before.version, { holder: 'a', now: NOW + 3, until: NOW + 9 }), false)
})

eachPair('of 20 that would refresh at once one gets the lease; the next one when it has run out or was given back', async (pair) => {
  const { version } = await connected(pair)
  const claim = (parts: StoreParts, holder: string, now: number, of = version) => connectionStore(parts).claimRefresh(KEY, of, { holder, now, until: now + 100 })
  const won = await race(pair, (parts, index) => claim(parts, `h${index}`, NOW))
  assert.equal(won.filter(Boolean).length, 1)
  const winner = `h${won.indexOf(true)}`
  assert.equal(await claim(pair.two, 'late', NOW + 100), false)
  await connectionStore(pair.two).releaseRefresh(KEY, 'somebody else')
  assert.equal(await claim(pair.two, 'late', NOW + 100), false)
  assert.equal(await claim(pair.two, 'other version', NOW + 101, version + 1), false)
  assert.equal(await claim(pair.two, 'heir', NOW + 101), true)
  assert.equal(await connectionStore(pair.one).refresh(KEY, version, winner, sealed('stale'), NOW + 102, EVENT), false, 'paused past its lease')
  await connectionStore(pair.one).releaseRefresh(KEY, 'heir')
  assert.equal(await claim(pair.one, 'next', NOW + 103), true)
})

eachPair('what a refresh brought is stored by the holder of the lease alone, for the version that it refreshed, once', async (pair) => {
  const { version } = await connected(pair)
  const store = connectionStore(pair.one)
  assert.equal(await store.refresh(KEY, version, 'nobody', sealed('x'), NOW, EVENT), false)
  await store.claimRefresh(KEY, version, { holder: 'a', now: NOW, until: NOW + 100 })
  const stored = await race(pair, (parts, index) => connectionStore(parts).refresh(KEY, version, 'a', sealed(`r${index}`), NOW + 1, EVENT))
  assert.equal(stored.filter(Boolean).length, 1)
  const record = await store.find(KEY)
  assert.deepEqual([record?.credential, record?.version, record?.connectedAt], [sealed(`r${stored.indexOf(true)}`), version + 1, NOW])
  assert.equal(await store.claimRefresh(KEY, version + 1, { holder: 'b', now: NOW + 2, until: NOW + 3 }), true, 'the lease ended with it')
  assert.equal((await pair.actions()).length, 2)
})

eachPair('a loser never ends the winner: reconnecting is needed for the refreshed version and its holder alone', async (pair) => {
  const { version } = await connected(pair)
  const store = connectionStore(pair.one)
  await store.claimRefresh(KEY, version, { holder: 'a', now: NOW, until: NOW + 100 })
  assert.equal(await store.needReconnect(KEY, { version, holder: 'b' }, NOW, EVENT), false)
  assert.equal(await store.needReconnect(KEY, { version }, NOW, EVENT), false)
  assert.equal(await store.needReconnect(KEY, { version: version + 1, holder: 'a' }, NOW, EVENT), false)
  assert.equal((await store.find(KEY))?.state, 'active')
  const marked = await race(pair, (parts) => connectionStore(parts).needReconnect(KEY, { version, holder: 'a' }, NOW, EVENT))
  assert.equal(marked.filter(Boolean).length, 1)
  assert.equal((await store.find(KEY))?.state, 'reconnect_needed')
  assert.equal(await store.claimRefresh(KEY, version, { holder: 'c', now: NOW + 200, until: NOW + 300 }), false)
  await store.connect(KEY, sealed('anew'), NOW + 1, EVENT)
  assert.equal((await store.find(KEY))?.state, 'active')
})

eachPair('disconnecting removes the connection and queues one revocation, whoever of 20 is first', async (pair) => {
  await connected(pair)
  const done = await race(pair, (parts, index) => connectionStore(parts).disconnect(KEY, revocation(`rev${index}`), NOW, EVENT))
  assert.equal(done.filter(Boolean).length, 1)
  assert.equal(await connectionStore(pair.two).find(KEY), undefined)
  const due = await connectionStore(pair.two).claimRevocations(NOW, { firstRetryMs: 1000, limit: 10 })
  assert.deepEqual(due.map(({ id, ...rest }) => [id, rest]), [[`rev${done.indexOf(true)}`, { ...KEY, credential: sealed(`to end ${sealed('first')}`), attempts: 1 }]])
  assert.deepEqual(announced(pair), ['connection usr_1 tickets', 'connection usr_1 tickets'])
})

eachPair('20 nodes that claim revocations at once get each one once; it is due again later and later, until it is ended', async (pair) => {
  const store = connectionStore(pair.one)
  for (let index = 0; index < 30; index += 1) await store.addRevocation({ id: `rev${index}`, ...KEY, credential: sealed('c'), attempts: 0 }, NOW)
  const claim = (parts: StoreParts, now: number, limit = 3) => connectionStore(parts).claimRevocations(now, { firstRetryMs: 1000, limit })
  assert.deepEqual(await claim(pair.one, NOW - 1), [])
  const claimed = (await race(pair, (parts) => claim(parts, NOW))).flat().map(({ id }) => id)
  assert.equal(new Set(claimed).size, claimed.length, 'each by one node')
  for (let more = await claim(pair.two, NOW); more.length > 0; more = await claim(pair.two, NOW)) claimed.push(...more.map(({ id }) => id))
  assert.equal(new Set(claimed).size, 30)
  assert.equal(claimed.length, 30)
  assert.deepEqual(await claim(pair.one, NOW + 999, 100), [])
  assert.equal((await claim(pair.one, NOW + 1000, 100)).length, 30)
  assert.deepEqual(await claim(pair.one, NOW + 2999, 100), [])
  assert.equal((await claim(pair.one, NOW + 3000, 100))[0]?.attempts, 3)
  await race(pair, (parts, index) => connectionStore(parts).endRevocation(`rev${index % 2}`, EVENT))
  assert.equal(await pair.count('pending_revocations'), 28)
  assert.equal((await pair.actions()).length, 2)
})

eachPair('connections: no change stays whose event cannot be written', async (pair) => {
  await rollsBack(pair, (parts) => connectionStore(parts).connect(KEY, sealed('x'), NOW, EVENT))
  const { version } = await connected(pair)
  await rollsBack(pair, (parts) => connectionStore(parts).connect(KEY, sealed('x'), NOW, EVENT))
  await connectionStore(pair.one).claimRefresh(KEY, version, { holder: 'a', now: NOW, until: NOW + 100 })
  await rollsBack(pair, (parts) => connectionStore(parts).refresh(KEY, version, 'a', sealed('x'), NOW, EVENT))
  await rollsBack(pair, (parts) => connectionStore(parts).needReconnect(KEY, { version, holder: 'a' }, NOW, EVENT))
  await rollsBack(pair, (parts) => connectionStore(parts).disconnect(KEY, revocation('rev'), NOW, EVENT))
  await connectionStore(pair.one).addRevocation({ id: 'rev', ...KEY, credential: sealed('c'), attempts: 0 }, NOW)
  await rollsBack(pair, (parts) => connectionStore(parts).endRevocation('rev', EVENT))
})

eachPair('a registration at an authorization server: the first of 20 stands, and is forgotten by its own holder alone', async (pair) => {
  const stands = await race(pair, (parts, index) => connectionStore(parts).addClient('https://as.example', 'tickets', sealed(`reg${index}`), NOW))
  assert.equal(new Set(stands).size, 1)
  const store = connectionStore(pair.two)
  const [registration] = stands
  assert.ok(registration)
  assert.equal(await store.findClient('https://as.example', 'tickets'), registration)
  assert.equal(await store.findClient('https://as.example', 'notes'), undefined)
  assert.equal(await store.findClient('https://other.example', 'tickets'), undefined)
  await store.forgetClient('https://as.example', 'tickets', sealed('an older one'))
  assert.equal(await store.findClient('https://as.example', 'tickets'), registration)
  await store.forgetClient('https://as.example', 'tickets', registration)
  assert.equal(await store.findClient('https://as.example', 'tickets'), undefined)
})
