import { compactVerify, createLocalJWKSet, errors, type CompactVerifyGetKey, type JSONWebKeySet } from 'jose'
import { OutboundError, type OutboundFetch } from '../../http/outbound.ts'
import { LoginRefused, ProviderUnavailable } from './provider.ts'

/** Signatures of key pairs alone: `none`, and HMAC with a secret that others know too, prove nothing. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
const FRESH_MS = 10 * 60_000
/** A signature that no known key made fetches the keys again, this often at most. */
const COOL_DOWN_MS = 30_000
/** While nothing is known, a failed fetch is repeated this often at most. */
const RETRY_MS = 3000
/** How long known keys are used while newer ones cannot be fetched. */
const STALE_MS = 3600_000
const MAX_KEYS = 100

/** An identity provider's signing keys: fetched when needed, once for all who wait, and kept while it does not answer. */
export interface ProviderKeys {
  /**
   * Checks the signature of an ID token (OpenID Connect Core §3.1.3.7).
   *
   * @param issuer whose token it is: not every key of the set may sign for everybody
   * @throws LoginRefused when none of the keys made it
   * @throws ProviderUnavailable when the keys cannot be had
   */
  verify(idToken: string, jwksUri: string | undefined, issuer?: string): Promise<void>
}

/** Whether a key of the set may sign for an issuer. */
export type MayKeySign = (key: Readonly<Record<string, unknown>>, issuer: string) => boolean

interface Known {
  readonly uri: string
  readonly find: (issuer: string | undefined) => CompactVerifyGetKey
  readonly at: number
}

/** The addresses that keys are at; a provider has one or two. */
const MAX_ADDRESSES = 8

export function providerKeys(send: OutboundFetch, now: () => number, mayKeySign?: MayKeySign): ProviderKeys {
  const sets = new Map<string | undefined, ProviderKeys>()
  return {
    verify(idToken, jwksUri, issuer) {
      const found = sets.get(jwksUri) ?? keySet(send, now, mayKeySign)
      if (sets.size > MAX_ADDRESSES) sets.clear()
      sets.set(jwksUri, found)
      return found.verify(idToken, jwksUri, issuer)
    },
  }
}

function keySet(send: OutboundFetch, now: () => number, mayKeySign: MayKeySign | undefined): ProviderKeys {
  let known: Known | undefined
  let triedAt = -Infinity
  let underWay: { readonly uri: string; readonly keys: Promise<Known> } | undefined

  const fetchKeys = (uri: string): Promise<Known> => {
    if (underWay?.uri === uri) return underWay.keys
    triedAt = now()
    const keys = download(send, uri, triedAt, mayKeySign).then((fetched) => (known = fetched))
    const started = { uri, keys }
    underWay = started
    const ended = (): void => {
      if (underWay === started) underWay = undefined
    }
    keys.then(ended, ended)
    return keys
  }

  /** @param unlike keys that did not make the signature in question: newer ones are wanted. */
  const keysOf = async (uri: string, unlike?: Known): Promise<Known> => {
    const have = known?.uri === uri ? known : undefined
    const age = have === undefined ? Infinity : now() - have.at
    if (have !== undefined && have !== unlike && age < FRESH_MS) return have
    const usable = have !== undefined && age < STALE_MS ? have : undefined
    const pausing = underWay?.uri !== uri && now() - triedAt < (have === undefined ? RETRY_MS : COOL_DOWN_MS)
    // Keys that could not be renewed say nothing of a signature that none of them made.
    if (pausing && usable !== undefined && (unlike === undefined || age < FRESH_MS)) return usable
    if (pausing) throw new ProviderUnavailable('the keys of the identity provider could not be fetched a moment ago')
    try {
      return await fetchKeys(uri)
    } catch (error) {
      if (usable !== undefined && unlike === undefined) return usable
      throw error
    }
  }

  return {
    async verify(idToken, jwksUri, issuer) {
      if (jwksUri === undefined) throw new ProviderUnavailable('the identity provider names no keys')
      const first = await keysOf(jwksUri)
      if (await fits(idToken, first, issuer)) return
      const newer = await keysOf(jwksUri, first)
      if (newer !== first && (await fits(idToken, newer, issuer))) return
      throw new LoginRefused('signature: no key of the identity provider made it')
    },
  }
}

async function fits(idToken: string, { find }: Known, issuer: string | undefined): Promise<boolean> {
  try {
    await compactVerify(idToken, find(issuer), { algorithms: ALGORITHMS })
    return true
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed) return false
    // An algorithm outside of the list, several keys that fit, a key that is too short or malformed.
    throw new LoginRefused(`signature: ${error instanceof errors.JOSEError ? error.code : 'the key cannot be used'}`, error)
  }
}

async function download(send: OutboundFetch, uri: string, at: number, mayKeySign: MayKeySign | undefined): Promise<Known> {
  try {
    const response = await send(uri, { headers: { accept: 'application/json, application/jwk-set+json' } })
    if (response.status !== 200) throw new ProviderUnavailable(`the keys of the identity provider: status ${response.status}`)
    const body: unknown = await response.json()
    if (!isKeySet(body)) throw new ProviderUnavailable('the keys of the identity provider: not a JWK set')
    return { uri, find: finder(body, mayKeySign), at }
  } catch (error) {
    if (error instanceof ProviderUnavailable) throw error
    const reason = error instanceof OutboundError ? error.reason : 'not a JWK set'
    throw new ProviderUnavailable(`the keys of the identity provider: ${reason}`, { cause: error })
  }
}

/** The keys that may sign for an issuer, read once for each. */
function finder(set: JSONWebKeySet, mayKeySign: MayKeySign | undefined): Known['find'] {
  const all = createLocalJWKSet(set)
  if (mayKeySign === undefined) return () => all
  const made = new Map<string, CompactVerifyGetKey>()
  return (issuer = '') => {
    const found = made.get(issuer) ?? createLocalJWKSet({ keys: set.keys.filter((key) => mayKeySign({ ...key }, issuer)) })
    if (made.size > MAX_KEYS) made.clear()
    made.set(issuer, found)
    return found
  }
}

function isKeySet(body: unknown): body is JSONWebKeySet {
  if (typeof body !== 'object' || body === null || !('keys' in body) || !Array.isArray(body.keys) || body.keys.length > MAX_KEYS) return false
  return body.keys.every((key: unknown) => typeof key === 'object' && key !== null && 'kty' in key && typeof key.kty === 'string')
}
