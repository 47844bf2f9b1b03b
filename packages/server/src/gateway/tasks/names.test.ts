import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { stateSealer } from '../../keys/seal.ts'
import type { Caller } from '../../token/verify.ts'
import type { Profile, Upstream } from '../../upstreams/upstream.ts'
import { McpError } from '../error.ts'
import { sealCursor } from '../profile/cursor.ts'
import { taskNames, type Owner, type TaskNames } from './names.ts'
import type { TaskStore } from './task-store.ts'

const DAY_MS = 24 * 3600_000
const NOW = 1_800_000_000_000
const state = stateSealer([{ id: 'k1', key: randomBytes(32) }])
const upstream = (id = 'notes'): Upstream => ({ id, name: id }) as Upstream
const caller = (userId = 'usr_alice', clientId = 'app'): Caller => ({ user: { id: userId }, clientId }) as Caller
const owner = (more: Partial<Owner> = {}): Owner => ({ caller: caller(), profile: { id: 'team', upstreams: [upstream(), upstream('tickets')] } as unknown as Profile, revision: { era: 'modern' }, ...more })

/** One store for all nodes, which each forget everything else. */
function store(): TaskStore {
  const rows = new Map<string, string>()
  return {
    add: async ({ owner: by, own, name }) => {
      const key = `${by} ${own}`
      if (!rows.has(key)) rows.set(key, name)
      return rows.get(key) ?? name
    },
    find: async (by, owns) => new Map(owns.flatMap((own) => (rows.has(`${by} ${own}`) ? [[own, rows.get(`${by} ${own}`) ?? '']] : []))),
    reap: async () => undefined,
  }
}

const node = (taskStore = store(), at = NOW): TaskNames => taskNames({ state, taskStore, now: () => at })

test('a task is named for who began it and opens as what it was, at a node that never heard of it (RS-43, RS-15)', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary', minLength: 1, maxLength: 200 }), fc.option(fc.string(), { nil: undefined }), async (own, tool) => {
      const name = await node().name(owner(), { upstream: upstream(), own, ...(tool === undefined ? {} : { tool }) }, 1000)
      assert.match(name, /^[\x21-\x7e]+$/, 'RS-18: a header can carry it')
      assert.deepEqual(node().open(owner(), name), { upstream: upstream(), own, ...(tool === undefined ? {} : { tool }) })
    }),
  )
})

test('the name of a task is of no use to anybody else, elsewhere, or later (RS-43, H12)', async () => {
  const name = await node().name(owner(), { upstream: upstream(), own: 'secret-task', tool: 'read' }, 1000)
  assert.doesNotMatch(name, /secret-task|notes|read/)
  assert.ok(node().open(owner(), name))
  const only = { id: 'team', upstreams: [upstream('tickets')] } as unknown as Profile
  const refused: [string, Owner, unknown][] = [
    ['another user', owner({ caller: caller('usr_bob') }), name],
    ['another client', owner({ caller: caller('usr_alice', 'other') }), name],
    ['another profile', owner({ profile: { ...owner().profile, id: 'other' } }), name],
    ['a profile that lost the upstream', owner({ profile: only }), name],
    ['the other generation', owner({ revision: { era: 'legacy' } }), name],
    ['the upstream’s own', owner(), 'secret-task'],
    ['changed', owner(), `${name.slice(0, -2)}AA`],
    ['longer', owner(), `${name}.x`],
    ['very long', owner(), `k1.${'A'.repeat(20_000)}`],
    ['no text', owner(), 7],
    ['nothing', owner(), undefined],
    ['a cursor', owner(), sealCursor({ state, now: () => NOW }, owner(), 'tasks', new Map([['notes', 'x']]))],
  ]
  for (const [what, by, given] of refused) assert.equal(node().open(by, given), undefined, what)
})

test('a name lives as long as the task does, at least an hour and at most thirty days', async () => {
  for (const [ttl, lifetime] of [[1000, 3600_000], [2 * DAY_MS, 2 * DAY_MS], [365 * DAY_MS, 30 * DAY_MS], [null, 30 * DAY_MS], [undefined, 30 * DAY_MS], ['1', 30 * DAY_MS]] as const) {
    const name = await node().name(owner(), { upstream: upstream(), own: 'own', tool: 'read' }, ttl)
    assert.ok(node(store(), NOW + lifetime - 1).open(owner(), name), String(ttl))
    assert.equal(node(store(), NOW + lifetime).open(owner(), name), undefined, String(ttl))
  }
})

test('of 2025 a task has one name at all nodes, which is learned for its owner alone', async () => {
  const shared = store()
  const [one, two] = [node(shared), node(shared)]
  const old = owner({ revision: { era: 'legacy' } })
  const naming = one.name(old, { upstream: upstream(), own: 'own', tool: 'read' }, 1000)
  // What is told of it at once waits for it.
  await one.learn(old, upstream(), ['own'])
  const name = await naming
  assert.equal(one.known(old, upstream(), 'own'), name)
  assert.equal(two.known(old, upstream(), 'own'), undefined)
  await two.learn(old, upstream(), ['own', 'other', 7, null])
  assert.equal(two.known(old, upstream(), 'own'), name)
  assert.equal(await two.name(old, { upstream: upstream(), own: 'own' }, 1000), name)
  assert.equal(two.learn(old, upstream(), ['own']), undefined, 'there is nothing left to look up')
  for (const other of [owner({ revision: { era: 'legacy' }, caller: caller('usr_bob') }), owner({ revision: { era: 'legacy' }, caller: caller('usr_alice', 'other') })]) {
    await two.learn(other, upstream(), ['own'])
    assert.equal(two.known(other, upstream(), 'own'), undefined)
  }
  await two.learn(old, upstream('tickets'), ['own'])
  assert.equal(two.known(old, upstream('tickets'), 'own'), undefined)
})

test('what is no name of a task is refused, and what is one always opens', async () => {
  for (const own of ['x'.repeat(1022), '名'.repeat(340)]) assert.equal(node().open(owner(), await node().name(owner(), { upstream: upstream(), own, tool: 'x'.repeat(256) }, 1))?.own, own)
  for (const own of ['', 7, null, undefined, {}, 'x'.repeat(1023), '名'.repeat(400), '\ud800'.repeat(200)]) assert.throws(() => node().name(owner(), { upstream: upstream(), own }, 1), (error) => error instanceof McpError && error.status === 502)
})

test('an upstream that calls another task by a name that it gave before is believed: it is named anew (RS-43)', async () => {
  let at = NOW
  const names = taskNames({ state, taskStore: store(), now: () => at })
  const name = async (tool?: string): Promise<string> => names.name(owner(), { upstream: upstream(), own: '1', ...(tool === undefined ? {} : { tool }) }, 1000)
  const first = await name('read')
  assert.equal(await name('read'), first, 'what is told twice has one name')
  assert.equal(await name(), first)
  // Whoever may not use the one tool must not hear of it by the other.
  assert.equal(names.open(owner(), await name('delete'))?.tool, 'delete')
  at += DAY_MS
  assert.equal(names.open(owner(), await name('delete'))?.tool, 'delete', 'a name that has ended opens nothing')
})
