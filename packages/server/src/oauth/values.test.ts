import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { basicAuthorization } from './basic.ts'
import { OAuthError } from './error.ts'
import { isCodeChallenge, verifyCodeVerifier } from './pkce.ts'
import { canonicalResource } from './resource.ts'
import { askedScope, formatScope, parseScope, resourceScopes, scopeAllows } from './scope.ts'
import { equalHashes, hash, isId, newId, newSecret } from './secret.ts'

test('letter case, default port and trailing slash make no other resource (RFC 8707 §2)', () => {
  for (const value of ['https://lanyard.example/mcp/a', 'HTTPS://Lanyard.Example/mcp/a/', 'https://lanyard.example:443/mcp/a//', 'https://lanyard.example/mcp/b/../a']) {
    assert.equal(canonicalResource(value), 'https://lanyard.example/mcp/a', value)
  }
  assert.equal(canonicalResource('https://lanyard.example/'), 'https://lanyard.example')
  assert.notEqual(canonicalResource('https://lanyard.example/mcp/A'), canonicalResource('https://lanyard.example/mcp/a'))
})

test('a resource is absolute and has neither fragment nor user information nor query (RFC 8707 §2)', () => {
  for (const value of ['', '/mcp/a', 'lanyard.example/mcp', 'urn:mcp:a', 'https://l.example/#f', 'https://l.example#', 'https://u@l.example/', 'https://l.example/?tenant=1', 'javascript:1']) {
    assert.equal(canonicalResource(value), undefined, value)
  }
})

test('property: the canonical form of a resource is its own canonical form', () => {
  fc.assert(
    fc.property(fc.oneof(fc.webUrl({ withQueryParameters: true, withFragments: true }), fc.tuple(fc.domain(), fc.string()).map(([host, rest]) => `https://${host}/${rest}`), fc.string()), (value) => {
      const once = canonicalResource(value)
      return once === undefined || canonicalResource(once) === once
    }),
    { numRuns: 1000 },
  )
})

test('a scope is tokens of printable ASCII without quotes and backslashes (RFC 6749 §3.3)', () => {
  assert.deepEqual(parseScope(' mcp.read  mcp.write mcp.read '), ['mcp.read', 'mcp.write'])
  assert.deepEqual(parseScope(''), [])
  for (const value of ['mcp."read"', 'a\\b', 'a\tb', 'a\nb', 'ä', 'a\0b', 'mcp.read\u00a0mcp.write']) assert.equal(parseScope(value), undefined, value)
})

test('scopes of OpenID Connect that clients add by habit ask for nothing', () => {
  assert.deepEqual(askedScope('openid mcp.read offline_access profile email'), ['mcp.read'])
  for (const value of [undefined, '', 'openid']) assert.deepEqual(askedScope(value), [], String(value))
  assert.equal(askedScope('openid a"b'), undefined)
})

test('property: a scope that is read, written and read again is the same', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.array(fc.constantFrom('a', 'b', 'mcp.read', '!')).map((tokens) => tokens.join(' '))), (value) => {
      const scope = parseScope(value)
      if (scope === undefined) return true
      assert.deepEqual(parseScope(formatScope(scope)), scope)
      return new Set(scope).size === scope.length && scope.every((token) => /^[!#-[\]-~]+$/.test(token) && value.split(' ').includes(token))
    }),
  )
})

test('write includes read, one upstream includes no other (RS-9)', () => {
  assert.equal(scopeAllows(['mcp.write'], 'read', 'notes'), true)
  assert.equal(scopeAllows(['mcp.notes.write'], 'read', 'notes'), true)
  assert.equal(scopeAllows(['mcp.notes.read'], 'read', 'notes'), true)
  assert.equal(scopeAllows(['mcp.read', 'mcp.notes.read'], 'write', 'notes'), false)
  assert.equal(scopeAllows(['mcp.notes.write'], 'read', 'tickets'), false)
  assert.equal(scopeAllows(['mcp.notes.write', 'xmcp.write', 'MCP.WRITE'], 'write', 'tickets'), false)
  assert.equal(resourceScopes(['a', 'b']).length, 6)
})

const VERIFIER = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'

