// An identity provider that signs whatever a test tells it to: its metadata and keys are real, and it answers nothing else.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, type JWTPayload } from 'jose'
import type { ProviderSettings } from '../../src/identity/providers/index.ts'

export interface TokenIssuer {
  readonly issuer: string
  readonly settings: ProviderSettings
  /** How often its keys were asked for. */
  readonly fetches: () => number
  /** @param claims besides `iss`, `iat` and `exp`; `undefined` leaves one out */
  sign(claims: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>
  /** Answers nothing from now on. */
  fail(): void
  close(): Promise<void>
}

/** @param now milliseconds since the epoch */
export async function tokenIssuer(now: () => number, id = 'corp'): Promise<TokenIssuer> {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const kid = `${id}-1`
  const jwk = { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' }
  let fetches = 0
  let down = false
  const server = createServer((request, response) => {
    if (down) return void response.writeHead(503).end()
    const json = (body: unknown): void => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (request.url === '/.well-known/openid-configuration') return json({ issuer, authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/jwks`, response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['ES256'] })
    if (request.url === '/jwks') {
      fetches += 1
      return json({ keys: [jwk] })
    }
    return void response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    issuer,
    settings: { type: 'oidc', id, name: id, issuer, clientId: 'lanyard', scopes: ['openid'], groupsClaim: 'groups', rolesClaim: 'roles', offlineAccess: 'off' },
    fetches: () => fetches,
    sign(claims, header = {}) {
      const at = Math.floor(now() / 1000)
      const payload = JSON.parse(JSON.stringify({ iss: issuer, iat: at, exp: at + 300, ...claims })) as JWTPayload
      return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid, ...header }).sign(privateKey)
    },
    fail() {
      down = true
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
