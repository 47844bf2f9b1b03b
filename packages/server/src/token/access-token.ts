import { verify as verifySignature } from 'node:crypto'
import type { Actor } from '../authorize/authorization.ts'
import type { KeyRing } from '../keys/signing.ts'

/** Why a token is no access token of this issuer: for the audit trail; the caller hears `invalid_token` alone. */
export type AccessTokenRefusal =
  | 'malformed' | 'typ' | 'alg' | 'kid' | 'signature' | 'issuer' | 'audience' | 'expired' | 'not_yet_valid' | 'cut' | 'unknown_user' | 'disabled' | 'bound' | 'not_bound'
  /** An administrator refused its application altogether. */
  | 'application_refused'
  /** A token of an identity provider: where none is accepted, and one that is not. */
  | 'foreign' | 'provider'

/** A bearer token that is refused. */
export class AccessTokenError extends Error {
  override readonly name = 'AccessTokenError'
  readonly reason: AccessTokenRefusal
  /** More for the audit trail. */
  readonly detail: string | undefined

  constructor(reason: AccessTokenRefusal, detail?: string) {
    super(`the access token is refused: ${reason}`)
    this.reason = reason
    this.detail = detail
  }
}

/** The claims of an access token; times in seconds since the epoch. */
export interface AccessTokenClaims {
  readonly kid: string
  readonly userId: string
  readonly clientId: string
  readonly grantId: string
  readonly audience: string
  readonly scope: readonly string[]
  readonly jti: string
  readonly issuedAt: number
  readonly expiresAt: number
  readonly authTime?: number
  readonly acr?: string
  readonly amr?: readonly string[]
  readonly parents?: readonly string[]
  readonly actor?: Actor
  /** RFC 9449 §6.1: the key whose possession whoever presents the token must prove. */
  readonly jkt?: string
}

export interface AccessTokenRules {
  readonly issuer: string
  readonly keys: Pick<KeyRing, 'publicKey'>
  /** Milliseconds since the epoch. */
  readonly now: number
}

const MAX_LENGTH = 8192
/** Seconds that another node's clock may run ahead. */
const SKEW = 60
const JWS = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/

/**
 * Reads a JWT access token (RFC 9068 §4): type, key, signature, issuer and times, not for whom it is.
 *
 * @throws AccessTokenError
 */
export function readAccessToken(token: string, rules: AccessTokenRules): AccessTokenClaims {
  const parts = token.length > MAX_LENGTH ? null : JWS.exec(token)
  if (parts === null) throw new AccessTokenError('malformed')
  const [, header = '', payload = '', signature = ''] = parts
  const kid = checkHeader(jsonObject(header), `${header}.${payload}`, signature, rules.keys)
  return checkClaims(jsonObject(payload), kid, rules)
}

/** Only keys of the ring verify: `jku`, `x5u`, `jwk` and whatever else a header names is never looked at. */
function checkHeader(header: Record<string, unknown>, input: string, signature: string, keys: AccessTokenRules['keys']): string {
  // RFC 9068 §4: the full media type is the same; anything else is no access token (ID token, logout token, assertion).
  if (header['typ'] !== 'at+jwt' && header['typ'] !== 'application/at+jwt') throw new AccessTokenError('typ')
  // RFC 7515 §4.1.11: an extension that is not understood.
  if ('crit' in header) throw new AccessTokenError('malformed')
  const kid = header['kid']
  const found = typeof kid === 'string' ? keys.publicKey(kid) : undefined
  if (typeof kid !== 'string' || found === undefined) throw new AccessTokenError('kid')
  // RFC 8725 §3.1: the key says its algorithm, the header does not choose.
  if (header['alg'] !== found.algorithm) throw new AccessTokenError('alg')
  const bytes = Buffer.from(signature, 'base64url')
  // One token, one spelling: unused bits of the last character would make another string of it.
  if (bytes.toString('base64url') !== signature) throw new AccessTokenError('signature')
  const valid =
    found.algorithm === 'ES256'
      ? verifySignature('sha256', Buffer.from(input), { key: found.key, dsaEncoding: 'ieee-p1363' }, bytes)
      : verifySignature(null, Buffer.from(input), found.key, bytes)
  if (!valid) throw new AccessTokenError('signature')
  return kid
}

function checkClaims(claims: Record<string, unknown>, kid: string, { issuer, now }: AccessTokenRules): AccessTokenClaims {
  const at = Math.floor(now / 1000)
  if (claims['iss'] !== issuer) throw new AccessTokenError('issuer')
  const expiresAt = time(claims['exp'])
  const issuedAt = time(claims['iat'])
  const notBefore = claims['nbf'] === undefined ? issuedAt : time(claims['nbf'])
  // RFC 9068 §4: never after its end, not even by a second; a node's clock may be a little behind another's.
  if (at >= expiresAt) throw new AccessTokenError('expired')
  if (issuedAt > at + SKEW || notBefore > at + SKEW) throw new AccessTokenError('not_yet_valid')
  const { auth_time: authTime, acr, amr, parents, act } = claims
  const jkt = confirmation(claims['cnf'])
  return {
    kid,
    userId: text(claims['sub']),
    clientId: text(claims['client_id']),
    grantId: text(claims['grant']),
    audience: audience(claims['aud']),
    scope: scope(claims['scope']),
    jti: text(claims['jti']),
    issuedAt,
    expiresAt,
    ...(typeof authTime === 'number' ? { authTime } : {}),
    ...(typeof acr === 'string' ? { acr } : {}),
    ...(Array.isArray(amr) ? { amr: amr.filter((method) => typeof method === 'string') } : {}),
    ...(Array.isArray(parents) ? { parents: parents.map(text) } : {}),
    // Signed by this issuer, and written from an `Actor`.
    ...(act === undefined ? {} : { actor: act as Actor }),
    ...(jkt === undefined ? {} : { jkt }),
  }
}

/** RFC 7800 §3.1: a confirmation that is not understood confirms nothing. */
function confirmation(value: unknown): string | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 1) throw new AccessTokenError('malformed')
  return text((value as { readonly jkt?: unknown }).jkt)
}

/** RFC 9068 §4: one audience; a token for several could be replayed from one at another. */
function audience(value: unknown): string {
  const single: unknown = Array.isArray(value) && value.length === 1 ? value[0] : value
  if (typeof single !== 'string') throw new AccessTokenError('audience')
  return single
}

function text(value: unknown): string {
  if (typeof value !== 'string' || value === '') throw new AccessTokenError('malformed')
  return value
}

function scope(value: unknown): readonly string[] {
  if (typeof value !== 'string') throw new AccessTokenError('malformed')
  return value.split(' ').filter((token) => token !== '')
}

function time(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new AccessTokenError('malformed')
  return value
}

function jsonObject(part: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
  } catch {
    throw new AccessTokenError('malformed')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new AccessTokenError('malformed')
  return value as Record<string, unknown>
}
