// What the store promises the bridge between generations: sessions that all nodes see, and notes that are taken once.
import assert from 'node:assert/strict'
import type { Opening } from '../../src/gateway/bridge/bridge-store.ts'
import { bridgeStore, MAX_PER_USER } from '../../src/store/bridge.ts'
import { eachPair, race } from '../support/store-pair.ts'
import { eachStore } from '../support/store.ts'

const OPENING: Opening = { version: '2025-11-25', capabilities: { roots: {} }, clientInfo: { name: 'c', version: '1' }, tells: ['tools', 'subscribe'] }
const session = (id: string, userId = 'usr_1'): { id: string; userId: string; upstream: string; opening: Opening } => ({ id, userId, upstream: 'notes', opening: OPENING })

eachStore('a session is found until it expires or ends, with its level and subscriptions, and every change is announced', async (parts) => {
  const store = bridgeStore(parts)
  await store.addSession(session('lbs_1'), 1000)
  assert.deepEqual(await store.findSession('lbs_1', 999), { ...session('lbs_1'), uris: [] })
  assert.equal(await store.findSession('lbs_1', 1000), undefined)
  assert.equal(await store.findSession('lbs_2', 0), undefined)
  await store.setLevel('lbs_1', 'info', 1)
  assert.equal(await store.subscribe('lbs_1', 'note://b', 2, 2), true)
  assert.equal(await store.subscribe('lbs_1', 'note://a', 2, 3), true)
  assert.equal(await store.subscribe('lbs_1', 'note://c', 2, 4), false)
  // Again is no other one.
  assert.equal(await store.subscribe('lbs_1', 'note://a', 2, 5), true)
  assert.deepEqual(await store.findSession('lbs_1', 0), { ...session('lbs_1'), level: 'info', uris: ['note://a', 'note://b'] })
  await store.unsubscribe('lbs_1', 'note://b', 6)
  assert.deepEqual((await store.findSession('lbs_1', 0))?.uris, ['note://a'])
  await store.endSession('lbs_1', 7)
  assert.equal(await store.findSession('lbs_1', 0), undefined)
  assert.equal(await store.subscribe('lbs_1', 'note://a', 2, 8), false)
  assert.deepEqual(parts.changes.map(({ kind, key, at }) => [kind, key, at]), [1, 2, 3, 5, 6, 7].map((at) => ['bridge', 'lbs_1', at]))
  assert.deepEqual(await parts.db.query('SELECT * FROM bridge_subscriptions'), [])
})

eachStore("a person's oldest sessions make room for their newest, and for nobody else's", async (parts) => {
  const store = bridgeStore(parts)
  await store.addSession(session('lbs_other', 'usr_2'), 1)
  for (let n = 0; n <= MAX_PER_USER; n += 1) await store.addSession(session(`lbs_${n}`), 1000 + n)
  assert.equal(await store.findSession('lbs_0', 0), undefined)
  assert.notEqual(await store.findSession('lbs_1', 0), undefined)
  assert.notEqual(await store.findSession(`lbs_${MAX_PER_USER}`, 0), undefined)
  assert.notEqual(await store.findSession('lbs_other', 0), undefined)
})

eachPair('a note is taken once, whichever nodes ask for it at once', async (pair) => {
  const store = bridgeStore(pair.one)
  await store.post({ id: 'note_1', address: 'ask_1', body: 'one', expiresAt: 100 }, 1)
  await store.post({ id: 'note_2', address: 'ask_2', body: 'two', expiresAt: 100 }, 1)
  const taken = await race(pair, (parts) => bridgeStore(parts).take('ask_1'))
  assert.deepEqual(taken.flat(), ['one'])
  assert.deepEqual(await store.take('ask_2'), ['two'])
  assert.deepEqual(await store.take('ask_2'), [])
})

eachStore('what nobody took goes: notes with the next one, sessions when the store is tidied', async (parts) => {
  const store = bridgeStore(parts)
  await store.post({ id: 'note_1', address: 'a', body: 'one', expiresAt: 100 }, 1)
  await store.post({ id: 'note_2', address: 'b', body: 'two', expiresAt: 200 }, 100)
  assert.deepEqual(await store.take('a'), [])
  await store.addSession(session('lbs_1'), 100)
  await store.addSession(session('lbs_2'), 201)
  await store.subscribe('lbs_1', 'note://a', 2, 1)
  await store.reap(200)
  assert.deepEqual(await store.take('b'), [])
  assert.equal(await store.findSession('lbs_1', 0), undefined)
  assert.notEqual(await store.findSession('lbs_2', 0), undefined)
  assert.deepEqual(await parts.db.query('SELECT * FROM bridge_subscriptions'), [])
})
