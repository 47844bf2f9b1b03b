import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { eventParser, EventTooLarge, formatEvent, type StreamEvent } from './sse.ts'

function events(...chunks: readonly (string | Uint8Array)[]): StreamEvent[] {
  const found: StreamEvent[] = []
  const parser = eventParser((event) => found.push(event))
  for (const chunk of chunks) parser.push(Buffer.from(chunk))
  return found
}

const data = (...chunks: readonly string[]): (string | undefined)[] => events(...chunks).map((event) => event.data)

test('events are split at empty lines, whatever ends a line (WHATWG HTML §9.2.6)', () => {
  for (const end of ['\n', '\r', '\r\n']) {
    assert.deepEqual(data(['data: a', 'data: b', '', 'data:c', '', ''].join(end)), ['a\nb', 'c'], JSON.stringify(end))
  }
  assert.deepEqual(data('data: a\r\n\rdata: b\n\r\n'), ['a', 'b'])
  assert.deepEqual(data('data\n\n'), [''])
  assert.deepEqual(data('data:  two spaces\n\n'), [' two spaces'])
  assert.deepEqual(data('data: no end\n'), [])
  assert.deepEqual(data('\n\n\n'), [])
})

test('a carriage return at the end of a piece ends the line at once, and the line feed after it is its own', () => {
  assert.deepEqual(data('data: a\r', '\n\r', '\n'), ['a'])
  assert.deepEqual(data('data: a\r', '\r'), ['a'])
  assert.deepEqual(data('data: a\r', 'data: b\r\r'), ['a\nb'])
  assert.deepEqual(data('data: a\r\n\r', '\ndata: b\n', '\n'), ['a', 'b'])
})

test('a byte order mark is dropped at the start and nowhere else', () => {
  assert.deepEqual(data('\ufeffdata: a\n\n'), ['a'])
  assert.deepEqual(events(Buffer.from([0xef]), Buffer.from([0xbb]), Buffer.from([0xbf, 0x64]), 'ata: a\n\n').map((event) => event.data), ['a'])
  assert.deepEqual(data('data: a\n\n', '\ufeffdata: b\n\n'), ['a'])
})

test('id, event and retry live on, an event with empty data is not one without data', () => {
  assert.deepEqual(events('id: 7\nevent: message\ndata: a\nretry: 10\n\n'), [{ data: 'a', lines: ['id: 7', 'event: message', 'retry: 10'] }])
  assert.deepEqual(events('id: 7\ndata:\n\n'), [{ data: '', lines: ['id: 7'] }])
  assert.deepEqual(events('id: 7\n\n'), [{ data: undefined, lines: ['id: 7'] }])
  for (const text of ['id: 7\ndata: \n\n', 'id: 7\n\n', 'data: a\ndata: b\n\n', ':\n\n']) {
    assert.equal(events(text).map(formatEvent).join(''), text)
  }
})

test('what comments and unknown fields say is not passed on (H07)', () => {
  assert.deepEqual(events(': {"result":{"tools":[]}}\n\n'), [{ data: undefined, lines: [':'] }])
  assert.deepEqual(events('{"result":{"tools":[]}}\nDATA: x\ndata : x\n data: x\nDa\u0442a: x\n\n'), [])
  assert.deepEqual(events('x: y\ndata: a\n\n'), [{ data: 'a', lines: [] }])
})

test('bytes that are no UTF-8 are refused, and half a character at the end is none', () => {
  assert.throws(() => events(Buffer.from([0x64, 0xff])), TypeError)
  assert.deepEqual(events(Buffer.from([0x64, 0xe2, 0x82])), [])
})

test('an event without an end is refused before it fills the memory (X19)', () => {
  const parser = eventParser(() => undefined)
  const piece = Buffer.alloc(1024 * 1024, 'x')
  assert.throws(() => {
    for (let count = 0; count < 20; count += 1) parser.push(piece)
  }, EventTooLarge)
  const lines = eventParser(() => undefined)
  const short = Buffer.from('data: x\n'.repeat(100_000))
  assert.throws(() => {
    for (let count = 0; count < 30; count += 1) lines.push(short)
  }, EventTooLarge)
  let large = 0
  const many = eventParser((event) => (large += event.data?.length ?? 0))
  for (let count = 0; count < 40; count += 1) many.push(Buffer.from(`data: ${'x'.repeat(1024 * 1024)}\n\n`))
  assert.equal(large, 40 * 1024 * 1024)
})

test('a large event in small pieces is read in time that grows with its size alone (N09)', () => {
  const parser = eventParser(() => undefined)
  const started = process.hrtime.bigint()
  for (let count = 0; count < 200_000; count += 1) parser.push(Buffer.from('0123456789abcdef'))
  assert.ok(process.hrtime.bigint() - started < 3_000_000_000n)
})

test('however a stream is cut, the events are the same', () => {
  const text = '\ufeffid: 1\r\ndata: {"a":"\u00e9\u6f22\ud83d\ude00"}\r\n\r\n: c\r\rdata: x\rdata: y\r\revent: e\ndata:\n\ndata: last\n\n'
  const bytes = Buffer.from(text)
  const whole = events(bytes)
  assert.equal(whole.length, 5)
  for (let at = 1; at < bytes.length; at += 1) assert.deepEqual(events(bytes.subarray(0, at), bytes.subarray(at)), whole, `cut at ${at}`)
  assert.deepEqual(events(...[...bytes].map((byte) => Buffer.from([byte]))), whole)
  const part = fc.constantFrom('data: a', 'data:', 'id: 1', ': x', 'data: \u00e9\ud83d\ude00', 'junk', '', '\n', '\r', '\r\n', '\n\n', '\r\n\r\n')
  fc.assert(
    fc.property(fc.array(part, { maxLength: 40 }), fc.array(fc.nat(), { maxLength: 20 }), (parts, cuts) => {
      const all = Buffer.from(parts.join(''))
      const places = [...new Set(cuts.map((cut) => cut % (all.length + 1)))].sort((a, b) => a - b)
      const pieces = [...places, all.length].map((place, index) => all.subarray(index === 0 ? 0 : places[index - 1], place))
      assert.deepEqual(events(...pieces), events(all))
    }),
    { numRuns: 2000 },
  )
})

test('what is passed on reads as the same events', () => {
  const line = fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, ''))
  fc.assert(
    fc.property(fc.array(fc.array(line, { minLength: 1, maxLength: 3 }), { maxLength: 5 }), (messages) => {
      const text = messages.map((lines) => formatEvent({ data: lines.join('\n'), lines: ['event: message'] })).join('')
      assert.deepEqual(data(text), messages.map((lines) => lines.join('\n')))
    }),
  )
})
