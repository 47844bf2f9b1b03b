// What the store of sessions that nodes opened at upstreams promises.
import assert from 'node:assert/strict'
import { lateSessionStore } from '../../src/store/late-sessions.ts'
import { eachPair, race } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const session = (mark: string, expiresAt = NOW + 1000) => ({ mark, sealed: `sealed ${mark}`, expiresAt })

eachPair('of nodes that open a session at once, all are told of the first', async (pair) => {
  const told = await race(pair, (parts) => {
    const mark = Math.random().toString(36)
    return lateSessionStore(parts).settle('one', session(mark), undefined, NOW)
  })
  assert.ok(told.length > 1)
  assert.equal(new Set(told.map(({ mark }) => mark)).size, 1)
  assert.deepEqual(await lateSessionStore(pair.two).find('one', NOW), told[0])
  assert.equal(await pair.count('late_sessions'), 1)
})

eachPair('one that was lost makes room once: whoever found the same loss is told of what came after', async (pair) => {
  const [one, two] = [lateSessionStore(pair.one), lateSessionStore(pair.two)]
  await one.settle('s', session('first'), undefined, NOW)
  assert.equal((await two.settle('s', session('second'), 'another', NOW)).mark, 'first')
  assert.equal((await two.settle('s', session('second'), 'first', NOW)).mark, 'second')
  assert.equal((await one.settle('s', session('third'), 'first', NOW)).mark, 'second')
  assert.deepEqual(await one.find('s', NOW), { mark: 'second', sealed: 'sealed second' })
  assert.equal(await one.find('other', NOW), undefined)
})

eachPair('an expired one is none and makes room; ended and expired ones go', async (pair) => {
  const store = lateSessionStore(pair.one)
  for (const id of ['a', 'b', 'c']) await store.settle(id, session('old'), undefined, NOW)
  assert.equal(await store.find('a', NOW + 1000), undefined)
  assert.equal((await store.settle('a', session('new', NOW + 5000), undefined, NOW + 1000)).mark, 'new')
  await store.end('b')
  assert.equal(await store.find('b', NOW), undefined)
  await store.reap(NOW + 1000)
  assert.equal(await pair.count('late_sessions'), 1)
  assert.equal((await store.find('a', NOW + 1000))?.mark, 'new')
})
