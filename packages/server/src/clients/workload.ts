// Owns what a platform says of its workloads: GitHub Actions, Kubernetes, SPIFFE and the like sign a JWT for each, and a
// client that is configured to be such a workload needs no secret of its own (RFC 7523).
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, type JSONWebKeySet, type JWTPayload } from 'jose'
import { hash, type Hashed } from '../oauth/secret.ts'
import type { IssuerKeys } from './issuer-keys.ts'
import { finderIn } from './remote-keys.ts'
import { subjectMatcher } from './subject-pattern.ts'

/** One workload, or several alike, that a client may be; as an operator configured it. */
export interface WorkloadIdentity {
  /** What stands in `iss`; `spiffe://{trust domain}` for JWT-SVIDs, whose subject says it. */
  readonly issuer: string
  /** Exact, or a pattern: see `subjectMatcher`. */
  readonly subject: string
  readonly audience: string
  /** Further claims, by name or by JSON Pointer (RFC 6901): each has one of the values. */
  readonly claims?: Readonly<Record<string, readonly (string | number | boolean)[]>>
  readonly jwks?: JSONWebKeySet
  readonly jwksUri?: string
}

/** Who a platform said that the client is. */
export interface Workload {
  readonly issuer: string
  readonly subject: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
  /** Of the JWT that proved it. */
  readonly hash: Hashed
}

export type WorkloadFailure = 'malformed' | 'type' | 'issuer' | 'audience' | 'subject' | 'claims' | 'keys cannot be fetched' | 'signature' | 'lifetime'

/** Verifies what a platform says. @returns who the workload is, or what is wrong */
export type VerifyWorkload = (identities: readonly WorkloadIdentity[], jwt: string) => Promise<Workload | WorkloadFailure>

/** Of key pairs alone, as platforms and the JWT-SVID specification (§2.2) have them. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
const MAX_LENGTH = 16 * 1024
const SKEW_S = 60
/** Platforms renew what they sign within hours: what is good for longer was not made for a workload that runs now. */
const MAX_LIFETIME_S = 24 * 3600
export const SPIFFE = 'spiffe://'

/** How workloads authenticate, as the metadata names it: JWT-SVIDs alone have a name (draft-ietf-oauth-spiffe-client-auth §4). */
export function workloadAuthMethods(clients: readonly { readonly workloadIdentities?: readonly WorkloadIdentity[] }[]): readonly string[] {
  return clients.some(({ workloadIdentities = [] }) => workloadIdentities.some(({ issuer }) => issuer.startsWith(SPIFFE))) ? ['spiffe_jwt'] : []
}

/**
 * A JWT may come again until it ends: Kubernetes keeps one in a file that all processes of a pod read for an hour, a job
 * asks for several resources with one, and JWT-SVIDs need have no `jti` (JWT-SVID §3, RFC 7523 §3 item 7). It is worth
 * something to this gateway alone, as its sole audience, and gives no more than its client may have anyway.
 */
export function workloads(keys: IssuerKeys, now: () => number): VerifyWorkload {
  return async (identities, jwt) => {
    const read = readUnverified(jwt)
    if (typeof read === 'string') return read
    const identity = fitting(identities, read.claims)
    if (typeof identity === 'string') return identity
    const set = await keysOf(keys, identity, read.kid)
    if (set === undefined) return 'keys cannot be fetched'
    const at = now()
    const failure = await signatureFailure(jwt, set, at)
    if (failure !== undefined) return failure
    const { exp = 0, iat, sub = '' } = read.claims
    const seconds = Math.floor(at / 1000)
    if (exp <= seconds - SKEW_S || exp > seconds + MAX_LIFETIME_S + SKEW_S || (iat !== undefined && iat > seconds + SKEW_S)) return 'lifetime'
    return { issuer: identity.issuer, subject: sub, expiresAt: Math.floor(exp), hash: hash(jwt) }
  }
}

