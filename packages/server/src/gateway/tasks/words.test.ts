import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Message } from '../message.ts'
import { begun, inward, mayBegin, mentioned, withNames } from './words.ts'

const RELATED = 'io.modelcontextprotocol/related-task'
const NAMES: Readonly<Record<string, string>> = { own: 'outer' }
const nameOf = (own: unknown): string | undefined => (typeof own === 'string' && Object.hasOwn(NAMES, own) ? NAMES[own] : undefined)
const related = (taskId: unknown, more = {}) => ({ _meta: { ...more, [RELATED]: { taskId } } })

test('tasks have the client’s names wherever a message names them, and nothing else changes', () => {
  const pairs: [Record<string, unknown>, Record<string, unknown> | undefined][] = [
    [{ id: 1, result: { task: { taskId: 'own', status: 'working' } } }, { id: 1, result: { task: { taskId: 'outer', status: 'working' } } }],
    [{ id: 1, result: { resultType: 'task', taskId: 'own' } }, { id: 1, result: { resultType: 'task', taskId: 'outer' } }],
    [{ id: 1, result: { taskId: 'own', result: { content: [], ...related('own') } } }, { id: 1, result: { taskId: 'outer', result: { content: [], ...related('outer') } } }],
    [{ id: 1, result: { content: [{ taskId: 'own' }], ...related('own', { kept: 1 }) } }, { id: 1, result: { content: [{ taskId: 'own' }], ...related('outer', { kept: 1 }) } }],
    [{ id: 2, method: 'elicitation/create', params: { message: 'own', ...related('own') } }, { id: 2, method: 'elicitation/create', params: { message: 'own', ...related('outer') } }],
    [{ method: 'notifications/tasks/status', params: { taskId: 'own', status: 'x' } }, { method: 'notifications/tasks/status', params: { taskId: 'outer', status: 'x' } }],
    [{ method: 'notifications/tasks', params: { taskId: 'own' } }, { method: 'notifications/tasks', params: { taskId: 'outer' } }],
    [{ method: 'notifications/subscriptions/acknowledged', params: { notifications: { taskIds: ['own', 'other'] } } }, { method: 'notifications/subscriptions/acknowledged', params: { notifications: { taskIds: ['outer'] } } }],
    // Of what the client has not heard of, it is told nothing.
    [{ method: 'notifications/tasks/status', params: { taskId: 'other' } }, undefined],
    [{ method: 'notifications/tasks', params: {} }, undefined],
    [{ method: 'notifications/message', params: { data: 'own' } }, { method: 'notifications/message', params: { data: 'own' } }],
    [{ id: 1, error: { code: 1 } }, { id: 1, error: { code: 1 } }],
  ]
  for (const [message, expected] of pairs) assert.deepEqual(withNames(message, nameOf), expected, JSON.stringify(message))
})

test('whatever shape an upstream gives to what it sends, its tasks are looked for and nothing breaks', () => {
  const member = fc.constantFrom('taskId', 'task', 'tasks', 'result', '_meta', RELATED, 'notifications', 'taskIds', 'content', 'resultType')
  const value = fc.letrec((tie) => ({ any: fc.oneof(fc.jsonValue(), fc.dictionary(member, tie('any')), fc.array(tie('any'), { maxLength: 3 })) })).any
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('id', 'method', 'params', 'result', 'error'), fc.oneof(value, fc.constantFrom('notifications/tasks', 'notifications/tasks/status', 'notifications/subscriptions/acknowledged'))), (message) => {
      const seen = withNames(message, nameOf)
      assert.ok(seen === undefined || seen['id'] === message['id'])
      assert.ok(Array.isArray(mentioned(message)))
      begun(message['result'])
    }),
  )
})

test('what begins a task, and for whom it may', () => {
  assert.equal(begun({ resultType: 'task', taskId: 'own' })?.['taskId'], 'own')
  assert.equal(begun({ task: { taskId: 'own' } })?.['taskId'], 'own')
  for (const other of [{ content: [], task: { taskId: 'own' } }, { task: 'own' }, { resultType: 'complete' }, null, 'task', undefined]) assert.equal(begun(other), undefined)
  const asked = (era: 'legacy' | 'modern', params: Message['params'], more = {}) => ({ operation: { kind: 'tool', name: 'read', ...more } as const, revision: { era, version: '' }, message: { kind: 'request', method: 'tools/call', id: 1, params, json: {} } as const })
  const declared = { _meta: { 'io.modelcontextprotocol/clientCapabilities': { extensions: { 'io.modelcontextprotocol/tasks': {} } } } }
  assert.ok(mayBegin(asked('legacy', { task: {} })))
  assert.ok(mayBegin(asked('modern', declared)))
  for (const none of [asked('legacy', declared), asked('legacy', { task: 1 }), asked('modern', { task: {} }), asked('modern', {}), asked('modern', declared, { task: 'own' })]) assert.equal(mayBegin(none), false)
})

test('what a client says of the task that a message belongs to: its own words in answers, none in requests', () => {
  const message = (kind: Message['kind'], json: Record<string, unknown>): Message => ({ kind, method: '', id: 1, params: (json['params'] ?? {}) as Message['params'], json })
  const ownOf = (name: unknown): string | undefined => (name === 'outer' ? 'own' : undefined)
  for (const kind of ['request', 'notification'] as const) {
    const said = inward(message(kind, { params: { a: 1, ...related('outer') } }), ownOf)
    assert.deepEqual([said.params, said.json['params']], [{ a: 1, ...related('own') }, { a: 1, ...related('own') }])
  }
  assert.deepEqual(inward(message('request', { params: related('other', { kept: 1 }) }), ownOf).json['params'], { _meta: { kept: 1 } })
  assert.deepEqual(inward(message('notification', { params: related('other') }), ownOf).json['params'], related('other'))
  assert.deepEqual(inward(message('response', { result: related('outer') }), ownOf).json['result'], related('own'))
  assert.deepEqual(inward(message('response', { result: related('other') }), ownOf).json['result'], related('other'))
  const plain = message('request', { params: { _meta: { progressToken: 1 } } })
  assert.equal(inward(plain, ownOf), plain, 'what names none is the same message')
})
