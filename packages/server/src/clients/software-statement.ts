import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JSONWebKeySet, type JWTPayload } from 'jose'
import { OAuthError } from '../oauth/error.ts'
import { ASSERTION_ALGORITHMS } from './assertion.ts'
import type { RemoteKeys } from './remote-keys.ts'

/** Whoever an administrator lets vouch for software. */
export interface StatementIssuer {
  readonly issuer: string
  readonly jwks?: JSONWebKeySet
  readonly jwksUri?: string
}

export interface SoftwareStatementSettings {
  readonly issuers: readonly StatementIssuer[]
  /** What becomes of a registration by a statement of anybody else. */
  readonly unknown: 'refuse' | 'unverified'
}

/** What a trusted issuer said, with members of client metadata under their own names (RFC 7591 §2.3). */
export interface Statement {
  readonly issuer: string
  readonly softwareId: string
  readonly claims: Readonly<Record<string, unknown>>
  readonly text: string
}

export interface SoftwareStatements {
  /** @returns undefined when there is none, or nobody trusted made it. @throws OAuthError when it is not to be accepted */
  read(metadata: Readonly<Record<string, unknown>>): Promise<Statement | undefined>
}

const MAX_LENGTH = 16 * 1024
const SKEW_S = 60

export function softwareStatements(settings: SoftwareStatementSettings, keys: RemoteKeys, now: () => number): SoftwareStatements {
  const trusted = new Map(settings.issuers.map((issuer) => [issuer.issuer, issuer]))
  return {
    async read(metadata) {
      const text = metadata['software_statement']
      if (text === undefined) return undefined
      if (typeof text !== 'string' || text.length > MAX_LENGTH) throw invalid('it is not a JWT')
      const { issuer, kid } = claimed(text)
      const known = issuer === undefined ? undefined : trusted.get(issuer)
      if (known === undefined) {
        if (settings.unknown === 'unverified') return undefined
        // RFC 7591 §3.2.2
        throw new OAuthError('unapproved_software_statement', 'the software statement comes from an issuer that is not trusted here', { reason: `software statement of ${String(issuer).slice(0, 200)}` })
      }
      const keySet = known.jwks ?? (known.jwksUri === undefined ? undefined : await keys.find(known.jwksUri, kid, 'configured'))
      // Nothing is wrong with the statement: the client may come again.
      if (keySet === undefined) throw new OAuthError('temporarily_unavailable', 'the keys of the issuer of the software statement cannot be fetched; try again', { retryAfter: 30 })
      return statement(known.issuer, text, await verified(text, known.issuer, keySet, now()))
    },
  }
}

/** Who says that they made it: decides whose keys verify it, and nothing else. */
function claimed(text: string): { readonly issuer: string | undefined; readonly kid: string | undefined } {
  try {
    const { iss } = decodeJwt(text)
    const { kid } = decodeProtectedHeader(text)
    return { issuer: typeof iss === 'string' ? iss : undefined, kid: typeof kid === 'string' ? kid : undefined }
  } catch {
    throw invalid('it is not a JWT')
  }
}

async function verified(text: string, issuer: string, keys: JSONWebKeySet, now: number): Promise<JWTPayload> {
  try {
    // RFC 7591 §2.3: signed, with an `iss` claim; an unsigned or symmetric one proves nothing.
    const options = { issuer, algorithms: [...ASSERTION_ALGORITHMS], currentDate: new Date(now), clockTolerance: SKEW_S }
    return (await jwtVerify(text, createLocalJWKSet(keys), options)).payload
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException) throw invalid('its signature or its time is not valid')
    throw error
  }
}

/**
 * A statement is no secret: whoever has a copy of the software has one. So what makes an application recognizable must
 * stand in it; redirect URIs of one's own beside somebody else's name would make of it a mask.
 */
function statement(issuer: string, text: string, payload: JWTPayload): Statement {
  const { iss: _iss, sub: _sub, aud: _aud, exp: _exp, nbf: _nbf, iat: _iat, jti: _jti, ...claims } = payload
  const { software_id: softwareId, client_name: name, redirect_uris: redirectUris } = claims
  if (typeof softwareId !== 'string' || softwareId === '' || softwareId.length > 200 || !softwareId.isWellFormed()) throw invalid('it has no software_id')
  if (typeof name !== 'string') throw invalid('it has no client_name')
  if (!Array.isArray(redirectUris)) throw invalid('it has no redirect_uris')
  return { issuer, softwareId, claims, text }
}

/** RFC 7591 §3.2.2 */
function invalid(why: string): OAuthError {
  return new OAuthError('invalid_software_statement', `the software statement is not valid: ${why}`, { reason: `software statement: ${why}` })
}
