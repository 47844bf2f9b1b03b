import type { Cutoffs } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import type { Client, ClientAuthentication } from '../clients/client.ts'
import { clientEndpoint } from '../clients/client-endpoint.ts'
import type { Route } from '../http/route.ts'
import { authenticationOf } from '../identity/authentication.ts'
import { EVERY_SCOPE, type ScopeMapping } from '../identity/scope-mapping.ts'
import type { Users } from '../identity/user.ts'
import type { KeyRing } from '../keys/signing.ts'
import { OAuthError } from '../oauth/error.ts'
import { formatScope } from '../oauth/scope.ts'
import { hash } from '../oauth/secret.ts'
import type { AccessTokenClaims } from './access-token.ts'
import type { TokenLimits } from './endpoint.ts'
import { isRefreshToken } from './issue.ts'
import { readingOnce } from './read-once.ts'
import type { TokenStore } from './token-store.ts'

export interface IntrospectionOptions {
  readonly issuer: string
  readonly authentication: ClientAuthentication
  readonly store: TokenStore
  readonly keys: Pick<KeyRing, 'publicKey'>
  readonly users: Users
  readonly scopes?: ScopeMapping
  readonly cutoffs: Cutoffs
  /** Whether the client stands for the resource, as an administrator configured: it sees access tokens for it. */
  readonly mayIntrospect: (clientId: string, resource: string) => boolean
  readonly recorder: Recorder
  readonly limits: TokenLimits
  readonly now: () => number
}

interface Introspection extends IntrospectionOptions {
  readonly read: (token: string, now: number) => AccessTokenClaims | undefined
}

interface ActiveToken {
  readonly subject: string
  readonly grantId: string
  readonly scope: readonly string[]
  readonly body: Readonly<Record<string, unknown>>
}

/** The introspection endpoint (RFC 7662): asked live, so what was revoked a moment ago is inactive. */
export function introspectionEndpoint(given: IntrospectionOptions): Route {
  const options = { ...given, read: readingOnce(given) }
  const { authentication, recorder: audit, limits, cutoffs } = options
  return clientEndpoint({ authentication, audit, flood: limits.floods }, { path: '/introspect', refused: 'token.refused', cors: false }, async ({ client, params, context: { reference, address } }) => {
    // RFC 7662 §2.1, §4: who may say it is anybody could scan for tokens.
    if (client.tokenEndpointAuthMethods.includes('none')) throw new OAuthError('invalid_client', 'this client cannot authenticate', { reason: 'introspection by a public client' })
    if (!cutoffs.fresh) throw new OAuthError('temporarily_unavailable', 'please try again in a moment', { reason: 'this node does not know what was revoked', retryAfter: 5 })
    const active = await find(options, client, params.require('token'))
    await audit.record({
      action: 'token.introspected',
      outcome: 'success',
      clientId: client.id,
      reference,
      address,
      ...(active && { subject: active.subject, grantId: active.grantId }),
      detail: { active: active !== undefined },
    })
    // RFC 7662 §2.2: an inactive token has no other member, whatever is wrong with it or with who asks.
    return Response.json(active?.body ?? { active: false }, { headers: { 'cache-control': 'no-store', pragma: 'no-cache' } })
  })
}

async function find(options: Introspection, client: Client, token: string): Promise<ActiveToken | undefined> {
  const found = isRefreshToken(token) ? await findRefreshToken(options, client, token) : await findAccessToken(options, client, token)
  if (found === undefined) return undefined
  const user = await options.users.find(found.subject)
  if (user === undefined || user.disabled) return undefined
  const scope = (options.scopes ?? EVERY_SCOPE).narrow(user, found.scope)
  return { ...found, body: { ...found.body, scope: formatScope(scope) } }
}

/** A refresh token is its own client's business, never a resource server's. */
async function findRefreshToken({ issuer, store, cutoffs, now }: IntrospectionOptions, client: Client, token: string): Promise<ActiveToken | undefined> {
  const record = await store.findRefreshToken(hash(token))
  if (record === undefined || record.used !== undefined || record.expiresAt <= Math.floor(now() / 1000)) return undefined
  const { id: grantId, userId, clientId, scope } = record.authorization
  if (clientId !== client.id || cutoffs.isCut({ userId, clientId, grantId, kid: '', issuedAt: record.createdAt })) return undefined
  const body = { active: true, scope: formatScope(scope), client_id: clientId, sub: userId, iss: issuer, iat: record.issuedAt, exp: record.expiresAt }
  return { subject: userId, grantId, scope, body }
}

async function findAccessToken({ issuer, read, store, cutoffs, mayIntrospect, now }: Introspection, client: Client, token: string): Promise<ActiveToken | undefined> {
  const claims = read(token, now())
  if (claims === undefined || (claims.clientId !== client.id && !mayIntrospect(client.id, claims.audience))) return undefined
  // The grant is read from the store: it knows of a revocation before this node has heard of it.
  const grant = await store.findGrant(claims.grantId)
  if (cutoffs.isCut(claims) || grant === undefined) return undefined
  const { userId, grantId } = claims
  // What the person proved since the token was issued counts, at the gateway and here alike.
  const { authTime, acr, amr } = authenticationOf(grant.authorization)
  const body = {
    active: true,
    scope: formatScope(claims.scope),
    client_id: claims.clientId,
    token_type: claims.jkt === undefined ? 'Bearer' : 'DPoP',
    exp: claims.expiresAt,
    iat: claims.issuedAt,
    sub: userId,
    aud: claims.audience,
    iss: issuer,
    jti: claims.jti,
    // RFC 9470 §6.2: resource servers decide about step-up by these.
    ...(authTime === undefined ? {} : { auth_time: authTime }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr }),
    // RFC 9449 §6.2: whoever accepts the token must see the key proven.
    ...(claims.jkt === undefined ? {} : { cnf: { jkt: claims.jkt } }),
    // RFC 8693 §4.1.
    ...(claims.actor === undefined ? {} : { act: claims.actor }),
  }
  return { subject: userId, grantId, scope: claims.scope, body }
}
