import assert from 'node:assert/strict'
import { PassThrough, Writable } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import type { AuditEvent } from './event.ts'
import { jsonLines } from './json-lines.ts'

test('each event is one line of JSON with its time, whatever stands in it', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ reason: fc.string({ unit: 'binary' }), tool: fc.constantFrom('a\nb', '\r\n{"action":"logout"}', 'x\u2028y', '"}') }), { minLength: 1, maxLength: 5 }), (drafts) => {
      const output = new PassThrough()
      const write = jsonLines(output)
      const events = drafts.map((draft): AuditEvent => ({ action: 'call.denied', outcome: 'failure', ...draft }))
      write(events.map((event, index) => ({ at: 1_795_000_000_000 + index, event, json: JSON.stringify(event) })))
      output.end()
      const text = Buffer.concat([...drain(output)]).toString()
      assert.ok(text.endsWith('\n'))
      const lines = text.slice(0, -1).split('\n')
      assert.deepEqual(
        lines.map((line) => JSON.parse(line) as unknown),
        events.map((event, index) => JSON.parse(JSON.stringify({ time: new Date(1_795_000_000_000 + index).toISOString(), ...event })) as unknown),
      )
    }),
  )
})

function* drain(output: PassThrough): Generator<Buffer> {
  for (let chunk: unknown = output.read(); Buffer.isBuffer(chunk); chunk = output.read()) yield chunk
}

test('a reader that went away does not stop the gateway', async () => {
  const broken = new Writable({ write: (_chunk, _encoding, done) => done(Object.assign(new Error('gone'), { code: 'EPIPE' })) })
  const write = jsonLines(broken)
  for (let count = 0; count < 3; count += 1) {
    write([{ at: 1, event: { action: 'logout', outcome: 'success' }, json: '{"action":"logout","outcome":"success"}' }])
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(broken.destroyed, true)
})
