import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askable, capabilityFor, missingCapability, toDiscoverResult, toInitializeResult, toLegacyError, toLegacyResult, toModernError, toModernResult } from './translate.ts'
import { wrapOutputSchema } from './output-schema.ts'

const SERVER = 'io.modelcontextprotocol/serverInfo'

test('a 2025 client gets nothing of what 2026-07-28 added to results, and all else', () => {
  const result = { resultType: 'complete', ttlMs: 1, cacheScope: 'public', nextCursor: 'c', _meta: { [SERVER]: { name: 's' }, own: 1 }, prompts: [{ name: 'p', ttlMs: 3 }] }
  assert.deepEqual(toLegacyResult('prompts/list', result), { nextCursor: 'c', _meta: { own: 1 }, prompts: [{ name: 'p', ttlMs: 3 }] })
  assert.deepEqual(toLegacyResult('prompts/list', { prompts: [], _meta: { [SERVER]: {} } }), { prompts: [] })
})

test('a client of 2026-07-28 is told not to keep what a 2025 server says (RS-26)', () => {
  assert.deepEqual(toModernResult('tools/list', { tools: [], ttlMs: 9, cacheScope: 'public', resultType: 'x' }), { resultType: 'complete', tools: [], ttlMs: 0, cacheScope: 'private' })
  assert.deepEqual(toModernResult('tools/call', { content: [] }), { resultType: 'complete', content: [] })
})

test('of a 2025 server, a client of 2026-07-28 sees no tool that is called by a task alone: the call could not be made (RS-43)', () => {
  const tools = [{ name: 'a' }, { name: 'b', execution: { taskSupport: 'required' } }, { name: 'c', execution: { taskSupport: 'optional' } }, { name: 'd', execution: null }]
  assert.deepEqual(toModernResult('tools/list', { tools })['tools'], [tools[0], tools[2], tools[3]])
  assert.deepEqual(toModernResult('tools/call', { content: [], tools })['tools'], tools)
})

test('a structured result that is no object is put into one, its text added when there is none (SEP-2106)', () => {
  assert.deepEqual(toLegacyResult('tools/call', { content: [], structuredContent: [1] }), { content: [{ type: 'text', text: '[1]' }], structuredContent: { result: [1] } })
  const text = { type: 'text', text: 'one' }
  assert.deepEqual(toLegacyResult('tools/call', { content: [text], structuredContent: 1 }), { content: [text], structuredContent: { result: 1 } })
  assert.deepEqual(toLegacyResult('tools/call', { content: [text], structuredContent: { a: 1 } }), { content: [text], structuredContent: { a: 1 } })
  // By its schema it need not be an object, although this one is.
  assert.deepEqual(toLegacyResult('tools/call', { content: [text], structuredContent: { a: 1 } }, true).structuredContent, { result: { a: 1 } })
})

test('references of a wrapped schema point to where it is now, and data stays data', () => {
  const outputSchema = { $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'array', items: { $ref: '#/$defs/a' }, $defs: { a: { anyOf: [{ $ref: '#' }, { const: { $ref: '#/x' } }], properties: { $ref: { type: 'string' } } } } }
  const { outputSchema: wrapped } = wrapOutputSchema({ name: 't', outputSchema }) as { outputSchema: Record<string, unknown> }
  const inner = (wrapped['properties'] as Record<string, Record<string, unknown>>)['result']
  assert.equal(wrapped['type'], 'object')
  assert.equal(wrapped['$schema'], outputSchema.$schema)
  assert.deepEqual(inner?.['items'], { $ref: '#/properties/result/$defs/a' })
  assert.deepEqual(inner?.['$defs'], { a: { anyOf: [{ $ref: '#/properties/result' }, { const: { $ref: '#/x' } }], properties: { $ref: { type: 'string' } } } })
  const plain = { name: 't', outputSchema: { type: 'object' } }
  assert.equal(wrapOutputSchema(plain), plain)
})

test('beginnings become one another', () => {
  const discovered = { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {} }, instructions: 'i', ttlMs: 0, cacheScope: 'private', _meta: { [SERVER]: { name: 's', version: '1' } } }
  assert.deepEqual(toInitializeResult(discovered, '2025-06-18'), { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 's', version: '1' }, instructions: 'i' })
  assert.equal(toInitializeResult(discovered, '2019-01-01').protocolVersion, '2025-11-25')
  assert.deepEqual(toDiscoverResult({ protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 's', version: '1' }, instructions: 'i' }), discovered)
})

test('codes that the other generation does not have (changed 8), and -32021 of another hop (P-16), do not go on', () => {
  assert.deepEqual(toLegacyError('resources/read', { code: -32602, message: 'm', data: { uri: 'a' } }), { code: -32002, message: 'm', data: { uri: 'a' } })
  assert.deepEqual(toLegacyError('resources/read', { code: -32602, message: 'm' }), { code: -32602, message: 'm' })
  for (const code of [-32020, -32021, -32022]) assert.equal(toLegacyError('tools/call', { code, message: 'm', data: { requiredCapabilities: {} } }).code, -32603)
  assert.deepEqual(toLegacyError('tools/call', { code: -32021, message: 'm', data: { requiredCapabilities: {} } }).data, undefined)
  assert.equal(toModernError({ code: -32002, message: 'm' }).code, -32602)
  assert.equal(toModernError({ code: -32042, message: 'm', data: {} }).code, -32603)
  assert.equal(toModernError({ code: -32601, message: 'm' }).code, -32601)
})

test('nothing is asked that a client did not declare, mode by mode (RS-34)', () => {
  const form = capabilityFor({ method: 'elicitation/create', params: {} }) ?? {}
  const url = capabilityFor({ method: 'elicitation/create', params: { mode: 'url' } }) ?? {}
  const tools = capabilityFor({ method: 'sampling/createMessage', params: { tools: [] } }) ?? {}
  assert.equal(missingCapability(form, { elicitation: {} }), undefined)
  assert.equal(missingCapability(form, { elicitation: { form: {} } }), undefined)
  assert.notEqual(missingCapability(form, { elicitation: { url: {} } }), undefined)
  assert.equal(missingCapability(url, { elicitation: { url: {} } }), undefined)
  assert.notEqual(missingCapability(url, { elicitation: {} }), undefined)
  assert.notEqual(missingCapability(form, {}), undefined)
  assert.notEqual(missingCapability(form, { elicitation: true }), undefined)
  assert.equal(missingCapability(tools, { sampling: { tools: {} } }), undefined)
  assert.notEqual(missingCapability(tools, { sampling: {} }), undefined)
  assert.equal(missingCapability(capabilityFor({ method: 'roots/list' }) ?? {}, { roots: {} }), undefined)
  assert.equal(capabilityFor({ method: 'tools/list' }), undefined)
})

test('what a client can be asked is one of few things: a session is for it', () => {
  assert.deepEqual(askable({ elicitation: { url: {}, form: {}, other: {} }, roots: { listChanged: true }, tasks: {}, experimental: { a: {} } }), { elicitation: { form: {}, url: {} }, roots: {} })
  assert.deepEqual(askable('nothing'), {})
})