/** Whether a JWT claims to be of one of the identities: who it is of all workloads, when it does not come with a name. */
export function claimsToBe(identities: readonly WorkloadIdentity[], jwt: string): boolean {
  const read = readUnverified(jwt)
  return typeof read === 'object' && typeof fitting(identities, read.claims) === 'object'
}

/** What a JWT says of itself decides whose keys verify it, and what it must then say. */
function readUnverified(jwt: string): { readonly kid: string | undefined; readonly claims: JWTPayload } | WorkloadFailure {
  if (jwt.length > MAX_LENGTH) return 'malformed'
  try {
    const { typ, kid } = decodeProtectedHeader(jwt)
    // RFC 8725 §3.11: access tokens, ID-JAGs, logout tokens and DPoP proofs name what they are; JWT-SVID §2.1.
    if (typ !== undefined && !/^(?:JWT|JOSE)$/i.test(typ)) return 'type'
    return { kid, claims: decodeJwt(jwt) }
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError) return 'malformed'
    throw error
  }
}

/** The identity that the claims fit, or the first thing that fits none. */
function fitting(identities: readonly WorkloadIdentity[], claims: JWTPayload): WorkloadIdentity | WorkloadFailure {
  const { aud, sub } = claims
  if (typeof sub !== 'string' || sub === '' || typeof claims.exp !== 'number') return 'claims'
  const checks: readonly (readonly [WorkloadFailure, (identity: WorkloadIdentity) => boolean])[] = [
    ['issuer', ({ issuer }) => (issuer.startsWith(SPIFFE) ? sub.startsWith(`${issuer}/`) : claims.iss === issuer)],
    // The sole audience: whoever else is named could present it here.
    ['audience', ({ audience }) => (Array.isArray(aud) && aud.length === 1 ? aud[0] : aud) === audience],
    ['subject', ({ subject }) => subjectMatcher(subject)(sub)],
    ['claims', ({ claims: wanted = {} }) => Object.entries(wanted).every(([name, values]) => values.some((value) => value === claimAt(claims, name)))],
  ]
  let left = identities
  for (const [failure, fits] of checks) {
    left = left.filter(fits)
    if (left.length === 0) return failure
  }
  return left[0] ?? 'issuer'
}

function claimAt(claims: Readonly<Record<string, unknown>>, name: string): unknown {
  if (!name.startsWith('/')) return Object.hasOwn(claims, name) ? claims[name] : undefined
  let found: unknown = claims
  for (const part of name.slice(1).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    found = typeof found === 'object' && found !== null && Object.hasOwn(found, key) ? (found as Record<string, unknown>)[key] : undefined
  }
  return found
}

async function keysOf(keys: IssuerKeys, { issuer, jwks, jwksUri }: WorkloadIdentity, kid: string | undefined): Promise<JSONWebKeySet | undefined> {
  const set = jwks ?? (await keys.find({ issuer, ...(jwksUri === undefined ? {} : { jwksUri }) }, kid))
  if (set === undefined || !issuer.startsWith(SPIFFE)) return set
  // SPIFFE Trust Domain and Bundle §4.2.2: a bundle says of each key what it signs; those of X.509-SVIDs sign no JWT.
  return { keys: set.keys.filter(({ use }) => use === undefined || use === 'sig' || use === 'jwt-svid').map(({ use: _use, ...key }) => key) }
}

async function signatureFailure(jwt: string, keys: JSONWebKeySet, at: number): Promise<WorkloadFailure | undefined> {
  try {
    await jwtVerify(jwt, finderIn(keys), { algorithms: ALGORITHMS, currentDate: new Date(at), clockTolerance: SKEW_S })
    return undefined
  } catch (error) {
    if (error instanceof errors.JWTExpired || (error instanceof errors.JWTClaimValidationFailed && error.claim === 'nbf')) return 'lifetime'
    // The keys are the platform's: one that is none (`DOMException`) is its fault, not ours.
    if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException) return 'signature'
    throw error
  }
}
