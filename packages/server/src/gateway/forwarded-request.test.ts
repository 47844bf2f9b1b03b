import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { forwardedRequest, plainPath, type ForwardedRequest } from './forwarded-request.ts'

function asked(url: string, headers: readonly (readonly [string, string])[] = [], method = 'GET'): ForwardedRequest | undefined {
  // As Node's server has them: those that come twice are joined.
  const joined: Record<string, string> = {}
  for (const [name, value] of headers) joined[name.toLowerCase()] = name.toLowerCase() in joined ? `${joined[name.toLowerCase()]}, ${value}` : value
  return forwardedRequest({ url, method, headers: joined, rawHeaders: headers.flat() })
}

const FORWARDED = [['X-Forwarded-Method', 'POST'], ['X-Forwarded-Host', 'notes.example.com'], ['X-Forwarded-Uri', '/mcp?a=b']] as const
const PLACE = { host: 'notes.example.com', path: '/mcp' }

test('nginx and Traefik say it in headers, Envoy by method, host and path', () => {
  assert.deepEqual(asked('/forward-auth', FORWARDED), { method: 'POST', place: PLACE, resource: undefined })
  assert.deepEqual(asked('/forward-auth?resource=https%3A%2F%2Fnotes.example.com%2Fmcp', FORWARDED), { method: 'POST', place: PLACE, resource: 'https://notes.example.com/mcp' })
  assert.deepEqual(asked('/forward-auth?resource=https://notes.example.com/mcp'), { method: '', place: undefined, resource: 'https://notes.example.com/mcp' })
  assert.deepEqual(asked('/forward-auth/mcp?a=b', [['Host', 'notes.example.com']], 'POST'), { method: 'POST', place: PLACE, resource: undefined })
})

test('what is in the path counts alone: headers of a client add nothing to it, and its query names no resource', () => {
  const spoofed = [['Host', 'notes.example.com'], ['X-Forwarded-Host', 'other.example'], ['X-Forwarded-Uri', '/other'], ['X-Forwarded-Method', 'GET']] as const
  assert.deepEqual(asked('/forward-auth/mcp?resource=https://other.example/mcp', spoofed, 'POST'), { method: 'POST', place: PLACE, resource: undefined })
})

test('what could be read in two ways is not read at all', () => {
  const [method, host, uri] = FORWARDED
  for (const headers of [[method, host], [method, uri], [], [...FORWARDED, host], [...FORWARDED, ['x-forwarded-URI', '/mcp']], [...FORWARDED, ['Authorization', 'Bearer a'], ['authorization', 'Bearer b']], [...FORWARDED, ['Mcp-Name', 'a'], ['mcp-name', 'b']], [method, ['X-Forwarded-Host', 'a.example, notes.example.com'], uri], [method, ['X-Forwarded-Host', 'notes.example.com@evil.example'], uri], [method, ['X-Forwarded-Host', 'notes.example.com/x'], uri]] as (readonly [string, string])[][]) {
    assert.equal(asked('/forward-auth', headers), undefined, JSON.stringify(headers))
  }
  assert.equal(asked('/forward-auth?resource=a&resource=b', FORWARDED), undefined)
  assert.equal(asked('/forward-auth?key=a&key=b', FORWARDED), undefined)
  assert.equal(asked('/forward-auth?key=a', FORWARDED)?.key, 'a')
  assert.equal(asked('/forward-auth/mcp?key=a', [['Host', 'notes.example.com']])?.key, undefined, 'the query is the client\'s')
  for (const url of ['/forward-authx', '/forward-auth-x/mcp', '/', '//forward-auth', '/x/forward-auth']) assert.equal(asked(url, FORWARDED), undefined, url)
})

test('a path that a server may take for another one is none', () => {
  for (const [target, path] of [['/mcp', '/mcp'], ['/mcp?x=/../y', '/mcp'], ['/mcp/', '/mcp/'], ['/', '/'], ['/a.b/~c/d:e@f', '/a.b/~c/d:e@f'], ['/..a/...', '/..a/...']] as const) assert.equal(plainPath(target), path, target)
  const tricks = ['', 'mcp', '*', 'http://notes.example.com/mcp', '//mcp', '/mcp//x', '/public/../mcp', '/mcp/.', '/mcp/..', '/./mcp', '/mcp/%2e%2e/x', '/mcp%2fx', '/mcp/%2F..', '/mcp%5cx', '/m%63p', '/mcp%00', '/mcp%', '/mcp%c0%af', '/mcp\\x', '/mcp;x=1', '/mcp#x', '/mcp x', '/mcp\t', '/m\u00e9', '/mcp\u2215x']
  for (const target of tricks) assert.equal(plainPath(target), undefined, JSON.stringify(target))
})

test('a plain path is what every reader makes of it', () => {
  const part = fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom('.', '..', '%2e', '%2E%2e', '%2f', '%5C', '\\', ';', '//', 'mcp', ''))
  fc.assert(
    fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
      const target = `/${parts.join('/')}`
      const path = plainPath(target)
      if (path === undefined) return
      const url = new URL(target, 'http://notes.example.com')
      assert.equal(url.pathname, path)
      assert.equal(url.host, 'notes.example.com')
      assert.equal(decodeURIComponent(path), path)
      assert.ok(!path.includes('//') && !path.split('/').some((segment) => segment === '.' || segment === '..'))
    }),
    { numRuns: 500 },
  )
})
