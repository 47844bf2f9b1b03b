import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Resource } from '../oauth/resource.ts'
import { policy } from '../policy/policy.ts'
import type { Contact } from './call.ts'
import { Challenge } from './challenge.ts'
import type { Operation } from './operation.ts'
import { decide, permissions, requireScope, type Permissions } from './permit.ts'
import type { Revision } from './revisions.ts'
import { visibleCapabilities, visibleResult, visibleTools } from './tools.ts'

const MODERN: Revision = { era: 'modern', version: '2026-07-28' }
const LEGACY: Revision = { era: 'legacy', version: '2025-11-25' }
const rules = policy([
  { id: 'all', effect: 'allow', groups: ['engineering'], upstreams: ['notes'] },
  { id: 'some', effect: 'allow', groups: ['sales'], upstreams: ['notes'], tools: ['read_*'] },
  { id: 'no-deletes', effect: 'deny', tools: ['delete_*'] },
])

function contact(groups: readonly string[], scope: readonly string[] = [], upstreamId = 'notes'): Contact {
  const resource = 'https://lanyard.example/mcp/notes' as Resource
  const user = { id: 'usr_1', provider: 'corp', issuer: 'https://idp.example', subject: 's', groups, disabled: false }
  const upstream = { id: upstreamId, name: 'Notes', url: 'https://notes.example', connector: { type: 'none' as const }, readOnlyTools: [], timeoutMs: 1000 }
  const caller = { user, clientId: 'app', grantId: 'grt_1', scope, resource, expiresAt: 0, issuedAt: 0, kid: 'k', standing: { application: { id: 'app', verified: false }, required: false, holdChanged: false, decisions: [] } }
  return { caller, upstream, profile: { id: 'notes', name: 'Notes', upstreams: [upstream], resource }, address: '192.0.2.1' } as unknown as Contact
}

const permitted = (...groups: readonly string[]): Permissions => permissions(rules, contact(groups))
const OPERATIONS: readonly Operation[] = [
  { kind: 'tool', name: 'read_a' }, { kind: 'tools' }, { kind: 'open' }, { kind: 'items', list: 'prompts' }, { kind: 'item', what: 'prompt', name: 'p' },
  { kind: 'item', what: 'resource', name: 'u' }, { kind: 'completion' }, { kind: 'listen', resources: true }, { kind: 'listen', resources: false }, { kind: 'free' },
]

test('what a rule for every tool allows, a rule for some does not', () => {
  assert.deepEqual(OPERATIONS.map((operation) => decide(operation, permitted('engineering'), MODERN).kind), Array(10).fill('allowed'))
  assert.deepEqual(OPERATIONS.map((operation) => decide(operation, permitted('sales'), MODERN).kind), ['allowed', 'allowed', 'allowed', 'empty', 'denied', 'denied', 'empty', 'denied', 'allowed', 'allowed'])
  assert.deepEqual(OPERATIONS.map((operation) => decide(operation, permitted(), MODERN).kind), Array(10).fill('denied'))
  const elsewhere = permissions(rules, contact(['engineering'], [], 'weather'))
  assert.ok(OPERATIONS.every((operation) => decide(operation, elsewhere, MODERN).kind === 'denied'))
})

test('a denied tool answers as one that does not exist, with the rule for the trail alone (H06)', () => {
  const verdict = decide({ kind: 'tool', name: 'delete_a' }, permitted('engineering'), LEGACY)
  assert.ok(verdict.kind === 'denied' && !(verdict.error instanceof Challenge))
  assert.deepEqual([verdict.rule, verdict.error.message, verdict.error.code, verdict.error.status], ['no-deletes', 'Unknown tool: delete_a', 'invalid_params', 200])
})

test('write includes read, of this upstream or of all, and nothing else does (RS-8, RS-9)', () => {
  const allowed = (scope: readonly string[], access: 'read' | 'write'): boolean => {
    try {
      requireScope(contact([], scope), access)
      return true
    } catch (error) {
      assert.ok(error instanceof Challenge && error.status === 403)
      assert.deepEqual(error.scope, [`mcp.${access}`])
      return false
    }
  }
  for (const scope of ['mcp.write', 'mcp.notes.write']) assert.deepEqual([allowed([scope], 'read'), allowed([scope], 'write')], [true, true])
  for (const scope of ['mcp.read', 'mcp.notes.read']) assert.deepEqual([allowed([scope], 'read'), allowed([scope], 'write')], [true, false])
  for (const scope of ['mcp.weather.write', 'mcp', 'mcp.notes', 'MCP.WRITE', 'mcp.writes', '']) assert.deepEqual([allowed([scope], 'read'), allowed([scope], 'write')], [false, false])
})

test('a list shows what may be called, and what has no name is not shown (RS-26, RS-27, RS-28)', () => {
  const tools = [{ name: 'write_a' }, { name: 'read_b', x: 1 }, { name: 'delete_c' }, { name: 'read_a' }, { name: 7 }, null, 'read_x', { title: 'read_y' }]
  const seen = visibleTools({ tools, nextCursor: 'c', cacheScope: 'public' }, permitted('sales'), MODERN)
  assert.deepEqual(seen, { tools: [{ name: 'read_b', x: 1 }, { name: 'read_a' }], nextCursor: 'c', cacheScope: 'private' })
  assert.deepEqual(visibleTools({ tools: { read_a: {} } }, permitted('sales'), LEGACY), { tools: [] })
  assert.deepEqual(visibleTools({}, permitted('sales'), LEGACY), { tools: [] })
})

test('capabilities name what can be used: no prompts for some tools, tasks as each generation has them (RS-43)', () => {
  const capabilities = { tools: { listChanged: true }, prompts: {}, resources: {}, completions: {}, tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } }, extensions: { 'io.modelcontextprotocol/tasks': {}, mine: {} } }
  assert.deepEqual(visibleCapabilities({ capabilities }, permitted('engineering'), LEGACY), { capabilities: { tools: { listChanged: true }, prompts: {}, resources: {}, completions: {}, tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } }, extensions: { mine: {} } } })
  assert.deepEqual(visibleCapabilities({ capabilities, cacheScope: 'public' }, permitted('sales'), MODERN), { capabilities: { tools: { listChanged: true }, extensions: { 'io.modelcontextprotocol/tasks': {}, mine: {} } }, cacheScope: 'private' })
  assert.deepEqual(visibleCapabilities({ other: 1 }, permitted('sales'), LEGACY), { other: 1 })
})

test('a result of unknown origin is filtered as whatever it is (H07)', () => {
  assert.deepEqual(visibleResult({ tools: [{ name: 'delete_a' }, { name: 'read_a' }], capabilities: { tools: {}, prompts: {} } }, permitted('sales')), { tools: [{ name: 'read_a' }], capabilities: { tools: {} } })
  assert.deepEqual(visibleResult({ content: [] }, permitted('sales')), { content: [] })
})
