import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Upstream } from '../upstreams/upstream.ts'
import type { Answer, UpstreamRequest } from './exchange.ts'
import type { OpenCall } from './open-calls.ts'
import { sharedListening } from './shared-listening.ts'

const UPSTREAM: Upstream = { id: 'notes', name: 'Notes', url: 'https://notes.example/mcp', connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 }
const REQUEST: UpstreamRequest = { method: 'POST', headers: { 'mcp-method': 'subscriptions/listen' }, body: '{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}', timeoutMs: 1000, idleMs: 0 }

function call(): OpenCall {
  return { issued: { userId: 'u', clientId: 'c', grantId: 'g', kid: 'k', issuedAt: 1 }, endsAt: Infinity, stream: true, ended: undefined, stop: undefined }
}

test('a reader who is too slow is ended, and keeps nobody else waiting; one who drains in time misses nothing', async () => {
  let give: (text: string) => void = () => undefined
  let cancelled = false
  const answer: Answer = {
    status: 200,
    headers: { 'content-type': 'text/event-stream' },
    consume: (take) => ((give = (text) => take(Buffer.from(text))), new Promise(() => undefined)),
    pipe: () => Promise.reject(new Error('not piped')),
    cancel: () => (cancelled = true),
  }
  const shared = sharedListening({ send: () => Promise.resolve(answer) })
  const calls = [call(), call(), call()]
  const [quick, slow, stuck] = await Promise.all(calls.map((each) => shared.send(UPSTREAM, REQUEST, each)))
  const heard = { quick: '', slow: '' }
  let drained: () => void = () => undefined
  const reader = { writableNeedDrain: false, once: (_event: 'drain', then: () => void) => (drained = then) }
  quick?.consume((chunk) => (heard.quick += chunk.toString())).catch(() => undefined)
  const drop = (chunk: Buffer): void => {
    heard.slow += chunk.toString()
    reader.writableNeedDrain = true
  }
  slow?.consume(drop, reader).catch(() => undefined)
  const failed = stuck?.consume(() => undefined, { writableNeedDrain: true, once: () => undefined }).then(() => 'ended', (error: Error) => error.message)
  for (let event = 0; event < 20; event += 1) give(`data: ${event} ${'x'.repeat(100_000)}\n\n`)
  assert.equal(heard.slow.length, 100_000 + 'data: 0 \n\n'.length, 'it waits for the reader')
  assert.equal(await failed, 'the reader is too slow')
  assert.match(heard.quick, /data: 19 /)
  reader.writableNeedDrain = false
  drained()
  // What it was behind was too much for it as well.
  assert.ok(heard.slow.length < heard.quick.length)
  for (const each of calls) each.stop?.()
  assert.equal(cancelled, true)
})

test('one who drains in time hears everything, once and in order', async () => {
  let give: (text: string) => void = () => undefined
  const answer: Answer = { status: 200, headers: { 'content-type': 'text/event-stream' }, consume: (take) => ((give = (text) => take(Buffer.from(text))), new Promise(() => undefined)), pipe: () => Promise.reject(new Error('not piped')), cancel: () => undefined }
  const shared = sharedListening({ send: () => Promise.resolve(answer) })
  const own = await shared.send(UPSTREAM, REQUEST, call())
  let heard = ''
  let drained: () => void = () => undefined
  const reader = { writableNeedDrain: false, once: (_event: 'drain', then: () => void) => (drained = then) }
  give('data: before anybody takes it\n\n')
  void own.consume((chunk) => {
    heard += chunk.toString()
    reader.writableNeedDrain = true
  }, reader)
  for (let event = 0; event < 5; event += 1) give(`data: ${event}\n\n`)
  for (let round = 0; round < 3; round += 1) {
    reader.writableNeedDrain = false
    drained()
  }
  assert.deepEqual(heard.match(/\d/g), ['0', '1', '2', '3', '4'])
  assert.match(heard, /^data: before/)
})

test('H05: the upstream hears what the client wrote, numbers that a double cannot hold included, by another identifier', async () => {
  const sent: string[] = []
  const answer: Answer = { status: 200, headers: { 'content-type': 'text/event-stream' }, consume: () => new Promise(() => undefined), pipe: () => Promise.reject(new Error('not piped')), cancel: () => undefined }
  const shared = sharedListening({
    send: (_upstream, { body }) => {
      sent.push(typeof body === 'string' ? body : '')
      return Promise.resolve(answer)
    },
  })
  await shared.send(UPSTREAM, { ...REQUEST, body: '{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"a":12345678901234567890}}' }, call())
  assert.match(sent[0] ?? '', /"params":\{"a":12345678901234567890\},"id":"sub_[\w-]{22}"/)
})
