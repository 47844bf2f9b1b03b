import assert from 'node:assert/strict'
import { test } from 'node:test'
import { profiles } from './profiles.ts'
import { protectedServers, withProtectedServers, type ProtectedServerSettings } from './protected-servers.ts'
import type { Upstream } from './upstream.ts'

const ISSUER = 'https://lanyard.example.com'
const upstream = (id: string): Upstream => ({ id, name: id, url: `https://${id}.internal/mcp`, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 })
const all = profiles(ISSUER, [upstream('notes'), upstream('tickets')], [{ id: 'reading', name: 'Reading', upstreams: ['notes'], tools: { notes: ['read_*'] }, groups: ['sales'] }])
const server = (id: string, resource: string, profile = 'notes'): ProtectedServerSettings => ({ id, resource, profile, validatesHeaders: false })
const servers = protectedServers(ISSUER, all, [
  server('whole', 'https://notes.example.com/mcp'),
  server('deep', 'https://notes.example.com/mcp/deep/', 'tickets'),
  server('root', 'https://root.example.com'),
  server('port', 'http://127.0.0.1:8090/mcp'),
  server('reading', 'https://reading.example.com/mcp', 'reading'),
])

function at(host: string, path: string): string | undefined {
  return servers.at(host, path)?.id
}

test('the longest path of the host decides, segment by segment', () => {
  for (const [host, path, id] of [
    ['notes.example.com', '/mcp', 'whole'], ['notes.example.com', '/mcp/', 'whole'], ['notes.example.com', '/mcp/x', 'whole'], ['NOTES.example.com:443', '/mcp', 'whole'],
    ['notes.example.com', '/mcp/deep', 'deep'], ['notes.example.com', '/mcp/deep/x', 'deep'], ['notes.example.com', '/mcp/deeper', 'whole'],
    ['root.example.com', '/', 'root'], ['root.example.com', '/anything', 'root'], ['127.0.0.1:8090', '/mcp', 'port'],
  ] as const) assert.equal(at(host, path), id, `${host}${path}`)
  for (const [host, path] of [
    ['notes.example.com', '/'], ['notes.example.com', '/mcpx'], ['notes.example.com', '/MCP'], ['notes.example.com', '/x/mcp'], ['notes.example.com:8443', '/mcp'], ['notes.example.com.', '/mcp'],
    ['evil.notes.example.com', '/mcp'], ['127.0.0.1', '/mcp'], ['127.0.0.1:80', '/mcp'], ['', '/mcp'],
  ] as const) assert.equal(at(host, path), undefined, `${host}${path}`)
})

test('each is a resource of its own, with the rules of its profile and metadata at the gateway (RFC 9728 §2)', () => {
  const together = withProtectedServers(all, servers)
  const reading = together.byResource('https://reading.example.com/mcp' as never)
  assert.deepEqual([reading?.tools, reading?.groups, reading?.upstreams.map(({ id }) => id)], [{ notes: ['read_*'] }, ['sales'], ['notes']])
  assert.equal(reading?.metadata, `${ISSUER}/.well-known/oauth-protected-resource/forward-auth/reading`)
  assert.equal(together.byResource(`${ISSUER}/mcp/notes` as never)?.id, 'notes')
  assert.equal(together.byResource('https://notes.example.com/mcp/x' as never), undefined)
  // No path of the gateway leads to them.
  assert.equal(together.byId('forward-auth:reading'), undefined)
  assert.throws(() => protectedServers(ISSUER, all, [server('x', 'https://x.example.com/mcp', 'absent')]), /is no upstream/)
  assert.throws(() => protectedServers(ISSUER, all, [server('x', 'https://x.example.com/mcp?a=b')]), /is no address/)
})
