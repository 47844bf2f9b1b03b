// Microsoft Entra ID with several tenants, and Graph, on one loopback address. `@azure/msal-node` accepts its answers
// (test/flows/entra-emulator.test.ts), so that it was not written to fit the gateway.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { signingKey } from '../openid-provider.ts'
import { graph } from './graph.ts'
import { authorizationPage, signInPage } from './sign-in.ts'
import { CONSUMERS, GATEWAY, GATEWAY_SECRET, GRAPH, json, MIDDLE, NOTES_API, OTHER_TENANT, person, TENANT, type App, type Entra, type Respond, type Seen } from './state.ts'
import { token } from './token.ts'

export * from './state.ts'

const REDIRECTS = /^(?:https:\/\/lanyard\.example|http:\/\/127\.0\.0\.1:\d+)\/(?:login\/[a-z-]+\/)?callback$/

export async function entra(): Promise<Entra> {
  const http = createServer()
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const key = await signingKey()
  const state: Entra = {
    origin,
    tenants: new Map([
      [TENANT, new Map([
        ['alice', person('a11ce000-0000-4000-8000-000000000001', 'alice@contoso.com', { name: 'Alice', email: 'alice@contoso.com', groups: ['9f000000-0000-4000-8000-000000000001'], roles: ['mcp.tasks.read'] })],
        ['bob', person('b0b00000-0000-4000-8000-000000000002', 'bob@contoso.com', { name: 'Bob' })],
        ['guest', person('c0de0000-0000-4000-8000-000000000003', 'eve_fabrikam.com#EXT#@contoso.onmicrosoft.com', { name: 'Eve', idp: `https://sts.windows.net/${OTHER_TENANT}/` })],
      ])],
      [OTHER_TENANT, new Map([['eve', person('e0e00000-0000-4000-8000-000000000004', 'eve@fabrikam.com', { email: 'alice@contoso.com' })]])],
      [CONSUMERS, new Map([['home', person('00000000-0000-0000-aaaa-000000000005', 'home@outlook.com')]])],
    ]),
    apps: new Map([
      app(GATEWAY, { secret: GATEWAY_SECRET, groupClaims: true, consented: new Set([`${GRAPH}/User.Read`, `${GRAPH}/Mail.Read`, `${NOTES_API}/notes.read`, `${MIDDLE}/access`]) }),
      app(NOTES_API, {}),
      app(MIDDLE, { secret: 'Mid8Q~another-client-secret-of-40-characters', consented: new Set([`${GRAPH}/User.Read`, `${NOTES_API}/notes.read`]) }),
    ]),
    policies: new Map(),
    guarded: new Map(),
    evaluated: new Map(),
    throttled: false,
    now: Date.now,
    key,
    signer: key,
    consumerKey: await signingKey(),
    idToken: (claims) => claims,
    codes: new Map(),
    refreshTokens: new Map(),
    access: new Map(),
    assertions: new Set(),
    seen: [],
    at: (path) => state.seen.filter((request) => request.path === path),
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

function app(clientId: string, more: Partial<App>): [string, App] {
  return [clientId, { clientId, certificates: new Map(), federated: [], redirectUris: REDIRECTS, tokenVersion: 2, groupClaims: false, consented: new Set(), permissions: new Set(), ...more }]
}

async function answer(state: Entra, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', state.origin)
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const body = Buffer.concat(chunks).toString('utf8')
  const seen: Seen = { method: request.method ?? '', path: pathname, query: searchParams, form: new URLSearchParams(body), body, headers: request.headers }
  state.seen.push(seen)
  const respond = ROUTES.find(([pattern]) => pattern.test(`${seen.method} ${pathname}`))?.[1]
  if (respond === undefined) return void response.writeHead(404).end()
  return respond(state, seen, response)
}

/** Each key says whose tokens it signs. */
const keys: Respond = ({ key, consumerKey, origin }, _seen, response) => {
  json(response, 200, { keys: [{ ...key.jwk, issuer: `${origin}/{tenantid}/v2.0` }, { ...consumerKey.jwk, issuer: `${origin}/${CONSUMERS}/v2.0` }] })
}

const ROUTES: readonly (readonly [RegExp, Respond])[] = [
  [/^GET \/[\w.-]+\/v2\.0\/\.well-known\/openid-configuration$/, (state, { path }, response) => document(state, path.split('/')[1] ?? '', '2.0', response)],
  [/^GET \/[\w.-]+\/\.well-known\/openid-configuration$/, (state, { path }, response) => document(state, path.split('/')[1] ?? '', '1.0', response)],
  [/^GET \/common\/discovery\/instance$/, (state, _seen, response) => json(response, 200, { tenant_discovery_endpoint: `${state.origin}/${TENANT}/v2.0/.well-known/openid-configuration`, 'api-version': '1.1', metadata: [] })],
  [/^GET \/[\w.-]+\/discovery\/(?:v2\.0\/)?keys$/, keys],
  [/^GET \/[\w.-]+\/oauth2\/v2\.0\/authorize$/, authorizationPage],
  [/^POST \/[\w.-]+\/login$/, signInPage],
  [/^POST \/[\w.-]+\/oauth2\/v2\.0\/token$/, token],
  [/^(?:GET|POST) \/v1\.0\//, graph],
]

/** A domain's document names its GUID, and that of many a template; there is no word of PKCE, registration or revocation in any. */
function document({ origin, tenants }: Entra, tenant: string, version: string, response: ServerResponse): void {
  const isMany = tenant === 'common' || tenant === 'organizations'
  const tid = tenant === 'contoso.onmicrosoft.com' ? TENANT : tenant
  if (!isMany && !tenants.has(tid)) return json(response, 400, { error: 'invalid_tenant', error_description: "AADSTS90002: Tenant not found." })
  const base = `${origin}/${tenant}`
  const issuer = version === '2.0' ? `${origin}/${isMany ? '{tenantid}' : tid}/v2.0` : `${origin}/${isMany ? '{tenantid}' : tid}/`
  json(response, 200, {
    token_endpoint: `${base}/oauth2/v2.0/token`,
    token_endpoint_auth_methods_supported: ['client_secret_post', 'private_key_jwt', 'client_secret_basic', 'self_signed_tls_client_auth'],
    jwks_uri: `${base}/discovery/${version === '2.0' ? 'v2.0/' : ''}keys`,
    response_modes_supported: ['query', 'fragment', 'form_post'],
    subject_types_supported: ['pairwise'],
    id_token_signing_alg_values_supported: ['RS256'],
    response_types_supported: ['code', 'id_token', 'code id_token', 'id_token token'],
    scopes_supported: ['openid', 'profile', 'email', 'offline_access'],
    issuer,
    request_uri_parameter_supported: false,
    userinfo_endpoint: `${GRAPH}/oidc/userinfo`,
    authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
    device_authorization_endpoint: `${base}/oauth2/v2.0/devicecode`,
    http_logout_supported: true,
    frontchannel_logout_supported: true,
    end_session_endpoint: `${base}/oauth2/v2.0/logout`,
    claims_supported: ['sub', 'iss', 'cloud_instance_name', 'aud', 'exp', 'iat', 'auth_time', 'acr', 'nonce', 'preferred_username', 'name', 'tid', 'ver', 'at_hash', 'c_hash', 'email'],
    tenant_region_scope: isMany ? null : 'EU',
    cloud_instance_name: 'microsoftonline.com',
    msgraph_host: 'graph.microsoft.com',
  })
}
