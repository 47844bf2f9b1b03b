// Tokens of identity providers in place of Lanyard's own, where an administrator listed whom they may be made for. What
// follows is the same for both: policy, profiles, scopes by groups and roles, and that what was ended is ended.
import type { Approvals } from '../approval/approvals.ts'
import type { Cutoffs } from '../audit/change.ts'
import { authenticationOf } from '../identity/authentication.ts'
import type { PresentedTokens } from '../identity/presented.ts'
import { LoginRefused, type PresentedClaims } from '../identity/providers/provider.ts'
import { EVERY_SCOPE, type ScopeMapping } from '../identity/scope-mapping.ts'
import { EVERY_UPSTREAM } from '../oauth/scope.ts'
import { hash } from '../oauth/secret.ts'
import type { Resource } from '../oauth/resource.ts'
import { AccessTokenError } from './access-token.ts'
import type { AccessTokenVerifier, Caller } from './verify.ts'

/** What of one identity provider is accepted. */
export interface Acceptance {
  /** Whom access tokens may be made for. */
  readonly audiences: readonly string[]
  /** The provider's clients whose ID tokens are accepted. */
  readonly idTokenClients: readonly string[]
}

export interface PresentedOptions {
  /** By identity provider; of one that is absent, nothing is accepted. */
  readonly accepted: ReadonlyMap<string, Acceptance>
  readonly presented: PresentedTokens
  readonly cutoffs: Pick<Cutoffs, 'isCut'>
  readonly approvals: Pick<Approvals, 'standing'>
  readonly scopes?: ScopeMapping
}

/** What rules name a client of an identity provider by. */
export function providerClientId(provider: string, clientId: string): string {
  return `provider:${provider}:${clientId}`
}

/** A verifier of Lanyard's access tokens that takes the identity providers' too, where they are accepted. */
export function acceptingVerifier(own: AccessTokenVerifier, options: PresentedOptions): AccessTokenVerifier {
  return {
    async verify(token, resource) {
      const provider = options.presented.providerOf(token)
      if (provider === undefined) return own.verify(token, resource)
      const acceptance = options.accepted.get(provider)
      // MCP "Access Token Privilege Restriction": what was not made for this server is not for it, unless somebody said so.
      if (acceptance === undefined) throw new AccessTokenError('foreign')
      try {
        return await callerOf(options, await verified(options, token, acceptance), token, resource)
      } catch (error) {
        // A provider that cannot be reached is another matter: nobody knows, and the client may try again.
        if (error instanceof LoginRefused) throw new AccessTokenError('provider', error.reason)
        throw error
      }
    },
  }
}

async function verified({ presented }: PresentedOptions, token: string, acceptance: Acceptance): Promise<PresentedClaims & { readonly clientId: string }> {
  const kind = presented.kindOf(token)
  if (kind === undefined) throw new LoginRefused('it is neither an access token nor an ID token')
  const claims = await presented.verify(token, kind)
  const { clientId } = claims
  if (clientId === undefined) throw new LoginRefused('it does not say which client it was issued to')
  if (!isAccepted({ ...claims, clientId }, acceptance)) throw new LoginRefused(`this ${kind} is for somebody else`)
  return { ...claims, clientId }
}

/** RFC 9068 §4, OpenID Connect Core §3.1.3.7: for whom it is; one that is for others too could be replayed by them. */
function isAccepted({ kind, audiences, clientId }: PresentedClaims & { readonly clientId: string }, { audiences: allowed, idTokenClients }: Acceptance): boolean {
  const listed = kind === 'access_token' ? allowed : idTokenClients
  if (audiences.length === 0 || !audiences.every((audience) => listed.includes(audience))) return false
  return kind === 'access_token' || audiences.includes(clientId)
}

async function callerOf(options: PresentedOptions, claims: PresentedClaims & { readonly clientId: string }, token: string, resource: Resource): Promise<Caller> {
  const { cutoffs, approvals, presented, scopes = EVERY_SCOPE } = options
  const clientId = providerClientId(claims.provider, claims.clientId)
  const jkt = keyOf(claims.cnf)
  // RFC 8693 §4.1: who acts through whom is a decision of its own, made at the token endpoint.
  if (claims.act !== undefined) throw new AccessTokenError('provider', 'somebody acts for the person: it must be exchanged')
  const [user, standing] = await Promise.all([presented.person(claims, token), approvals.standing(clientId)])
  if (user.disabled) throw new AccessTokenError('disabled')
  const { issuedAt, expiresAt } = claims
  const grantId = `presented_${hash(token).slice(0, 22)}`
  // Last, as it is in memory: what was revoked while the store was asked counts.
  if (cutoffs.isCut({ userId: user.id, clientId, grantId, kid: '', issuedAt })) throw new AccessTokenError('cut')
  return {
    user,
    clientId,
    grantId,
    // A provider that names Lanyard's scopes narrows; else groups and roles say all that there is.
    scope: scopes.narrow(user, claims.scope ?? EVERY_UPSTREAM),
    mayHold: (scope) => scopes.mayHold(user, scope),
    resource,
    expiresAt,
    issuedAt,
    kid: '',
    authentication: authenticationOf(claims),
    standing,
    presented: true,
    ...(jkt === undefined ? {} : { jkt }),
  }
}

/** RFC 7800 §3.1: a confirmation that is not understood confirms nothing. */
function keyOf(cnf: unknown): string | undefined {
  if (cnf === undefined) return undefined
  const jkt = typeof cnf === 'object' && cnf !== null && Object.keys(cnf).length === 1 ? (cnf as { readonly jkt?: unknown }).jkt : undefined
  if (typeof jkt !== 'string' || jkt === '') throw new AccessTokenError('provider', 'it is bound to a key in a way that is not known here')
  return jkt
}
