import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, type ProtectedHeaderParameters } from 'jose'
import { OAuthError } from '../../oauth/error.ts'
import { hash } from '../../oauth/secret.ts'
import type { Granted, GrantRequest, GrantType } from './grant.ts'

/** The JWT bearer grant (RFC 7523 §2.1). */
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

/** A kind of assertion, and what it proves: each is made by somebody else, for a purpose of its own. */
export interface AssertionProfile {
  /** Its identifier in the metadata (`authorization_grant_profiles_supported`), when it has one. */
  readonly identifier?: string
  /** Whether an assertion is of this kind, by what it says of itself: nobody has verified it yet. */
  accepts(header: ProtectedHeaderParameters, claims: JWTPayload): boolean
  /** Verifies the assertion, and what may be granted for it. @throws OAuthError */
  authorize(request: GrantRequest, assertion: string): Promise<Granted>
}

export interface AssertionOptions {
  /** The kinds of assertions that are trusted besides those of workloads. */
  readonly assertions?: readonly AssertionProfile[]
}

const MAX_LENGTH = 16 * 1024

/** The JWT bearer grant: of its profiles, which exclude each other, the one that the assertion is of decides. */
export function jwtBearer(profiles: readonly AssertionProfile[]): GrantType {
  return {
    type: JWT_BEARER,
    presented: (params) => hash(params.require('assertion')),
    async authorize(request) {
      const assertion = request.params.require('assertion')
      const { header, claims } = read(assertion)
      const profile = profiles.find((candidate) => candidate.accepts(header, claims))
      if (profile === undefined) throw refusedAssertion('it is of no kind, or of nobody, that is trusted here')
      return profile.authorize(request, assertion)
    },
  }
}

function read(assertion: string): { readonly header: ProtectedHeaderParameters; readonly claims: JWTPayload } {
  if (assertion.length > MAX_LENGTH) throw refusedAssertion('it is too long')
  try {
    return { header: decodeProtectedHeader(assertion), claims: decodeJwt(assertion) }
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError) throw refusedAssertion('it is no JWT')
    throw error
  }
}

/** RFC 7523 §3.1: one answer for all that can be wrong with an assertion; the audit trail has the reason. */
export function refusedAssertion(reason: string): OAuthError {
  return new OAuthError('invalid_grant', 'the assertion is invalid, expired, used, or not for this client and resource', { reason: `assertion: ${reason}` })
}
