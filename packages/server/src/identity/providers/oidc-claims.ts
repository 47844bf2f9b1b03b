// What the ID token must say beyond what oauth4webapi checks, and who that makes the user.
import { createHash } from 'node:crypto'
import { plain } from '../../http/page.ts'
import type { Identity, IdentityTokens } from '../user.ts'
import { LoginRefused, RequirementsUnmet, type LoginOptions } from './provider.ts'

export type Claims = Readonly<Record<string, unknown>> & { readonly iss: string; readonly sub: string }

/** Seconds that the provider's clock may differ. */
export const SKEW_S = 60
const MAX_GROUPS = 2000
const MAX_GROUP_LENGTH = 256
const MAX_TEXT = 320
const MAX_VALUE = 256
const MAX_VALUES = 64
/** Characters of all kept claims together, as JSON: they stand with every session and grant. */
const MAX_KEPT = 4096

/** @throws LoginRefused */
export function checkClaims(claims: Claims, clientId: string, now: number): void {
  // OpenID Connect Core §2: at most 255 characters; an empty one would be everybody's.
  if (claims.sub === '' || claims.sub.length > 255 || !claims.sub.isWellFormed() || /\p{Cc}/u.test(claims.sub)) throw new LoginRefused('sub is no identifier')
  // OpenID Connect Core §3.1.3.7 no. 5: the authorized party, where one is named, is this client.
  if (claims['azp'] !== undefined && claims['azp'] !== clientId) throw new LoginRefused('azp is another client')
  if (Number(claims['iat']) > now / 1000 + SKEW_S) throw new LoginRefused('iat is in the future')
}

/** A sign-in that had to be fresh is not proven by an old one, nor by one of unknown age (OpenID Connect Core §3.1.2.1). */
export function checkFreshness(claims: Claims, options: LoginOptions, now: number): void {
  const startedAt = Math.min(options.startedAt ?? now, now) / 1000
  // OpenID Connect Core §3.1.3.7 no. 10: a token from before the request answers another one.
  if (Number(claims['iat']) < startedAt - SKEW_S) throw new LoginRefused('iat is before the sign-in began')
  const authTime = authTimeOf(claims)
  if (options.prompt !== 'login' && options.maxAge === undefined) return
  if (authTime === undefined) throw new RequirementsUnmet('the provider does not say when the user signed in')
  if (options.prompt === 'login' && authTime < startedAt - SKEW_S) throw new RequirementsUnmet('the user was not signed in again')
  if (options.maxAge !== undefined && authTime + options.maxAge < now / 1000 - SKEW_S) throw new RequirementsUnmet('the user signed in too long ago')
}

const HASHES: Readonly<Record<string, string>> = { 256: 'sha256', 384: 'sha384', 512: 'sha512' }

/** OpenID Connect Core §3.1.3.8: when the ID token names the access token's hash, it must be this access token's. */
export function checkAccessTokenHash(claims: Claims, idToken: string, accessToken: string): void {
  const expected = claims['at_hash']
  if (expected === undefined) return
  const header = JSON.parse(Buffer.from(idToken.split('.')[0] ?? '', 'base64url').toString('utf8')) as { readonly alg?: string }
  const digest = createHash(HASHES[header.alg?.slice(-3) ?? ''] ?? 'sha512').update(accessToken).digest()
  if (digest.subarray(0, digest.length / 2).toString('base64url') !== expected) throw new LoginRefused('at_hash does not fit the access token')
}

/** Which claims of a provider mean what. */
export interface ClaimNames {
  readonly id: string
  readonly groupsClaim: string
  readonly rolesClaim?: string
  /** Those that are kept for policies to ask for. */
  readonly claims?: readonly string[]
}

/**
 * @param claims of the ID token: the only word on the sign-in itself
 * @param profile the same, with what the userinfo endpoint adds
 */
