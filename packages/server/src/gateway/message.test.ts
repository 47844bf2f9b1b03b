import assert from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { McpError } from './error.ts'
import { parseExactly, parseMessage, readBody } from './message.ts'

const parse = (text: string): ReturnType<typeof parseMessage> => parseMessage(Buffer.from(text, 'utf8'))

function assertRefused(body: string | Buffer, code: 'parse_error' | 'invalid_request'): void {
  assert.throws(
    () => parseMessage(Buffer.from(body)),
    (error) => error instanceof McpError && error.code === code && error.status === 400,
    String(body).slice(0, 80),
  )
}

test('requests, notifications and responses are told apart (JSON-RPC 2.0 §4, §5)', () => {
  assert.deepEqual(pick(parse('{"jsonrpc":"2.0","id":"a","method":"ping"}')), ['request', 'ping', 'a', {}])
  assert.deepEqual(pick(parse('{"jsonrpc":"2.0","id":0,"method":"ping","params":{"a":1}}')), ['request', 'ping', 0, { a: 1 }])
  assert.deepEqual(pick(parse('{"jsonrpc":"2.0","method":"notifications/x"}')), ['notification', 'notifications/x', null, {}])
  assert.deepEqual(pick(parse('{"jsonrpc":"2.0","id":1,"result":{}}')), ['response', '', 1, {}])
  assert.deepEqual(pick(parse('{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}')), ['response', '', 1, {}])
})

function pick({ kind, method, id, params }: ReturnType<typeof parseMessage>): unknown[] {
  return [kind, method, id, params]
}

test('batches are refused, of whatever is in them (H03)', () => {
  for (const body of ['[]', '[{"jsonrpc":"2.0","id":1,"method":"ping"}]', '[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"tools/call"}]']) assertRefused(body, 'invalid_request')
})

test('what is no message of JSON-RPC 2.0 is refused (H05, RS-7)', () => {
  const bodies = [
    '{}', 'null', '1', '"x"', 'true',
    '{"jsonrpc":"1.0","id":1,"method":"ping"}', '{"jsonrpc":2.0,"id":1,"method":"ping"}', '{"id":1,"method":"ping"}',
    '{"jsonrpc":"2.0","id":null,"method":"ping"}', '{"jsonrpc":"2.0","id":true,"method":"ping"}', '{"jsonrpc":"2.0","id":{},"method":"ping"}', '{"jsonrpc":"2.0","id":[1],"method":"ping"}',
    '{"jsonrpc":"2.0","id":12345678901234567890,"method":"ping"}',
    '{"jsonrpc":"2.0","id":1,"method":1}', '{"jsonrpc":"2.0","id":1,"method":null}', '{"jsonrpc":"2.0","id":1,"method":["ping"]}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', '{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', '{"jsonrpc":"2.0","id":1,"method":"ping","params":null}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","params":1e400}', '{"jsonrpc":"2.0","id":1,"method":"ping","params":12345678901234567890}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', '{"jsonrpc":"2.0","id":1,"method":"ping","error":{}}',
    '{"jsonrpc":"2.0","id":1}', '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', '{"jsonrpc":"2.0","result":{}}',
  ]
  for (const body of bodies) assertRefused(body, 'invalid_request')
})

test('bytes that parsers read differently are refused: marks, NUL, comments, bad UTF-8 (H05)', () => {
  const good = '{"jsonrpc":"2.0","id":1,"method":"ping"}'
  for (const body of [`\ufeff${good}`, `${good}\0`, `\0${good}`, `/* */${good}`, `${good}//`, good.replaceAll('"', "'"), good.replace(':1', ':01'), good.replace(':1', ':NaN'), good.replace('}', ',}'), `${good}${good}`, '', ' ', good.slice(0, -1), good.replace('ping', 'pi\nng'), good.replace('1', '+1'), good.replace('1', '0x1')]) {
    assertRefused(body, 'parse_error')
  }
  assertRefused(Buffer.from(good.replace('ping', 'p\u00ffng'), 'latin1'), 'parse_error')
  // An overlong form, a surrogate, half a character.
  for (const bytes of [[0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xe2, 0x82]]) assertRefused(Buffer.concat([Buffer.from(good.slice(0, -2)), Buffer.from(bytes), Buffer.from('"}')]), 'parse_error')
  assert.equal(parse(` \r\n\t${good}\n`).method, 'ping')
})

