import assert from 'node:assert/strict'
import { test } from 'node:test'
import { overridesMethod, ownAddress, requestHeaders, responseHeaders } from './headers.ts'

const PLACES = { asked: new URL('https://api.example/v1/items?page=1'), base: 'https://api.example/v1', own: 'https://lanyard.example/http/api' }

test('headers of one connection, and those that a Connection header names, go no further (RFC 9110 §7.6.1)', () => {
  const passed = requestHeaders({ connection: 'close, X-Secret-Hop', 'x-secret-hop': '1', 'keep-alive': 'timeout=5', te: 'trailers', trailer: 'x', 'transfer-encoding': 'chunked', upgrade: 'h2c', via: '1.1 a', accept: 'text/plain', 'x-api-version': '3' })
  assert.deepEqual(passed, { 'user-agent': 'lanyard', accept: 'text/plain', 'x-api-version': '3' })
})

test('nothing that says who or where the caller is goes up (P-7, RS-10)', () => {
  const own = ['authorization', 'cookie', 'proxy-authorization', 'forwarded', 'x-forwarded-for', 'x-forwarded-user', 'x-forwarded-host', 'x-real-ip', 'x-remote-user', 'remote-user', 'x-auth-request-email', 'x-user-id', 'x-ms-client-principal-name', 'x-amzn-oidc-data', 'x-goog-authenticated-user-email', 'cf-connecting-ip', 'x-original-url', 'x-rewrite-url', 'origin', 'referer', 'sec-fetch-site', 'host', 'mcp-session-id', 'x_api_key', 'x_forwarded_for']
  const passed = requestHeaders(Object.fromEntries(own.map((name) => [name, 'v'])))
  assert.deepEqual(passed, { 'user-agent': 'lanyard' })
  const free = { 'if-none-match': '"a"', range: 'bytes=0-1', prefer: 'wait=1', 'idempotency-key': 'k', 'content-type': 'text/plain', 'content-encoding': 'gzip', 'accept-encoding': 'br', 'user-agent': 'app/1', traceparent: '00-a', 'x-github-api-version': '2022-11-28' }
  assert.deepEqual(requestHeaders(free), free)
})

test('what makes an API take a request for another method is found in headers and in the query', () => {
  assert.equal(overridesMethod({ 'x-http-method-override': 'DELETE' }, ''), true)
  assert.equal(overridesMethod({}, '?a=b&_method=delete'), true)
  assert.equal(overridesMethod({}, '?%5Fmethod=delete'), true)
  assert.equal(overridesMethod({ 'x-http-version': '1' }, '?method=delete'), false)
})

test('an API sets no cookie and no policy of this origin, and its answers are for one caller', () => {
  const { 'set-cookie': cookie, ...passed } = responseHeaders(
    { 'set-cookie': ['a=b'], 'content-type': 'text/html', 'content-length': '3', etag: '"x"', 'clear-site-data': '"*"', 'strict-transport-security': 'max-age=1', 'access-control-allow-origin': '*', 'www-authenticate': 'Basic', 'cache-control': 'public, max-age=60, s-maxage=600', vary: 'Accept', connection: 'close, x-hop', 'x-hop': '1', 'transfer-encoding': 'chunked', 'x-ratelimit-remaining': '3' },
    PLACES,
  )
  assert.equal(cookie, undefined)
  assert.deepEqual(passed, {
    'cache-control': 'private, max-age=60',
    vary: 'Authorization, Origin, Accept',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
    'x-content-type-options': 'nosniff',
    'x-accel-buffering': 'no',
    'content-type': 'text/html',
    'content-length': '3',
    etag: '"x"',
    'x-ratelimit-remaining': '3',
  })
  assert.equal(responseHeaders({}, PLACES)['cache-control'], 'no-store')
})

test('addresses below the base become those here, others none', () => {
  assert.equal(ownAddress('https://api.example/v1/items/2', PLACES), 'https://lanyard.example/http/api/items/2')
  assert.equal(ownAddress('/v1/items?page=2', PLACES), 'https://lanyard.example/http/api/items?page=2')
  assert.equal(ownAddress('2', PLACES), 'https://lanyard.example/http/api/2')
  assert.equal(ownAddress('https://api.example/v1', PLACES), 'https://lanyard.example/http/api')
  for (const other of ['https://api.example/v10/items', 'https://api.example/', 'http://api.example/v1/items', 'https://api.example:8443/v1/x', '//evil.example/v1/x', '/v1/../admin', 'https://u:p@api.example/v1/x', 'javascript:alert(1)', 'https://[']) {
    assert.equal(ownAddress(other, PLACES), undefined, other)
  }
  const { link } = responseHeaders({ link: '<https://api.example/v1/items?page=2>; rel="next", <https://docs.example/>; rel="help"' }, PLACES)
  assert.equal(link, '<https://lanyard.example/http/api/items?page=2>; rel="next", <https://docs.example/>; rel="help"')
})
