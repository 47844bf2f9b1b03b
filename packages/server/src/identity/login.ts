import { addressBucket } from '../http/address.ts'
import { checkCsrf } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { Params } from '../http/params.ts'
import { requireRate } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import { hash, newSecret } from '../oauth/secret.ts'
import { callback, redirectUri, unavailable, type LoginDeps } from './callback.ts'
import { choicePage, openChoice } from './login-choice.ts'
import { ProviderUnavailable, type IdentityProvider, type LoginSecrets } from './providers/provider.ts'
import type { SignIn, SignInOptions } from './sign-in.ts'

const LOGIN_MS = 10 * 60_000
const MAX_HINT = 320

/** Sign-in at an identity provider: the way there, the way back, and out again. */
export function login(deps: LoginDeps): SignIn & { readonly routes: readonly Route[] } {
  const guarded = (respond: (deps: LoginDeps, request: Request, context: RequestContext) => Promise<Response>): Route['respond'] => (request, context) => {
    requireRate(deps.flood, addressBucket(context.address))
    return respond(deps, request, context)
  }
  return {
    start: (request, options) => chooseProvider(deps, request, options),
    routes: [
      { method: 'GET', path: '/login', access: 'public', errors: 'page', respond: guarded(startPage) },
      { method: 'GET', path: '/login/:provider/callback', access: 'flow', errors: 'page', respond: guarded(callback) },
      { method: 'POST', path: '/logout', access: 'session', errors: 'page', respond: (request, context) => logout(deps, request, context) },
    ],
  }
}

/** `/login?return_to=…`, `/login?provider=…&choice=…`, where the choice between providers leads, and `/login?iss=…`. */
async function startPage(deps: LoginDeps, request: Request, context: RequestContext): Promise<Response> {
  const params = Params.from(new URL(request.url).searchParams)
  const choice = params.get('choice')
  const returnTo = localPath(params.get('return_to'))
  const fresh: SignInOptions = { returnTo, startAgainAt: returnTo, reference: context.reference }
  const options = choice === undefined ? initiatedElsewhere(deps, params, fresh) : openChoice(deps, deps.flows.current(request).hash, choice)
  if (options === undefined) throw new PageError(400, 'This page is out of date', 'Go back to your application and start again from there.')
  const provider = deps.providers.get(params.get('provider') ?? '')
  return provider === undefined ? chooseProvider(deps, request, options) : begin(deps, request, provider, options)
}

/**
 * OpenID Connect Core §4: a provider, or a tile on its page, begins the sign-in. It says nothing but where: the answer is
 * asked for as always, and nobody is sent to any other site.
 */
function initiatedElsewhere({ issuer, providers }: LoginDeps, params: Params, fresh: SignInOptions): SignInOptions {
  const [iss, target, loginHint] = [params.get('iss'), params.get('target_link_uri'), params.get('login_hint')]
  const provider = iss === undefined ? undefined : [...providers.values()].find((each) => each.issues?.(iss) === true)
  if (provider === undefined) return fresh
  const url = target !== undefined && URL.canParse(target) ? new URL(target) : undefined
  const returnTo = url?.origin === issuer ? localPath(`${url.pathname}${url.search}`) : fresh.returnTo
  return { ...fresh, returnTo, startAgainAt: returnTo, provider: provider.id, ...(loginHint === undefined || loginHint.length > MAX_HINT ? {} : { loginHint }) }
}

async function chooseProvider(deps: LoginDeps, request: Request, options: SignInOptions): Promise<Response> {
  const [only, ...others] = deps.providers.values()
  const known = deps.providers.get(options.provider ?? '')
  if (known !== undefined) return begin(deps, request, known, options)
  if (only === undefined) throw new PageError(503, 'Nobody can sign in', 'No identity provider is configured. Ask your administrator.')
  if (others.length === 0) return begin(deps, request, only, options)
  return choicePage(deps, deps.flows.current(request), options)
}

async function begin(deps: LoginDeps, request: Request, provider: IdentityProvider, options: SignInOptions): Promise<Response> {
  const flow = deps.flows.current(request)
  const secrets: LoginSecrets = { state: newSecret('lyd_st'), nonce: newSecret('lyd_st'), codeVerifier: newSecret('lyd_st') }
  const now = deps.now()
  const { reference, loginHint, prompt, maxAge, acrValues, claims, consent, demanded } = options
  const [returnTo, startAgainAt] = [localPath(options.returnTo), localPath(options.startAgainAt)]
  const asked = {
    ...(prompt === undefined ? {} : { prompt }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(acrValues === undefined ? {} : { acrValues }),
  }
  let url: URL
  try {
    url = await provider.authorizationUrl(secrets, { ...asked, ...(claims === undefined ? {} : { claims }), ...(loginHint === undefined ? {} : { loginHint }), ...(consent === undefined ? {} : { consent }), ...(demanded === undefined ? {} : { demanded }), redirectUri: redirectUri(deps, provider.id) })
  } catch (error) {
    if (error instanceof ProviderUnavailable) return unavailable(deps, provider, { startAgainAt, reference }, error)
    throw error
  }
  const stateHash = hash(secrets.state)
  await deps.store.addLogin({
    ...asked,
    stateHash,
    flowHash: flow.hash,
    provider: provider.id,
    secrets: deps.sealer.seal(JSON.stringify({ nonce: secrets.nonce, codeVerifier: secrets.codeVerifier, startedAt: now, consent }), ['logins', stateHash, 'secrets']),
    returnTo: deps.sealer.seal(returnTo, ['logins', stateHash, 'return_to']),
    startAgainAt,
    ...(options.unmetAt === undefined ? {} : { unmetAt: localPath(options.unmetAt) }),
    reference,
    expiresAt: now + LOGIN_MS,
  })
  await deps.audit.record({ action: 'login.started', outcome: 'success', reference, detail: { provider: provider.id } })
  const headers = new Headers({ location: url.href, 'cache-control': 'no-store' })
  // Written anew each time: a cookie that ends while the person is at the provider would be another browser's.
  headers.append('set-cookie', flow.setCookie)
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
  const headers = new Headers({ location: localPath(params.get('return_to')), 'cache-control': 'no-store' })
  headers.append('set-cookie', deps.cookies.write('session', '', 0))
  return new Response(null, { status: 303, headers })
}

/** A path of this gateway and nothing else: no scheme, no host, no `//` or backslash that a browser reads as one. */
export function localPath(value: string | undefined): string {
  return value !== undefined && /^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(value) ? value : '/'
}
