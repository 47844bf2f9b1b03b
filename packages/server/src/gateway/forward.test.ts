import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import type { Dispatcher } from 'undici'
import { McpError } from './error.ts'
import { Stopped, type Answer, type UpstreamRequest } from './exchange.ts'
import { forward } from './forward.ts'
import type { OpenCall } from './open-calls.ts'

const upstream = (id: string) => ({ id, name: `The ${id}`, url: 'https://notes.example/mcp?a=b', connector: { type: 'none' as const }, readOnlyTools: [], timeoutMs: 1000 })
const request: UpstreamRequest = { method: 'POST', headers: {}, body: '{}', timeoutMs: 1000, idleMs: 1000 }

function openCall(): OpenCall {
  return { issued: { userId: 'usr_1', clientId: 'app', grantId: 'grt_1', kid: 'k', issuedAt: 0 }, endsAt: 0, stream: false, ended: undefined, stop: undefined }
}

/** A dispatcher that does with each request what the test says. */
function scripted() {
  const sent: Dispatcher.DispatchOptions[] = []
  const controller = { pause: () => undefined, resume: () => undefined, abort: () => undefined } as unknown as Dispatcher.DispatchController
  const world = {
    sent,
    act: (_handler: Dispatcher.DispatchHandler): void => undefined,
    answer: (status: number) => (handler: Dispatcher.DispatchHandler) => {
      handler.onRequestStart?.(controller, {})
      handler.onResponseStart?.(controller, status, {})
    },
    fail: (handler: Dispatcher.DispatchHandler) => handler.onResponseError?.(controller, new Error('reset')),
    start: (handler: Dispatcher.DispatchHandler) => handler.onRequestStart?.(controller, {}),
    dispatcher: {
      dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) {
        sent.push(options)
        world.act(handler)
        return true
      },
    } as unknown as Dispatcher,
  }
  return world
}

async function outcome(sending: Promise<Answer>): Promise<string> {
  return sending.then(({ status }) => `answer ${status}`, (error: unknown) => (error instanceof McpError ? `${error.status} ${error.reason}` : error instanceof Error ? error.name : 'nothing'))
}

test('a request goes to the upstream’s own address, once', async () => {
  const world = scripted()
  world.act = world.answer(200)
  assert.equal(await outcome(forward(world.dispatcher).send(upstream('notes'), request, openCall())), 'answer 200')
  world.act = world.fail
  assert.equal(await outcome(forward(world.dispatcher).send(upstream('notes'), request, openCall())), '502 upstream: failed')
  assert.deepEqual(world.sent.map(({ origin, path, method }) => `${method} ${String(origin)} ${path}`), Array(2).fill('POST https://notes.example /mcp?a=b'))
})

test('five failures in a row, errors and statuses alike, leave an upstream alone and no other (O04)', async () => {
  const world = scripted()
  const line = forward(world.dispatcher)
  const go = (id = 'notes') => outcome(line.send(upstream(id), request, openCall()))
  for (const act of [world.fail, world.answer(503), world.answer(502), world.fail, world.answer(200), world.answer(504), world.fail, world.answer(503), world.fail]) {
    world.act = act
    await go()
  }
  world.act = world.answer(200)
  assert.equal(await go(), 'answer 200', 'never five in a row')
  world.act = world.fail
  for (let times = 0; times < 5; times += 1) await go()
  world.act = world.answer(200)
  assert.equal(await go(), '503 upstream: circuit open')
  assert.equal(await go('weather'), 'answer 200')
})

test('who goes away, and what an upstream says of the request, count for nothing (O04)', async () => {
  const world = scripted()
  const line = forward(world.dispatcher)
  for (let times = 0; times < 10; times += 1) {
    const call = openCall()
    const sending = outcome(line.send(upstream('notes'), request, call))
    await Promise.resolve()
    call.stop?.()
    assert.equal(await sending, 'Stopped')
  }
  world.act = world.answer(500)
  for (let times = 0; times < 10; times += 1) assert.equal(await outcome(line.send(upstream('notes'), request, openCall())), 'answer 500')
  assert.equal(await outcome(line.send(upstream('notes'), request, { ...openCall(), ended: 'gone' })), 'Stopped')
  assert.equal(world.sent.length, 20, 'for who has gone nothing is sent')
})

test('of a circuit that is tried again, one caller tries and the others wait; one who goes away closes it', async () => {
  const world = scripted()
  const line = forward(world.dispatcher)
  const go = (call = openCall()) => outcome(line.send(upstream('notes'), request, call))
  world.act = world.fail
  for (let times = 0; times < 5; times += 1) await go()
  const start = Date.now()
  const clock = mock.method(Date, 'now', () => start + 10_000)
  try {
    world.act = () => undefined
    const trying = openCall()
    const probe = go(trying)
    const others = [go(), go()]
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(world.sent.length, 6)
    world.act = world.answer(200)
    trying.stop?.()
    assert.equal(await probe, 'Stopped')
    // It told nothing, so the next failures are counted anew: nobody can keep the others out by going away.
    assert.deepEqual(await Promise.all(others), ['answer 200', 'answer 200'])
  } finally {
    clock.mock.restore()
  }
})

test('who waits too long for a connection is told so, and the upstream is not to blame', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const world = scripted()
    const line = forward(world.dispatcher)
    for (let times = 0; times < 6; times += 1) {
      const sending = outcome(line.send(upstream('notes'), request, openCall()))
      await Promise.resolve()
      mock.timers.tick(7000)
      assert.equal(await sending, '503 upstream: no connection')
    }
    world.act = world.start
    let over = false
    const sending = outcome(line.send(upstream('notes'), request, openCall())).finally(() => (over = true))
    await Promise.resolve()
    mock.timers.tick(7000)
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(over, false, 'one that was sent has its own deadline')
    void sending
  } finally {
    mock.timers.reset()
  }
})

test('a request that was given up is not carried out later', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const world = scripted()
    let late: Dispatcher.DispatchHandler | undefined
    world.act = (handler) => (late = handler)
    const sending = forward(world.dispatcher).send(upstream('notes'), request, openCall())
    await Promise.resolve()
    mock.timers.tick(7000)
    await assert.rejects(sending, McpError)
    const aborted: Error[] = []
    late?.onRequestStart?.({ abort: (reason: Error) => aborted.push(reason) } as unknown as Dispatcher.DispatchController, {})
    assert.equal(aborted.length, 1)
    assert.ok(!(aborted[0] instanceof Stopped))
  } finally {
    mock.timers.reset()
  }
})
