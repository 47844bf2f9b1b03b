import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from './change.ts'
import { remembered } from './remembered.ts'

function world(max = 10) {
  const listeners: ((change: Change) => void)[] = []
  const known = remembered<string>({ subscribe: (listener) => void listeners.push(listener) }, ['user', 'subject'], max)
  const change = (kind: Change['kind'], key: string): void => listeners.forEach((listener) => listener({ kind, key, at: 0 }))
  return { known, change }
}

test('what was kept is known until a change of it', () => {
  const { known, change } = world()
  known.asking('a')('1')
  known.asking('b')('2')
  change('connection', 'a')
  change('user', 'c')
  assert.deepEqual([known.get('a'), known.get('b'), known.get('c')], ['1', '2', undefined])
  change('subject', 'a')
  assert.deepEqual([known.get('a'), known.get('b')], [undefined, '2'])
})

test('an answer from before a change is not kept, the next one is', () => {
  const { known, change } = world()
  const keep = known.asking('a')
  change('user', 'a')
  keep('as it was')
  assert.equal(known.get('a'), undefined)
  known.asking('a')('as it is')
  assert.equal(known.get('a'), 'as it is')
})

test('no more is remembered than there is room for (O05)', () => {
  const { known } = world(2)
  for (const key of ['a', 'b', 'c']) known.asking(key)(key)
  assert.deepEqual(['a', 'b', 'c'].filter((key) => known.get(key) !== undefined), ['c'])
})
