import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Resource } from '../oauth/resource.ts'
import { profiles } from './profiles.ts'
import type { Upstream } from './upstream.ts'

const upstream = (id: string): Upstream => ({ id, name: id.toUpperCase(), url: `https://${id}.example/mcp`, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 })
const upstreams = [upstream('notes'), upstream('tickets')]

test('each upstream is a profile of its own, and each profile of one is one more', () => {
  const made = profiles('https://lanyard.example', upstreams, [{ id: 'sales', name: 'Sales', upstreams: ['notes'] }])
  assert.deepEqual(made.all().map(({ id, name, resource, upstreams: members }) => [id, name, resource, members.map((member) => member.id)]), [
    ['notes', 'NOTES', 'https://lanyard.example/mcp/notes', ['notes']],
    ['tickets', 'TICKETS', 'https://lanyard.example/mcp/tickets', ['tickets']],
    ['sales', 'Sales', 'https://lanyard.example/mcp/sales', ['notes']],
  ])
  assert.equal(made.byId('sales')?.resource, 'https://lanyard.example/mcp/sales')
  assert.equal(made.byResource('https://lanyard.example/mcp/sales' as Resource)?.id, 'sales')
})

test('nothing else is a profile: not another id, not another spelling of a resource (RFC 8707 §2)', () => {
  const made = profiles('https://lanyard.example', upstreams, [])
  for (const id of ['', 'missing', 'Notes', '__proto__', 'constructor']) assert.equal(made.byId(id), undefined, id)
  for (const resource of ['https://lanyard.example/mcp/missing', 'https://lanyard.example/mcp', 'https://evil.example/mcp/notes', 'https://lanyard.example/mcp/notes/']) {
    assert.equal(made.byResource(resource as Resource), undefined, resource)
  }
})

test('a profile of several upstreams, or of none that exists, is not served', () => {
  const made = profiles('https://lanyard.example', upstreams, [
    { id: 'all', name: 'All', upstreams: ['notes', 'tickets'] },
    { id: 'none', name: 'None', upstreams: ['missing'] },
  ])
  assert.equal(made.byId('all'), undefined)
  assert.equal(made.byId('none'), undefined)
  assert.equal(made.all().length, 2)
})
