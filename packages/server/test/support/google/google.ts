// Google, as far as a company's gateway meets it: accounts.google.com, oauth2.googleapis.com, IAM Credentials, the
// Directory API and Gmail, all on one loopback address. `google-auth-library` accepts its answers (test/flows/google-
// emulator.test.ts), so that it was not written to fit the gateway.
import { createPublicKey, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWK } from 'jose'
import type { SigningKey } from '../openid-provider.ts'
import { authorizationPage, consentPage } from './accounts.ts'
import { directoryGroups, GMAIL_PROFILE, gmailProfile, metadataToken, signBlob, signJwt, userinfo, generateAccessToken } from './apis.ts'
import { CLIENT_ID, CLIENT_SECRET, DOMAIN, json, type Google, type Person, type Respond, type Seen, type ServiceAccount } from './state.ts'
import { federatedToken, revoke, token, tokenInfo } from './token.ts'

export * from './state.ts'

export async function google(): Promise<Google> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const state: Google = {
    origin,
    people: new Map<string, Person>([
      ['alice', { sub: '110000000000000000001', email: `alice@${DOMAIN}`, emailVerified: true, hd: DOMAIN, name: 'Alice', groups: [{ email: `engineering@${DOMAIN}`, name: 'Engineering' }] }],
      ['bob', { sub: '110000000000000000002', email: `bob@${DOMAIN}`, emailVerified: true, hd: DOMAIN, name: 'Bob', groups: [{ email: `sales@${DOMAIN}`, name: 'Sales' }] }],
      // A personal account on a company's address: whoever left may keep it.
      ['mallory', { sub: '110000000000000000003', email: `mallory@${DOMAIN}`, emailVerified: true, name: 'Mallory', groups: [] }],
      ['eve', { sub: '110000000000000000004', email: 'eve@other.example', emailVerified: true, hd: 'other.example', name: 'Eve', groups: [] }],
    ]),
    clients: new Map([[CLIENT_ID, { secret: CLIENT_SECRET, redirectUris: /^(?:https:\/\/lanyard\.example|http:\/\/127\.0\.0\.1:\d+)\/(?:login|connections)\/[a-z-]+\/callback$/ }]]),
    serviceAccounts: new Map(),
    administrators: new Set([`admin@${DOMAIN}`]),
    unticked: new Set(),
    blocked: new Set(),
    bareIssuer: false,
    sessionAge: false,
    pageSize: 200,
    pools: new Map(),
    machine: undefined,
    instead: () => false,
    now: Date.now,
    seen: [],
    at: (path) => state.seen.filter((request) => request.path === path),
    grants: new Map(),
    codes: new Map(),
    refreshTokens: new Map(),
    access: new Map(),
    key: await newKey(),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  state.people.set('admin', { sub: '110000000000000000009', email: `admin@${DOMAIN}`, emailVerified: true, hd: DOMAIN, name: 'Admin', groups: [] })
  server.on('request', (request, response) => {
    answer(state, request, response).catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  return state
}

/** A service account with a key of its own, which nobody delegated anything to yet. */
export async function addServiceAccount(state: Google, name: string): Promise<ServiceAccount> {
  const account: ServiceAccount = {
    email: `${name}@project.iam.gserviceaccount.com`,
    clientId: `10000000000000000${state.serviceAccounts.size}`,
    keys: { file: await newKey(), system: await newKey() },
    delegated: new Set(),
    groupsReader: false,
    tokenCreators: new Set(),
  }
  state.serviceAccounts.set(account.email, account)
  return account
}

async function answer(state: Google, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', state.origin)
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const body = Buffer.concat(chunks).toString('utf8')
  const seen: Seen = { method: request.method ?? '', path: pathname, query: searchParams, form: new URLSearchParams(body), body, headers: request.headers }
  state.seen.push(seen)
  if (state.instead(seen, response)) return
  const iam = /^\/v1\/projects\/-\/serviceAccounts\/([^/:]+):(\w+)$/.exec(decodeURIComponent(pathname))
  if (iam !== null) {
    const [, email = '', verb = ''] = iam
    const verbs = { signJwt, signBlob, generateAccessToken }
    return Object.hasOwn(verbs, verb) ? verbs[verb as keyof typeof verbs](state, seen, response, email) : json(response, 404, {})
  }
  const respond = seen.method === 'GET' && GMAIL_PROFILE.test(pathname) ? gmailProfile : ROUTES[`${seen.method} ${pathname}`]
  return respond === undefined ? json(response, 404, { error: { code: 404, message: 'Not found', status: 'NOT_FOUND' } }) : respond(state, seen, response)
}

const ROUTES: Readonly<Record<string, Respond>> = {
  'GET /.well-known/openid-configuration': (state, _seen, response) => json(response, 200, document(state.origin)),
  'GET /oauth2/v3/certs': ({ key }, _seen, response) => json(response, 200, { keys: [publicHalf(key.jwk)] }),
  // The same key as its library wants it in Node, in PEM; Google wraps it into a certificate.
  'GET /oauth2/v1/certs': ({ key }, _seen, response) => json(response, 200, { [key.kid]: pem(key.jwk) }),
  'GET /o/oauth2/v2/auth': authorizationPage,
  'POST /signin/oauth/consent': consentPage,
  'POST /token': token,
  'POST /v1/token': federatedToken,
  'POST /revoke': revoke,
  'GET /tokeninfo': tokenInfo,
  'POST /tokeninfo': tokenInfo,
  'GET /v1/userinfo': userinfo,
  'GET /admin/directory/v1/groups': directoryGroups,
  'GET /computeMetadata/v1/instance/service-accounts/default/token': metadataToken,
}

function publicHalf({ kty, n, e, kid, alg, use }: JWK): Readonly<Record<string, unknown>> {
  return { kty, n, e, kid, alg, use }
}

function pem(jwk: JWK): string {
  return createPublicKey({ key: { ...publicHalf(jwk) }, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
}

/** A key that can be written to a file, as those of service accounts are. */
async function newKey(): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const kid = randomBytes(20).toString('hex')
  return { kid, key: privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'RS256', use: 'sig' } }
}

/** As accounts.google.com says it, but for the host. */
function document(origin: string): Readonly<Record<string, unknown>> {
  return {
    issuer: origin,
    authorization_endpoint: `${origin}/o/oauth2/v2/auth`,
    device_authorization_endpoint: `${origin}/device/code`,
    token_endpoint: `${origin}/token`,
    userinfo_endpoint: `${origin}/v1/userinfo`,
    revocation_endpoint: `${origin}/revoke`,
    jwks_uri: `${origin}/oauth2/v3/certs`,
    response_types_supported: ['code', 'token', 'id_token', 'code token', 'code id_token', 'token id_token', 'code token id_token', 'none'],
    response_modes_supported: ['query', 'fragment', 'form_post'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
    scopes_supported: ['openid', 'email', 'profile'],
    token_endpoint_auth_methods_supported: ['client_secret_post', 'client_secret_basic'],
    claims_supported: ['aud', 'email', 'email_verified', 'exp', 'family_name', 'given_name', 'iat', 'iss', 'name', 'picture', 'sub'],
    code_challenge_methods_supported: ['plain', 'S256'],
    grant_types_supported: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
  }
}
