// An OpenID provider that can be told to misbehave, for what no real one does. It checks what a provider must check
// (client secret, redirect URI, PKCE, codes and refresh tokens once each), so that a wrong request fails here too.
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT, type JWK } from 'jose'

export type Claims = Record<string, unknown>

export interface Behaviour {
  /** Who signs in, with whatever claims. */
  person: Claims
  /** Changes the claims of each ID token. */
  idToken?: (claims: Claims) => Claims
  /** Makes the ID token in place of the provider's own key. */
  sign?: (claims: Claims, key: SigningKey) => Promise<string> | string
  /** What userinfo answers in place of the person's claims. */
  userinfo?: (claims: Claims) => Claims
  /** Claims that userinfo alone tells. */
  onlyUserinfo: readonly string[]
  /** Changes the parameters that the browser brings back. */
  callback?: (parameters: URLSearchParams) => void
  metadata?: (document: Claims) => Claims
  /** Changes the body of the token endpoint's answers. */
  tokens?: (body: Claims) => Claims
  /** Answers a path in place of the provider: true when it did. */
  instead?: (path: string, response: ServerResponse) => boolean
  refreshTokens: boolean
  /** Seconds since the epoch. */
  authTime: () => number | undefined
  now: () => number
}

export interface SigningKey {
  readonly kid: string
  readonly key: CryptoKey
  readonly jwk: JWK
}

export interface OpenIdProvider {
  readonly issuer: string
  readonly behave: Behaviour
  /** All requests, as `METHOD /path`. */
  readonly requests: string[]
  /** The parameters of the newest authorization request. */
  asked: URLSearchParams
  /** Refresh tokens that are good now. */
  readonly refreshTokens: Set<string>
  /** Everything secret that this provider gave out or was given. */
  readonly secrets: string[]
  /** Signs with a new key from now on. */
  rotate(): Promise<void>
  count(path: string): number
  close(): Promise<void>
}

export const CLIENT_SECRET = 'a-secret-of-at-least-32-characters'

interface Code {
  readonly asked: URLSearchParams
  readonly claims: Claims
}

export async function openIdProvider(now: () => number = Date.now): Promise<OpenIdProvider> {
  const codes = new Map<string, Code>()
  const people = new Map<string, Claims>()
  let key = await signingKey()
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const provider: OpenIdProvider = {
    issuer,
    behave: { person: { sub: 'alice', name: 'Alice', email: 'alice@corp.example', groups: ['engineering'] }, onlyUserinfo: [], refreshTokens: true, now, authTime: () => Math.floor(now() / 1000) },
    requests: [],
    asked: new URLSearchParams(),
    refreshTokens: new Set(),
    secrets: [],
    async rotate() {
      key = await signingKey()
    },
    count: (path) => provider.requests.filter((request) => request.endsWith(` ${path}`)).length,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }

  const issue = async (claims: Claims, asked: URLSearchParams, nonce: string | undefined): Promise<Claims> => {
    const { behave } = provider
    const accessToken = secret(provider, 'idp-at')
    const seconds = Math.floor(behave.now() / 1000)
    const told = Object.fromEntries(Object.entries(claims).filter(([name]) => !behave.onlyUserinfo.includes(name)))
    const own = { iss: issuer, aud: asked.get('client_id'), iat: seconds, exp: seconds + 300, auth_time: behave.authTime(), nonce, at_hash: halfHash(accessToken) }
    const idToken = behave.idToken?.({ ...told, ...own }) ?? { ...told, ...own }
    const jwt = behave.sign === undefined ? await signed(idToken, key) : await behave.sign(idToken, key)
    provider.secrets.push(jwt)
    people.set(accessToken, claims)
    const refreshToken = behave.refreshTokens ? secret(provider, 'idp-rt') : undefined
    if (refreshToken !== undefined) {
      provider.refreshTokens.add(refreshToken)
      codes.set(refreshToken, { asked, claims })
    }
    const body: Claims = { access_token: accessToken, token_type: 'Bearer', expires_in: 300, id_token: jwt, refresh_token: refreshToken }
    return behave.tokens?.(body) ?? body
  }

  const token = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const form = new URLSearchParams(await read(request))
    const [client, given] = Buffer.from((request.headers.authorization ?? '').replace('Basic ', ''), 'base64').toString().split(':')
    if (client !== 'lanyard' || decodeURIComponent(given ?? '') !== CLIENT_SECRET) return json(response, 401, { error: 'invalid_client' })
    if (form.get('grant_type') === 'refresh_token') {
      const old = form.get('refresh_token') ?? ''
      const known = codes.get(old)
      if (!provider.refreshTokens.delete(old) || known === undefined) return json(response, 400, { error: 'invalid_grant' })
      return json(response, 200, await issue({ ...known.claims, ...provider.behave.person }, known.asked, undefined))
    }
    const code = form.get('code') ?? ''
    const known = codes.get(code)
    codes.delete(code)
    const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url')
    provider.secrets.push(form.get('code_verifier') ?? 'none')
    if (known === undefined || known.asked.get('redirect_uri') !== form.get('redirect_uri') || known.asked.get('code_challenge') !== challenge) {
      return json(response, 400, { error: 'invalid_grant' })
    }
    return json(response, 200, await issue(known.claims, known.asked, known.asked.get('nonce') ?? undefined))
  }

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', issuer)
    provider.requests.push(`${request.method} ${url.pathname}`)
    const { behave } = provider
    if (behave.instead?.(url.pathname, response) === true) return
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        return json(response, 200, behave.metadata?.(document(issuer)) ?? document(issuer))
      case '/jwks':
        return json(response, 200, { keys: [key.jwk] })
      case '/token':
        return token(request, response)
      case '/userinfo': {
        const claims = people.get((request.headers.authorization ?? '').replace('Bearer ', ''))
        return claims === undefined ? json(response, 401, {}) : json(response, 200, behave.userinfo?.(claims) ?? claims)
      }
      case '/authorize': {
        provider.asked = url.searchParams
        const code = secret(provider, 'idp-code')
        codes.set(code, { asked: url.searchParams, claims: behave.person })
        provider.secrets.push(url.searchParams.get('state') ?? '', url.searchParams.get('nonce') ?? '')
        const back = new URL(url.searchParams.get('redirect_uri') ?? '')
        const parameters = new URLSearchParams({ code, state: url.searchParams.get('state') ?? '', iss: issuer })
        behave.callback?.(parameters)
        back.search = parameters.toString()
        return void response.writeHead(303, { location: back.href }).end()
      }
      default:
        return json(response, 404, {})
    }
  }
  server.on('request', (request, response) => {
    answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  return provider
}

export async function signingKey(kid: string = randomBytes(6).toString('hex'), alg = 'RS256'): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg)
  return { kid, key: privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } }
}

export function signed(claims: Claims, { key, kid }: Pick<SigningKey, 'key' | 'kid'>, header: Claims = {}): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid, ...header }).sign(key)
}

function document(issuer: string): Claims {
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    authorization_response_iss_parameter_supported: true,
    id_token_signing_alg_values_supported: ['RS256', 'HS256', 'none'],
  }
}

function secret(provider: OpenIdProvider, prefix: string): string {
  const value = `${prefix}-${randomBytes(24).toString('hex')}`
  provider.secrets.push(value)
  return value
}

function halfHash(accessToken: string): string {
  return createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url')
}

function json(response: ServerResponse, status: number, body: Claims): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(body))
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}
