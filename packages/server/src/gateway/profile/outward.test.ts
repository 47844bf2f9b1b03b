import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Upstream } from '../../upstreams/upstream.ts'
import { encodeHeader } from '../revisions.ts'
import { outwardMessage } from './outward.ts'
import { formatPositions, parsePositions, withPosition } from './positions.ts'

const notes: Upstream = { id: 'notes', name: 'Notes', url: 'https://x.example', connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1 }
const seal = (own: string): string => `sealed(${own})`

test('what belongs to the upstream is renamed, at every place of a result, and nothing else is touched', () => {
  const result = {
    content: [{ type: 'text', text: 'note://1' }, { type: 'resource_link', uri: 'note://1' }, { type: 'resource', resource: { uri: 'note://2', blob: '' } }, { type: 'tool_result', content: [{ type: 'resource_link', uri: 'note://3' }] }, 7],
    contents: [{ uri: 'note://4' }],
    messages: [{ role: 'user', content: { type: 'resource', resource: { uri: 'note://5' } } }, null],
    tools: [{ name: 'a' }, {}],
    prompts: [{ name: 'p' }],
    resources: [{ uri: 'note://6', name: 'kept' }],
    resourceTemplates: [{ uriTemplate: 'note://{id}', name: 'kept' }],
    requestState: 'own',
    structuredContent: { uri: 'note://7', name: 'b' },
    uri: 'note://8',
  }
  assert.deepEqual(outwardMessage(notes, { jsonrpc: '2.0', id: 'mine', result }, seal), {
    jsonrpc: '2.0',
    id: 'mine',
    result: {
      content: [{ type: 'text', text: 'note://1' }, { type: 'resource_link', uri: 'lanyard:notes/note://1' }, { type: 'resource', resource: { uri: 'lanyard:notes/note://2', blob: '' } }, { type: 'tool_result', content: [{ type: 'resource_link', uri: 'lanyard:notes/note://3' }] }, 7],
      contents: [{ uri: 'lanyard:notes/note://4' }],
      messages: [{ role: 'user', content: { type: 'resource', resource: { uri: 'lanyard:notes/note://5' } } }, null],
      tools: [{ name: 'notes__a' }, {}],
      prompts: [{ name: 'notes__p' }],
      resources: [{ uri: 'lanyard:notes/note://6', name: 'kept' }],
      resourceTemplates: [{ uriTemplate: 'lanyard:notes/note://{id}', name: 'kept' }],
      requestState: 'sealed(own)',
      structuredContent: { uri: 'note://7', name: 'b' },
      uri: 'note://8',
    },
  })
  assert.equal('requestState' in (outwardMessage(notes, { id: 1, result }) as { result: object }).result, false, 'of a request that nobody knows, there is none')
})

test('MCP Apps: what a tool or its result is shown by is named as its resource is, and nothing else of `_meta` changes', () => {
  const meta = { ui: { resourceUri: 'ui://report', visibility: ['app'] }, 'ui/resourceUri': 'ui://report', 'openai/outputTemplate': 'ui://old', other: 'ui://kept' }
  const changed = { ui: { resourceUri: 'ui://notes/report', visibility: ['app'] }, 'ui/resourceUri': 'ui://notes/report', 'openai/outputTemplate': 'ui://notes/old', other: 'ui://kept' }
  const result = { tools: [{ name: 'a', _meta: meta }, { name: 'b', _meta: { ui: { visibility: [] } } }, { name: 'c', _meta: { ui: 7, 'ui/resourceUri': 7 } }], content: [{ type: 'resource', resource: { uri: 'ui://report', text: '' } }], _meta: meta }
  assert.deepEqual((outwardMessage(notes, { id: 1, result }, seal) as { result: unknown }).result, {
    tools: [{ name: 'notes__a', _meta: changed }, { name: 'notes__b', _meta: { ui: { visibility: [] } } }, { name: 'notes__c', _meta: { ui: 7, 'ui/resourceUri': 7 } }],
    content: [{ type: 'resource', resource: { uri: 'ui://notes/report', text: '' } }],
    _meta: changed,
  })
})

test('whatever shape an upstream gives to what it sends, a message comes out', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('id', 'method', 'params', 'result', 'error', 'jsonrpc', 'RESULT', 'Id'), fc.dictionary(fc.constantFrom('content', 'contents', 'messages', 'tools', 'uri', '_meta', 'requestId', 'data', 'requestState'), fc.jsonValue())), (message) => {
      const passed = outwardMessage(notes, message, seal)
      assert.ok(Object.keys(passed).every((member) => ['jsonrpc', 'id', 'method', 'params', 'result', 'error'].includes(member)))
      assert.ok(!('method' in passed && ('result' in passed || 'error' in passed)), 'H10: a request is no response as well')
    }),
  )
})

test('requests of the upstream’s own are told by an identifier that leads back to it; the client’s own tokens stay', () => {
  assert.deepEqual(outwardMessage(notes, { id: 7, method: 'elicitation/create', params: { _meta: { progressToken: 't', x: 1 } } }), { jsonrpc: '2.0', id: 'notes:7', method: 'elicitation/create', params: { _meta: { progressToken: 'notes:"t"', x: 1 } } })
  const progress = { jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'mine', progress: 1 } }
  assert.deepEqual(outwardMessage(notes, progress), progress)
  assert.deepEqual(outwardMessage(notes, { id: 'mine', error: { code: -32002, message: 'no', data: { uri: 'note://1' } } }), { jsonrpc: '2.0', id: 'mine', error: { code: -32002, message: 'no', data: { uri: 'lanyard:notes/note://1' } } })
  const elicitation = { jsonrpc: '2.0', id: 'mine', error: { code: -32042, message: 'open', data: { elicitations: [{ url: 'https://x.example' }] } } }
  assert.deepEqual(outwardMessage(notes, elicitation), elicitation)
})

test('where streams are is read back as it was, and from what somebody made up nothing harmful', () => {
  const event = fc.string({ unit: 'grapheme-ascii' })
  const position = fc.record({ event, call: fc.oneof(fc.string(), fc.integer()) }, { requiredKeys: ['event'], noNullPrototype: true })
  fc.assert(fc.property(fc.dictionary(fc.constantFrom('a', 'b-1', 'constructor', '__proto__'), position, { noNullPrototype: true }), (positions) => assert.deepEqual(Object.fromEntries(parsePositions(formatPositions(positions))), positions)))
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json().map((json) => Buffer.from(json).toString('base64url'))), (text) => {
      for (const [, { event: id, call }] of parsePositions(text)) {
        assert.match(id, /^[\x20-\x7e]*$/)
        assert.ok(call === undefined || typeof call === 'string' || typeof call === 'number')
      }
    }),
  )
  assert.deepEqual(withPosition(['event: message', 'id: 7', 'id:8', 'id:', ':'], (id) => `[${id}]`), ['event: message', 'id: [7]', 'id: [8]', 'id:', ':'])
})

test('SEP-2243: a name stands in its header as it is, or encoded where it cannot or could be misread', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: fc.constantFrom(' ', '=?base64?', '?=', 'a', '\n', 'é') })), (name) => {
      const header = encodeHeader(name)
      assert.match(header, /^[\x20-\x7e]*$/)
      const encoded = /^=\?base64\?(.*)\?=$/i.exec(header)?.[1]
      assert.equal(encoded === undefined ? header.trim() : Buffer.from(encoded, 'base64').toString('utf8'), name)
    }),
  )
})
