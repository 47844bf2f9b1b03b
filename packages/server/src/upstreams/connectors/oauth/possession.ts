import { createPrivateKey, createPublicKey, hash as digest, randomUUID, sign } from 'node:crypto'
import type { JWK } from 'jose'
import * as oauth from 'oauth4webapi'
import type { Credential, Possession } from '../connector.ts'

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' }
const MAX_NONCE = 1024
const MAX_TOKEN = 16_000

/** Makes the key that one credential is bound to, to be kept with it. */
export async function newProofKey(): Promise<JWK> {
  const { privateKey } = await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const { kty, crv, x, y, d } = await crypto.subtle.exportKey('jwk', privateKey)
  return { kty, crv, x, y, d } as JWK
}

/** What proves the key at the authorization server. */
export async function dpopHandle(key: JWK, client: oauth.Client): Promise<oauth.DPoPHandle> {
  const { d: _private, ...open } = key
  const [privateKey, publicKey] = await Promise.all([
    crypto.subtle.importKey('jwk', key, ALGORITHM, false, ['sign']),
    crypto.subtle.importKey('jwk', open, ALGORITHM, true, ['verify']),
  ])
  return oauth.DPoP(client, { privateKey, publicKey })
}

/** Asks once more when the server wants its nonce in the proof (RFC 9449 §8): what it refused so, it did not carry out. */
export async function withNonce<T>(handle: oauth.DPoPHandle | undefined, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    if (handle !== undefined && oauth.isDPoPNonceError(error)) return ask()
    throw error
  }
}

/** A token as a server issued it. */
export interface IssuedToken {
  readonly accessToken: string
  /** Milliseconds since the epoch; unknown when absent. */
  readonly expiresAt?: number
  readonly scope?: string
  /** The private key that it is bound to, when it is (RFC 9449 §5). */
  readonly proofKey?: JWK
}

/** RFC 6750 §2.1: what is not visible ASCII cannot stand in a header, nor what is longer than servers read, and must not be tried. */
export function fitsHeader(token: string): boolean {
  return token.length <= MAX_TOKEN && /^[\x21-\x7e]+$/.test(token)
}

/** What a call carries of a token (RFC 6750 §2.1): one that is bound goes by its own scheme, with a proof each time (RFC 9449 §7.1). */
export function carried({ accessToken, proofKey, expiresAt, scope }: IssuedToken, version: string): Exclude<Credential, 'connection_required'> {
  const facts = { version, ...(expiresAt === undefined ? {} : { expiresAt }), ...(scope === undefined ? {} : { scope }) }
  if (proofKey === undefined) return { ...facts, headers: { authorization: `Bearer ${accessToken}` } }
  return { ...facts, headers: { authorization: `DPoP ${accessToken}` }, possession: possession(proofKey, accessToken) }
}

/** What proves the key call by call: at an upstream with the token that is bound to it (RFC 9449 §7), at a token endpoint without (§5). */
export function possession(key: JWK, accessToken?: string): Possession {
  const privateKey = createPrivateKey({ key, format: 'jwk' })
  const { kty, crv, x, y } = createPublicKey(privateKey).export({ format: 'jwk' })
  const header = encode({ alg: 'ES256', typ: 'dpop+jwt', jwk: { kty, crv, x, y } })
  const ath = accessToken === undefined ? {} : { ath: digest('sha256', accessToken, 'base64url') }
  let nonce: string | undefined
  return {
    prove(method, url, now) {
      const { origin, pathname } = new URL(url)
      const claims = { jti: randomUUID(), htm: method, htu: `${origin}${pathname}`, iat: Math.floor(now / 1000), ...ath, ...(nonce === undefined ? {} : { nonce }) }
      const input = `${header}.${encode(claims)}`
      return `${input}.${sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
    },
    learn(status, headers) {
      const given = headers['dpop-nonce']
      // RFC 9449 §8.2: the newest counts, whatever the answer is. Of requests at once each was sent without it, though one answer brought it first.
      if (typeof given !== 'string' || given.length > MAX_NONCE) return false
      nonce = given
      return status === 401 && /use_dpop_nonce/.test(headers['www-authenticate'] ?? '')
    },
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
