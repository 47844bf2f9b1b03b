import assert from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http'
import { test } from 'node:test'
import fc from 'fast-check'
import { McpError } from './error.ts'
import { parseMessage } from './message.ts'
import { declaresUrlElicitation, notFound, resultOf, revisionOf, type Revision } from './revisions.ts'

const META = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} }

function find(headers: IncomingHttpHeaders, body: object): Revision {
  return revisionOf(headers, parseMessage(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }))))
}

function assertRefused(code: string, headers: IncomingHttpHeaders, body: object): void {
  assert.throws(
    () => find(headers, body),
    (error) => error instanceof McpError && error.code === code && error.status === 400,
    JSON.stringify([headers, body]),
  )
}

const tool = (name: string, meta: object = META): object => ({ method: 'tools/call', params: { name, _meta: meta } })
const headersFor = (name: string | undefined, more: IncomingHttpHeaders = {}): IncomingHttpHeaders => ({ 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', ...(name === undefined ? {} : { 'mcp-name': name }), ...more })

test('the body says the revision (P-8): a claim is modern, none is of 2025', () => {
  assert.deepEqual(find(headersFor('a'), tool('a')), { era: 'modern', version: '2026-07-28' })
  for (const version of ['2025-11-25', '2025-06-18', '2025-03-26']) {
    assert.deepEqual(find({ 'mcp-protocol-version': version }, { method: 'tools/call', params: { name: 'a' } }), { era: 'legacy', version })
  }
  // RS-41: no header means 2025-03-26.
  assert.deepEqual(find({}, { method: 'tools/call', params: { name: 'a' } }), { era: 'legacy', version: '2025-03-26' })
  // Some clients of the older revisions send the newer headers: they are no claim.
  assert.equal(find({ 'mcp-protocol-version': '2025-11-25', 'mcp-method': 'x', 'mcp-name': 'y' }, { method: 'tools/call', params: { name: 'a' } }).era, 'legacy')
  assert.equal(find({}, { method: 'initialize', params: { protocolVersion: '2024-11-05' } }).era, 'legacy')
})

test('headers that differ from the body, or are missing, are refused (RS-18, H01, H02)', () => {
  for (const headers of [
    headersFor('b'),
    headersFor(undefined),
    headersFor('a', { 'mcp-method': 'tools/list' }),
    headersFor('a', { 'mcp-method': 'Tools/Call' }),
    headersFor('a', { 'mcp-method': 'tools/call, tools/call' }),
    headersFor('a', { 'mcp-method': undefined }),
    headersFor('a', { 'mcp-protocol-version': '2025-11-25' }),
    headersFor('a', { 'mcp-protocol-version': undefined }),
    headersFor('a, b'),
    headersFor('A'),
  ]) {
    assertRefused('header_mismatch', headers, tool('a'))
  }
  assertRefused('header_mismatch', { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'resources/read', 'mcp-name': 'note://2' }, { method: 'resources/read', params: { uri: 'note://1', _meta: META } })
  assertRefused('header_mismatch', { 'mcp-protocol-version': '2026-07-28' }, { method: 'initialize', params: {} })
  assert.equal(find({ 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'resources/read', 'mcp-name': 'note://1' }, { method: 'resources/read', params: { uri: 'note://1', _meta: META } }).era, 'modern')
  assert.equal(find(headersFor(' a\t'), tool('a')).era, 'modern', 'RFC 9110 §5.5: white space around a value is none of it')
})

test('a name that a header cannot carry stands in it encoded, in one spelling only (RS-18, H01)', () => {
  const encode = (name: string): string => `=?base64?${Buffer.from(name).toString('base64')}?=`
  for (const name of ['caf\u00e9', 'a b', ' a', 'a ', '\u6f22\u5b57', '=?base64?YQ==?=', 'line\nbreak', '']) assert.equal(find(headersFor(encode(name)), tool(name)).era, 'modern', name)
  assert.equal(find(headersFor(encode('a')), tool('a')).era, 'modern')
  const wrong: [string, string][] = [
    ['caf\u00e9', 'caf\u00e9'.normalize('NFD')],
    ['=?base64?YQ?=', 'a'],
    ['=?base64?YQ=?=', 'a'],
    ['=?base64?YR==?=', 'a'],
    ['=?base64?Y Q==?=', 'a'],
    ['=?base64?YQ==', 'a'],
    ['=?base64?!!!!?=', 'a'],
    ['=?base64?-_8=?=', '\u00fb'],
    ['=?base64?/w==?=', '\ufffd'],
    [encode('b'), 'a'],
    [encode('a'), encode('a')],
    ['=?base64?YQ==?=', '=?base64?YQ==?='],
  ]
  for (const [header, name] of wrong) assertRefused('header_mismatch', headersFor(header), tool(name))
  fc.assert(fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (one, other) => {
    if (one === other) assert.equal(find(headersFor(encode(one)), tool(one)).era, 'modern')
    else assertRefused('header_mismatch', headersFor(encode(one)), tool(other))
  }))
})

test('a version that is not served is named, with those that are (RS-19)', () => {
  for (const version of ['2026-07-29', '2027-01-01', 'DRAFT-2026-v1', '2026', '9999']) {
    const meta = { ...META, 'io.modelcontextprotocol/protocolVersion': version }
    assert.throws(
      () => find(headersFor('a', { 'mcp-protocol-version': version }), tool('a', meta)),
      (error) => error instanceof McpError && error.code === 'unsupported_version' && JSON.stringify(error.data) === JSON.stringify({ supported: ['2026-07-28'], requested: version }),
    )
  }
  for (const version of ['2024-11-05', '2025-11-26', '1', '']) assertRefused('invalid_request', { 'mcp-protocol-version': version }, { method: 'ping' })
})

test('what each request must say of itself is required (RS-21)', () => {
  assertRefused('invalid_params', headersFor('a'), { method: 'tools/call', params: { name: 'a' } })
  assertRefused('invalid_params', headersFor('a'), { method: 'tools/call', params: { name: 'a', _meta: {} } })
  assertRefused('invalid_params', headersFor('a'), tool('a', { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' }))
  for (const version of [1, null, {}, ['2026-07-28']]) assertRefused('invalid_params', headersFor('a'), tool('a', { ...META, 'io.modelcontextprotocol/protocolVersion': version }))
  for (const capabilities of ['x', null, [], 1]) assertRefused('invalid_params', headersFor('a'), tool('a', { ...META, 'io.modelcontextprotocol/clientCapabilities': capabilities }))
})

test('only what a client declared in so many words is declared (RS-34)', () => {
  assert.equal(declaresUrlElicitation({ elicitation: { url: {} } }), true)
  for (const capabilities of [undefined, null, {}, [], 'elicitation', { elicitation: {} }, { elicitation: true }, { elicitation: { url: true } }, { elicitation: { url: [] } }, { elicitation: { form: {} } }]) {
    assert.equal(declaresUrlElicitation(capabilities), false, JSON.stringify(capabilities))
  }
})

test('results and refusals have the form of their revision (RS-26, protocol change 8)', () => {
  const modern: Revision = { era: 'modern', version: '2026-07-28' }
  const legacy: Revision = { era: 'legacy', version: '2025-11-25' }
  assert.deepEqual(resultOf(modern, { a: 1 }, true), { resultType: 'complete', a: 1, ttlMs: 0, cacheScope: 'private' })
  assert.deepEqual(resultOf(modern, { a: 1 }, false), { resultType: 'complete', a: 1 })
  assert.deepEqual(resultOf(legacy, { a: 1 }, true), { a: 1 })
  assert.equal(notFound(modern, 'resource', 'x').code, 'invalid_params')
  assert.equal(notFound(legacy, 'resource', 'x').code, 'resource_not_found')
  assert.equal(notFound(modern, 'tool', 'x').status, 200)
})
