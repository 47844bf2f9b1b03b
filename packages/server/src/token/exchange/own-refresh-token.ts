// A refresh token of Lanyard as the subject of an ID-JAG: its client gets the next assertion without another sign-in
// (ID-JAG §4.3). It is neither used up nor renewed by that: the answer has no place for a successor (§4.3.4: "SHOULD NOT be
// used"), and clients that exchange authenticate, so that nobody else can use it (RFC 9700 §2.2.2).
import type { User, Users } from '../../identity/user.ts'
import { OAuthError } from '../../oauth/error.ts'
import type { GrantRequest } from '../grants/grant.ts'
import { requireRefreshToken, type RefreshTokenStore } from '../grants/refresh-token.ts'
import type { SubjectCheck } from '../subject.ts'
import type { RefreshTokenRecord } from '../token-store.ts'

export interface OwnRefreshTokenOptions {
  readonly store: RefreshTokenStore
  /** What a refresh asks of the person behind the grant. */
  readonly checkSubject: SubjectCheck
  readonly users: Users
  readonly now: () => number
}

export interface UsableRefreshToken {
  readonly record: RefreshTokenRecord
  /** As their identity provider named them just now. */
  readonly user: User
}

/**
 * ID-JAG §4.3.3: "the IdP MUST validate it the same way it would for a standard refresh_token grant at the token endpoint".
 *
 * @throws OAuthError `invalid_grant`, as a refresh: what was used long ago, or is another client's, ends its grant
 */
export async function usableRefreshToken(options: OwnRefreshTokenOptions, request: GrantRequest, token: string): Promise<UsableRefreshToken> {
  const record = await requireRefreshToken(options, request, token)
  if (record.used !== undefined) throw new OAuthError('invalid_grant', 'the refresh token was used', { reason: 'the refresh token was used, and has a successor' })
  const { authorization, createdAt: grantedAt } = record
  await options.checkSubject(request, { authorization, scope: authorization.scope, grantedAt, recheck: true })
  const user = await options.users.find(authorization.userId)
  if (user === undefined) throw new OAuthError('invalid_grant', 'the authorization is no longer valid', { reason: 'unknown user' })
  return { record, user }
}
