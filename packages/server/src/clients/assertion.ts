import { createLocalJWKSet, decodeProtectedHeader, errors, jwtVerify, type JSONWebKeySet, type JWTPayload } from 'jose'
import type { Outbound } from '../http/outbound.ts'
import { hash } from '../oauth/secret.ts'
import type { Client } from './client.ts'
import type { ClientStore } from './client-store.ts'

/** The algorithms of client assertions. */
export const ASSERTION_ALGORITHMS: readonly string[] = ['ES256', 'ES384', 'EdDSA', 'Ed25519', 'PS256', 'RS256']
const MAX_LIFETIME_S = 300
const SKEW_S = 30
const JWKS_FRESH_MS = 5 * 60_000
/** An unknown key identifier may fetch the keys again, this often at most. */
const JWKS_COOL_DOWN_MS = 30_000
const MAX_JWKS_BYTES = 64 * 1024
const MAX_CACHED = 500

export type AssertionFailure = 'malformed' | 'no keys' | 'keys cannot be fetched' | 'signature' | 'claims' | 'audience' | 'lifetime' | 'replayed'

export interface AssertionDeps {
  readonly issuer: string
  readonly tokenEndpoint: string
  readonly store: ClientStore
  readonly outbound: Outbound
  readonly now: () => number
}

/** Verifies a client assertion (RFC 7523 §3); each is good once, on all nodes. @returns what is wrong with it. */
export async function verifyClientAssertion(assertion: string, client: Client, deps: AssertionDeps): Promise<AssertionFailure | undefined> {
  const verified = await verifySignature(assertion, client, deps)
  if (typeof verified === 'string') return verified
  const { sub, iss, aud, exp, jti } = verified
  // RFC 7523 §3: issuer and subject are the client.
  if (sub !== client.id || iss !== client.id || typeof jti !== 'string' || jti === '') return 'claims'
  // draft-ietf-oauth-rfc7523bis: the issuer as the sole audience; older clients name the token endpoint.
  if (aud !== deps.issuer && aud !== deps.tokenEndpoint) return 'audience'
  const now = Math.floor(deps.now() / 1000)
  if (exp === undefined || exp <= now - SKEW_S || exp > now + MAX_LIFETIME_S + SKEW_S) return 'lifetime'
  return (await deps.store.useAssertion(client.id, hash(jti), (exp + SKEW_S) * 1000)) ? undefined : 'replayed'
}

async function verifySignature(assertion: string, client: Client, deps: AssertionDeps): Promise<JWTPayload | AssertionFailure> {
  let kid: string | undefined
  try {
    ;({ kid } = decodeProtectedHeader(assertion))
  } catch {
    return 'malformed'
  }
  const keys = client.jwks ?? (client.jwksUri === undefined ? undefined : await remoteKeys(client.jwksUri, kid, deps))
  if (keys === undefined) return client.jwksUri === undefined ? 'no keys' : 'keys cannot be fetched'
  try {
    const options = { algorithms: [...ASSERTION_ALGORITHMS], currentDate: new Date(deps.now()), clockTolerance: SKEW_S }
    return (await jwtVerify(assertion, createLocalJWKSet(keys), options)).payload
  } catch (error) {
    if (error instanceof errors.JWTExpired) return 'lifetime'
    if (error instanceof errors.JOSEError || error instanceof TypeError) return 'signature'
    throw error
  }
}

interface CachedKeys {
  readonly keys: JSONWebKeySet
  readonly fetchedAt: number
}

const cache = new WeakMap<Outbound, Map<string, CachedKeys>>()

async function remoteKeys(uri: string, kid: string | undefined, { outbound, now }: AssertionDeps): Promise<JSONWebKeySet | undefined> {
  const known = cache.get(outbound) ?? new Map<string, CachedKeys>()
  cache.set(outbound, known)
  const cached = known.get(uri)
  const age = now() - (cached?.fetchedAt ?? 0)
  const hasKey = kid === undefined || cached?.keys.keys.some((key) => key.kid === kid) === true
  if (cached !== undefined && (age < JWKS_COOL_DOWN_MS || (hasKey && age < JWKS_FRESH_MS))) return cached.keys
  try {
    const answer = await outbound.request(uri, { provenance: 'discovered', maxBytes: MAX_JWKS_BYTES, timeoutMs: 3000 })
    const keys: unknown = answer.status === 200 ? JSON.parse(answer.body) : undefined
    if (typeof keys !== 'object' || keys === null || !Array.isArray((keys as { readonly keys?: unknown }).keys)) return cached?.keys
    known.delete(uri)
    known.set(uri, { keys: keys as JSONWebKeySet, fetchedAt: now() })
    const [oldest] = known.keys()
    if (known.size > MAX_CACHED && oldest !== undefined) known.delete(oldest)
    return keys as JSONWebKeySet
  } catch {
    return cached?.keys
  }
}
