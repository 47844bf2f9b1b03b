// The only place that mints: access tokens are signed here and refresh tokens made, for an authorization that was
// granted. It decides nothing about who gets one.
import type { Authorization } from '../authorize/authorization.ts'
import type { KeyRing } from '../keys/signing.ts'
import { formatScope } from '../oauth/scope.ts'
import { hash, newId, newSecret, type Hashed } from '../oauth/secret.ts'
import type { NewRefreshToken } from './token-store.ts'

/** All in seconds. */
export interface TokenLifetimes {
  readonly accessToken: number
  /** How long an unused refresh token stays usable. */
  readonly refreshToken: number
  /** When every grant ends, used or not. */
  readonly grant: number
}

/** What an access token is made for; times in seconds since the epoch. */
export interface AccessTokenRequest {
  readonly authorization: Authorization
  /** All that was granted, or less. */
  readonly scope: readonly string[]
  readonly grantedAt: number
  /** The thumbprint of the key that it is bound to (RFC 9449 §6.1). */
  readonly jkt?: string
}

export interface AccessToken {
  readonly token: string
  readonly expiresAt: number
  readonly jti: string
}

export interface RefreshTokenRequest {
  readonly grantId: string
  readonly grantedAt: number
  /** The refresh token that this one succeeds. */
  readonly predecessor?: { readonly token: string; readonly generation: number }
}

export interface RefreshToken {
  readonly token: string
  readonly record: NewRefreshToken
}

export interface Issuer {
  accessToken(request: AccessTokenRequest): AccessToken
  refreshToken(request: RefreshTokenRequest): RefreshToken
}

export interface IssuerOptions {
  readonly issuer: string
  readonly keys: Pick<KeyRing, 'sign'>
  readonly lifetimes: TokenLifetimes
  readonly now: () => number
}

export function tokenIssuer({ issuer, keys, lifetimes, now }: IssuerOptions): Issuer {
  const seconds = (): number => Math.floor(now() / 1000)
  return {
    accessToken({ authorization, scope, grantedAt, jkt }) {
      const issuedAt = seconds()
      const expiresAt = Math.min(issuedAt + lifetimes.accessToken, grantedAt + lifetimes.grant, authorization.expiresAt ?? Infinity)
      const jti = newId('jti')
      const { userId, clientId, resource, authTime, acr, amr, parents, actor } = authorization
      // RFC 9068 §2.2: iss, exp, aud, sub, client_id, iat and jti are required; §2.2.1, RFC 9470 §6.1: what is known of the sign-in.
      const claims = {
        iss: issuer,
        sub: userId,
        aud: resource,
        client_id: clientId,
        scope: formatScope(scope),
        iat: issuedAt,
        exp: expiresAt,
        jti,
        grant: authorization.id,
        ...(authTime === undefined ? {} : { auth_time: authTime }),
        ...(acr === undefined ? {} : { acr }),
        ...(amr === undefined ? {} : { amr: [...amr] }),
        ...(parents === undefined ? {} : { parents: [...parents] }),
        ...(actor === undefined ? {} : { act: actor }),
        ...(jkt === undefined ? {} : { cnf: { jkt } }),
      }
      // RFC 9068 §2.1: the type keeps every other JWT of this issuer from being taken for an access token.
      return { token: keys.sign(claims, 'at+jwt'), expiresAt, jti }
    },
    refreshToken({ grantId, grantedAt, predecessor }) {
      const family = familyOf(predecessor?.token ?? '') ?? newFamily()
      const token = `${newSecret('lyd_rt')}.${family}`
      const issuedAt = seconds()
      return {
        token,
        record: {
          hash: hash(token),
          family: hashFamily(token),
          grantId,
          generation: predecessor === undefined ? 0 : predecessor.generation + 1,
          issuedAt,
          expiresAt: Math.min(issuedAt + lifetimes.refreshToken, grantedAt + lifetimes.grant),
        },
      }
    },
  }
}

/** The part that all refresh tokens of one grant share: as secret as they are, so who knows it has held one of them. */
function newFamily(): string {
  return newId('f').slice(2)
}

const REFRESH_TOKEN = /^lyd_rt_[\w-]{43}\.([\w-]{22})$/

/** Whether a token has the form of a refresh token: what has not need not be looked for among them. */
export function isRefreshToken(token: string): boolean {
  return REFRESH_TOKEN.test(token)
}

function familyOf(token: string): string | undefined {
  return REFRESH_TOKEN.exec(token)?.[1]
}

/** The hash under which the store knows the family of a refresh token; of anything else, one that no family has. */
export function hashFamily(token: string): Hashed {
  const family = familyOf(token)
  return hash(family === undefined ? `none ${token}` : `family ${family}`)
}
