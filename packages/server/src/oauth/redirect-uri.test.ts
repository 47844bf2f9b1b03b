import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isLoopback, matchRedirectUri, redirectClass } from './redirect-uri.ts'

test('each kind of redirect URI is told apart (RFC 8252 §7)', () => {
  const kinds: readonly (readonly [string, string | undefined])[] = [
    ['https://app.example/cb', 'https'],
    ['https://app.example:8443/cb?tenant=1', 'https'],
    ['http://127.0.0.1/cb', 'loopback'],
    ['http://127.0.0.1:33418', 'loopback'],
    ['http://[::1]:4711/cb', 'loopback'],
    ['http://localhost:8787/callback', 'loopback'],
    ['cursor://anysphere.cursor-mcp/oauth/callback', 'private-use'],
    ['com.example.app:/oauth', 'private-use'],
    ['http://app.example/cb', undefined],
    ['not a uri', undefined],
    ['/callback', undefined],
    ['', undefined],
  ]
  for (const [uri, kind] of kinds) assert.equal(redirectClass(uri), kind, uri)
})

test('nobody registers what runs, what reads files, what hides its host, or what parsers read differently (A05)', () => {
  const refused = [
    ['javascript:alert(1)', 'data:text/html,x', 'file:///etc/passwd', 'vbscript:x', 'about:blank', 'blob:https://app.example/1', 'JavaScript:alert(1)'],
    ['filesystem:https://app.example/x', 'view-source:https://app.example/', 'intent://app/#Intent;end', 'mailto:a@b.example', 'urn:ietf:wg:oauth:2.0:oob'],
    ['microsoft-edge:https://evil.example/cb', 'googlechromes://evil.example/cb', 'x-safari-https://evil.example/cb', 'firefox://open-url?url=https://evil.example/cb'],
    ['https://app.example/cb#frag', 'https://app.example/cb#', 'https://user@app.example/cb', 'https://user:pw@app.example/cb', 'https://*.app.example/cb'],
    ['https://app.example/*', 'https:app.example/cb', 'https:/app.example/cb', 'https:///app.example/cb', 'https:\\\\app.example\\cb', ' https://app.example/cb'],
    ['https://app.example/c\tb', 'https://app.example/cb\n', 'https://äpp.example/cb', 'https://app。example/cb', 'cursor://x/cb#f', 'cursor://u@x/cb'],
  ].flat()
  for (const uri of refused) {
    assert.equal(redirectClass(uri), undefined, uri)
    assert.equal(matchRedirectUri(uri, [uri]), undefined, uri)
  }
})

test('a redirect URI is compared as a string (A02, RFC 9700 §2.1, AS-12)', () => {
  const registered = ['https://app.example/cb', 'cursor://anysphere.cursor-mcp/oauth/callback']
  for (const uri of registered) assert.equal(matchRedirectUri(uri, registered), uri)
  const variants = [
    ['https://app.example/cb/', 'https://app.example/cb/../x', 'https://app.example/./cb', 'https://app.example/cb?x=1', 'https://app.example/cb?', 'https://app.example/CB'],
    ['https://app.example:443/cb', 'https://APP.example/cb', 'HTTPS://app.example/cb', 'https://app.example./cb', 'https://app.example/%63b', 'https://app.example%2fcb'],
    ['https://app.example@evil.example/cb', 'https://app.example.evil.example/cb', 'https://evil.example/cb', 'http://app.example/cb', 'https://app.example/', 'https://app.example'],
    ['https://аpp.example/cb', 'https://app．example/cb', 'cursor://anysphere.cursor-mcp/oauth/callback/', 'cursor://other/oauth/callback', 'cursor:///oauth/callback'],
  ].flat()
  for (const uri of variants) assert.equal(matchRedirectUri(uri, registered), undefined, uri)
})

test('the port of a loopback redirect is free, and nothing else of it (A03, RFC 8252 §7.3)', () => {
  const registered = ['http://127.0.0.1/cb', 'http://[::1]:1/cb', 'http://localhost:8787/cb']
  for (const uri of ['http://127.0.0.1/cb', 'http://127.0.0.1:49152/cb', 'http://[::1]:65535/cb', 'http://[::1]/cb', 'http://localhost/cb']) assert.equal(matchRedirectUri(uri, registered), uri)
  const refused = [
    ['http://127.0.0.1.evil.example/cb', 'http://localhost.evil.example/cb', 'http://127.1/cb', 'http://2130706433/cb', 'http://0x7f.0.0.1/cb', 'http://127.0.0.2/cb', 'http://0.0.0.0/cb'],
    ['http://[::ffff:127.0.0.1]/cb', 'http://[0:0:0:0:0:0:0:1]/cb', 'http://LOCALHOST/cb', 'http://127.0.0.1:99999/cb', 'http://127.0.0.1:/cb', 'http://127.0.0.1:80:81/cb', 'http://127.0.0.1/cb/'],
    ['http://127.0.0.1/other', 'http://127.0.0.1/cb?x', 'http://127.0.0.1:80@evil.example/cb', 'http://evil.example:80/cb', 'https://127.0.0.1/cb', 'https://localhost:8787/cb', 'HTTP://127.0.0.1/cb'],
  ].flat()
  for (const uri of refused) assert.equal(matchRedirectUri(uri, registered), undefined, uri)
  // One loopback name does not stand for another: `localhost` may resolve to somebody else.
  assert.equal(matchRedirectUri('http://localhost:1/cb', ['http://127.0.0.1/cb']), undefined)
})

test('an https redirect URI keeps its port (RFC 9700 §2.1)', () => {
  assert.equal(matchRedirectUri('https://app.example:1234/cb', ['https://app.example/cb']), undefined)
  assert.equal(matchRedirectUri('https://app.example:1234/cb', ['https://app.example:1234/cb']), 'https://app.example:1234/cb')
})

test('property: what matches is registered, or a loopback URI with the same host, path and query', () => {
  const uri = fc.oneof(
    fc.webUrl({ validSchemes: ['http', 'https'], withQueryParameters: true }),
    fc.tuple(fc.constantFrom('127.0.0.1', 'localhost', '[::1]', '127.1', 'localhost.evil'), fc.option(fc.nat(70_000)), fc.webPath()).map(([host, port, path]) => `http://${host}${port === null ? '' : `:${port}`}${path}`),
    fc.string(),
  )
  fc.assert(
    fc.property(uri, fc.array(uri, { maxLength: 4 }), fc.boolean(), (value, others, include) => {
      const registered = include ? [...others, value] : others
      const match = matchRedirectUri(value, registered)
      if (match === undefined) return redirectClass(value) === undefined || !registered.includes(value)
      assert.equal(match, value)
      if (registered.includes(value)) return true
      const { hostname, pathname, search } = new URL(value)
      return isLoopback(value) && registered.some((one) => isLoopback(one) && new URL(one).hostname === hostname && new URL(one).pathname === pathname && new URL(one).search === search)
    }),
    { numRuns: 500 },
  )
})

test('property: any port of a registered loopback URI matches it', () => {
  fc.assert(
    fc.property(fc.constantFrom('127.0.0.1', 'localhost', '[::1]'), fc.webPath(), fc.integer({ min: 1, max: 65_535 }), fc.integer({ min: 1, max: 65_535 }), (host, path, a, b) => {
      const uri = `http://${host}:${a}${path}`
      return redirectClass(uri) === undefined || matchRedirectUri(uri, [`http://${host}:${b}${path}`]) === uri
    }),
  )
})
