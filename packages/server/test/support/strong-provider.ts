// A real OpenID provider (oidc-provider) that knows two ways to sign in: with a password, and with a second factor when
// the request asks for it and the test lets people have one.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import { interactionPolicy, Provider, type JWK } from 'oidc-provider'
import { CLIENT_SECRET } from './openid-provider.ts'

export const PWD = 'urn:example:pwd'
export const MFA = 'urn:example:mfa'

export interface StrongProvider {
  readonly issuer: string
  /** Whether people have a second factor. */
  secondFactor: boolean
  /** What is told of each person besides. */
  readonly people: Map<string, Readonly<Record<string, unknown>>>
  /** The parameters of all authorization requests that came here. */
  readonly asked: URLSearchParams[]
  close(): Promise<void>
}

export async function strongProvider(): Promise<StrongProvider> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const state: StrongProvider = {
    issuer,
    secondFactor: true,
    people: new Map([['alice', { name: 'Alice', email: 'alice@corp.example', groups: ['engineering'] }], ['bob', { name: 'Bob', email: 'bob@corp.example', groups: ['engineering'] }], ['carol', { name: 'Carol', email: 'carol@corp.example', groups: ['readers'], roles: ['Notes.Read'] }]]),
    asked: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const provider = await makeProvider(issuer, state)
  const answer = provider.callback()
  server.on('request', (request, response) => {
    const url = new URL(request.url ?? '/', issuer)
    if (url.pathname === '/auth') state.asked.push(url.searchParams)
    const done = url.pathname.startsWith('/interaction/') ? signInPage(provider, state, request, response) : answer(request, response)
    done.catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  return state
}

async function makeProvider(issuer: string, state: StrongProvider): Promise<Provider> {
  const policy = interactionPolicy.base()
  // OpenID Connect Core §3.1.2.1: `acr_values` is a wish; this provider asks for the second factor where it can.
  policy.get('login')?.checks.add(
    new interactionPolicy.Check('weak', 'a stronger sign-in is asked for', ({ oidc }) => {
      const isAsked = state.secondFactor && asksFor(oidc.params)
      return isAsked && oidc.session?.accountId !== undefined && oidc.acr !== MFA && oidc.result?.['login'] === undefined
    }),
  )
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const key: JWK = { ...(await exportJWK(privateKey)), kid: 'strong', use: 'sig', alg: 'RS256' }
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'lanyard', client_secret: CLIENT_SECRET, redirect_uris: ['http://127.0.0.1/placeholder'], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] }],
    jwks: { keys: [key] },
    acrValues: [PWD, MFA],
    claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], profile: ['name', 'groups', 'roles', 'device'], email: ['email'] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    cookies: { keys: ['k'], names: { session: 'strong_session', interaction: 'strong_interaction', resume: 'strong_resume' } },
    interactions: { policy, url: (_context, { uid }) => `/interaction/${uid}` },
    features: { devInteractions: { enabled: false }, claimsParameter: { enabled: true } },
    issueRefreshToken: async () => true,
    findAccount: (_context, id) => (state.people.has(id) ? { accountId: id, claims: () => ({ sub: id, ...state.people.get(id) }) } : undefined),
    loadExistingGrant: async ({ oidc }) => {
      if (oidc.client === undefined || oidc.session?.accountId === undefined) return undefined
      const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId })
      grant.addOIDCScope('openid profile email offline_access')
      grant.addOIDCClaims(['acr', 'device'])
      await grant.save()
      return grant
    },
  })
  // The gateway's port is not known yet.
  Object.assign(provider.Client.prototype, { redirectUriAllowed: (uri: string) => /^http:\/\/127\.0\.0\.1:\d+\/login\/corp\/callback$/.test(uri) })
  return provider
}

/** Whether the authorization request names the second factor. */
function asksFor(params: Readonly<Record<string, unknown>> = {}): boolean {
  const { acr_values: values } = params
  return typeof values === 'string' && values.split(' ').includes(MFA)
}

async function signInPage(provider: Provider, state: StrongProvider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { uid, params } = await provider.interactionDetails(request, response)
  if (request.method === 'POST') {
    const accountId = new URLSearchParams(await read(request)).get('login') ?? ''
    const isStrong = state.secondFactor && asksFor(params)
    const login = { accountId, acr: isStrong ? MFA : PWD, amr: isStrong ? ['pwd', 'otp'] : ['pwd'] }
    return provider.interactionFinished(request, response, { login, consent: {} }, { mergeWithLastSubmission: false })
  }
  const buttons = [...state.people.keys()].map((id) => `<button name="login" value="${id}">${id}</button>`)
  response.writeHead(200, { 'content-type': 'text/html' }).end(`<form method="post" action="/interaction/${uid}">${buttons.join('')}</form>`)
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}
