import assert from 'node:assert/strict'
import { test } from 'node:test'
import { scopeMapping } from './scope-mapping.ts'

const mapping = scopeMapping([
  { scopes: ['mcp.read'], groups: ['*'] },
  { scopes: ['mcp.notes.write'], groups: ['engineering', 'writers-*'] },
  { scopes: ['mcp.write'], roles: ['Gateway.Write'] },
])
const bob = { groups: ['sales'] }
const alice = { groups: ['engineering'] }
const dana = { groups: ['it'], roles: ['Gateway.Write'] }

test('groups and roles give scopes, and what is within them (RS-9); without a mapping everybody may hold all', () => {
  assert.deepEqual([bob, alice, dana].map((user) => mapping.mayHold(user, 'mcp.write')), [false, false, true])
  assert.deepEqual([bob, alice, dana].map((user) => mapping.mayHold(user, 'mcp.notes.write')), [false, true, true])
  assert.deepEqual([bob, alice, dana].map((user) => mapping.mayHold(user, 'mcp.tickets.read')), [true, true, true])
  assert.equal(mapping.mayHold({ groups: ['writers-eu'] }, 'mcp.notes.write'), true)
  // A group is no role, and nobody of no group has what all groups have.
  assert.equal(mapping.mayHold({ groups: ['Gateway.Write'] }, 'mcp.write'), false)
  assert.equal(mapping.mayHold({ groups: [] }, 'mcp.read'), false)
  assert.equal(mapping.mayHold(bob, 'admin'), true)
  assert.equal(scopeMapping([]).mayHold(bob, 'mcp.write'), true)
})

test('of a scope that is too wide, what is within it is left (AS-30)', () => {
  assert.deepEqual(mapping.narrow(bob, ['mcp.read', 'mcp.write']), ['mcp.read'])
  assert.deepEqual(mapping.narrow(alice, ['mcp.write']), ['mcp.read', 'mcp.notes.write'])
  assert.deepEqual(mapping.narrow(alice, ['mcp.tickets.write']), ['mcp.tickets.read'])
  assert.deepEqual(mapping.narrow(dana, ['mcp.write', 'admin']), ['mcp.write', 'admin'])
  assert.deepEqual(mapping.narrow({ groups: [] }, ['mcp.write']), [])
  assert.deepEqual(scopeMapping([]).narrow(bob, ['mcp.write']), ['mcp.write'])
  assert.equal(scopeMapping([{ scopes: ['mcp.notes.read'], groups: ['sales'] }]).narrow(bob, ['mcp.tickets.write']).length, 0)
})
