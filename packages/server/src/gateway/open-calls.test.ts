import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import type { Change } from '../audit/change.ts'
import type { Caller } from '../token/verify.ts'
import { McpError } from './error.ts'
import { openCalls } from './open-calls.ts'

const issuedTo = (userId: string, grantId = 'grt_1') => ({ userId, clientId: 'app', grantId, kid: 'k', issuedAt: 0 })
const until = (expiresAt: number): Caller => ({ expiresAt }) as Caller

function ground() {
  const listeners: ((change: Change) => void)[] = []
  const world = { now: 1000, fresh: true, cut: new Set<string>() }
  const calls = openCalls({
    cutoffs: {
      get fresh() {
        return world.fresh
      },
      isCut: ({ grantId }) => world.cut.has(grantId),
    },
    feed: { subscribe: (listener) => void listeners.push(listener) },
    now: () => world.now,
  })
  const tell = (kind: Change['kind']): void => listeners.forEach((listener) => listener({ kind, key: '', at: 0 }))
  return { world, calls, tell }
}

test('what was revoked ends at once, what expired within a second, and nothing else', () => {
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const { world, calls, tell } = ground()
    const stopped: string[] = []
    const open = (name: string, grantId: string, endsAt: number) => {
      const call = calls.open({ issued: issuedTo('usr_1', grantId), endsAt })
      call.stop = () => stopped.push(name)
      return call
    }
    const cut = open('cut', 'grt_cut', 9000)
    const short = open('short', 'grt_short', 2000)
    const kept = open('kept', 'grt_kept', 9000)
    const stream = open('stream', 'grt_stream', 9000)
    calls.becomeStream(stream, until(9))
    world.cut.add('grt_cut')
    tell('user')
    assert.deepEqual(stopped, [])
    tell('grant')
    assert.deepEqual([stopped, cut.ended], [['cut'], 'revoked'])
    world.now = 2000
    mock.timers.tick(1000)
    assert.deepEqual([stopped.at(-1), short.ended], ['short', 'expired'])
    world.fresh = false
    mock.timers.tick(1000)
    assert.deepEqual([stream.ended, kept.ended], ['expired', undefined])
    calls.end(cut, 'gone')
    assert.equal(cut.ended, 'revoked', 'the first reason stays')
    calls.close()
  } finally {
    mock.timers.reset()
  }
})

test('a node that stops ends its streams and takes no new ones; calls go on, and can still be revoked', () => {
  const { world, calls, tell } = ground()
  const open = (grantId: string) => calls.open({ issued: issuedTo('usr_1', grantId), endsAt: 9000 })
  const [stream, call, cut, late] = [open('grt_1'), open('grt_1'), open('grt_cut'), open('grt_1')]
  calls.becomeStream(stream, until(9))
  calls.close()
  calls.close()
  assert.deepEqual([stream.ended, call.ended, cut.ended], ['closing', undefined, undefined])
  assert.throws(() => calls.becomeStream(late, until(9)), (error) => error instanceof McpError && error.status === 503)
  world.cut.add('grt_cut')
  tell('grant')
  assert.deepEqual([call.ended, cut.ended], [undefined, 'revoked'])
  for (const each of [call, cut, late]) calls.done(each)
})

test('a stream ends with its token, and a user has so many and not more (O05)', () => {
  const { calls } = ground()
  const open = (userId: string) => calls.open({ issued: issuedTo(userId), endsAt: 3_601_000 })
  const streams = Array.from({ length: 100 }, () => open('usr_1'))
  for (const stream of streams) calls.becomeStream(stream, until(77))
  assert.deepEqual([streams[0]?.endsAt, streams[0]?.stream], [77_000, true])
  const more = open('usr_1')
  assert.throws(() => calls.becomeStream(more, until(77)), (error) => error instanceof McpError && error.status === 429)
  assert.deepEqual([more.stream, more.endsAt], [false, 3_601_000])
  calls.becomeStream(open('usr_2'), until(77))
  calls.done(streams[0] ?? more)
  calls.becomeStream(more, until(77))
  calls.close()
})

test('a user has so many calls at once and not more, however they end; another one is not held up by that (O05)', () => {
  const { world, calls, tell } = ground()
  const open = (userId: string, grantId = 'grt_1') => calls.open({ issued: issuedTo(userId, grantId), endsAt: 9000 })
  const many = Array.from({ length: 500 }, (_, index) => open('usr_1', index === 0 ? 'grt_cut' : 'grt_1'))
  const isTooMany = (error: unknown): boolean => error instanceof McpError && error.status === 429
  assert.throws(() => open('usr_1'), isTooMany)
  open('usr_2')
  // Each makes room once: done, gone and then done, revoked and then done.
  const [cut, gone, done] = many
  assert.ok(cut !== undefined && gone !== undefined && done !== undefined)
  calls.done(done)
  calls.end(gone, 'gone')
  calls.done(gone)
  world.cut.add('grt_cut')
  tell('grant')
  calls.done(cut)
  for (let index = 0; index < 3; index += 1) open('usr_1')
  assert.throws(() => open('usr_1'), isTooMany)
  calls.close()
})
