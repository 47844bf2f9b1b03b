import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkClaims, checkFreshness, identityOf, type Claims } from './oidc-claims.ts'
import { LoginRefused } from './provider.ts'

const NOW = 1_795_000_000_000
const SECONDS = NOW / 1000
const CLAIMS: Claims = { iss: 'https://idp.example', sub: 'alice', iat: SECONDS, auth_time: SECONDS - 10 }

function authTime(more: Readonly<Record<string, unknown>>): number | undefined {
  const claims = { ...CLAIMS, ...more }
  return identityOf({ id: 'corp', groupsClaim: 'groups' }, claims, claims, { idToken: 'x' }).authTime
}

test('a time of sign-in after the ID token itself is none that is known (A15, RFC 9470)', () => {
  assert.equal(authTime({}), SECONDS - 10)
  assert.equal(authTime({ auth_time: SECONDS + 60 }), SECONDS + 60)
  for (const value of [SECONDS + 61, NOW, Infinity, NaN, 0, -1, '1795000000', null]) assert.equal(authTime({ auth_time: value }), undefined, String(value))
})

test('a sign-in that had to be fresh is not proven by a time that is still to come (OpenID Connect Core §3.1.2.1)', () => {
  const options = { redirectUri: 'https://lanyard.example/cb', maxAge: 60 }
  checkFreshness(CLAIMS, options, NOW)
  for (const value of [NOW, Infinity]) assert.throws(() => checkFreshness({ ...CLAIMS, auth_time: value }, options, NOW), LoginRefused)
  assert.throws(() => checkFreshness({ ...CLAIMS, auth_time: SECONDS - 180 }, options, NOW), LoginRefused)
})

test('a subject is an identifier (OpenID Connect Core §2)', () => {
  checkClaims(CLAIMS, 'lanyard', NOW)
  for (const sub of ['', 'x'.repeat(256), 'a\u0000', '\ud800']) assert.throws(() => checkClaims({ ...CLAIMS, sub }, 'lanyard', NOW), LoginRefused, JSON.stringify(sub))
})
