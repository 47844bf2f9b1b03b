import assert from 'node:assert/strict'
import { test } from 'node:test'
import { random } from './random.ts'

test('no byte is given out twice, whatever the sizes, and what was given out stays as it is', () => {
  const given = Array.from({ length: 2000 }, (_, index) => random(16 + (index % 3) * 10))
  const before = given.map((part) => part.toString('hex'))
  assert.equal(new Set(before).size, given.length)
  for (let index = 0; index < 1000; index += 1) random(32)
  assert.deepEqual(given.map((part) => part.toString('hex')), before)
  assert.ok(given.every((part) => new Set(part).size > 1))
})

test('the largest request fits, and all bits are used', () => {
  assert.equal(random(4096).length, 4096)
  assert.throws(() => random(4097), RangeError)
  const counts = new Uint32Array(256)
  for (let index = 0; index < 4000; index += 1) for (const byte of random(32)) counts[byte] = (counts[byte] ?? 0) + 1
  assert.ok(counts.every((count) => count > 300 && count < 700))
})
