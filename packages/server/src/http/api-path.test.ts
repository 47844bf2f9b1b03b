import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { below, operationName, pathProblem, readTarget } from './api-path.ts'

const PLAIN = { encodedSlashes: false }
const problem = (path: string, query = '', rules = PLAIN): string | undefined => pathProblem({ path, query }, rules)

test('an address names its API byte for byte, and the query is no part of the path (H18)', () => {
  assert.deepEqual(readTarget('/http/repos/a/b?c=/d'), { upstream: 'repos', path: '/a/b', query: '?c=/d' })
  assert.deepEqual(readTarget('/http/repos'), { upstream: 'repos', path: '', query: '' })
  assert.deepEqual(readTarget('/http/repos/'), { upstream: 'repos', path: '/', query: '' })
  for (const none of ['/http', '/http/', '/HTTP/repos/a', '/http/Repos/a', '/http//a', '/http/re%70os/a', '/http/repos%2Fa', '/http/..', 'http://lanyard.example/http/repos/a']) assert.equal(readTarget(none), undefined, none)
})

test('paths as APIs use them are canonical', () => {
  const good = ['', '/', '/repos', '/repos/', '/repos/a.b/..c', '/a/...', "/users('a@b.example')/messages", '/drive/root:/x/y.txt:/content', '/a/~b/c_d-e', '/a/b%20c', '/a/%C3%A9', '/a/%3B', '/a/100%25', '/a/*']
  for (const path of good) assert.equal(problem(path), undefined, path)
  for (const query of ['', '?', '?a=b&c[d]=e', '?$filter=x%20eq%20%27y%27', '?q=a/b/../c', '?next=https://x.example/', '?a|b']) assert.equal(problem('/a', query), undefined, query)
})

test('a path that two readers may take for two is refused (H23)', () => {
  const bad = [
    '/..', '/../a', '/a/../b', '/a/./b', '/a/..', '/a/.', '//a', '/a//b', '/a//', '/%2e%2e/a', '/%2E%2E/a', '/a/%2e', '/.%2E/a', '/a/..;/b', '/a;x=y/b', '/%61dmin', '/a%2Fb', '/a%2fb', '/..%2Fa', '/a%5Cb', '/a\\b',
    '/a%00', '/a%0Ab', '/a%7F', '/a%252Fb', '/a%252e', '/%C0%AE%C0%AE/a', '/a%FF', '/a%', '/a%2', '/a%c3%a9', '/a b', '/a"b', '/a<b', '/a#b', '/a|b', '/é', `/${'a'.repeat(5000)}`,
  ]
  for (const path of bad) assert.notEqual(problem(path), undefined, path)
  for (const query of ['?a b', '?a#b', '?a"b', '?a\nb', '?é', '?a%', '?a\u0000']) assert.notEqual(problem('/a', query), undefined, query)
})

test('encoded slashes pass where an API is said to use them, dot segments among them never', () => {
  const rules = { encodedSlashes: true }
  assert.equal(problem('/projects/group%2Fproject/issues', '', rules), undefined)
  for (const path of ['/projects/..%2Fadmin', '/projects/a%2F..%2Fb', '/projects/%2Fa', '/projects/a%2F', '/projects/a%2F%2Fb', '/projects/a%2F.', '/a%5C..%5Cb']) assert.notEqual(problem(path, '', rules), undefined, path)
})

test('one name for every spelling that the API cannot tell apart', () => {
  assert.equal(operationName('GET', ''), 'GET /')
  assert.equal(operationName('GET', '/'), 'GET /')
  assert.equal(operationName('HEAD', '/a/'), 'GET /a')
  assert.equal(operationName('DELETE', '/users/a%40b'), operationName('DELETE', '/users/a@b'))
  assert.notEqual(operationName('GET', '/A'), operationName('GET', '/a'))
})

test('whatever the path is, it stays below the base for every reader (H23)', () => {
  const base = new URL('https://api.example/v1/')
  const piece = fc.constantFrom('..', '.', '/', '//', '%2e', '%2E', '%2F', '%5C', '\\', ';', 'a', 'B', '@', ':', 'host.example', '%25', '?', '#', ' ', '%00')
  const refusedOrBelow = (pieces: readonly string[], encodedSlashes: boolean): void => {
    const target = readTarget(`/http/api/${pieces.join('')}`)
    if (target === undefined || pathProblem(target, { encodedSlashes }) !== undefined) return
    const sent = below(base, target.path)
    const seen = new URL(`${base.origin}${sent}`)
    assert.equal(seen.host, base.host)
    assert.equal(seen.pathname, sent, 'a URL parser finds nothing to tidy')
    // A reader that decodes first, and tidies then.
    const decoded = new URL(decodeURI(sent).replaceAll(/%2F/gi, '/').replaceAll(/%5C/gi, '/').replaceAll('%', 'x'), base).pathname
    assert.ok(decoded === '/v1/' || decoded.startsWith('/v1/'), decoded)
  }
  fc.assert(fc.property(fc.array(piece, { maxLength: 8 }), fc.boolean(), refusedOrBelow), { numRuns: 5000 })
})

test('what passes reads the same after decoding and encoding again', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }).filter((value) => value.isWellFormed())
  fc.assert(
    fc.property(text, (value) => {
      const path = `/${encodeURIComponent(value)}`
      if (problem(path) !== undefined) return
      assert.equal(decodeURIComponent(path.slice(1)), value)
      assert.ok(!value.includes('/') && value !== '..' && value !== '.')
    }),
  )
})
