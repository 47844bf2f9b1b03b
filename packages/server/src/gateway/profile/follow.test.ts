import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Call } from '../call.ts'
import type { OpenCall } from '../open-calls.ts'
import { followAll, type Opened, type Source } from './follow.ts'

const UPSTREAM = { id: 'notes', name: 'Notes' } as Upstream

test('a stream that waits for its upstreams is kept alive by comments, tells what was missed once they are back, and leaves no timer (RS-30)', async () => {
  mock.timers.enable({ apis: ['setInterval', 'setTimeout'] })
  try {
    const written: string[] = []
    const open: OpenCall = { issued: { userId: 'u', clientId: 'c', grantId: 'g', kid: 'k', issuedAt: 1 }, endsAt: Infinity, stream: true, ended: undefined, stop: undefined }
    const response = { setMaxListeners: () => undefined, writableNeedDrain: false, write: (text: string) => written.push(text) }
    const call = { upstream: UPSTREAM, open, response } as unknown as Call
    let now: Opened = 'later'
    const missed: string[] = []
    const source: Source = { open: () => Promise.resolve(now), changeOf: () => ({ data: (text) => text }), missed: ({ id }) => void missed.push(id), silent: () => undefined }
    const following = followAll([call], ['later'], source)
    const pass = async (seconds: number): Promise<void> => {
      for (let second = 0; second < seconds; second += 1) {
        await new Promise((resolve) => setImmediate(resolve))
        mock.timers.tick(1000)
      }
    }
    await pass(60)
    assert.deepEqual([...new Set(written)], [':\n\n'])
    assert.ok(written.length >= 2)
    assert.deepEqual(missed, [])
    response.writableNeedDrain = true
    const before = written.length
    await pass(60)
    assert.equal(written.length, before, 'nothing more for who does not read')
    now = 'never'
    await pass(40)
    await following
    assert.deepEqual(missed, ['notes'])
    response.writableNeedDrain = false
    await pass(60)
    assert.equal(written.length, before)
  } finally {
    mock.timers.reset()
  }
})
