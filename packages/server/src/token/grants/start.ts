import type { AuditEvent } from '../../audit/event.ts'
import type { Authorization } from '../../authorize/authorization.ts'
import { OAuthError } from '../../oauth/error.ts'
import { formatScope } from '../../oauth/scope.ts'
import type { TokenStore, UsedAssertion } from '../token-store.ts'
import { trace, type Granted, type GrantRequest, type Issued } from './grant.ts'

export interface NewAuthorization {
  readonly authorization: Authorization
  /** Seconds since the epoch. */
  readonly at: number
  /** RFC 8693 §2.2.1: what a token exchange issues. */
  readonly issuedTokenType?: string
  /** Who answers for the machine that it is for. */
  readonly owner?: string
  /** The assertion that it is granted for, which is good once. */
  readonly assertion?: UsedAssertion
  /** What the audit trail says besides. */
  readonly detail?: AuditEvent['detail']
}

/**
 * What a grant type proved that begins a grant at the token endpoint: it is written with its first access token, and has no
 * refresh token (RFC 6749 §4.4.3), so that whoever wants another token proves anew that they may have it.
 */
export function startGrant(store: Pick<TokenStore, 'startGrant'>, request: GrantRequest, { authorization, at, issuedTokenType, owner, assertion, detail }: NewAuthorization): Granted {
  return {
    authorization,
    scope: authorization.scope,
    grantedAt: at,
    recheck: false,
    async issue(issuer, hold) {
      const held = { ...authorization, scope: hold(authorization.scope) }
      const access = issuer.accessToken({ authorization: held, scope: held.scope, grantedAt: at })
      const event: AuditEvent = {
        action: 'token.issued',
        outcome: 'success',
        ...trace(request, held),
        ...(owner === undefined ? {} : { owner }),
        detail: { jti: access.jti, scope: formatScope(held.scope), grant_type: request.params.require('grant_type'), ...(held.actor && { actor: held.actor.sub }), ...detail },
      }
      const started = await store.startGrant({ authorization: held, at, ...(assertion && { assertion }) }, [event])
      if (started !== 'started') throw new OAuthError('invalid_grant', 'the authorization is no longer valid', { reason: started === 'used' ? 'the assertion was used meanwhile' : 'ended meanwhile' })
      const issued: Issued = { accessToken: access.token, expiresAt: access.expiresAt, scope: held.scope, ...(issuedTokenType === undefined ? {} : { issuedTokenType }) }
      return issued
    },
  }
}
