import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Dispatcher } from 'undici'
import { Exchange, Stopped } from './exchange.ts'

/** What undici calls, as a test drives it. */
function driven() {
  const log: string[] = []
  const exchange = new Exchange()
  const controller = {
    pause: () => log.push('pause'),
    resume: () => log.push('resume'),
    abort: (reason: Error) => {
      log.push(`abort ${reason.name}`)
      exchange.onResponseError(controller, reason)
    },
  } as unknown as Dispatcher.DispatchController
  exchange.onRequestStart(controller)
  return { exchange, controller, log }
}

const read = async (exchange: Exchange): Promise<string> => {
  let text = ''
  await exchange.consume((chunk) => (text += chunk.toString()))
  return text
}

test('a body flows when somebody takes it, and not before (P-15)', async () => {
  const { exchange, controller, log } = driven()
  exchange.onResponseStart(controller, 103, {})
  exchange.onResponseStart(controller, 200, { a: 'b' })
  const answer = await exchange.started
  assert.deepEqual([answer.status, answer.headers, log], [200, { a: 'b' }, ['pause']])
  const text = read(exchange)
  assert.equal(log.at(-1), 'resume')
  exchange.onResponseData(controller, Buffer.from('ab'))
  exchange.onResponseData(controller, Buffer.from('c'))
  exchange.onResponseEnd()
  assert.equal(await text, 'abc')
})

test('what came and ended before it was taken is there, in order', async () => {
  const { exchange, controller } = driven()
  exchange.onResponseStart(controller, 200, {})
  exchange.onResponseData(controller, Buffer.from('a'))
  exchange.onResponseData(controller, Buffer.from('b'))
  exchange.onResponseEnd()
  assert.equal(await read(exchange), 'ab')
})

test('what broke off before it was taken says so', async () => {
  const { exchange, controller } = driven()
  exchange.onResponseStart(controller, 200, {})
  await exchange.started
  exchange.onResponseData(controller, Buffer.from('a'))
  exchange.onResponseError(controller, new Error('reset'))
  const seen: string[] = []
  await assert.rejects(exchange.consume((chunk) => seen.push(chunk.toString())), /reset/)
  assert.deepEqual(seen, ['a'])
})

test('a taker that throws ends the exchange, and is handed nothing more', async () => {
  for (const early of [true, false]) {
    const { exchange, controller, log } = driven()
    exchange.onResponseStart(controller, 200, {})
    let times = 0
    const take = (): void => {
      times += 1
      throw new RangeError('too large')
    }
    if (early) exchange.onResponseData(controller, Buffer.from('a'))
    const taken = exchange.consume(take)
    exchange.onResponseData(controller, Buffer.from('b'))
    exchange.onResponseData(controller, Buffer.from('c'))
    await assert.rejects(taken, RangeError)
    assert.equal(times, 1)
    assert.ok(log.includes('abort RangeError'))
  }
})

test('stopping ends it at every point: before it is sent, before the answer, before and while the body is taken', async () => {
  const unsent = new Exchange()
  unsent.stop()
  await assert.rejects(unsent.started, Stopped)
  const aborted: Error[] = []
  unsent.onRequestStart({ abort: (reason: Error) => aborted.push(reason) } as unknown as Dispatcher.DispatchController)
  assert.equal(aborted.length, 1)

  const waiting = driven()
  waiting.exchange.stop()
  await assert.rejects(waiting.exchange.started, Stopped)
  assert.ok(waiting.log.includes('abort Stopped'))

  const answered = driven()
  answered.exchange.onResponseStart(answered.controller, 200, {})
  await answered.exchange.started
  answered.exchange.stop()
  await assert.rejects(read(answered.exchange), Stopped)

  const reading = driven()
  reading.exchange.onResponseStart(reading.controller, 200, {})
  const text = read(reading.exchange)
  reading.exchange.stop()
  await assert.rejects(text, Stopped)
  reading.exchange.stop()
})
