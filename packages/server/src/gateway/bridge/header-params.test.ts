import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeHeader, encodeHeader } from '../revisions.ts'
import { headerParams, mismatchedParam, paramHeaders } from './header-params.ts'

const SCHEMA = {
  type: 'object',
  properties: {
    region: { type: 'string', 'x-mcp-header': 'Region' },
    deep: { type: 'object', properties: { count: { type: 'integer', 'x-mcp-header': 'Count' } } },
    list: { type: 'array', items: { type: 'string', 'x-mcp-header': 'Not-Here' } },
    whole: { type: 'object', 'x-mcp-header': 'Nor-Here' },
    bad: { type: 'string', 'x-mcp-header': 'no header' },
  },
}

test('arguments that stand below properties alone are repeated in headers (C-21, SEP-2243)', () => {
  const params = headerParams(SCHEMA)
  assert.deepEqual(params.map(({ header }) => header), ['mcp-param-region', 'mcp-param-count'])
  assert.deepEqual(paramHeaders(params, { region: 'north', deep: { count: 3 }, list: ['a'] }), { 'mcp-param-region': 'north', 'mcp-param-count': '3' })
  assert.deepEqual(paramHeaders(params, { region: null, deep: 1 }), {})
  assert.deepEqual(paramHeaders(params, undefined), {})
})

test('a header that does not repeat its argument is found (RS-18)', () => {
  const params = headerParams(SCHEMA)
  const given = { region: 'nörd', deep: { count: 42 } }
  const right = paramHeaders(params, given)
  assert.equal(mismatchedParam(params, given, right), undefined)
  assert.equal(mismatchedParam(params, given, { ...right, 'mcp-param-count': '42.0' }), undefined)
  assert.equal(mismatchedParam(params, given, { ...right, 'mcp-param-count': '43' }), 'mcp-param-count')
  assert.equal(mismatchedParam(params, given, { ...right, 'mcp-param-region': '=?base64?%%?=' }), 'mcp-param-region')
  assert.equal(mismatchedParam(params, given, { 'mcp-param-count': '42' }), 'mcp-param-region')
  // What the body does not say, no header has to say.
  assert.equal(mismatchedParam(params, {}, { 'mcp-param-region': 'south' }), undefined)
})

test('whatever a value is, its header is visible ASCII and says it again (SEP-2243)', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      fc.pre(value.isWellFormed())
      const header = encodeHeader(value)
      assert.match(header, /^[\x20-\x7e]+$/)
      assert.equal(header, header.trim())
      assert.equal(decodeHeader(header), value)
    }),
  )
})
