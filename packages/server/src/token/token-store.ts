import type { AuditEvent } from '../audit/event.ts'
import type { Authorization, CodeRecord } from '../authorize/authorization.ts'
import type { Hashed, Sealed } from '../oauth/secret.ts'

/** A grant as the token endpoint sees it; all times of this file in seconds since the epoch. */
export interface GrantRecord {
  readonly authorization: Authorization
  readonly createdAt: number
}

export interface StoredCode extends CodeRecord {
  readonly consumed: boolean
  readonly grantedAt: number
}

/** A refresh token of a grant that is still alive. */
export interface RefreshTokenRecord extends GrantRecord {
  readonly hash: Hashed
  /** The hash of the part that all refresh tokens of the grant share: knows a used token whose row is gone. */
  readonly family: Hashed
  readonly generation: number
  readonly issuedAt: number
  readonly expiresAt: number
  readonly used?: UsedRefreshToken
  /** Whether more than its tokens stand for is asked of the grant at present: a refresh may be the wrong answer. */
  readonly isAsked?: true
}

export interface UsedRefreshToken {
  readonly at: number
  /** What was asked for with it: the same answer goes to the same request alone. */
  readonly requestDigest: Hashed
  /** The response that was made for it. */
  readonly successor: Sealed
}

export interface NewRefreshToken {
  readonly hash: Hashed
  readonly family: Hashed
  readonly grantId: string
  readonly generation: number
  readonly issuedAt: number
  readonly expiresAt: number
}

/** `spent`: another request was faster. `ended`: the grant was revoked meanwhile. Then there is no token and no event. */
export type Consumption = 'consumed' | 'spent' | 'ended'

/** A grant that begins at the token endpoint, without a code. */
export interface NewGrant {
  readonly authorization: Authorization
  readonly at: number
  readonly refreshToken?: NewRefreshToken
  /** The assertion that it is granted for, which is good once. */
  readonly assertion?: UsedAssertion
}

/** An assertion, by the hash of who made it and its `jti`, and when nobody would accept it any more. */
export interface UsedAssertion {
  readonly hash: Hashed
  readonly expiresAt: number
}

export interface TokenStore {
  /** Begins a grant; `ended` when a grant that it comes of has ended, or the person may not sign in, `used` when its assertion was: then there is none. */
  startGrant(grant: NewGrant, events: readonly AuditEvent[]): Promise<'started' | 'ended' | 'used'>
  /** Whether a grant was started for the assertion, on any node. */
  isUsedAssertion(hash: Hashed): Promise<boolean>
  findCode(hash: Hashed): Promise<StoredCode | undefined>
  /** Consumes a code and adds the first refresh token of its grant, for one caller alone; binds the grant to a key. */
  consumeCode(change: { readonly hash: Hashed; readonly grantId: string; readonly at: number; readonly refreshToken?: NewRefreshToken; readonly jkt?: string }, events: readonly AuditEvent[]): Promise<Consumption>
  /** Undefined for an unknown one, and when its grant was revoked. */
  findRefreshToken(hash: Hashed): Promise<RefreshTokenRecord | undefined>
  /** The grant of any refresh token of the family, while the grant lives. */
  findFamily(family: Hashed): Promise<GrantRecord | undefined>
  /** Uses a refresh token and adds its successor, for one caller alone: false when it was used or its grant revoked. */
  rotate(change: { readonly used: UsedRefreshToken; readonly hash: Hashed; readonly successor: NewRefreshToken }, events: readonly AuditEvent[]): Promise<boolean>
  findGrant(grantId: string): Promise<GrantRecord | undefined>
  /** Ends a grant and all its tokens, on all nodes; false when it had ended before. */
  revokeGrant(grantId: string, at: number, events: readonly AuditEvent[]): Promise<boolean>
  /** Forgets used refresh tokens that answer no repetition any more, all that expired, and grants that nothing is left of. */
  prune(at: { readonly usedBefore: number; readonly expiredBefore: number }): Promise<void>
}
