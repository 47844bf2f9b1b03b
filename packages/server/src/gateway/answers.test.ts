import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { passRewritten, readResponse } from './answers.ts'
import type { Answer } from './exchange.ts'

const UPSTREAM = { id: 'notes', name: 'Notes', url: 'https://notes.example/mcp', connector: { type: 'none' }, timeoutMs: 60_000, readOnlyTools: [] } as const

function answered(consume: Answer['consume']): Answer {
  return { status: 200, headers: { 'content-type': 'application/json' }, consume, pipe: () => Promise.reject(new Error('not asked for')), cancel: () => undefined }
}

test('an answer in single bytes takes no more memory than in one piece', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const held = (): number => {
    collect()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  let grown = Infinity
  const answer = answered((take) => {
    const before = held()
    for (const byte of Buffer.from('{"jsonrpc":"2.0","id":1,"result":{"a":"b"}}')) take(Buffer.of(byte))
    for (let count = 0; count < 300_000; count += 1) take(Buffer.from(' '))
    grown = held() - before
    return Promise.resolve()
  })
  assert.deepEqual((await readResponse(answer, 1, UPSTREAM))['result'], { a: 'b' })
  assert.ok(grown < 8 * 0x10_0000, `${grown} bytes for 300,000`)
})

test('an error that names no request is an answer to the one that was made, in JSON and in events (JSON-RPC 2.0 §5)', async () => {
  const error = { code: -32600, message: 'Invalid Request', data: { tools: ['secret'] } }
  for (const [type, body] of [['application/json', JSON.stringify({ jsonrpc: '2.0', id: null, error })], ['text/event-stream', `data: ${JSON.stringify({ jsonrpc: '2.0', error })}\n\n`]] as const) {
    let written = ''
    const response = { headersSent: true, writableNeedDrain: false, write: (text: string) => (written += text), end: (text = '') => (written += text) } as unknown as ServerResponse
    const answer = { ...answered((take) => Promise.resolve(take(Buffer.from(body)))), headers: { 'content-type': type } }
    await passRewritten(answer, 7, (result) => result, { response, upstream: UPSTREAM, begin: () => undefined })
    assert.deepEqual(JSON.parse(written.replace(/^data: /, '')), { jsonrpc: '2.0', id: 7, error: { code: -32600, message: 'Invalid Request' } })
  }
})
