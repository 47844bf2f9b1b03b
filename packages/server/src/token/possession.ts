import type { Client } from '../clients/client.ts'
import { OAuthError } from '../oauth/error.ts'
import { AccessTokenError } from './access-token.ts'
import { DpopError, type CheckProof } from './dpop.ts'
import type { Issuer } from './issue.ts'
import type { Caller } from './verify.ts'

export interface ProofRules {
  readonly check: CheckProof
  /** Whether no token is issued or accepted that is bound to no key. */
  readonly required: boolean
}

/** An access token as a request presents it (RFC 6750 §2.1, RFC 9449 §7.1). */
export interface PresentedToken {
  readonly scheme: 'Bearer' | 'DPoP'
  readonly value: string
}

/** Reads the `Authorization` header; undefined for anything that holds no access token. */
export function presentedToken(authorization: string): PresentedToken | undefined {
  const [, scheme = '', value] = /^(Bearer|DPoP) +([A-Za-z0-9\-._~+/]+=*)$/i.exec(authorization) ?? []
  return value === undefined ? undefined : { scheme: scheme.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer', value }
}

export interface Presentation {
  readonly token: PresentedToken
  /** The `DPoP` header. */
  readonly proof: string | undefined
  readonly method: string
  readonly url: string
}

/**
 * Checks that whoever presents a token holds the key that it is bound to (RFC 9449 §7.1). A bound token is worth nothing
 * as a bearer token (§7.2), and one that is not bound is no DPoP token.
 *
 * @throws AccessTokenError, DpopError
 */
export async function requirePossession({ check, required }: ProofRules, { jkt }: Pick<Caller, 'jkt'>, { token, proof, method, url }: Presentation): Promise<void> {
  if (jkt === undefined && token.scheme === 'Bearer' && !required) return
  if (jkt === undefined) throw new AccessTokenError('not_bound')
  if (token.scheme === 'Bearer') throw new AccessTokenError('bound')
  if (proof === undefined) throw new DpopError('invalid_dpop_proof', 'there is none')
  await check(proof, { method, url, token: { value: token.value, jkt } })
}

/**
 * Checks the proof of a request at the token endpoint (RFC 9449 §5).
 *
 * @returns the thumbprint of the key that what is issued is bound to; undefined when the client proves none and need not
 * @throws OAuthError
 */
export async function provenKey({ check, required }: ProofRules, client: Client, proof: string | null, url: string): Promise<string | undefined> {
  if (proof === null) {
    // RFC 9449 §5.2: "the authorization server MUST reject token requests from the client that do not contain the DPoP header."
    if (required || client.dpopBoundAccessTokens === true) throw new OAuthError('invalid_dpop_proof', 'a DPoP proof is needed', { reason: 'no DPoP proof' })
    return undefined
  }
  try {
    return await check(proof, { method: 'POST', url })
  } catch (error) {
    if (!(error instanceof DpopError)) throw error
    throw new OAuthError(error.code, error.message, { reason: error.reason, ...(error.nonce === undefined ? {} : { headers: { 'dpop-nonce': error.nonce } }) })
  }
}

/** An issuer whose access tokens are bound to a key. */
export function bound(issuer: Issuer, jkt: string | undefined): Issuer {
  return jkt === undefined ? issuer : { ...issuer, accessToken: (request) => issuer.accessToken({ ...request, jkt }) }
}
