import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Upstream } from '../upstreams/upstream.ts'
import { Stopped, type Answer, type UpstreamRequest } from './exchange.ts'
import type { OpenCall } from './open-calls.ts'
import { sharedListening } from './shared-listening.ts'

const UPSTREAM: Upstream = { id: 'notes', name: 'Notes', url: 'https://notes.example/mcp', connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 }
const BODY = '{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}'
const REQUEST: UpstreamRequest = { method: 'POST', headers: { 'mcp-method': 'subscriptions/listen' }, body: BODY, timeoutMs: 1000, idleMs: 0 }

function call(): OpenCall {
  return { issued: { userId: 'u', clientId: 'c', grantId: 'g', kid: 'k', issuedAt: 1 }, endsAt: Infinity, stream: true, ended: undefined, stop: undefined }
}

function note(n: unknown, x = ''): string {
  return `data: ${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/note', params: { n, x } })}\n\n`
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
  for (let event = 0; event < 20; event += 1) give(note(event, 'x'.repeat(100_000)))
  assert.equal(heard.slow.length, note(0, 'x'.repeat(100_000)).length, 'it waits for the reader')
  assert.equal(await failed, 'the reader is too slow')
  assert.match(heard.quick, /"n":19,/)
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
  give(note('before'))
  void own.consume((chunk) => {
    heard += chunk.toString()
    reader.writableNeedDrain = true
  }, reader)
  for (let event = 0; event < 5; event += 1) give(note(event))
  for (let round = 0; round < 3; round += 1) {
    reader.writableNeedDrain = false
    drained()
  }
  assert.equal(heard, ['before', 0, 1, 2, 3, 4].map((n) => note(n)).join(''))
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

/** An upstream that says what the test wants, each time that it is asked. */
function upstreams() {
  const asked: { id: unknown; give: (text: string) => void; end: () => void; cancelled: boolean }[] = []
  const shared = sharedListening({
    send: (_upstream, { body }) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const stream = { id: (JSON.parse(typeof body === 'string' ? body : '') as { id: unknown }).id, give: (_text: string): void => undefined, end: resolve, cancelled: false }
      asked.push(stream)
      return Promise.resolve({
        status: 200,
        headers: { 'content-type': 'text/event-stream' },
        consume: (take) => {
          stream.give = (text) => {
            try {
              take(Buffer.from(text))
            } catch (error) {
              reject(error)
            }
          }
          return promise
        },
        pipe: () => Promise.reject(new Error('not piped')),
        cancel() {
          stream.cancelled = true
          reject(new Stopped('stopped'))
        },
      })
    },
  })
  return { asked, shared }
}

function told(id: unknown, method: string): string {
  return `data: ${JSON.stringify({ jsonrpc: '2.0', method, params: { _meta: { 'io.modelcontextprotocol/subscriptionId': id } } })}\n\n`
}

test('whatever a client calls its request by, it hears by that', async () => {
  const { asked, shared } = upstreams()
  for (const id of ["a$&b$$c$'d$`e", 'plain', 7, '"quoted"']) {
    const body = JSON.stringify({ ...(JSON.parse(BODY) as object), id })
    const own = await shared.send(UPSTREAM, { ...REQUEST, body }, call())
    let heard = ''
    void own.consume((chunk) => (heard += chunk.toString())).catch(() => undefined)
    asked[0]?.give(told(asked[0].id, 'notifications/tools/list_changed'))
    assert.equal(heard, told(id, 'notifications/tools/list_changed'))
  }
  assert.equal(asked.length, 1)
})

test('whoever comes as the last one leaves has a stream of their own, which others share', async () => {
  const { asked, shared } = upstreams()
  const first = call()
  await shared.send(UPSTREAM, REQUEST, first)
  first.stop?.()
  const [own] = await Promise.all([shared.send(UPSTREAM, REQUEST, call()), shared.send(UPSTREAM, REQUEST, call())])
  assert.equal(asked[0]?.cancelled, true)
  assert.equal(asked.length, 2)
  let heard = ''
  void own?.consume((chunk) => (heard += chunk.toString()))
  asked[1]?.give(told(asked[1].id, 'notifications/tools/list_changed'))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(heard, told(1, 'notifications/tools/list_changed'))
})

test('a reader who is behind when the upstream ends its stream hears the end of it', async () => {
  const { asked, shared } = upstreams()
  const own = await shared.send(UPSTREAM, REQUEST, call())
  const [stream] = asked
  let heard = ''
  const read = own.consume((chunk) => (heard += chunk.toString()), { writableNeedDrain: true, once: () => undefined })
  stream?.give(told(stream.id, 'notifications/tools/list_changed'))
  const end = (id: unknown): string => `data: ${JSON.stringify({ jsonrpc: '2.0', id, result: { resultType: 'complete' } })}\n\n`
  stream?.give(end(stream.id))
  stream?.end()
  await read
  assert.equal(heard, told(1, 'notifications/tools/list_changed') + end(1))
})

test('H07, H20: what is listened to answers nothing else that the client asked, such as for a list', async () => {
  for (const message of [{ id: 4, result: { tools: [{ name: 'hidden' }] } }, { id: 4, method: 'x', result: { tools: [] } }, { id: 4, error: { code: 1, message: '', data: { tools: [] } } }]) {
    const { asked, shared } = upstreams()
    const own = await shared.send(UPSTREAM, REQUEST, call())
    let heard = ''
    const read = own.consume((chunk) => (heard += chunk.toString()))
    asked[0]?.give(told(asked[0].id, 'notifications/tools/list_changed'))
    asked[0]?.give(`data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`)
    await assert.rejects(read, /cannot be used/)
    assert.equal(heard, told(1, 'notifications/tools/list_changed'))
  }
})

test('RS-32, RS-43: of tasks it tells those alone that were asked about, whatever the upstream tells whoever shares its account', async () => {
  const about = (taskId: string, method = 'notifications/tasks'): string => `data: ${JSON.stringify({ jsonrpc: '2.0', method, params: { taskId, status: 'completed', result: { content: [{ type: 'text', text: `of ${taskId}` }] } } })}\n\n`
  for (const [notifications, expected] of [[{ toolsListChanged: true }, ''], [{ taskIds: ['mine'] }, about('mine')], [{ taskIds: 'mine' }, '']] as const) {
    const { asked, shared } = upstreams()
    const own = await shared.send(UPSTREAM, { ...REQUEST, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'subscriptions/listen', params: { notifications } }) }, call())
    let heard = ''
    void own.consume((chunk) => (heard += chunk.toString())).catch(() => undefined)
    asked[0]?.give(about('another'))
    asked[0]?.give(about('mine'))
    asked[0]?.give(about('another', 'notifications/tasks/status'))
    assert.equal(heard, expected, JSON.stringify(notifications))
  }
})
