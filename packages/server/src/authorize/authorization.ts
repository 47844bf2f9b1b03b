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
