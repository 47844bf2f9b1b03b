// Owns sealed upstream credentials: what they hold, and where they open. It does not fetch or refresh them.
import type { JWK } from 'jose'
import type { Sealer } from '../keys/seal.ts'
import type { Sealed } from '../oauth/secret.ts'

/** What a connection's authorization server gave, and everything needed to refresh and revoke it there. */
export interface OAuthCredential {
  readonly accessToken: string
  readonly refreshToken?: string
  /** Milliseconds since the epoch; absent when the server did not say. */
  readonly expiresAt?: number
  /** When it is refreshed although it is still good, so that a call does not end with it. */
  readonly refreshAt?: number
  readonly scope?: string
  /** What was asked for: what of it was not given is not asked for again. */
  readonly requested?: string
  /** The issuer that it belongs to: it is sent nowhere else. */
  readonly issuer: string
  /** Whom it was issued to: no other client can refresh or revoke it. */
  readonly clientId: string
  /** Whose account it is, when the server said so in an ID token. */
  readonly account?: string
  /** The private key that it is bound to, when it is (RFC 9449 §5). */
  readonly proofKey?: JWK
}

export interface Vault {
  seal(userId: string, upstreamId: string, credential: OAuthCredential): Sealed
  /** @throws SealError when the credential is not of this user and upstream. */
  open(userId: string, upstreamId: string, sealed: Sealed): OAuthCredential
}

export function vault(sealer: Sealer): Vault {
  const row = (userId: string, upstreamId: string): readonly string[] => ['connections', userId, upstreamId, 'credential']
  return {
    seal: (userId, upstreamId, credential) => sealer.seal(JSON.stringify(credential), row(userId, upstreamId)),
    open: (userId, upstreamId, sealed) => JSON.parse(sealer.open(sealed, row(userId, upstreamId))) as OAuthCredential,
  }
}
