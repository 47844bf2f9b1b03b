import { html } from 'hono/html'
import type { AuditEvent, Recorder } from '../audit/event.ts'
import type { Cookies } from '../http/cookies.ts'
import { PageError } from '../http/errors.ts'
import { errorPage, page, plain, referenceLine } from '../http/page.ts'
import { Params } from '../http/params.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import type { RequestContext } from '../http/route.ts'
import { seeOther } from '../http/see-other.ts'
import type { Sealer, StateSealer } from '../keys/seal.ts'
import { OAuthError } from '../oauth/error.ts'
import { hash, newId, newSecret, type Sealed } from '../oauth/secret.ts'
import type { IdentityStore, LoginRecord } from './identity-store.ts'
import { LoginRefused, ProviderUnavailable, RequirementsUnmet, type IdentityProvider, type LoginSecrets } from './providers/provider.ts'
import { authenticationOf } from './authentication.ts'
import { signInAt } from './login-choice.ts'
import { openTokens, tokensRow } from './recheck.ts'
import type { Flows, Sessions } from './sign-in.ts'
import type { Identity, IdentityTokens } from './user.ts'

export interface LoginDeps {
  readonly issuer: string
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly store: IdentityStore
  readonly sealer: Sealer
  readonly state: StateSealer
  readonly flows: Flows
  readonly sessions: Sessions
  readonly cookies: Cookies
  readonly audit: Recorder
  readonly sessionMs: number
  /** A guard against floods from one network: every start and every way back writes. */
  readonly flood: RateLimit
  readonly now: () => number
}

/** The browser's way back from the identity provider. */
export async function callback(deps: LoginDeps, request: Request, context: RequestContext): Promise<Response> {
  const provider = deps.providers.get(context.params['provider'] ?? '')
  if (provider === undefined) throw await unknown(deps, context, 'no such provider')
  const state = stateOf(request)
  if (state === undefined) throw await unknown(deps, context, 'no state, or a repeated parameter')
  // Single use: of parallel callbacks with one state, one gets the row (RFC 9700 §4.7).
  const record = await deps.store.takeLogin(hash(state), deps.now())
  if (record === undefined) throw await unknown(deps, context, 'unknown or used state')
  const event = { reference: record.reference, address: context.address, detail: { provider: provider.id } } as const
  try {
    // The browser that left is the browser that comes back, and it comes back from where it was sent.
    if (deps.flows.current(request).hash !== record.flowHash) throw new LoginRefused('another browser')
    if (record.provider !== provider.id) throw new LoginRefused('another provider')
    const { identity, consented } = await finish(deps, request, provider, { record, state })
    const back = consented || provider.offlineByConsent !== true || isDemanding(record) ? returnTo(deps, record) : consentStep(deps, record, identity)
    return await openSession(deps, request, identity, record, { event, back })
  } catch (error) {
    if (error instanceof ProviderUnavailable) return unavailable(deps, provider, record, error)
    if (!(error instanceof LoginRefused)) throw error
    await deps.audit.record({ action: 'login.failed', outcome: 'failure', reason: error.reason, ...event })
    // Who was only asked for lasting access is signed in, and may refuse it.
    if (await isRefusingConsent(deps, request, record)) return seeOther(returnTo(deps, record))
    // RFC 9470 §5: whoever asked for it is told, and nobody is signed in.
    if (error instanceof RequirementsUnmet && record.unmetAt !== undefined) return seeOther(record.unmetAt)
    // The reference of the whole sign-in, not of this request: it finds every step.
    return errorPage({ status: 400, title: 'You could not be signed in', message: START_AGAIN, reference: record.reference })
  }
}

const START_AGAIN = 'Go back to your application and start again from there.'

/** RFC 6749 §4.1.2: no parameter of the answer is repeated. */
function stateOf(request: Request): string | undefined {
  try {
    return Params.from(new URL(request.url).searchParams).get('state')
  } catch (error) {
    if (error instanceof OAuthError) return undefined
    throw error
  }
}

async function unknown(deps: LoginDeps, { reference, address }: RequestContext, reason: string): Promise<PageError> {
  await deps.audit.record({ action: 'login.failed', outcome: 'failure', reason, reference, address })
  return new PageError(400, 'This sign-in was finished before, or took too long', START_AGAIN, { reason })
}

