// What the store of rules promises, on every database.
import assert from 'node:assert/strict'
import type { Rule } from '../../src/policy/rule.ts'
import { ruleStore } from '../../src/store/rules.ts'
import { eachStore } from '../support/store.ts'

const allow: Rule = { id: 'b', effect: 'allow', groups: ['a'], when: { time: { timeZone: 'Europe/Berlin', from: '08:00', to: '18:00' } } }
const deny: Rule = { id: 'B', effect: 'deny', tools: ['delete_*'] }
const event = { action: 'rule.created', outcome: 'success' } as const

eachStore('rules come back as they were written, in one order on every database, and all nodes are told', async (store) => {
  const rules = ruleStore(store)
  assert.deepEqual(await rules.all(), [])
  assert.equal(await rules.add(allow, 1000, event), true)
  assert.equal(await rules.add(deny, 1000, event), true)
  assert.deepEqual(await rules.all(), [{ rule: deny, version: 1 }, { rule: allow, version: 1 }])
  assert.deepEqual(store.changes, [{ kind: 'rules', key: 'b', at: 1000 }, { kind: 'rules', key: 'B', at: 1000 }])
  assert.equal(store.events.length, 2)
})

eachStore('a taken name, an old version and a rule that is gone change nothing and record nothing', async (store) => {
  const rules = ruleStore(store)
  await rules.add(allow, 1000)
  const [told, recorded] = [store.changes.length, store.events.length]
  assert.equal(await rules.add({ ...allow, effect: 'deny' }, 2000, event), false)
  assert.equal(await rules.change({ rule: { ...allow, effect: 'deny' }, version: 2 }, 2000, event), false)
  assert.equal(await rules.change({ rule: deny, version: 1 }, 2000, event), false)
  assert.equal(await rules.remove('B', 2000, event), false)
  assert.deepEqual(await rules.all(), [{ rule: allow, version: 1 }])
  assert.deepEqual([store.changes.length, store.events.length], [told, recorded])
  assert.equal(await rules.change({ rule: { ...allow, effect: 'deny' }, version: 1 }, 2000, event), true)
  assert.deepEqual(await rules.all(), [{ rule: { ...allow, effect: 'deny' }, version: 2 }])
  assert.equal(await rules.remove('b', 3000, event), true)
  assert.deepEqual(await rules.all(), [])
})

eachStore('of writers at once that read one version, one changes it', async (store) => {
  const rules = ruleStore(store)
  await rules.add(allow, 1000)
  const results = await Promise.all(['x', 'y', 'z'].map((group) => rules.change({ rule: { ...allow, groups: [group] }, version: 1 }, 2000, event)))
  assert.equal(results.filter(Boolean).length, 1)
  assert.equal((await rules.all())[0]?.version, 2)
  assert.equal(store.events.length, 1)
})

eachStore('a whole set takes the place of another: only what differs is written and told of', async (store) => {
  const rules = ruleStore(store)
  const many = Array.from({ length: 1201 }, (_, index): Rule => ({ id: `r-${index}`, effect: 'allow', tools: [`t${index}`] }))
  assert.equal((await rules.replace(many, 1000, ({ added }) => added.map(() => event))).added.length, 1201)
  assert.equal((await rules.all()).length, 1201)
  assert.equal(store.events.length, 1201)
  const next = [...many.slice(2), { ...many[1], id: 'r-1', effect: 'deny' } as Rule, deny]
  const { added, changed, removed } = await rules.replace(next, 2000, () => [event])
  assert.deepEqual([added.map(({ id }) => id), changed.map(({ id }) => id), removed], [['B'], ['r-1'], ['r-0']])
  const stored = await rules.all()
  assert.equal(stored.length, 1201)
  assert.deepEqual(stored.find(({ rule }) => rule.id === 'r-1'), { rule: { id: 'r-1', effect: 'deny', tools: ['t1'] }, version: 2 })
  assert.equal(stored.find(({ rule }) => rule.id === 'r-2')?.version, 1)
  const told = store.changes.length
  await rules.replace(next, 3000, () => [event])
  assert.equal(store.changes.length, told, 'the same again is no change')
})

eachStore('of whole sets at once, one stands whole', async (store) => {
  const rules = ruleStore(store)
  const set = (name: string): Rule[] => Array.from({ length: 20 }, (_, index) => ({ id: `${name}-${index}`, effect: 'allow' }))
  await Promise.all(['x', 'y', 'z'].map((name) => rules.replace(set(name), 1000, () => [])))
  const names = new Set((await rules.all()).map(({ rule }) => rule.id.split('-')[0]))
  assert.equal(names.size, 1)
  assert.equal((await rules.all()).length, 20)
})
