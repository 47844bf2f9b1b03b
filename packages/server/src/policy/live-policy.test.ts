import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from '../audit/change.ts'
import { livePolicy } from './live-policy.ts'
import type { Rule } from './policy.ts'

const alice = { subject: 'usr_1', groups: ['a'], clientId: 'c', upstream: 'notes', tool: 't' }
const all: Rule = { id: 'all', effect: 'allow' }

async function world(declared: readonly Rule[] = [all]) {
  let stored: readonly Rule[] = []
  let reads = 0
  let gate: Promise<void> = Promise.resolve()
  const listeners: ((change: Change) => void)[] = []
  const log: unknown[] = []
  const store = {
    all: async () => {
      reads += 1
      const found = stored
      await gate
      return found.map((rule) => ({ rule, version: 1 }))
    },
  }
  const live = await livePolicy({ declared, store, feed: { subscribe: (listener) => void listeners.push(listener) }, upstreams: ['notes'], log: (line) => log.push(line) })
  return {
    live,
    log,
    put: (rules: readonly Rule[]) => (stored = rules),
    hold: (until: Promise<void>) => (gate = until),
    tell: () => listeners.forEach((listener) => listener({ kind: 'rules', key: 'x', at: 1 })),
    reads: () => reads,
  }
}

test('stored rules decide beside those of the configuration, from the change on', async () => {
  const { live, put } = await world()
  assert.equal(live.decide(alice).rule, 'all')
  put([{ id: 'no', effect: 'deny', tools: ['t'] }])
  await live.reload()
  assert.equal(live.decide(alice).rule, 'no')
  assert.equal(live.decide({ ...alice, tool: 'u' }).allow, true)
  assert.deepEqual(live.stored().map(({ rule }) => rule.id), ['no'])
})

test('of one name, what the configuration declares stands', async () => {
  const { live, put } = await world([{ id: 'all', effect: 'deny' }])
  put([all, { id: 'other', effect: 'allow' }])
  await live.reload()
  assert.deepEqual(live.decide(alice), { allow: false, effect: 'deny', rule: 'all' })
})

test('X28: rules that cannot be compiled do not take the place of those that can, and it is told', async () => {
  const { live, put, tell, log } = await world()
  put([{ id: 'no', effect: 'deny' }])
  await live.reload()
  put([{ id: 'bad', effect: 'deny', when: { networks: ['nowhere'] } }])
  await assert.rejects(live.reload())
  assert.equal(live.decide(alice).rule, 'no')
  tell()
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(log.length, 1)
  assert.equal(live.decide(alice).rule, 'no')
})

test('a change while one is read is read again, and many at once are read once more', async () => {
  const { live, put, hold, tell, reads } = await world()
  let open = (): void => undefined
  hold(new Promise((resolve) => (open = resolve)))
  const before = reads()
  const first = live.reload()
  put([{ id: 'no', effect: 'deny' }])
  for (let times = 0; times < 5; times += 1) tell()
  const last = live.reload()
  open()
  await first
  await last
  assert.equal(live.decide(alice).rule, 'no')
  assert.equal(reads() - before, 2)
})
