import { decodeProtectedHeader, errors, jwtVerify, type JWTPayload } from 'jose'
import { NODE_SKEW_S } from '../audit/change.ts'
import { hash } from '../oauth/secret.ts'
import type { Client } from './client.ts'
import type { ClientStore } from './client-store.ts'
import { finderIn, type RemoteKeys } from './remote-keys.ts'

/** The algorithms of client assertions. */
export const ASSERTION_ALGORITHMS: readonly string[] = ['ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'RS256']
const MAX_LIFETIME_S = 300
const SKEW_S = 30

export type AssertionFailure = 'malformed' | 'no keys' | 'keys cannot be fetched' | 'signature' | 'claims' | 'audience' | 'lifetime' | 'replayed'

export interface AssertionDeps {
  readonly issuer: string
  readonly tokenEndpoint: string
  readonly store: Pick<ClientStore, 'useAssertion'>
  readonly keys: RemoteKeys
  readonly now: () => number
}

/** Verifies a client assertion (RFC 7523 §3); each is good once, on all nodes. @returns what is wrong with it. */
export async function verifyClientAssertion(deps: AssertionDeps, client: Client, assertion: string): Promise<AssertionFailure | undefined> {
  const verified = await verifySignature(deps, client, assertion)
  if (typeof verified === 'string') return verified
  const { sub, iss, aud, exp, jti } = verified
  // RFC 7523 §3: issuer and subject are the client.
  if (sub !== client.id || iss !== client.id || typeof jti !== 'string' || jti === '') return 'claims'
  // draft-ietf-oauth-rfc7523bis: the issuer as the sole audience; older clients name the token endpoint.
  // RFC 9126 §2: or the endpoint that requests are pushed to.
  if (aud !== deps.issuer && aud !== deps.tokenEndpoint && aud !== `${deps.issuer}/par`) return 'audience'
  const now = Math.floor(deps.now() / 1000)
  if (exp === undefined || exp <= now - SKEW_S || exp > now + MAX_LIFETIME_S + SKEW_S) return 'lifetime'
  return (await deps.store.useAssertion(client.id, hash(jti), Math.ceil((exp + SKEW_S + NODE_SKEW_S) * 1000))) ? undefined : 'replayed'
}

async function verifySignature(deps: AssertionDeps, client: Client, assertion: string): Promise<JWTPayload | AssertionFailure> {
  let kid: string | undefined
  try {
    ;({ kid } = decodeProtectedHeader(assertion))
  } catch {
    return 'malformed'
  }
  // The address of a configured client's keys is the operator's; that of any other is its own claim.
  const provenance = client.kind === 'pre-registered' ? 'configured' : 'discovered'
  const keys = client.jwks ?? (client.jwksUri === undefined ? undefined : await deps.keys.find(client.jwksUri, kid, provenance))
  if (keys === undefined) return client.jwksUri === undefined ? 'no keys' : 'keys cannot be fetched'
  try {
    const options = { algorithms: [...ASSERTION_ALGORITHMS], currentDate: new Date(deps.now()), clockTolerance: SKEW_S }
    return (await jwtVerify(assertion, finderIn(keys), options)).payload
  } catch (error) {
    if (error instanceof errors.JWTExpired) return 'lifetime'
    // The keys are the client's: one that is none (`DOMException`) is its fault, not ours.
    if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException) return 'signature'
    throw error
  }
}
