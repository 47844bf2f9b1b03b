// Owns proofs of possession (RFC 9449): what a proof must say, and that each is good once on all nodes. It does not know
// tokens or grants: it tells whose key was proven.
import { hash as digest } from 'node:crypto'
import { calculateJwkThumbprint, decodeProtectedHeader, EmbeddedJWK, errors, jwtVerify, type JWTPayload } from 'jose'
import { NODE_SKEW_S } from '../audit/change.ts'
import type { StateSealer } from '../keys/seal.ts'
import { hash, type Hashed } from '../oauth/secret.ts'

/** RFC 9449 §4.3: asymmetric ones alone. */
export const DPOP_ALGORITHMS: readonly string[] = ['ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'RS256']

export type DpopErrorCode = 'invalid_dpop_proof' | 'use_dpop_nonce'

/** A proof that proves nothing; the message is for the client, `reason` for the audit trail. */
export class DpopError extends Error {
  override readonly name = 'DpopError'
  readonly code: DpopErrorCode
  readonly reason: string
  /** The nonce that the next proof is to hold (RFC 9449 §8). */
  readonly nonce: string | undefined

  constructor(code: DpopErrorCode, reason: string, nonce?: string) {
    super(code === 'use_dpop_nonce' ? 'the proof must hold the nonce of this answer' : `the DPoP proof is refused: ${reason}`)
    this.code = code
    this.reason = `dpop: ${reason}`
    this.nonce = nonce
  }
}

export interface ProofStore {
  /** @param expiresAt milliseconds since the epoch: until then the proof is known @returns false when it was used before, on any node */
  use(proof: Hashed, expiresAt: number): Promise<boolean>
  /** Forgets proofs that are too old to be accepted. */
  reap(now: number): Promise<void>
}

/** What a proof has to be made for. */
export interface ProofTarget {
  readonly method: string
  /** As the client knows it: a query is not part of what is proven. */
  readonly url: string
  /** The access token that it comes with, and the key that this one is bound to (RFC 9449 §7). */
  readonly token?: { readonly value: string; readonly jkt: string }
}

/** Checks a proof. @returns the thumbprint of the key that was proven (RFC 7638) @throws DpopError */
export type CheckProof = (proof: string, target: ProofTarget) => Promise<string>

export interface ProofDeps {
  readonly store: Pick<ProofStore, 'use'>
  readonly state: StateSealer
  /** Whether each proof must hold a nonce of this gateway, so that none can be made in advance. */
  readonly requireNonce: boolean
  readonly now: () => number
}

const MAX_LENGTH = 8192
/** Seconds that the clock of a client may be off, and that a proof is good for. */
const WINDOW_S = 300
const NONCE_MS = 5 * 60_000
const NONCE = 'dpop-nonce'

export function proofCheck({ store, state, requireNonce, now }: ProofDeps): CheckProof {
  const nonce = (): string => state.seal(NONCE, [], {}, now() + NONCE_MS)
  return async (proof, target) => {
    const { jkt, claims } = await verify(proof, now())
    checkTarget(claims, target, jkt)
    const { jti, iat, nonce: given } = claims
    if (typeof jti !== 'string' || jti === '') throw new DpopError('invalid_dpop_proof', 'jti is missing')
    // RFC 9449 §11.1: neither old nor made in advance.
    if (typeof iat !== 'number' || Math.abs(now() / 1000 - iat) > WINDOW_S) throw new DpopError('invalid_dpop_proof', 'iat is not now')
    if (given === undefined ? requireNonce : state.open(NONCE, [], text(given), now()) === undefined) throw new DpopError('use_dpop_nonce', 'nonce', nonce())
    // RFC 9449 §11.1: once, for as long as it would be accepted; the key is part of it, so that nobody uses up another's.
    if (!(await store.use(hash(`${jkt} ${jti}`), Math.ceil((iat + WINDOW_S + NODE_SKEW_S) * 1000)))) throw new DpopError('invalid_dpop_proof', 'it was used before')
    return jkt
  }
}

async function verify(proof: string, now: number): Promise<{ readonly jkt: string; readonly claims: JWTPayload }> {
  if (proof.length > MAX_LENGTH) throw new DpopError('invalid_dpop_proof', 'it is too long')
  try {
    const { jwk } = decodeProtectedHeader(proof)
    // RFC 9449 §4.3: a private key in a proof is one that everybody knows.
    if (jwk === undefined || ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].some((member) => member in jwk)) throw new DpopError('invalid_dpop_proof', 'the key is missing or private')
    const options = { typ: 'dpop+jwt', algorithms: [...DPOP_ALGORITHMS], currentDate: new Date(now), clockTolerance: WINDOW_S }
    const { payload } = await jwtVerify(proof, EmbeddedJWK, options)
    return { jkt: await calculateJwkThumbprint(jwk), claims: payload }
  } catch (error) {
    // The key is the client's: one that is none (`DOMException`) is its fault, not ours.
    if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException) throw new DpopError('invalid_dpop_proof', 'malformed, or its signature does not verify')
    throw error
  }
}

function checkTarget({ htm, htu, ath }: JWTPayload, { method, url, token }: ProofTarget, jkt: string): void {
  if (htm !== method) throw new DpopError('invalid_dpop_proof', 'htm is another method')
  if (plainUrl(text(htu)) !== plainUrl(url)) throw new DpopError('invalid_dpop_proof', 'htu is another address')
  if (token === undefined) return
  if (ath !== digest('sha256', token.value, 'base64url')) throw new DpopError('invalid_dpop_proof', 'ath is of another token')
  if (jkt !== token.jkt) throw new DpopError('invalid_dpop_proof', 'the token is bound to another key')
}

/** RFC 9449 §4.3: without query and fragment, as RFC 3986 §6.2.2 and §6.2.3 write it. */
function plainUrl(value: string): string | undefined {
  if (!URL.canParse(value)) return undefined
  const { origin, pathname } = new URL(value)
  return `${origin}${pathname}`
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
