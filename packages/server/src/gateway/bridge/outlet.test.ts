import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import type { Upstream } from '../../upstreams/upstream.ts'
import { Stopped } from '../exchange.ts'
import { Outlet } from './outlet.ts'

const UPSTREAM: Upstream = { id: 'u', name: 'U', url: 'https://u.example', connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1 }

/** A reader that is as slow as the test says. */
class Slow extends EventEmitter {
  writableNeedDrain = false
}

test('what is written before somebody reads comes first, and the end last', async () => {
  const out = new Outlet(UPSTREAM, assert.fail)
  const seen: string[] = []
  out.write({ n: 1 })
  const read = out.consume((chunk) => void seen.push(chunk.toString()))
  out.comment()
  out.write({ n: 2 })
  out.end()
  out.write({ n: 3 })
  await read
  assert.deepEqual(seen, ['event: message\ndata: {"n":1}\n\n', ':\n\n', 'event: message\ndata: {"n":2}\n\n'])
})

test('a slow reader makes whoever writes wait, and nothing is lost (P-15)', async () => {
  const out = new Outlet(UPSTREAM, assert.fail)
  const reader = new Slow()
  let bytes = 0
  const read = out.consume((chunk) => {
    bytes += chunk.length
    reader.writableNeedDrain = true
  }, reader)
  const text = 'x'.repeat(100_000)
  for (let n = 0; n < 3; n += 1) out.write({ text })
  assert.equal(out.writableNeedDrain, false)
  out.write({ text })
  assert.equal(out.writableNeedDrain, true)
  let drained = 0
  out.once('drain', () => (drained += 1))
  for (let n = 0; n < 3; n += 1) {
    assert.equal(drained, 0)
    reader.writableNeedDrain = false
    reader.emit('drain')
  }
  reader.emit('drain')
  assert.equal(drained, 1)
  out.end()
  await read
  assert.ok(bytes > 400_000)
})

test('more than a reader ever takes ends the stream, and whoever writes is told once', async () => {
  let left = 0
  const out = new Outlet(UPSTREAM, () => (left += 1))
  const reader = new Slow()
  reader.writableNeedDrain = true
  const read = out.consume(() => undefined, reader)
  const text = 'x'.repeat(1_000_000)
  for (let n = 0; n < 30; n += 1) out.write({ text })
  await assert.rejects(read, /cannot be used/)
  assert.equal(left, 1)
  assert.equal(out.writableNeedDrain, false)
})

test('a reader that goes away is told of, and one that reads to the end is not', async () => {
  let left = 0
  const out = new Outlet(UPSTREAM, () => (left += 1))
  const read = out.consume(() => undefined)
  let drained = false
  out.once('drain', () => (drained = true))
  out.cancel()
  await assert.rejects(read, { name: 'Stopped' })
  assert.equal(left, 1)
  assert.ok(drained)
  const whole = new Outlet(UPSTREAM, () => (left += 1))
  whole.end()
  await whole.consume(() => undefined)
  assert.equal(left, 1)
})

test('whoever waits for a reader that will never read on is told when it fails (RS-29)', async () => {
  const out = new Outlet(UPSTREAM, assert.fail)
  const reader = new Slow()
  reader.writableNeedDrain = true
  const read = out.consume(() => undefined, reader)
  out.write({ n: 1 })
  out.write({ n: 2 })
  let drained = false
  out.once('drain', () => (drained = true))
  out.fail(new Stopped('stopped'))
  await assert.rejects(read, { name: 'Stopped' })
  assert.ok(drained)
  const slow = new Outlet(UPSTREAM, assert.fail)
  const seen: string[] = []
  const failing = slow.consume((chunk) => void seen.push(chunk.toString()))
  slow.write({ n: 1 })
  slow.fail(new Stopped('stopped'))
  await assert.rejects(failing, { name: 'Stopped' })
  assert.equal(seen.length, 1, 'what was said before is heard')
})
