import type { Actor } from '../../authorize/authorization.ts'
import type { User } from '../../identity/user.ts'
import type { KeyRing } from '../../keys/signing.ts'
import { formatScope } from '../../oauth/scope.ts'
import { newId } from '../../oauth/secret.ts'
import type { Authentication } from '../../policy/rule.ts'
import { ID_JAG_TYPE } from './id-jag-claims.ts'

/** Seconds that one of ours is good for. */
const LIFETIME_S = 300

/** What an ID-JAG of ours is for. */
export interface IdJagRequest {
  readonly user: User
  /** The issuer of the authorization server elsewhere, as its metadata has it. */
  readonly audience: string
  /** What the client is called there (§5). */
  readonly clientId: string
  readonly resource: string
  readonly scope: readonly string[]
  /** What our tenant is called there. */
  readonly tenant?: string
  /** How the person signed in, where that is known. */
  readonly authentication?: Authentication
  readonly actor?: Actor
  /** The thumbprint of the key that it is bound to. */
  readonly jkt?: string
  /** Seconds since the epoch: it does not outlive what it came of. */
  readonly expiresAt?: number
}

export interface MintedIdJag {
  readonly assertion: string
  readonly jti: string
  /** Seconds since the epoch. */
  readonly expiresAt: number
}

export type MintIdJag = (request: IdJagRequest) => MintedIdJag

/** Signs ID-JAGs of this issuer (ID-JAG §3). It decides nothing about who gets one. */
export function idJagMint({ issuer, keys, now }: { readonly issuer: string; readonly keys: Pick<KeyRing, 'sign'>; readonly now: () => number }): MintIdJag {
  return ({ user, audience, clientId, resource, scope, tenant, authentication = {}, actor, jkt, expiresAt: end = Infinity }) => {
    const issuedAt = Math.floor(now() / 1000)
    const expiresAt = Math.min(issuedAt + LIFETIME_S, end)
    const jti = newId('jti')
    const { authTime, acr, amr } = authentication
    const claims = {
      iss: issuer,
      // By this issuer, whatever they are called at their identity provider: two of these may call two people the same.
      sub: user.id,
      aud: audience,
      client_id: clientId,
      jti,
      iat: issuedAt,
      exp: expiresAt,
      resource,
      ...(scope.length === 0 ? {} : { scope: formatScope(scope) }),
      ...(tenant === undefined ? {} : { aud_tenant: tenant }),
      ...(user.email === undefined ? {} : { email: user.email }),
      ...(user.email === undefined || user.emailVerified === undefined ? {} : { email_verified: user.emailVerified }),
      ...(authTime === undefined ? {} : { auth_time: authTime }),
      ...(acr === undefined ? {} : { acr }),
      ...(amr === undefined ? {} : { amr: [...amr] }),
      ...(actor === undefined ? {} : { act: actor }),
      // §7.5.1: whoever proved a key gets an assertion that is worth nothing without it.
      ...(jkt === undefined ? {} : { cnf: { jkt } }),
    }
    return { assertion: keys.sign(claims, ID_JAG_TYPE), jti, expiresAt }
  }
}
