// An Okta org with its two kinds of authorization server, on a loopback address: the org's own, and custom ones under
// /oauth2/{id}. `@okta/okta-auth-js` accepts its answers (test/flows/okta-emulator.test.ts), so that it was not written to
// fit the gateway. Cross app access is in exchange.ts.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { signingKey } from '../openid-provider.ts'
import { authorizationPage, signInPage } from './sign-in.ts'
import { json, type Okta, type Respond, type Seen, type Server } from './state.ts'
import { introspect, keys, revoke, token, userinfo } from './token.ts'

export * from './state.ts'

export const CLIENT_ID = '0oa1gateway'
export const CLIENT_SECRET = 'an-Okta-client-secret-of-64-characters-in-reality-for-web-apps--'
/** A public client, as single-page and native applications are: its refresh tokens rotate. */
export const PUBLIC_CLIENT = '0oa2native'
const GATEWAY = /^(?:https:\/\/lanyard\.example|http:\/\/127\.0\.0\.1:\d+)\/(?:login|connections)\/[a-z-]+\/callback$/

export async function okta(): Promise<Okta> {
  const http = createServer()
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const standard = ['openid', 'profile', 'email', 'address', 'phone', 'offline_access', 'device_sso']
  const org: Server = { id: 'org', issuer: origin, base: `${origin}/oauth2/v1`, audience: origin, scopes: new Set([...standard, 'groups']), key: await signingKey(), accessKey: await signingKey() }
  const customKey = await signingKey()
  // Scopes of its own are not told by discovery.
  const custom: Server = { id: 'default', issuer: `${origin}/oauth2/default`, base: `${origin}/oauth2/default/v1`, audience: 'api://default', scopes: new Set([...standard, 'notes.read']), key: customKey, accessKey: customKey }
  const state: Okta = {
    origin,
    customIssuer: custom.issuer,
    people: new Map([
      ['alice', { id: '00u1alice', login: 'alice@corp.example', email: 'alice@corp.example', name: 'Alice', groups: ['Everyone', 'engineering'], assigned: true, active: true }],
      ['bob', { id: '00u2bob', login: 'bob@corp.example', email: 'bob@corp.example', name: 'Bob', groups: ['Everyone', 'sales'], assigned: true, active: true }],
      ['carol', { id: '00u3carol', login: 'carol@corp.example', email: 'carol@corp.example', name: 'Carol', groups: ['Everyone'], assigned: false, active: true }],
    ]),
    clients: new Map([
      [CLIENT_ID, { secret: CLIENT_SECRET, redirectUris: GATEWAY, rotates: false, agent: 'wlp1gateway' }],
      [PUBLIC_CLIENT, { redirectUris: /^http:\/\/(?:127\.0\.0\.1|localhost):\d+\/callback$/, rotates: true }],
    ]),
    crossApps: [],
    vaulted: new Map(),
    groupsFilter: /.*/,
    thin: false,
    idJagTokenType: 'Bearer',
    graceSeconds: 30,
    now: Date.now,
    seen: [],
    at: (path) => state.seen.filter((request) => request.path === path),
    servers: new Map([org, custom].map((server) => [server.id, server])),
    codes: new Map(),
    refreshTokens: new Map(),
    access: new Map(),
    close: () =>
      new Promise((resolve) => {
        http.close(() => resolve())
        http.closeAllConnections()
      }),
  }
  http.on('request', (request, response) => {
    answer(state, request, response).catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  return state
}

async function answer(state: Okta, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', state.origin)
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const seen: Seen = { method: request.method ?? '', path: pathname, query: searchParams, form: new URLSearchParams(Buffer.concat(chunks).toString('utf8')), headers: request.headers }
  state.seen.push(seen)
  const { server, rest } = serverOf(state, pathname)
  const respond = ROUTES[`${seen.method} ${rest}`]
  if (server === undefined || respond === undefined) return json(response, 404, { errorCode: 'E0000022', errorSummary: 'The endpoint does not support the provided HTTP method', errorLink: 'E0000022', errorCauses: [] })
  return respond(state, server, seen, response)
}

/** `/oauth2/{id}/…` is a custom server, and its well-known documents are below its path and nowhere else. */
function serverOf({ servers }: Okta, path: string): { server: Server | undefined; rest: string } {
  const [, id, rest] = /^\/oauth2\/([a-z0-9]+)(\/(?:v1|\.well-known)\/.*)$/i.exec(path) ?? []
  if (id !== undefined && id !== 'v1') return { server: servers.get(id), rest: rest ?? '' }
  return { server: servers.get('org'), rest: path.replace(/^\/oauth2(?=\/v1\/)/, '') }
}

const ROUTES: Readonly<Record<string, Respond>> = {
  'GET /.well-known/openid-configuration': (_state, server, _seen, response) => json(response, 200, document(server)),
  'GET /.well-known/oauth-authorization-server': (_state, server, _seen, response) => json(response, 200, document(server)),
  'GET /v1/keys': keys,
  'GET /v1/authorize': authorizationPage,
  'POST /v1/sign-in': signInPage,
  'POST /v1/token': token,
  'GET /v1/userinfo': userinfo,
  'POST /v1/userinfo': userinfo,
  'POST /v1/revoke': revoke,
  'POST /v1/introspect': introspect,
}

/** As an org says it: the same members for both kinds. */
function document({ issuer, base, id }: Server): Readonly<Record<string, unknown>> {
  const methods = ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none']
  return {
    issuer,
    authorization_endpoint: `${base}/authorize`,
    token_endpoint: `${base}/token`,
    userinfo_endpoint: `${base}/userinfo`,
    // Not anonymous: it wants a token of an administrator.
    registration_endpoint: `${new URL(base).origin}/oauth2/v1/clients`,
    jwks_uri: `${base}/keys`,
    response_types_supported: ['code', 'id_token', 'code id_token', 'code token', 'id_token token', 'code id_token token'],
    response_modes_supported: ['query', 'fragment', 'form_post', 'okta_post_message'],
    grant_types_supported: ['authorization_code', 'implicit', 'refresh_token', 'password', 'urn:ietf:params:oauth:grant-type:device_code', 'urn:openid:params:grant-type:ciba'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
    scopes_supported: ['openid', 'profile', 'email', 'address', 'phone', 'offline_access', 'device_sso', ...(id === 'org' ? ['groups'] : [])],
    token_endpoint_auth_methods_supported: methods,
    claims_supported: ['iss', 'ver', 'sub', 'aud', 'iat', 'exp', 'jti', 'auth_time', 'amr', 'idp', 'nonce', 'name', 'preferred_username', 'email', 'email_verified', 'at_hash', 'c_hash'],
    code_challenge_methods_supported: ['S256'],
    introspection_endpoint: `${base}/introspect`,
    introspection_endpoint_auth_methods_supported: methods,
    revocation_endpoint: `${base}/revoke`,
    revocation_endpoint_auth_methods_supported: methods,
    end_session_endpoint: `${base}/logout`,
    request_parameter_supported: true,
    request_object_signing_alg_values_supported: ['RS256', 'ES256'],
    device_authorization_endpoint: `${base}/device/authorize`,
    pushed_authorization_request_endpoint: `${base}/par`,
    dpop_signing_alg_values_supported: ['RS256', 'ES256'],
  }
}