test('depth is bounded before anything recurses, brackets in strings aside (H05, O02)', () => {
  const nested = (depth: number, open: string, close: string): string => `{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":${open.repeat(depth)}1${close.repeat(depth)}}}`
  for (const depth of [199, 10_000, 1_000_000]) {
    assertRefused(nested(depth, '[', ']'), 'invalid_request')
    assertRefused(nested(depth, '{"a":', '}'), 'invalid_request')
  }
  assert.equal(parse(nested(198, '[', ']')).kind, 'request')
  const text = { a: '['.repeat(10_000), b: `\\"${'{'.repeat(10_000)}`, c: '\\', d: '"[['.repeat(5000) }
  assert.deepEqual(parse(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'm', params: text })).params, text)
})

test('of two members with one name the last counts, for policy and for the upstream (H05)', () => {
  const { params, json } = parse('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}')
  assert.equal(params['name'], 'b')
  assert.equal(JSON.stringify(json), '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b"}}')
})

test('members that differ in case alone are refused where a decision depends on them (H05, CVE-2026-27896)', () => {
  const whole = (member: string): string => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"},${member}}`
  for (const member of ['"Method":"x"', '"PARAMS":{}', '"Id":2', '"JSONRPC":"2.0"', '"param\u017f":{}', '"Result":{}', '"eRror":{}']) assertRefused(whole(member), 'invalid_request')
  for (const member of ['"Name":"b"', '"NAME":"b"', '"URI":"b"', '"_Meta":{}', '"Notifications":{}', '"notifications":{"ResourceSubscriptions":["x"]}', '"notifications":{"re\u017fourcesListChanged":true}']) {
    assertRefused(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a",${member}}}`, 'invalid_request')
  }
  // Without the one that policy reads it is no better.
  assertRefused('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"b"}}', 'invalid_request')
  const free = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"Name":"b","name":"c","NAME":"d"},"Arguments":1}}'
  assert.equal(JSON.stringify(parse(free).json), free)
})

test('names of objects are plain members (H05, N09)', () => {
  const text = '{"jsonrpc":"2.0","id":1,"method":"m","params":{"__proto__":{"name":"x"},"constructor":1,"toString":2}}'
  const { params, json } = parse(text)
  assert.equal(params['name'], undefined)
  assert.equal(JSON.stringify(json), text)
  assert.equal(({} as Record<string, unknown>)['name'], undefined)
})

test('a lone surrogate stays what it is', () => {
  const text = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\\ud800"}}'
  assert.equal(JSON.stringify(parse(text).json), text)
})

const digits = (max: number): fc.Arbitrary<string> => fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: max }).map((list) => list.join(''))
const numberText = fc
  .tuple(fc.boolean(), fc.oneof(fc.constant('0'), digits(25).filter((text) => !text.startsWith('0'))), fc.option(digits(25)), fc.option(fc.tuple(fc.constantFrom('e', 'E', 'e+', 'E-', 'e-'), digits(3))))
  .map(([minus, whole, fraction, exponent]) => `${minus ? '-' : ''}${whole}${fraction === null ? '' : `.${fraction}`}${exponent === null ? '' : exponent.join('')}`)

/** The value of a number's text, whatever way it is written; the sign of zero counts for nothing. */
function exactValue(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const all = `${whole}${fraction}`.replace(/^0+/, '')
  const trimmed = all.replace(/0+$/, '')
  return trimmed === '' ? '0' : `${sign}${trimmed}e${Number(exponent) - fraction.length + (all.length - trimmed.length)}`
}

