// What a token of an identity provider says when somebody else than the sign-in presents it: an ID token that an
// application got, or an access token (a JWT) that the provider made for somebody. For whom it is, the caller decides.
import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, type ProtectedHeaderParameters } from 'jose'
import { SKEW_S, identityOf, type Claims, type ClaimNames } from './oidc-claims.ts'
import { LoginRefused, type PresentedClaims, type PresentedKind } from './provider.ts'

const MAX_LENGTH = 16 * 1024
const ACCESS_TOKEN_TYPES: ReadonlySet<string> = new Set(['at+jwt', 'application/at+jwt'])
/** What only one of the two has: RFC 9068 §2.2, and what providers without its type write; OpenID Connect Core §2. */
const OF_ACCESS_TOKENS = ['scope', 'scp', 'client_id', 'cid', 'appid']
const OF_ID_TOKENS = ['nonce', 'at_hash', 'c_hash']
/** Some providers say the kind in a claim: Keycloak in `typ`, Amazon Cognito in `token_use`. */
const SAID: Readonly<Record<string, PresentedKind>> = { ID: 'id_token', id: 'id_token', Bearer: 'access_token', access: 'access_token' }

export interface Unverified {
  readonly header: ProtectedHeaderParameters
  readonly claims: JWTPayload
}

/** @throws LoginRefused for what is no JWT */
export function readUnverified(token: string): Unverified {
  if (token.length > MAX_LENGTH) throw new LoginRefused('it is too long')
  try {
    return { header: decodeProtectedHeader(token), claims: decodeJwt(token) }
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError) throw new LoginRefused('it is no JWT')
    throw error
  }
}

/**
 * RFC 8725 §3.11, §3.12: an ID token is no access token, nor the other way round, nor is any other JWT of the provider
 * (a logout token, a security event, an assertion) either of them. What says that it is
 * both is neither.
 */
export function kindOf({ header, claims }: Unverified): PresentedKind | undefined {
  const type = header.typ?.toLowerCase()
  if (type !== undefined && ACCESS_TOKEN_TYPES.has(type)) return has(claims, OF_ID_TOKENS) ? undefined : 'access_token'
  if ((type !== undefined && type !== 'jwt') || claims['events'] !== undefined) return undefined
  const said = claims['typ'] ?? claims['token_use']
  const [isAccess, isId] = [has(claims, OF_ACCESS_TOKENS), has(claims, OF_ID_TOKENS)]
  if (said !== undefined) return typeof said === 'string' && Object.hasOwn(SAID, said) ? SAID[said] : undefined
  if (isAccess) return isId ? undefined : 'access_token'
  // OpenID Connect Core §2: an ID token of somebody who signed in elsewhere has none of its optional claims.
  return 'id_token'
}

function has(claims: JWTPayload, names: readonly string[]): boolean {
  return names.some((name) => claims[name] !== undefined)
}

/** Reads what the claims say, of a token whose signature is known to be good. @throws LoginRefused */
export function presentedClaims(names: ClaimNames, { claims }: Unverified, kind: PresentedKind, now: number): PresentedClaims {
  const { iss, sub, exp, iat, nbf = iat } = claims
  if (iss === undefined || sub === undefined || sub === '' || sub.length > 255 || !sub.isWellFormed() || /\p{Cc}/u.test(sub)) throw new LoginRefused('sub is no identifier')
  if (typeof exp !== 'number' || typeof iat !== 'number' || typeof nbf !== 'number') throw new LoginRefused('its times are missing')
  const at = now / 1000
  if (at >= exp) throw new LoginRefused('it has expired')
  if (iat > at + SKEW_S || nbf > at + SKEW_S) throw new LoginRefused('it is not valid yet')
  const audiences = [claims.aud ?? []].flat()
  const client = text(claims['azp']) ?? text(claims['client_id']) ?? text(claims['cid']) ?? text(claims['appid']) ?? (kind === 'id_token' && audiences.length === 1 ? audiences[0] : undefined)
  // An application that stands for itself is no person; Keycloak has an account for each.
  const isAccount = text(claims['preferred_username'])?.startsWith('service-account-') === true && claims['client_id'] !== undefined
  if (isAccount || claims['idtyp'] === 'app' || (client !== undefined && sub === client)) throw new LoginRefused('it is of an application, not of a person')
  const all: Claims = { ...claims, iss, sub }
  const { groups, roles, tokens: _tokens, sid: _sid, ...identity } = identityOf(names, all, all, { idToken: '' })
  const scope = ownScopes(text(claims['scope']) ?? claims['scp'])
  return {
    ...identity,
    kind,
    // What it does not say of groups and roles, it does not deny.
    ...(names.groupsClaim in claims ? { groups } : {}),
    ...(roles !== undefined && (names.rolesClaim ?? '') in claims ? { roles } : {}),
    audiences,
    issuedAt: Math.floor(iat),
    expiresAt: Math.floor(exp),
    ...(scope.length === 0 ? {} : { scope }),
    ...(client === undefined ? {} : { clientId: client }),
    ...(claims['act'] === undefined ? {} : { act: claims['act'] }),
    ...(claims['may_act'] === undefined ? {} : { mayAct: claims['may_act'] }),
    ...(claims['cnf'] === undefined ? {} : { cnf: claims['cnf'] }),
  }
}

/** A text as RFC 9068 §2.2.3 has it, or a list; what else the provider grants is its own. */
function ownScopes(scope: unknown): readonly string[] {
  const named: readonly unknown[] = typeof scope === 'string' ? scope.split(' ') : Array.isArray(scope) ? scope : []
  return named.filter((each): each is string => typeof each === 'string' && each.startsWith('mcp.'))
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= 4096 ? value : undefined
}
