import type { Authentication } from '../policy/rule.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { Resource } from '../oauth/resource.ts'
import type { RedirectUri } from '../oauth/redirect-uri.ts'

/** What a token is issued for. `id` is the grant: all tokens that come of one approval share it and end with it. */
export interface Authorization extends Authentication {
  readonly id: string
  readonly userId: string
  readonly clientId: string
  readonly resource: Resource
  readonly scope: readonly string[]
  /** What the resource's profile reached when the person approved: see `reachOf`. */
  readonly reach?: readonly string[]
  /** Seconds since the epoch: no token of the grant outlives it. */
  readonly expiresAt?: number
  /** The grants that this one came of by exchange, the nearest first: it ends with any of them. */
  readonly parents?: readonly string[]
  readonly actor?: Actor
  /** The thumbprint of the DPoP key that its codes and refresh tokens are bound to (RFC 9449 §5, §10). */
  readonly jkt?: string
}

/** Who acts for the person, and for whom they act in turn (RFC 8693 §4.1): the claim `act`. */
export interface Actor {
  readonly sub: string
  readonly iss?: string
  readonly sub_profile?: string
  readonly act?: Actor
}

/** An authorization code's record; the code itself is known to the client alone. */
export interface CodeRecord {
  readonly hash: Hashed
  readonly authorization: Authorization
  /** The redirect URI as the request gave it: must be repeated at the token endpoint when sent there (RFC 6749 §4.1.3). */
  readonly redirectUri: RedirectUri
  readonly codeChallenge: string
  /** Seconds since the epoch; 60 s after issue. */
  readonly expiresAt: number
}
