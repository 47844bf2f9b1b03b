import assert from 'node:assert/strict'
import { test } from 'node:test'
import { keptLists, type Page } from './kept-lists.ts'

const page = (json: string, freshUntil = 1000): Page => ({ entries: [{ name: 'a', json }], freshUntil })

test('a page is found until it is out of date, and under its own upstream and key alone (RS-26)', () => {
  let at = 0
  const kept = keptLists(() => at)
  kept.asking('notes')('tools', page('1'))
  assert.equal(kept.find('notes', 'tools')?.entries[0]?.json, '1')
  assert.equal(kept.find('notes', 'prompts'), undefined)
  assert.equal(kept.find('tickets', 'tools'), undefined)
  at = 999
  assert.notEqual(kept.find('notes', 'tools'), undefined)
  at = 1000
  assert.equal(kept.find('notes', 'tools'), undefined)
})

test('an upstream that says that its list is another one now is asked again, and no other is (RS-32)', () => {
  const kept = keptLists(() => 0)
  const fill = (): void => {
    kept.asking('notes')('tools', page('1'))
    kept.asking('notes')('tools for alice', page('2'))
    kept.asking('tickets')('tools', page('3'))
  }
  fill()
  kept.heard('notes', { method: 'notifications/progress' })
  kept.heard('notes', { result: {} })
  assert.notEqual(kept.find('notes', 'tools'), undefined)
  kept.heard('notes', { method: 'notifications/tools/list_changed' })
  assert.deepEqual([kept.find('notes', 'tools'), kept.find('notes', 'tools for alice')], [undefined, undefined])
  assert.notEqual(kept.find('tickets', 'tools'), undefined)
  fill()
  kept.forget('tickets')
  assert.equal(kept.find('tickets', 'tools'), undefined)
  assert.notEqual(kept.find('notes', 'tools'), undefined)
})

test('what was asked for before a change is not kept after it: it may be the list of before', () => {
  const kept = keptLists(() => 0)
  const [early, other] = [kept.asking('notes'), kept.asking('tickets')]
  kept.heard('notes', { method: 'notifications/tools/list_changed' })
  early('tools', page('of before'))
  other('tools', page('3'))
  assert.equal(kept.find('notes', 'tools'), undefined)
  assert.notEqual(kept.find('tickets', 'tools'), undefined, 'nothing changed there')
  kept.asking('notes')('tools', page('of now'))
  assert.equal(kept.find('notes', 'tools')?.entries[0]?.json, 'of now')
})

test('what is kept does not grow without bounds: the oldest goes first, and what is too large alone is not kept (O05)', () => {
  const kept = keptLists(() => 0)
  const large = 'x'.repeat(1024 * 1024)
  for (let index = 0; index < 100; index += 1) kept.asking('notes')(`page ${index}`, page(large))
  const found = Array.from({ length: 100 }, (_, index) => kept.find('notes', `page ${index}`)).map((each) => each !== undefined)
  assert.ok(found.filter(Boolean).length < 64 && found.filter(Boolean).length > 60)
  assert.deepEqual([found[0], found[99]], [false, true])
  kept.asking('notes')('huge', page('x'.repeat(65 * 1024 * 1024)))
  assert.equal(kept.find('notes', 'huge'), undefined)
  // What takes the place of another one takes its room as well.
  for (let turn = 0; turn < 200; turn += 1) kept.asking('notes')('page 99', page(large))
  assert.notEqual(kept.find('notes', 'page 98'), undefined)
})
