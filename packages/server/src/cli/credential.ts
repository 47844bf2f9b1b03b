import { possession } from '../upstreams/connectors/oauth/possession.ts'
import type { Login } from './logins.ts'

/** What one request carries, by its method and address; `nonce` is what the gateway wants in the proof (RFC 9449 §9). */
export type Credential = (method: string, url: string, nonce?: string) => Readonly<Record<string, string>>

/** RFC 6750 §2.1. */
export function bearer(accessToken: string): Credential {
  return () => ({ authorization: `Bearer ${accessToken}` })
}

/** The token of a login, and with one that is bound to a key a proof of it for this request alone (RFC 9449 §7.1). */
export function credentialOf({ accessToken, key }: Pick<Login, 'accessToken' | 'key'>): Credential {
  if (key === undefined) return bearer(accessToken)
  return (method, url, nonce) => {
    const proof = possession(key, accessToken)
    if (nonce !== undefined) proof.learn(401, { 'dpop-nonce': nonce })
    return { authorization: `DPoP ${accessToken}`, dpop: proof.prove(method, url, Date.now()) }
  }
}
