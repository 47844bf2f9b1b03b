// What the store of the names of tasks promises.
import assert from 'node:assert/strict'
import { taskStore } from '../../src/store/tasks.ts'
import { eachPair, race } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const named = (own: string, name: string, expiresAt = NOW + 1000) => ({ owner: 'alice', own, name, expiresAt })

eachPair('a task has one name: of several that come at once, all are told of the first', async (pair) => {
  const told = await race(pair, (parts) => taskStore(parts).add(named('own', Math.random().toString(36)), NOW))
  assert.ok(told.length > 1)
  assert.equal(new Set(told).size, 1)
  assert.deepEqual(await taskStore(pair.two).find('alice', ['own'], NOW), new Map([['own', told[0]]]))
  assert.equal(await pair.count('task_names'), 1)
})

eachPair('names are found for their owner alone, however many are asked for, until they expire', async (pair) => {
  const store = taskStore(pair.one)
  const owns = Array.from({ length: 450 }, (_none, index) => `own-${index}`)
  for (const own of ['own-1', 'own-449']) await store.add(named(own, `name of ${own}`), NOW)
  assert.deepEqual(await store.find('alice', owns, NOW), new Map([['own-1', 'name of own-1'], ['own-449', 'name of own-449']]))
  assert.equal((await store.find('bob', owns, NOW)).size, 0)
  assert.equal((await store.find('alice', [], NOW)).size, 0)
  assert.equal((await store.find('alice', owns, NOW + 1000)).size, 0)
  assert.equal(await store.add(named('own-1', 'later', NOW + 5000), NOW + 1000), 'later', 'an expired one makes room')
  await store.reap(NOW + 1000)
  assert.equal(await pair.count('task_names'), 1)
  assert.equal((await store.find('alice', owns, NOW + 1000)).get('own-1'), 'later')
})
