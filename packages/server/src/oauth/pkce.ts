import { createHash, timingSafeEqual } from 'node:crypto'

// RFC 7636 §4.1: 43 to 128 characters of the unreserved set. §4.2: the challenge of S256 is 43 base64url characters.
const VERIFIER = /^[A-Za-z0-9\-._~]{43,128}$/
const CHALLENGE = /^[A-Za-z0-9_-]{43}$/

export function isCodeChallenge(value: string): boolean {
  return CHALLENGE.test(value)
}

/** Whether the verifier belongs to the challenge, by S256 alone (RFC 7636 §4.6, OAuth 2.1 §7.5.2). */
export function verifyCodeVerifier(verifier: string, challenge: string): boolean {
  if (!VERIFIER.test(verifier)) return false
  const computed = Buffer.from(createHash('sha256').update(verifier).digest('base64url'))
  const expected = Buffer.from(challenge)
  return computed.length === expected.length && timingSafeEqual(computed, expected)
}