test('the verifier of RFC 7636 appendix B belongs to its challenge', () => {
  assert.equal(verifyCodeVerifier(VERIFIER, 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'), true)
  assert.equal(isCodeChallenge('E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'), true)
})

test('no other verifier does: wrong, short, long, of other characters, the challenge itself (B04, RFC 7636 §4.1, §4.6)', () => {
  const challenge = (verifier: string): string => createHash('sha256').update(verifier).digest('base64url')
  assert.equal(verifyCodeVerifier('x'.repeat(43), challenge(VERIFIER)), false)
  for (const verifier of ['x'.repeat(42), 'x'.repeat(129), `${'x'.repeat(42)}+`, `${'x'.repeat(43)}\n`, '']) assert.equal(verifyCodeVerifier(verifier, challenge(verifier)), false, verifier)
  assert.equal(verifyCodeVerifier('x'.repeat(128), challenge('x'.repeat(128))), true)
  assert.equal(verifyCodeVerifier(challenge(VERIFIER), challenge(VERIFIER)), false)
  for (const value of ['', 'x'.repeat(42), 'x'.repeat(44), `${'x'.repeat(42)}=`, `${'x'.repeat(43)}\n`]) assert.equal(isCodeChallenge(value), false, value)
})

test('secrets and identifiers never repeat; what is stored of a secret is its hash', () => {
  const secrets = Array.from({ length: 200 }, () => newSecret('lyd_cs'))
  assert.equal(new Set(secrets).size, 200)
  assert.match(secrets[0] ?? '', /^lyd_cs_[A-Za-z0-9_-]{43}$/)
  assert.equal(equalHashes(hash('a'), hash('a')), true)
  assert.equal(equalHashes(hash('a'), hash('b')), false)
  assert.equal(equalHashes(hash('a'), 'short' as ReturnType<typeof hash>), false)
})

test('a generated identifier is known by its form, and is never an https URL (AS-19, F11)', () => {
  assert.equal(isId('dyn', newId('dyn')), true)
  for (const value of ['', 'dyn_', 'dyn', newId('grt'), `${newId('dyn')}x`, `dyn_${'\0'.repeat(22)}`, 'https://app.example/client.json', `dyn_${'x'.repeat(21)}\n`]) assert.equal(isId('dyn', value), false, value)
})

test('an error is JSON that nothing caches, with its status (RFC 6749 §5.2)', async () => {
  const response = new OAuthError('invalid_grant', 'the code has expired', { reason: 'code expired 3 s ago' }).toResponse()
  assert.equal(response.status, 400)
  assert.equal(response.headers.get('cache-control'), 'no-store')
  assert.equal(response.headers.get('www-authenticate'), null)
  // The reason is for the audit trail.
  assert.deepEqual(await response.json(), { error: 'invalid_grant', error_description: 'the code has expired' })
})

test('an error that is told with more is the same error', () => {
  const error = new OAuthError('invalid_client', 'no', { reason: 'wrong secret', challenge: 'Basic', headers: { a: 'b' }, members: { c: 'd' }, retryAfter: 3 })
  const { code, message, reason, challenge, headers, members, retryAfter } = error.but({ reason: 'why', members: { e: 1 } })
  assert.deepEqual({ code, message, reason, challenge, headers, members, retryAfter }, { code: 'invalid_client', message: 'no', reason: 'why', challenge: 'Basic', headers: { a: 'b' }, members: { e: 1 }, retryAfter: 3 })
})

test('a 401 names a scheme (RFC 6749 §5.2), that of a token the error as well (RFC 6750 §3.1); a 429 says when', () => {
  assert.equal(new OAuthError('invalid_client', 'no').toResponse().headers.get('www-authenticate'), 'Basic realm="lanyard"')
  assert.equal(new OAuthError('invalid_token', 'no', { challenge: 'Bearer' }).toResponse().headers.get('www-authenticate'), 'Bearer realm="lanyard", error="invalid_token"')
  const limited = new OAuthError('too_many_requests', 'later', { retryAfter: 1.2 }).toResponse()
  assert.deepEqual([limited.status, limited.headers.get('retry-after')], [429, '2'])
})

test('property: a description on the wire holds what RFC 6749 §5.2 allows', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'binary' }), async (text) => {
      const body = (await new OAuthError('invalid_request', text).toResponse().json()) as { readonly error_description: string }
      assert.match(body.error_description, /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/)
    }),
    { numRuns: 50 },
  )
})

test('property: Basic credentials decode to what was encoded, colons and all (RFC 6749 §2.3.1)', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (id, secret) => {
      const pair = Buffer.from(basicAuthorization(id, secret).slice('Basic '.length), 'base64').toString()
      const [left = '', right = '', ...rest] = pair.split(':')
      const decode = (value: string): string => new URLSearchParams(`v=${value}`).get('v') ?? ''
      return rest.length === 0 && decode(left) === id && decode(right) === secret
    }),
  )
  assert.equal(basicAuthorization('lanyard', 'abc-._*~'), `Basic ${Buffer.from('lanyard:abc-._*%7E').toString('base64')}`)
})