test('every number arrives with the value that it was written with (H05)', () => {
  fc.assert(
    fc.property(numberText, (text) => {
      const forwarded = JSON.stringify(parse(`{"jsonrpc":"2.0","id":1,"method":"m","params":{"n":${text},"list":[${text}]}}`).json)
      const [, printed = ''] = /"n":([^,]+),/.exec(forwarded) ?? []
      assert.equal(exactValue(printed), exactValue(text), `${text} became ${printed}`)
    }),
    { numRuns: 3000 },
  )
  for (const text of ['18446744073709551615', '9007199254740993', '0.1', '1e400', '1E-400', '123456789.123456789', '90071992547.409931', '-0.0', '1.0']) {
    assert.equal(exactValue(JSON.stringify(parseExactly(text))), exactValue(text))
  }
})

test('what is forwarded is what policy saw: parsing it again gives the same (H05)', () => {
  fc.assert(
    fc.property(fc.jsonValue({ depthSize: 'medium' }), fc.string({ unit: 'binary' }), (value, method) => {
      const first = parse(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { value } }))
      const again = parse(JSON.stringify(first.json))
      assert.deepEqual(again, first)
      assert.equal(again.method, method)
    }),
  )
})

test('whatever comes in, nothing but McpError goes out', () => {
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array))
  const almost = fc.tuple(fc.json(), fc.nat(), fc.constantFrom('{', '}', '[', ']', '"', '\\', ',', '\0', '\u2028')).map(([json, at, piece]) => {
    const place = at % (json.length + 1)
    return Buffer.from(json.slice(0, place) + piece + json.slice(place))
  })
  fc.assert(
    fc.property(fc.oneof(bytes, almost), (body) => {
      try {
        parseMessage(body)
      } catch (error) {
        assert.ok(error instanceof McpError, String(error))
      }
    }),
    { numRuns: 1000 },
  )
})

test('a body is put together from its pieces, and takes no more room in single bytes than in one piece', async () => {
  const incoming = (): IncomingMessage => {
    const request = new IncomingMessage(new Socket())
    request.headers['content-type'] = 'application/json'
    return request
  }
  const read = async (pieces: readonly Buffer[]): Promise<Buffer> => {
    const request = incoming()
    const body = readBody(request)
    for (const piece of pieces) request.push(piece)
    request.push(null)
    return body
  }
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 9 }).map((bytes) => Buffer.from(bytes)), { maxLength: 12 }), async (pieces) => {
      const before = Buffer.concat(pieces)
      assert.deepEqual(await read(pieces), before)
      // The pieces are not written to: they may be parts of a buffer that belongs to others.
      assert.deepEqual(Buffer.concat(pieces), before)
    }),
    { numRuns: 200 },
  )
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const held = (): number => {
    collect()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const request = incoming()
  const body = readBody(request)
  const before = held()
  for (let round = 0; round < 300; round += 1) {
    for (let count = 0; count < 1000; count += 1) request.push(Buffer.from(' '))
    await new Promise((resolve) => setImmediate(resolve))
  }
  const grown = held() - before
  request.push(null)
  assert.equal((await body).length, 300_000)
  assert.ok(grown < 8 * 0x10_0000, `${grown} bytes for 300,000`)
})

test('a body of very many parts is refused before it is parsed; text is one part, whatever is in it (O02, N09)', () => {
  const list = (count: number, last = '1'): Buffer => Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"list":[${'1,'.repeat(count)}${last}]}}}`)
  for (const body of [list(1_900_000), list(300_000, '12345678901234567890')]) assert.throws(() => parseMessage(body), (error) => error instanceof McpError && error.status === 400 && error.message.includes('too many parts'))
  const kept = parseMessage(list(100_000, '12345678901234567890'))
  assert.match(JSON.stringify(kept.json), /,12345678901234567890\]/)
  const table = 'a,b\n'.repeat(900_000)
  assert.deepEqual(parseMessage(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x', arguments: { table } } }))).params['arguments'], { table })
})
