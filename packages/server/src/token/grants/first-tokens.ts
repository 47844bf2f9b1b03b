import type { AuditEvent } from '../../audit/event.ts'
import { formatScope } from '../../oauth/scope.ts'
import type { Issuer } from '../issue.ts'
import type { GrantRecord, NewRefreshToken } from '../token-store.ts'
import { trace, type GrantRequest, type Issued } from './grant.ts'

export interface FirstTokens {
  readonly issued: Issued
  readonly events: readonly AuditEvent[]
  readonly record?: NewRefreshToken
}

/** The first tokens of a grant that a person approved. */
export function firstTokens(issuer: Issuer, request: GrantRequest, { authorization, createdAt: grantedAt }: GrantRecord, scope: readonly string[]): FirstTokens {
  // Whoever is registered for it gets a refresh token; `offline_access` has no say.
  const withRefreshToken = request.client.grantTypes.includes('refresh_token')
  const access = issuer.accessToken({ authorization, scope, grantedAt })
  const refresh = withRefreshToken ? issuer.refreshToken({ grantId: authorization.id, grantedAt }) : undefined
  const issued: Issued = {
    accessToken: access.token,
    expiresAt: access.expiresAt,
    scope,
    ...(refresh && { refreshToken: refresh.token }),
  }
  const detail = { jti: access.jti, scope: formatScope(scope), refresh_token: withRefreshToken }
  return { issued, events: [{ action: 'token.issued', outcome: 'success', ...trace(request, authorization), detail }], ...(refresh && { record: refresh.record }) }
}

/** RFC 9449 §5: the refresh token of a public client is bound to its key; that of any other is bound to how it authenticates. */
export function boundTo({ client, jkt }: GrantRequest): { readonly jkt?: string } {
  return jkt !== undefined && client.tokenEndpointAuthMethods.includes('none') ? { jkt } : {}
}
