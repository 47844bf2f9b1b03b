// Makes DPoP proofs by hand: good ones, and wrong ones in one place each.
import { createHash, randomUUID } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT, type JWK, type JWTPayload } from 'jose'

export interface ProofKey {
  readonly jkt: string
  readonly publicJwk: JWK
  readonly privateJwk: JWK
  /** @param header overrides members of the header, @param claims those of the payload; `undefined` leaves one out */
  prove(claims: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>
}

export async function proofKey(alg = 'ES256'): Promise<ProofKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  const publicJwk = await exportJWK(publicKey)
  return {
    jkt: await calculateJwkThumbprint(publicJwk),
    publicJwk,
    privateJwk: await exportJWK(privateKey),
    prove(claims, header = {}) {
      const payload = { jti: randomUUID(), iat: Math.floor(Date.now() / 1000), ...claims }
      return new SignJWT(JSON.parse(JSON.stringify(payload)) as JWTPayload).setProtectedHeader({ alg, typ: 'dpop+jwt', jwk: publicJwk, ...header }).sign(privateKey)
    },
  }
}

/** RFC 9449 §4.2: the hash of the access token that a proof comes with. */
export function ath(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