export function identityOf(names: ClaimNames, claims: Claims, profile: Claims, tokens: IdentityTokens): Identity {
  const name = text(profile['name']) ?? text(profile['preferred_username'])
  const [email, acr, sid] = [text(profile['email']), text(claims['acr']), text(claims['sid'])]
  const amr = Array.isArray(claims['amr']) ? claims['amr'].filter((value) => typeof value === 'string' && value.length <= MAX_VALUE).slice(0, MAX_VALUES) : undefined
  const authTime = authTimeOf(claims)
  const kept = keptClaims(profile, names.claims ?? [])
  return {
    provider: names.id,
    issuer: claims.iss,
    subject: claims.sub,
    groups: listOf(profile, names.groupsClaim),
    ...(names.rolesClaim === undefined ? {} : { roles: listOf(profile, names.rolesClaim) }),
    tokens,
    ...(name === undefined ? {} : { name }),
    ...(email === undefined ? {} : { email }),
    // OpenID Connect Core §5.1: absent is not true.
    ...(email !== undefined && profile['email_verified'] === true ? { emailVerified: true as const } : {}),
    ...(authTime === undefined ? {} : { authTime }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr }),
    ...(sid === undefined ? {} : { sid }),
    ...(kept === undefined ? {} : { claims: kept }),
  }
}

/**
 * RFC 9470 in the field: 0 means "not known", never "long ago" and never "now". A time after the token itself (one in
 * milliseconds, say) proves nothing either: it would pass for a fresh sign-in for ever.
 */
function authTimeOf(claims: Claims): number | undefined {
  const value = claims['auth_time']
  return typeof value === 'number' && value > 0 && value <= Number(claims['iat']) + SKEW_S ? Math.floor(value) : undefined
}

function text(value: unknown): string | undefined {
  const clean = typeof value === 'string' ? plain(value, MAX_TEXT) : ''
  return clean === '' ? undefined : clean
}

/** A string or a list of strings; whatever else stands there names no group or role. */
export function listOf(profile: Claims, claim: string): readonly string[] {
  const value = profile[claim]
  // OpenID Connect Core §5.6.2: groups by reference, as of users in very many, are not "no groups".
  if (value === undefined && namesElsewhere(profile['_claim_names'], claim)) throw new LoginRefused(`${claim} are given by reference only`)
  const list: unknown[] = typeof value === 'string' ? [value] : Array.isArray(value) ? value : []
  const groups = new Set(list.filter((group): group is string => typeof group === 'string' && group !== '' && group.length <= MAX_GROUP_LENGTH))
  // A part of them would leave out the one that a rule denies.
  if (groups.size > MAX_GROUPS) throw new LoginRefused(`too many ${claim}`)
  return [...groups]
}

function namesElsewhere(names: unknown, claim: string): boolean {
  return typeof names === 'object' && names !== null && Object.hasOwn(names, claim)
}

/** What is kept for policies: only plain values, and nothing large. What is left out is not known, never known to be false. */
function keptClaims(profile: Claims, names: readonly string[]): Readonly<Record<string, unknown>> | undefined {
  const kept: Record<string, unknown> = {}
  let size = 0
  for (const name of names) {
    const value = Object.hasOwn(profile, name) ? plainValue(profile[name]) : undefined
    const length = value === undefined ? 0 : name.length + JSON.stringify(value).length
    if (value === undefined || size + length > MAX_KEPT) continue
    size += length
    kept[name] = value
  }
  return Object.keys(kept).length === 0 ? undefined : kept
}

function plainValue(value: unknown): string | number | boolean | readonly string[] | undefined {
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return value
  if (typeof value === 'string') return value.length <= MAX_VALUE && value.isWellFormed() ? value : undefined
  const isList = Array.isArray(value) && value.length <= MAX_VALUES && value.every((entry): entry is string => typeof entry === 'string' && entry.length <= MAX_VALUE && entry.isWellFormed())
  return isList ? value : undefined
}
