import assert from 'node:assert/strict'
import { test } from 'node:test'
import { McpError } from './error.ts'
import { parseMessage } from './message.ts'
import { operationOf, type Operation } from './operation.ts'
import type { Revision } from './revisions.ts'

const LEGACY: Revision = { era: 'legacy', version: '2025-11-25' }
const MODERN: Revision = { era: 'modern', version: '2026-07-28' }

function operation(method: string | undefined, params: object | undefined, revision = LEGACY, more: object = { id: 1 }): Operation {
  return operationOf(parseMessage(Buffer.from(JSON.stringify({ jsonrpc: '2.0', method, params, ...more }))), revision)
}

test('what a message asks for is read from its body', () => {
  assert.deepEqual(operation('tools/call', { name: 'a' }), { kind: 'tool', name: 'a' })
  assert.deepEqual(operation('tools/list', undefined), { kind: 'tools' })
  assert.deepEqual(operation('initialize', {}), { kind: 'open' })
  assert.deepEqual(operation('server/discover', {}, MODERN), { kind: 'open' })
  assert.deepEqual(operation('prompts/get', { name: 'p' }), { kind: 'item', what: 'prompt', name: 'p' })
  assert.deepEqual(operation('resources/read', { uri: 'u' }), { kind: 'item', what: 'resource', name: 'u' })
  assert.deepEqual(operation('resources/subscribe', { uri: 'u' }), { kind: 'item', what: 'resource', name: 'u' })
  assert.deepEqual(operation('resources/templates/list', {}), { kind: 'items', list: 'resourceTemplates' })
  assert.deepEqual(operation('completion/complete', {}), { kind: 'completion' })
  assert.deepEqual(operation('ping', undefined), { kind: 'free' })
})

test('a decision needs its name as text', () => {
  for (const [method, params] of [['tools/call', {}], ['tools/call', undefined], ['tools/call', { name: 1 }], ['tools/call', { name: null }], ['tools/call', { name: ['a'] }], ['resources/read', { name: 'a' }], ['prompts/get', { uri: 'a' }]] as const) {
    assert.throws(() => operation(method, params), (error) => error instanceof McpError && error.code === 'invalid_params')
  }
})

test('a name that no tool can have is none: nobody is asked to approve it, and nothing is made of it (O02)', () => {
  for (const [method, params] of [['tools/call', { name: 'x'.repeat(513) }], ['prompts/get', { name: 'x'.repeat(1_000_000) }]] as const) {
    assert.throws(() => operation(method, params), (error) => error instanceof McpError && error.code === 'invalid_params' && error.message.length < 100)
  }
  for (const [method, params] of [['tools/call', { name: 'a\0b' }], ['resources/subscribe', { uri: 'a\0b' }], ['tasks/get', { taskId: '\0' }]] as const) assert.throws(() => operation(method, params), (error) => error instanceof McpError && error.code === 'invalid_params', 'H05')
  assert.deepEqual(operation('tools/call', { name: 'x'.repeat(512) }), { kind: 'tool', name: 'x'.repeat(512) })
  // Addresses are longer than names.
  assert.equal(operation('resources/read', { uri: 'x'.repeat(5000) }).kind, 'item')
})

test('an unknown method goes nowhere, and says so as its revision does (RS-20)', () => {
  for (const method of ['tools/run', 'Tools/Call', 'tools/call ', '', '__proto__', 'constructor', 'notifications/cancelled', 'tasks/run']) {
    for (const [revision, status] of [[LEGACY, 200], [MODERN, 404]] as const) {
      assert.throws(() => operation(method, {}, revision), (error) => error instanceof McpError && error.code === 'method_not_found' && error.status === status, method)
    }
  }
})

test('a call without an identifier is no notification (JSON-RPC 2.0 §4.1)', () => {
  for (const method of ['tools/call', 'tools/list', 'resources/read', 'initialize', 'ping', '', 'Notifications/x']) {
    assert.throws(() => operation(method, { name: 'a', uri: 'a' }, LEGACY, {}), (error) => error instanceof McpError && error.status === 400, method)
  }
  for (const method of ['notifications/initialized', 'notifications/cancelled', 'notifications/progress', 'notifications/roots/list_changed']) {
    assert.deepEqual(operation(method, {}, LEGACY, {}), { kind: 'free' })
  }
  assert.deepEqual(operation(undefined, undefined, LEGACY, { id: 1, result: {} }), { kind: 'free' })
})

test('listening to resources is told from listening to the rest (RS-32)', () => {
  const resources = (notifications: unknown): boolean | undefined => {
    const found = operation('subscriptions/listen', { notifications }, MODERN)
    return found.kind === 'listen' ? found.resources : undefined
  }
  for (const filter of [undefined, {}, { toolsListChanged: true }, { resourceSubscriptions: [] }, { resourcesListChanged: false }]) assert.equal(resources(filter), false, JSON.stringify(filter))
  for (const filter of [{ resourcesListChanged: true }, { resourceSubscriptions: ['u'] }]) assert.equal(resources(filter), true)
})