async function finish(deps: LoginDeps, request: Request, provider: IdentityProvider, { record, state }: { record: LoginRecord; state: string }): Promise<{ identity: Identity; consented: boolean }> {
  const { startedAt, consent, ...secrets } = openSecrets(deps, record)
  const { prompt, maxAge, acrValues } = record
  // Only the query is taken from the request; the address it must have reached is our own.
  const answer = new URL(`${redirectUri(deps, provider.id)}${new URL(request.url).search}`)
  const identity = await provider.finish(answer, { ...secrets, state }, {
    startedAt,
    redirectUri: redirectUri(deps, provider.id),
    ...(prompt === undefined ? {} : { prompt }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(acrValues === undefined ? {} : { acrValues }),
  })
  return { identity, consented: consent === true }
}

/** What a sign-in remembered when the browser left. */
function openSecrets({ sealer }: LoginDeps, { secrets, stateHash }: LoginRecord): Omit<LoginSecrets, 'state'> & { readonly startedAt: number; readonly consent?: true } {
  return JSON.parse(sealer.open(secrets, ['logins', stateHash, 'secrets'])) as Omit<LoginSecrets, 'state'> & { startedAt: number; consent?: true }
}

function returnTo({ sealer }: LoginDeps, { returnTo: sealed, stateHash }: LoginRecord): string {
  return sealer.open(sealed, ['logins', stateHash, 'return_to'])
}

/** A sign-in that must prove something is not followed by one that need not: its session would take the place of the proof. */
function isDemanding({ prompt, maxAge, acrValues }: LoginRecord): boolean {
  return prompt !== undefined || maxAge !== undefined || acrValues !== undefined
}

async function isRefusingConsent(deps: LoginDeps, request: Request, record: LoginRecord): Promise<boolean> {
  const isSameBrowser = deps.flows.current(request).hash === record.flowHash
  return isSameBrowser && openSecrets(deps, record).consent === true && (await deps.sessions.current(request)) !== undefined
}

/** Once more to the provider, for the consent that alone brings a refresh token (Google). */
function consentStep(deps: LoginDeps, record: LoginRecord, { provider, email }: Identity): string {
  const { flowHash, startAgainAt, reference } = record
  return signInAt(deps, flowHash, provider, { returnTo: returnTo(deps, record), startAgainAt, reference, consent: true, ...(email === undefined ? {} : { loginHint: email }) })
}

interface Opening {
  readonly event: Pick<AuditEvent, 'reference' | 'address' | 'detail'>
  /** Where the browser goes when no refresh token of the person is known; else to where the sign-in leads. */
  readonly back: string
}

async function openSession(deps: LoginDeps, request: Request, identity: Identity, record: LoginRecord, { event, back }: Opening): Promise<Response> {
  const secret = newSecret('lyd_ses')
  const now = deps.now()
  const { sid } = identity
  const before = deps.cookies.read(request, 'session')
  let lasts = false
  const user = await deps.store.signIn({
    newUserId: newId('usr'),
    identity,
    sealTokens(userId, last) {
      const tokens = withRefreshToken(deps, identity.tokens, userId, last)
      lasts = tokens.refreshToken !== undefined
      return deps.sealer.seal(JSON.stringify(tokens), tokensRow(userId))
    },
    // A new session at every sign-in, and the end of the old one: what somebody planted or kept is worth nothing (ASVS 7.2.4).
    session: {
      hash: hash(secret),
      id: newId('ses'),
      provider: identity.provider,
      expiresAt: now + deps.sessionMs,
      ...authenticationOf(identity),
      ...(sid === undefined ? {} : { sid }),
    },
    ...(before === undefined ? {} : { replaces: hash(before) }),
    now,
    events: (userId) => [{ action: 'login.succeeded', outcome: 'success', subject: userId, ...event }],
  })
  if (user === undefined) {
    await deps.audit.record({ action: 'login.failed', outcome: 'failure', reason: 'the user is disabled', ...event })
    const message = 'Your account was disabled here. Ask your administrator if that is a mistake.'
    return errorPage({ status: 403, title: 'Your access has ended', message, reference: record.reference })
  }
  const headers = new Headers({ location: lasts ? returnTo(deps, record) : back, 'cache-control': 'no-store' })
  headers.append('set-cookie', deps.cookies.write('session', secret, Math.floor(deps.sessionMs / 1000)))
  return new Response(null, { status: 303, headers })
}

/** Some providers give a refresh token at the first sign-in only: the one that is known goes on. */
function withRefreshToken(deps: LoginDeps, tokens: IdentityTokens, userId: string, last: Sealed | undefined): IdentityTokens {
  if (tokens.refreshToken !== undefined || last === undefined) return tokens
  // What was sealed under a key that is gone cannot be gone on with.
  const refreshToken = openTokens(deps.sealer, last, userId)?.refreshToken
  return refreshToken === undefined ? tokens : { ...tokens, refreshToken }
}

export function redirectUri(deps: Pick<LoginDeps, 'issuer'>, providerId: string): string {
  return `${deps.issuer}/login/${providerId}/callback`
}

/** The page of a provider that does not answer, with a link that starts again where the person came from. */
export async function unavailable(deps: LoginDeps, provider: IdentityProvider, flow: Pick<LoginRecord, 'startAgainAt' | 'reference'>, cause: ProviderUnavailable): Promise<Response> {
  await deps.audit.record({ action: 'provider.degraded', outcome: 'failure', reference: flow.reference, reason: cause.message, detail: { provider: provider.id } })
  const title = `${plain(provider.name)} does not answer`
  return page({
    title,
    status: 503,
    headers: { 'retry-after': '30' },
    body: html`<h1>${title}</h1>
      <p>Nobody can sign in there at the moment. Whoever is signed in already keeps working. Please try again in a minute.</p>
      <p><a class="button-quiet" href="${flow.startAgainAt}">Try again</a></p>
      ${referenceLine(flow.reference)}`,
  })
}
