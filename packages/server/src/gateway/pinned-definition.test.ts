import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseExactly } from './message.ts'
import { wrapOutputSchema } from './bridge/output-schema.ts'
import { canonical, definitionOf } from './pinned-definition.ts'

/** The same JSON with the members of every object in another order. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).toReversed().map(([name, member]) => [name, shuffled(member)]))
}

test('the canonical form is JSON of the same value, whatever the order of its members (RFC 8785 §3.2.3)', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonical(value)
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)))
      assert.equal(canonical(shuffled(value)), text)
      assert.equal(canonical(JSON.parse(JSON.stringify(value, null, 2))), text)
    }),
  )
})

test('members are ordered by UTF-16 code units, and strings printed as ECMAScript does (RFC 8785 §3.2.3, §3.2.2.2)', () => {
  const value = JSON.parse('{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}') as unknown
  assert.equal(canonical(value), '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}')
  assert.equal(canonical(['\u0000', '\ud800', '/"\\']), '["\\u0000","\\ud800","/\\"\\\\"]')
  assert.equal(canonical(JSON.parse('{"__proto__":{"a":1}}')), '{"__proto__":{"a":1}}')
})

test('a number has one form, and two numbers never share one', () => {
  // What stands beside it in a list decides how a number is parsed, and must not decide what it is.
  for (const [written, form] of [['1.0', '1'], ['10e-1', '1'], ['-0.0', '0'], ['1e21', '1e+21'], ['0.000001', '0.000001'], ['333333333.33333329', '333333333.3333333'], ['18446744073709551615', '18446744073709551615e0'], ['18446744073709551616', '18446744073709552000'], ['1e400', '1e400'], ['1.00e-400', '1e-400']] as const) {
    const alone = parseExactly(`[${written}]`)
    const beside = parseExactly(`[${written}, 12345678901234567890]`) as unknown[]
    const expected = form === '333333333.3333333' ? '33333333333333329e-8' : form === '18446744073709552000' ? '18446744073709551616e0' : form
    assert.equal(canonical(alone), `[${expected}]`, written)
    assert.equal(canonical(beside.slice(0, 1)), `[${expected}]`, written)
  }
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
      assert.equal(Number(canonical(number)), number === 0 ? 0 : number)
      assert.equal(canonical(parseExactly(`[${number.toExponential()}]`)), canonical([number]))
    }),
  )
})

test('the hash covers what a model reads and a call may carry, and nothing else', () => {
  const tool = { name: 'read', title: 'Read', description: 'Reads', inputSchema: { type: 'object' }, outputSchema: { type: 'object' }, annotations: { readOnlyHint: true } }
  const { hash, tool: name } = definitionOf(tool)
  assert.equal(name, 'read')
  assert.match(hash, /^[\w-]{43}$/)
  assert.equal(definitionOf(shuffled(tool) as typeof tool).hash, hash)
  assert.equal(definitionOf({ ...tool, _meta: { etag: 'x' }, icons: [], execution: { taskSupport: 'optional' } }).hash, hash)
  const changes = [{ name: 'reads' }, { title: 'Read!' }, { description: 'Reads ' }, { inputSchema: { type: 'object', properties: {} } }, { outputSchema: {} }, { annotations: {} }]
  const hashes = changes.map((change) => definitionOf({ ...tool, ...change }).hash)
  assert.equal(new Set([hash, ...hashes]).size, changes.length + 1)
  const { title: _title, ...untitled } = tool
  assert.notEqual(definitionOf(untitled).hash, hash)
})

test('a tool is the same for clients of both generations (SEP-2106)', () => {
  const tool = { name: 'list', inputSchema: { type: 'object' }, outputSchema: { type: 'array', items: { $ref: '#/$defs/a' }, $defs: { a: { type: 'string' } } } }
  const wrapped = wrapOutputSchema(tool) as typeof tool
  assert.notDeepEqual(wrapped, tool)
  assert.equal(definitionOf(wrapped).hash, definitionOf(tool).hash)
  assert.notEqual(definitionOf({ ...tool, outputSchema: { ...tool.outputSchema, items: { $ref: '#/$defs/b' } } }).hash, definitionOf(tool).hash)
})
