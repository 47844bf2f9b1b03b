// Owns the token endpoint (RFC 6749 §3.2) and its sequence, which no grant type can shorten. It signs no one in, and
// asks clients/ who the client is, a grant type what was granted, and policy whether it still may be used.
import type { Recorder } from '../audit/event.ts'
import type { ClientAuthentication } from '../clients/client.ts'
import { clientEndpoint, type AskingClient } from '../clients/client-endpoint.ts'
import { requireRate, type RateLimit } from '../http/rate-limit.ts'
import type { Route } from '../http/route.ts'
import { OAuthError } from '../oauth/error.ts'
import { formatScope } from '../oauth/scope.ts'
import type { GrantRequest, GrantType, Issued } from './grants/grant.ts'
import type { Issuer } from './issue.ts'
import { bound, provenKey, type ProofRules } from './possession.ts'
import type { SubjectCheck } from './subject.ts'

export interface TokenEndpointOptions {
  readonly authentication: ClientAuthentication
  readonly grants: readonly GrantType[]
  readonly checkSubject: SubjectCheck
  readonly issuer: Issuer
  readonly recorder: Recorder
  readonly limits: TokenLimits
  readonly proof: ProofRules
  readonly url: string
  readonly now: () => number
}

export interface TokenLimits {
  /** Per client and user, and per client and what it presents: never per client alone, which all its users share. */
  readonly requests: RateLimit
  /** Per address, against floods. */
  readonly floods: RateLimit
}

export function tokenEndpoint(options: TokenEndpointOptions): Route {
  const { authentication, recorder: audit, limits } = options
  return clientEndpoint({ authentication, audit, flood: limits.floods }, { path: '/token', refused: 'token.refused' }, async (asking) => {
    let members: Readonly<Record<string, string>> | undefined
    const tell: GrantRequest['tell'] = (more) => {
      members = { ...members, ...more }
    }
    try {
      return answer(await exchange(options, asking, tell), members, options.now())
    } catch (error) {
      throw error instanceof OAuthError && members !== undefined ? error.but({ members: { ...error.members, ...members } }) : error
    }
  })
}

async function exchange(options: TokenEndpointOptions, { client, params, request, context, learn }: AskingClient, tell: GrantRequest['tell']): Promise<Issued> {
  const type = params.require('grant_type')
  const grant = options.grants.find((candidate) => candidate.type === type)
  if (grant === undefined) throw new OAuthError('unsupported_grant_type', 'the grant type is not supported')
  if (!client.grantTypes.includes(type)) throw new OAuthError('unauthorized_client', 'the client is not registered for this grant type')
  requireRate(options.limits.requests, `${client.id} ${grant.presented(params)}`)
  const jkt = await provenKey(options.proof, client, request.headers.get('dpop'), options.url)
  const asked = { client, params, context, tell, ...(jkt === undefined ? {} : { jkt }) }
  const granted = await grant.authorize(asked)
  const { authorization } = granted
  learn({ subject: authorization.userId, grantId: authorization.id, resource: authorization.resource })
  requireRate(options.limits.requests, `${client.id} ${authorization.userId}`)
  const hold = await options.checkSubject(asked, granted)
  // RFC 9449 §5: the type tells the client that the token is bound.
  const issued = await granted.issue(bound(options.issuer, jkt), hold)
  return { ...issued, tokenType: issued.tokenType ?? (jkt === undefined ? 'Bearer' : 'DPoP') }
}

/** RFC 6749 §5.1: no cache may keep it; the scope is named even when it is what was asked for. */
function answer(issued: Issued, members: Readonly<Record<string, string>> | undefined, now: number): Response {
  const body = {
    access_token: issued.accessToken,
    token_type: issued.tokenType ?? 'Bearer',
    ...(issued.issuedTokenType === undefined ? {} : { issued_token_type: issued.issuedTokenType }),
    expires_in: Math.max(0, issued.expiresAt - Math.floor(now / 1000)),
    ...(issued.refreshToken === undefined ? {} : { refresh_token: issued.refreshToken }),
    ...(issued.scope.length === 0 ? {} : { scope: formatScope(issued.scope) }),
    ...members,
  }
  return Response.json(body, { headers: { 'cache-control': 'no-store', pragma: 'no-cache' } })
}
