import assert from 'node:assert/strict'
import { test } from 'node:test'
import { catalogue } from './catalogue.ts'

const upstream = (readOnlyTools: readonly string[] = []) => ({ id: 'notes', name: 'Notes', url: 'https://notes.example', connector: { type: 'none' as const }, readOnlyTools, timeoutMs: 1000 })
const MINUTE = 60_000

test('a tool needs write unless it says that it reads, or an administrator does', () => {
  const known = catalogue(() => MINUTE * 10)
  known.replace('notes', [{ name: 'r', annotations: { readOnlyHint: true } }, { name: 'w', annotations: { readOnlyHint: 1 } }, { name: 'x' }, { name: 'y', annotations: null }, { name: 7 }, null, 'z', { annotations: { readOnlyHint: true } }])
  assert.deepEqual(['r', 'w', 'x', 'y'].map((tool) => known.access('notes', upstream(), tool)), ['read', 'write', 'write', 'write'])
  assert.equal(known.access('notes', upstream(['x']), 'x'), 'read')
  assert.equal(known.access('notes', upstream(['absent']), 'absent'), 'unknown', 'a mark makes no tool')
  for (const name of ['__proto__', 'constructor', 'z', '7']) assert.equal(known.access('notes', upstream(), name), 'unknown')
})

test('one account’s tools are not another’s', () => {
  const known = catalogue(() => MINUTE * 10)
  known.replace('notes usr_alice', [{ name: 'mine' }])
  assert.equal(known.access('notes usr_alice', upstream(), 'mine'), 'write')
  assert.equal(known.access('notes usr_bob', upstream(), 'mine'), 'stale')
})

test('what was learned is asked again after a while, and an unknown tool not at every call', () => {
  let now = MINUTE * 10
  const known = catalogue(() => now)
  assert.equal(known.access('notes', upstream(), 'a'), 'stale')
  known.replace('notes', [{ name: 'a' }])
  assert.equal(known.access('notes', upstream(), 'b'), 'unknown')
  now += 2001
  assert.equal(known.access('notes', upstream(), 'b'), 'stale')
  assert.equal(known.access('notes', upstream(), 'a'), 'write')
  now += 5 * MINUTE
  assert.equal(known.access('notes', upstream(), 'a'), 'stale')
})

test('a page adds tools and makes none of them known for longer', () => {
  let now = MINUTE * 10
  const known = catalogue(() => now)
  known.learn('notes', [{ name: 'page' }])
  assert.equal(known.access('notes', upstream(), 'page'), 'stale', 'a page alone is not the list')
  known.replace('notes', [{ name: 'a', annotations: { readOnlyHint: true } }])
  known.learn('notes', [{ name: 'page' }])
  assert.equal(known.access('notes', upstream(), 'page'), 'write')
  for (let minutes = 0; minutes < 6; minutes += 2) {
    now += 2 * MINUTE
    known.learn('notes', [{ name: 'page' }])
  }
  assert.equal(known.access('notes', upstream(), 'a'), 'stale')
  known.replace('notes', [{ name: 'a' }])
  assert.equal(known.access('notes', upstream(), 'a'), 'write')
  assert.equal(known.access('notes', upstream(), 'page'), 'unknown')
})

test('what a page names and nobody may be shown is not known any more, and of an upstream all can be forgotten (H20)', () => {
  const known = catalogue(() => MINUTE * 10)
  known.replace('notes', [{ name: 'a' }, { name: 'b' }])
  known.learn('notes', [{ name: 'b' }], [{ name: 'a' }, { name: 'b' }, null, 'x'])
  assert.deepEqual(['a', 'b'].map((tool) => known.access('notes', upstream(), tool)), ['unknown', 'write'])
  known.replace('notes usr_alice', [{ name: 'a' }])
  known.replace('notes-too', [{ name: 'a' }])
  known.forget('notes')
  assert.deepEqual(['notes', 'notes usr_alice', 'notes-too'].map((key) => known.access(key, upstream(), 'a')), ['stale', 'stale', 'write'])
})

test('memory is bounded: tools of an upstream, and upstreams and accounts (O05)', () => {
  const known = catalogue(() => MINUTE * 10)
  known.replace('notes', Array.from({ length: 20_000 }, (_, index) => ({ name: `t${index}` })))
  assert.equal(known.access('notes', upstream(), 't9999'), 'write')
  assert.equal(known.access('notes', upstream(), 't10000'), 'unknown')
  for (let index = 0; index < 10_001; index += 1) known.replace(`notes usr_${index}`, [{ name: 'a' }])
  assert.equal(known.access('notes', upstream(), 't1'), 'stale')
  assert.equal(known.access('notes usr_10000', upstream(), 'a'), 'write')
})
