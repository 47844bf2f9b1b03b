// A certified OpenID provider (oidc-provider) under the issuer and with the claims of a product that cannot run in a test:
// Keycloak (as observed at 26.7.3; test/flows/keycloak-real.test.ts asks the real one), PingOne and PingFederate.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHash } from 'node:crypto'
import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { Provider, type JWK } from 'oidc-provider'
import { CLIENT_SECRET } from './openid-provider.ts'

export interface Shape {
  /** Behind the host: `/realms/corp`. */
  readonly path: string
  /** Scopes that it knows; any other is refused. */
  readonly scopes: readonly string[]
  /** The claims of each person's ID token, by scope. */
  readonly claims: Readonly<Record<string, readonly string[]>>
  /** Makes a JWT of the access token in place of an opaque one. */
  readonly accessToken?: (person: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>
}

export interface ShapedProvider {
  readonly issuer: string
  readonly people: Map<string, Record<string, unknown>>
  readonly asked: URLSearchParams[]
  close(): Promise<void>
}

export const KEYCLOAK: Shape = {
  path: '/realms/corp',
  scopes: ['openid', 'profile', 'email', 'offline_access', 'roles'],
  claims: { openid: ['sub', 'acr', 'typ', 'azp', 'sid'], profile: ['name', 'preferred_username', 'groups'], email: ['email', 'email_verified'] },
  accessToken: (person) => ({ typ: 'Bearer', azp: 'lanyard', groups: person['groups'], realm_access: person['realm_access'], resource_access: person['resource_access'], email: person['email'], email_verified: true }),
}
export const PING_ONE: Shape = { path: '/00000000-0000-4000-8000-000000000000/as', scopes: ['openid', 'profile', 'email', 'offline_access'], claims: { openid: ['sub', 'acr'], profile: ['name', 'groups'], email: ['email', 'email_verified'] } }
/** It knows no `offline_access` of its own. */
export const PING_FEDERATE: Shape = { path: '', scopes: ['openid', 'profile', 'email'], claims: { openid: ['sub', 'pi.sri'], profile: ['name', 'groups'], email: ['email', 'email_verified'] } }

export async function shapedProvider(shape: Shape, people: Readonly<Record<string, Record<string, unknown>>>): Promise<ShapedProvider> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}${shape.path}`
  const state: ShapedProvider = {
    issuer,
    people: new Map(Object.entries(people).map(([id, claims]) => [id, { ...claims }])),
    asked: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const key: JWK = { ...(await exportJWK(privateKey)), kid: 'shaped', use: 'sig', alg: 'RS256' }
  const provider = makeProvider(issuer, key, shape, state)
  const answer = provider.callback()
  server.on('request', (request, response) => {
    const url = new URL(request.url ?? '/', issuer)
    if (url.pathname.endsWith('/auth')) state.asked.push(url.searchParams)
    if (url.pathname.includes('/interaction/')) {
      signInPage(provider, state, request, response).catch((error: unknown) => response.writeHead(500).end(String(error)))
      return
    }
    // The provider stands at the root; its issuer has a path.
    Object.assign(request, { originalUrl: request.url, url: (request.url ?? '/').slice(shape.path.length) || '/', baseUrl: shape.path })
    const rewriting = shape.accessToken !== undefined && url.pathname.endsWith('/token')
    if (rewriting) withAccessToken(response, state, shape, { issuer, privateKey })
    void answer(request, response)
  })
  return state
}

function makeProvider(issuer: string, key: JWK, { scopes, claims }: Shape, state: ShapedProvider): Provider {
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'lanyard', client_secret: CLIENT_SECRET, redirect_uris: ['http://127.0.0.1/placeholder'], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] }],
    jwks: { keys: [key] },
    scopes: [...scopes],
    claims: Object.fromEntries(Object.entries(claims).map(([scope, names]) => [scope, [...names]])),
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    cookies: { keys: ['k'], names: { session: 'shaped_session', interaction: 'shaped_interaction', resume: 'shaped_resume' } },
    interactions: { url: (_context, { uid }) => `${new URL(issuer).pathname.replace(/\/$/, '')}/interaction/${uid}` },
    features: { devInteractions: { enabled: false } },
    issueRefreshToken: async () => true,
    findAccount: (_context, id) => (state.people.has(id) ? { accountId: id, claims: () => ({ sub: id, ...state.people.get(id) }) } : undefined),
    loadExistingGrant: async ({ oidc }) => {
      if (oidc.client === undefined || oidc.session?.accountId === undefined) return undefined
      const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId })
      grant.addOIDCScope(scopes.join(' '))
      await grant.save()
      return grant
    },
  })
  Object.assign(provider.Client.prototype, { redirectUriAllowed: (uri: string) => /\/login\/[a-z]+\/callback$/.test(uri) })
  return provider
}

/** Answers with an access token that is a JWT, and an ID token whose `at_hash` vouches for it. */
function withAccessToken(response: ServerResponse, state: ShapedProvider, shape: Shape, { issuer, privateKey }: { issuer: string; privateKey: CryptoKey }): void {
  const end = response.end.bind(response)
  const jwt = (claims: Readonly<Record<string, unknown>>): Promise<string> => new SignJWT({ ...claims }).setProtectedHeader({ alg: 'RS256', kid: 'shaped', typ: 'JWT' }).sign(privateKey)
  const rewritten = async (text: string): Promise<string> => {
    const body = JSON.parse(text) as Record<string, unknown>
    if (typeof body['id_token'] !== 'string') return text
    const id = decodeJwt(body['id_token'])
    const person = state.people.get(id.sub ?? '') ?? {}
    const access = await jwt({ iss: issuer, sub: id.sub, iat: id.iat, exp: id.exp, scope: body['scope'], ...shape.accessToken?.(person) })
    const idToken = await jwt({ ...id, typ: 'ID', azp: 'lanyard', at_hash: createHash('sha256').update(access).digest().subarray(0, 16).toString('base64url') })
    return JSON.stringify({ ...body, access_token: access, id_token: idToken })
  }
  const send = async (text: string): Promise<void> => {
    const made = await rewritten(text)
    response.setHeader('content-length', Buffer.byteLength(made))
    end(made)
  }
  Object.assign(response, {
    end: (chunk?: string | Buffer) => {
      void send(String(chunk ?? '{}'))
      return response
    },
  })
}

async function signInPage(provider: Provider, state: ShapedProvider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { uid } = await provider.interactionDetails(request, response)
  if (request.method === 'POST') {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const accountId = new URLSearchParams(Buffer.concat(chunks).toString('utf8')).get('login') ?? ''
    return provider.interactionFinished(request, response, { login: { accountId, acr: '1' }, consent: {} }, { mergeWithLastSubmission: false })
  }
  const buttons = [...state.people.keys()].map((id) => `<button name="login" value="${id}">${id}</button>`)
  response.writeHead(200, { 'content-type': 'text/html' }).end(`<form method="post" action="${new URL(state.issuer).pathname.replace(/\/$/, '')}/interaction/${uid}">${buttons.join('')}</form>`)
}
