import { hash as digest } from 'node:crypto'
import { AccessTokenError, readAccessToken, type AccessTokenClaims, type AccessTokenRules } from './access-token.ts'

const MAX_KNOWN = 50_000

/**
 * Reads access tokens of this issuer whoever they are for, and verifies the signature of each once. Whether one ended or was
 * cut off since, with its signing key or otherwise, the caller asks every time.
 *
 * @returns undefined for what is none, or has expired
 */
export function readingOnce(rules: Omit<AccessTokenRules, 'now'>): (token: string, now: number) => AccessTokenClaims | undefined {
  const known = new Map<string, AccessTokenClaims>()
  return (token, now) => {
    const key = digest('sha256', token, 'base64')
    const before = known.get(key)
    if (before !== undefined && before.expiresAt * 1000 > now) return before
    known.delete(key)
    const claims = read(token, { ...rules, now })
    if (claims !== undefined) known.set(key, claims)
    const [oldest] = known.keys()
    if (known.size > MAX_KNOWN && oldest !== undefined) known.delete(oldest)
    return claims
  }
}

function read(token: string, rules: AccessTokenRules): AccessTokenClaims | undefined {
  try {
    return readAccessToken(token, rules)
  } catch (error) {
    if (error instanceof AccessTokenError) return undefined
    throw error
  }
}
