import { html } from 'hono/html'
import type { AuditEvent, Recorder } from '../audit/event.ts'
import { checkCsrf } from '../http/csrf.ts'
import type { Cookies } from '../http/cookies.ts'
import { PageError } from '../http/errors.ts'
import { page, plain } from '../http/page.ts'
import { Params } from '../http/params.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import type { RequestContext, Route } from '../http/route.ts'
import type { Sealer } from '../keys/seal.ts'
import { hash, newId, newSecret } from '../oauth/secret.ts'
import type { IdentityStore, LoginRecord } from './identity-store.ts'
import { LoginRefused, ProviderUnavailable, type IdentityProvider, type LoginSecrets } from './providers/provider.ts'
import type { Flows, Sessions, SignIn, SignInOptions } from './sign-in.ts'
import type { Identity } from './user.ts'

const LOGIN_MS = 10 * 60_000

export interface LoginDeps {
  readonly issuer: string
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly store: IdentityStore
  readonly sealer: Sealer
  readonly flows: Flows
  readonly sessions: Sessions
  readonly cookies: Cookies
  readonly audit: Recorder
  readonly sessionMs: number
  readonly now: () => number
}

/** Sign-in at an identity provider: the way there, the way back, and out again. */
export function login(deps: LoginDeps): SignIn & { readonly routes: readonly Route[] } {
  return {
    start: (request, _context, options) => chooseProvider(deps, request, options),
    routes: [
      { method: 'GET', path: '/login', access: 'public', errors: 'page', respond: (request, context) => startPage(deps, request, context) },
      { method: 'GET', path: '/login/:provider/callback', access: 'flow', errors: 'page', respond: (request, context) => callback(deps, request, context) },
      { method: 'POST', path: '/logout', access: 'session', errors: 'page', respond: (request, context) => logout(deps, request, context) },
    ],
  }
}

/** `/login?provider=…&return_to=…`: what the choice between providers and a retry link lead to. */
async function startPage(deps: LoginDeps, request: Request, context: RequestContext): Promise<Response> {
  const params = Params.from(new URL(request.url).searchParams)
  const options: SignInOptions = { returnTo: localPath(params.get('return_to')), reference: context.reference }
  const provider = deps.providers.get(params.get('provider') ?? '')
  return provider === undefined ? chooseProvider(deps, request, options) : begin(deps, request, provider, options)
}

async function chooseProvider(deps: LoginDeps, request: Request, options: SignInOptions): Promise<Response> {
  const [only, ...others] = deps.providers.values()
  if (only === undefined) throw new PageError(503, 'Nobody can sign in', 'No identity provider is configured. Ask your administrator.')
  if (others.length === 0) return begin(deps, request, only, options)
  const returnTo = localPath(options.returnTo)
  return page({
    title: 'Sign in',
    body: html`<h1>Sign in</h1>
      <p>Where is your account?</p>
      <ul class="list">
        ${[only, ...others].map(
          (provider) => html`<li><a class="button-quiet" href="/login?${new URLSearchParams({ provider: provider.id, return_to: returnTo }).toString()}">${plain(provider.name)}</a></li>`,
        )}
      </ul>`,
  })
}

async function begin(deps: LoginDeps, request: Request, provider: IdentityProvider, options: SignInOptions): Promise<Response> {
  const flow = deps.flows.current(request)
  const secrets: LoginSecrets = { state: newSecret('lyd_st'), nonce: newSecret('lyd_st'), codeVerifier: newSecret('lyd_st') }
  const now = deps.now()
  const { returnTo, reference, loginHint, ...asked } = options
  let url: URL
  try {
    url = await provider.authorizationUrl(secrets, { ...asked, ...(loginHint === undefined ? {} : { loginHint }), redirectUri: redirectUri(deps, provider.id) })
  } catch (error) {
    throw await unavailable(deps, provider, { returnTo, reference }, error)
  }
  const stateHash = hash(secrets.state)
  await deps.store.addLogin({
    ...asked,
    stateHash,
    flowHash: flow.hash,
    provider: provider.id,
    secrets: deps.sealer.seal(JSON.stringify({ nonce: secrets.nonce, codeVerifier: secrets.codeVerifier, startedAt: now }), ['logins', stateHash, 'secrets']),
    returnTo: localPath(returnTo),
    reference,
    expiresAt: now + LOGIN_MS,
  })
  await deps.audit.record({ action: 'login.started', outcome: 'success', reference, detail: { provider: provider.id } })
  const headers = new Headers({ location: url.href, 'cache-control': 'no-store' })
  if (flow.setCookie !== undefined) headers.append('set-cookie', flow.setCookie)
  return new Response(null, { status: 303, headers })
}

