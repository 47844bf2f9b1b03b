import type { CryptoKey, JSONWebKeySet, JWTPayload } from 'jose'

/** The keys that sign access tokens, on this node: loaded from the store, followed when another node rotates them. */
export interface KeyRing {
  /** Signs a JWT with the active key; adds `alg`, `kid` and the given `typ`. */
  sign(payload: JWTPayload, typ: string): Promise<string>
  /** The public key of a key identifier, or undefined when it is unknown or revoked. */
  publicKey(kid: string): CryptoKey | undefined
  /** What `/jwks` publishes: next, active and retired keys, never revoked ones. */
  jwks(): JSONWebKeySet
  readonly algorithms: readonly string[]
}
