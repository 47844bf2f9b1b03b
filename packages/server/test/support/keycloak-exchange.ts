// A realm that exchanges tokens as Keycloak does (standard token exchange, since 26.2): of its own access tokens alone, by a
// client that they were issued to or made for, for another client of the realm as the audience.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errors, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'

export interface Realm {
  readonly issuer: string
  /** The forms that came to the token endpoint, without secrets. */
  readonly asked: URLSearchParams[]
  /** The clients of the realm that may be asked for. */
  readonly audiences: Set<string>
  /** Changes the next answers. */
  behave: (status: number, body: Record<string, unknown>) => readonly [status: number, body: Record<string, unknown>]
  /** Runs before each answer. */
  hold: () => Promise<void>
  subjectToken(claims?: Readonly<Record<string, unknown>>): Promise<string>
  close(): Promise<void>
}

export const REALM_SECRET = 'the secret of lanyard: at the realm'

export async function keycloakRealm(now: () => number): Promise<Realm> {
  const { publicKey, privateKey } = await generateKeyPair('RS256')
  const jwk = { ...(await exportJWK(publicKey)), kid: 'realm', alg: 'RS256', use: 'sig' }
  const server = createServer((request, response) => void answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}/realms/corp`
  const sign = (claims: Readonly<Record<string, unknown>>, lifetime: number): Promise<string> => {
    const at = Math.floor(now() / 1000)
    return new SignJWT({ iss: issuer, iat: at, exp: at + lifetime, typ: 'Bearer', jti: crypto.randomUUID(), ...claims }).setProtectedHeader({ alg: 'RS256', kid: 'realm', typ: 'JWT' }).sign(privateKey)
  }
  const realm: Realm = {
    issuer,
    asked: [],
    audiences: new Set(['tickets-api']),
    behave: (status, body) => [status, body],
    hold: () => Promise.resolve(),
    subjectToken: (claims = {}) => sign({ sub: 'alice', azp: 'lanyard', aud: 'account', scope: 'openid email', ...claims }, 300),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }

  const exchange = async (form: URLSearchParams): Promise<readonly [number, Record<string, unknown>]> => {
    const refused = (status: number, error: string, description: string) => [status, { error, error_description: description }] as const
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:token-exchange') return refused(400, 'unsupported_grant_type', 'Unsupported grant_type')
    if (form.get('subject_token_type') !== 'urn:ietf:params:oauth:token-type:access_token') return refused(400, 'invalid_request', 'subject_token_type is not supported')
    try {
      const { payload } = await jwtVerify(form.get('subject_token') ?? '', publicKey, { issuer, currentDate: new Date(now()) })
      if (payload['azp'] !== 'lanyard' && ![payload.aud].flat().includes('lanyard')) return refused(403, 'access_denied', 'Client is not within the token audience')
      const audience = form.get('audience') ?? ''
      if (!realm.audiences.has(audience)) return refused(400, 'invalid_request', `Requested audience not available: ${audience}`)
      const token = await sign({ sub: payload.sub, azp: 'lanyard', aud: audience, scope: form.get('scope') ?? 'email' }, 300)
      return [200, { access_token: token, expires_in: 300, refresh_expires_in: 0, token_type: 'Bearer', 'not-before-policy': 0, session_state: 'b3b4', scope: form.get('scope') ?? 'email', issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }]
    } catch (error) {
      if (error instanceof errors.JOSEError) return refused(400, 'invalid_request', 'Invalid token')
      throw error
    }
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const json = (status: number, body: unknown): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    const base = `${issuer}/protocol/openid-connect`
    if (request.url === '/realms/corp/.well-known/openid-configuration') return json(200, { issuer, authorization_endpoint: `${base}/auth`, token_endpoint: `${base}/token`, jwks_uri: `${base}/certs`, response_types_supported: ['code'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'], grant_types_supported: ['authorization_code', 'urn:ietf:params:oauth:grant-type:token-exchange'] })
    if (request.url === '/realms/corp/protocol/openid-connect/certs') return json(200, { keys: [jwk] })
    if (request.url !== '/realms/corp/protocol/openid-connect/token') return json(404, {})
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const form = new URLSearchParams(Buffer.concat(chunks).toString('utf8'))
    realm.asked.push(form)
    await realm.hold()
    const [user, password] = Buffer.from((request.headers.authorization ?? '').replace('Basic ', ''), 'base64').toString('utf8').split(':').map((part) => decodeURIComponent(part.replaceAll('+', ' ')))
    if (user !== 'lanyard' || password !== REALM_SECRET) return json(401, { error: 'unauthorized_client', error_description: 'Invalid client or Invalid client credentials' })
    return json(...realm.behave(...(await exchange(form))))
  }
  return realm
}
