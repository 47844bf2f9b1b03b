import type { Approvals } from '../approval/approvals.ts'
import type { Standing } from '../approval/approval.ts'
import type { Actor } from '../authorize/authorization.ts'
import type { Cutoffs } from '../audit/change.ts'
import { authenticationOf } from '../identity/authentication.ts'
import { EVERY_SCOPE, type ScopeMapping } from '../identity/scope-mapping.ts'
import type { User, Users } from '../identity/user.ts'
import type { KeyRing } from '../keys/signing.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Authentication } from '../policy/rule.ts'
import { AccessTokenError, readAccessToken } from './access-token.ts'
import type { TokenStore } from './token-store.ts'

/** The verified bearer of an access token; times in seconds since the epoch. */
export interface Caller {
  readonly user: User
  readonly clientId: string
  readonly grantId: string
  /** What the person may still hold of what the token was issued for. */
  readonly scope: readonly string[]
  /** Whether they may hold a scope at all; when absent, they may hold every one. */
  readonly mayHold?: (scope: string) => boolean
  readonly resource: Resource
  readonly expiresAt: number
  readonly issuedAt: number
  readonly kid: string
  /** How the person signed in for the grant, as the identity provider told last; only what it proved is there. */
  readonly authentication: Authentication
  /** Which application calls, and what administrators decided about it. */
  readonly standing: Standing
  /** The grants that the token's own came of. */
  readonly parents?: readonly string[]
  /** Set when the token is none of Lanyard's, but of the person's identity provider: nothing of it can be asked for anew here. */
  readonly presented?: true
  /** Who acts for the person (RFC 8693 §4.1). */
  readonly actor?: Actor
  /** The thumbprint of the key that the token is bound to (RFC 9449 §6.1). */
  readonly jkt?: string
}

export interface AccessTokenVerifier {
  /**
   * Verifies an access token for one resource. It asks whether the token was cut off, not whether this node would know:
   * the caller checks `cutoffs.fresh` on every request.
   *
   * @throws AccessTokenError for every token that is not to be accepted
   */
  verify(token: string, resource: Resource): Promise<Caller>
}

export interface VerifierOptions {
  readonly issuer: string
  readonly keys: Pick<KeyRing, 'publicKey'>
  readonly cutoffs: Pick<Cutoffs, 'isCut'>
  readonly users: Users
  readonly store: Pick<TokenStore, 'findGrant'>
  readonly approvals: Pick<Approvals, 'standing'>
  readonly scopes?: ScopeMapping
  readonly now: () => number
}

export function accessTokenVerifier({ issuer, keys, cutoffs, users, store, approvals, scopes = EVERY_SCOPE, now }: VerifierOptions): AccessTokenVerifier {
  return {
    async verify(token, resource) {
      const claims = readAccessToken(token, { issuer, keys, now: now() })
      // RFC 8707 §2, RFC 9068 §4: equal as strings; a token for one resource is worth nothing at another.
      if (claims.audience !== resource) throw new AccessTokenError('audience')
      const [user, standing, grant] = await Promise.all([liveUser(users, claims.userId), approvals.standing(claims.clientId), store.findGrant(claims.grantId)])
      // Last, as it is in memory: what was revoked while the store was asked counts.
      // The store knows of an end before this node has heard of it.
      if (grant === undefined || cutoffs.isCut(claims)) throw new AccessTokenError('cut')
      const { clientId, grantId, expiresAt, issuedAt, kid, parents, actor, jkt } = claims
      const scope = scopes.narrow(user, claims.scope)
      return {
        user,
        clientId,
        grantId,
        scope,
        mayHold: (wanted) => scopes.mayHold(user, wanted),
        resource,
        expiresAt,
        issuedAt,
        kid,
        standing,
        authentication: authenticationOf(grant.authorization),
        ...(parents === undefined ? {} : { parents }),
        ...(actor === undefined ? {} : { actor }),
        ...(jkt === undefined ? {} : { jkt }),
      }
    },
  }
}

async function liveUser(users: Users, userId: string): Promise<User> {
  const user = await users.find(userId)
  if (user === undefined) throw new AccessTokenError('unknown_user')
  if (user.disabled) throw new AccessTokenError('disabled')
  return user
}