async function callback(deps: LoginDeps, request: Request, context: RequestContext): Promise<Response> {
  const url = new URL(request.url)
  const params = Params.from(url.searchParams)
  const provider = deps.providers.get(context.params['provider'] ?? '')
  const state = params.get('state')
  if (provider === undefined || state === undefined) throw refused('This sign-in is not known here', 'no provider or no state')
  // Single use: of parallel callbacks with one state, one gets the row (RFC 9700 §4.7).
  const record = await deps.store.takeLogin(hash(state), deps.now())
  if (record === undefined) throw refused('This sign-in was finished before, or took too long', 'unknown or used state')
  const event = { reference: record.reference, address: context.address, detail: { provider: provider.id } } as const
  const fail = async (reason: string): Promise<PageError> => {
    await deps.audit.record({ action: 'login.failed', outcome: 'failure', reason, ...event })
    return refused('You could not be signed in', reason)
  }
  // The browser that left is the browser that comes back, and it comes back from where it was sent.
  if (deps.flows.current(request).hash !== record.flowHash) throw await fail('another browser')
  if (record.provider !== provider.id) throw await fail('another provider')
  const { startedAt, ...secrets } = JSON.parse(deps.sealer.open(record.secrets, ['logins', record.stateHash, 'secrets'])) as Omit<LoginSecrets, 'state'> & { startedAt: number }
  try {
    // Only the query is taken from the request; the address it must have reached is our own.
    const answer = new URL(`${redirectUri(deps, provider.id)}${url.search}`)
    const identity = await provider.finish(answer, { ...secrets, state }, { ...asked(record), startedAt, redirectUri: redirectUri(deps, provider.id) })
    return await openSession(deps, identity, record, event)
  } catch (error) {
    if (error instanceof LoginRefused) throw await fail(error.reason)
    if (error instanceof ProviderUnavailable) throw await unavailable(deps, provider, record, error)
    throw error
  }
}

async function openSession(deps: LoginDeps, identity: Identity, record: LoginRecord, event: Pick<AuditEvent, 'reference' | 'address' | 'detail'>): Promise<Response> {
  const secret = newSecret('lyd_ses')
  const now = deps.now()
  const { authTime, acr, amr, sid } = identity
  const user = await deps.store.signIn({
    newUserId: newId('usr'),
    identity,
    sealTokens: (userId) => deps.sealer.seal(JSON.stringify(identity.tokens), ['users', userId, 'tokens']),
    session: {
      // A new session at every sign-in: one that somebody planted before never becomes a signed-in one (ASVS 7.2.4).
      hash: hash(secret),
      id: newId('ses'),
      provider: identity.provider,
      expiresAt: now + deps.sessionMs,
      ...(authTime === undefined ? {} : { authTime }),
      ...(acr === undefined ? {} : { acr }),
      ...(amr === undefined ? {} : { amr }),
      ...(sid === undefined ? {} : { sid }),
    },
    now,
    events: (userId) => [{ action: 'login.succeeded', outcome: 'success', subject: userId, ...event }],
  })
  if (user === undefined) {
    await deps.audit.record({ action: 'login.failed', outcome: 'failure', reason: 'the user is disabled', ...event })
    throw new PageError(403, 'Your access has ended', 'Your account was disabled here. Ask your administrator if that is a mistake.')
  }
  const headers = new Headers({ location: record.returnTo, 'cache-control': 'no-store' })
  headers.append('set-cookie', deps.cookies.write('session', secret, Math.floor(deps.sessionMs / 1000)))
  return new Response(null, { status: 303, headers })
}

async function logout(deps: LoginDeps, request: Request, context: RequestContext): Promise<Response> {
  requireSameOrigin(request, deps.issuer)
  const params = await Params.fromForm(request)
  const signedIn = await deps.sessions.current(request)
  if (signedIn !== undefined) {
    if (!checkCsrf(params.get('csrf'), signedIn.secret, 'logout')) throw new PageError(403, 'This form is out of date', 'Go back, load the page again, and sign out from there.')
    await deps.store.endSession(hash(signedIn.secret), { action: 'logout', outcome: 'success', subject: signedIn.user.id, reference: context.reference })
  }
  const headers = new Headers({ location: localPath(params.get('return_to')) })
  headers.append('set-cookie', deps.cookies.write('session', '', 0))
  return new Response(null, { status: 303, headers })
}

function asked({ prompt, maxAge, acrValues }: LoginRecord): { prompt?: 'login'; maxAge?: number; acrValues?: string } {
  return { ...(prompt === undefined ? {} : { prompt }), ...(maxAge === undefined ? {} : { maxAge }), ...(acrValues === undefined ? {} : { acrValues }) }
}

function redirectUri(deps: LoginDeps, providerId: string): string {
  return `${deps.issuer}/login/${providerId}/callback`
}

/** A path of this gateway and nothing else: no scheme, no host, no `//` or backslash that a browser reads as one. */
export function localPath(value: string | undefined): string {
  return value !== undefined && /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(value) ? value : '/'
}

function refused(title: string, reason: string): PageError {
  return new PageError(400, title, 'Go back to your application and start again from there.', { reason })
}

async function unavailable(deps: LoginDeps, provider: IdentityProvider, flow: { returnTo: string; reference: string }, cause: unknown): Promise<PageError> {
  if (!(cause instanceof ProviderUnavailable)) throw cause
  await deps.audit.record({ action: 'provider.degraded', outcome: 'failure', reference: flow.reference, reason: cause.message, detail: { provider: provider.id } })
  return new PageError(
    503,
    `${plain(provider.name)} does not answer`,
    'Nobody can sign in there at the moment. Whoever is signed in already keeps working. Please try again in a minute.',
    { cause, headers: { 'retry-after': '30' } },
  )
}
