// Owns the page where a person says which device asks (RFC 8628 §3.3). It approves nothing: whoever entered a code that
// waits goes through the steps of /authorize with it, as with every other request.
import { html } from 'hono/html'
import type { Recorder } from '../audit/event.ts'
import { applicationTrace } from '../clients/application.ts'
import type { Client, Clients } from '../clients/client.ts'
import { addressBucket } from '../http/address.ts'
import { checkCsrf, csrfToken } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { outside, page, plain, type Html } from '../http/page.ts'
import { Params } from '../http/params.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import { seeOther } from '../http/see-other.ts'
import type { Flow, Flows, SignedIn, SignIn, Sessions } from '../identity/sign-in.ts'
import type { StateSealer } from '../keys/seal.ts'
import { OAuthError } from '../oauth/error.ts'
import { hash, newId } from '../oauth/secret.ts'
import type { AuthorizeStore, PendingRequest } from './authorize-store.ts'
import { sealUserCode } from './device-facts.ts'
import { mayUseDevices, printUserCode, readUserCode, type DeviceRules } from './device.ts'
import type { DeviceRequest, DeviceStore } from './device-store.ts'
import { stepResponse } from './respond.ts'
import { SKEW_MS } from './sign-in-again.ts'
import { withFlow } from './with-flow.ts'

const PURPOSE = 'device'
const RETURN = 'device sign-in'
const FRESH = 'device fresh sign-in'
/** How long a sign-in may take. */
const RETURN_MS = 10 * 60_000
const MAX_TYPED = 64
/** Tabs of one browser that may be on their way at once. */
const MAX_PENDING = 20
/** A sign-in of so short a time ago was for this page. */
const FRESH_MS = 5 * 60_000

/** RFC 8628 §5.1: how often codes may be entered, right or wrong. */
export interface UserCodeLimits {
  readonly person: RateLimit
  readonly network: RateLimit
  /** Of everybody together. */
  readonly everybody: RateLimit
  /** How many refusals beyond that are recorded, for a person. */
  readonly recorded: RateLimit
}

export interface DevicePageDeps {
  readonly issuer: string
  readonly clients: Clients
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly flows: Flows
  readonly store: Pick<AuthorizeStore, 'addRequest'>
  readonly devices: Pick<DeviceStore, 'findWaiting'>
  readonly rules: DeviceRules
  readonly entries: UserCodeLimits
  readonly state: StateSealer
  readonly audit: Recorder
  readonly now: () => number
}

export function devicePageRoutes(deps: DevicePageDeps): readonly Route[] {
  return [
    { method: 'GET', path: '/device', access: 'public', errors: 'page', respond: (request, context) => open(deps, request, context) },
    { method: 'POST', path: '/device', access: 'session', errors: 'page', respond: (request, context) => enter(deps, request, context) },
  ]
}

/** Nothing is looked up here: a link tells nothing of its code, and whoever tries codes has signed in. */
async function open(deps: DevicePageDeps, request: Request, context: RequestContext): Promise<Response> {
  const params = Params.from(new URL(request.url).searchParams)
  const flow = deps.flows.current(request)
  const back = openReturn(deps, flow, params.get('back'))
  const typed = params.get('user_code')?.slice(0, MAX_TYPED) ?? back.typed
  const signedIn = await deps.sessions.current(request)
  if (signedIn === undefined) return signInFirst(deps, withFlow(request, flow), typed, context)
  const view = { signedIn, fresh: isFreshSince(back.at, signedIn, deps.now()) ? sealFreshness(deps, signedIn) : undefined }
  const code = readUserCode(typed)
  return code === undefined ? typingPage(deps, view) : comparingPage(deps, view, code)
}

/** What a sign-in that began here comes back with, sealed for this browser: the code of a link, and when it began. */
interface Return {
  readonly typed?: string
  /** Milliseconds since the epoch; whoever has not signed in does not learn it. */
  readonly at?: number
}

function openReturn({ state, now }: DevicePageDeps, { hash: flow }: Pick<Flow, 'hash'>, back: string | undefined): Return {
  return back === undefined ? {} : ((state.open(RETURN, [flow], back, now()) as Return | undefined) ?? {})
}

/** L03: whoever must sign in for this page does so anew, so that they need not do so again for the device. */
function signInFirst(deps: DevicePageDeps, request: Request, typed: string | undefined, context: RequestContext): Promise<Response> {
  const { state, flows, rules } = deps
  const now = deps.now()
  const code = typed === undefined ? {} : { typed }
  const path = (back: Return): string => `/device?back=${state.seal(RETURN, [flows.current(request).hash], back, now + RETURN_MS)}`
  return deps.signIn.start(request, { returnTo: path({ ...code, at: now }), startAgainAt: path(code), reference: context.reference, ...(rules.freshSignIn ? { prompt: 'login' as const } : {}) })
}

/** A provider that never names the time has vouched by itself for the new sign-in that it was asked for. */
function isFreshSince(at: number | undefined, { session: { authTime } }: SignedIn, now: number): boolean {
  return at !== undefined && now - at < RETURN_MS && (authTime === undefined || authTime * 1000 >= at - SKEW_MS)
}

function sealFreshness({ state, now }: DevicePageDeps, { session }: SignedIn): string {
  return state.seal(FRESH, [session.id], {}, now() + FRESH_MS)
}

/** Whether the sign-in was for this page, or so short a time ago that it may have been. */
function isFresh({ state, now }: DevicePageDeps, { session }: SignedIn, given: string | undefined): boolean {
  if (session.authTime !== undefined && session.authTime * 1000 > now() - FRESH_MS) return true
  return given !== undefined && state.open(FRESH, [session.id], given, now()) !== undefined
}

async function enter(deps: DevicePageDeps, request: Request, context: RequestContext): Promise<Response> {
  requireSameOrigin(request, deps.issuer)
  const params = await Params.fromForm(request)
  const signedIn = await deps.sessions.current(request)
  if (signedIn === undefined) return seeOther('/device')
  if (!checkCsrf(params.get('csrf'), signedIn.secret, PURPOSE)) throw new PageError(403, 'This form is out of date', 'Go back, load the page again, and enter the code there.', { reason: 'csrf' })
  await requireFewEntries(deps, signedIn, context)
  const code = readUserCode(params.get('user_code')?.slice(0, MAX_TYPED))
  const device = code === undefined ? undefined : await deps.devices.findWaiting(hash(code), deps.now())
  const client = device === undefined ? undefined : await clientOf(deps, device)
  // No oracle: one answer for a code of nobody, one that is over, and one of an application that may not have it.
  if (code === undefined || device === undefined || client === undefined) {
    await record(deps, signedIn, context, 'unknown user code')
    return typingPage(deps, { signedIn, fresh: params.get('fresh') }, 'No device waits with this code. Compare it with the one that the device shows; it is good for ten minutes.')
  }
  return goOn(deps, request, { code, device, client, signedIn, context, isFresh: isFresh(deps, signedIn, params.get('fresh')) })
}

/** RFC 8628 §5.1, L01: whoever is over a limit is not told whether the code was right. */
async function requireFewEntries(deps: DevicePageDeps, signedIn: SignedIn, context: RequestContext): Promise<void> {
  const retryAfter = waitFor(deps.entries, signedIn.user.id, addressBucket(context.address))
  if (retryAfter === undefined) return
  if (deps.entries.recorded(signedIn.user.id).allowed) await record(deps, signedIn, context, 'too many user codes')
  throw new PageError(429, 'Too many codes were entered', `Wait ${Math.ceil(retryAfter / 60)} minutes, then enter the code that your device shows by then.`, { reason: 'too many user codes', headers: { 'retry-after': String(retryAfter) } })
}

/** One after the other: whoever is over their own limit uses up nobody else's. */
function waitFor({ person, network, everybody }: UserCodeLimits, userId: string, bucket: string): number | undefined {
  const own = person(userId)
  if (!own.allowed) return own.retryAfter
  const near = network(bucket)
  if (!near.allowed) return near.retryAfter
  const all = everybody('')
  return all.allowed ? undefined : all.retryAfter
}

async function clientOf({ clients, rules }: DevicePageDeps, { clientId }: DeviceRequest): Promise<Client | undefined> {
  try {
    const client = await clients.find(clientId)
    return mayUseDevices(rules, client) ? client : undefined
  } catch (error) {
    if (error instanceof OAuthError && error.code === 'invalid_client') return undefined
    throw error
  }
}

interface Entry {
  readonly code: string
  readonly device: DeviceRequest
  readonly client: Client
  readonly signedIn: SignedIn
  readonly context: RequestContext
  readonly isFresh: boolean
}

async function goOn(deps: DevicePageDeps, request: Request, { code, device, client, signedIn, context, isFresh: fresh }: Entry): Promise<Response> {
  const flow = deps.flows.current(request)
  const { id, clientId, resource, scope, reference, expiresAt } = device
  const pending: PendingRequest = {
    id: newId('req'),
    flowHash: flow.hash,
    request: {
      clientId,
      resource,
      scope,
      // L03: a session that somebody happens to have approves nothing.
      prompt: deps.rules.freshSignIn && !fresh ? ['login'] : [],
      device: { id, userCode: sealUserCode(deps.state, id, code, expiresAt), address: device.address, askedAt: device.createdAt },
    },
    progress: {},
    reference,
    createdAt: deps.now(),
    expiresAt,
  }
  await deps.store.addRequest(pending, MAX_PENDING, { action: 'device.entered', outcome: 'success', subject: signedIn.user.id, clientId, ...applicationTrace(client), resource, reference, address: context.address, detail: { scope, device: device.address } })
  const response = stepResponse(pending)
  if (flow.isNew) response.headers.append('set-cookie', flow.setCookie)
  return response
}

function record({ audit }: DevicePageDeps, { user }: SignedIn, { reference, address }: RequestContext, reason: string): Promise<void> {
  return audit.record({ action: 'device.refused', outcome: 'failure', subject: user.id, reason, reference, address })
}

interface View {
  readonly signedIn: SignedIn
  /** That the sign-in was for this page, sealed. */
  readonly fresh: string | undefined
}

function typingPage({ issuer }: DevicePageDeps, { signedIn, fresh }: View, mistake?: string): Promise<Response> {
  return page({
    title: 'Connect a device',
    status: mistake === undefined ? 200 : 400,
    formTargets: outside(issuer),
    body: html`<h1>Connect a device</h1>
      <p>Signed in as <strong>${nameOf(signedIn)}</strong></p>
      ${mistake === undefined ? '' : html`<div class="warning" role="alert"><p id="mistake">${mistake}</p></div>`}
      <p>Enter the code that your own device or program shows. On the next page you see who asks for what, before anything is allowed.</p>
      ${neverForOthers()}
      <form method="post" action="/device">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, PURPOSE)}">
        ${fresh === undefined ? '' : html`<input type="hidden" name="fresh" value="${fresh}">`}
        <div class="fields"><label>Code<input name="user_code" required maxlength="${MAX_TYPED}" autocomplete="off" autocapitalize="characters" spellcheck="false" placeholder="XXXX-XXXX"${mistake === undefined ? '' : html` aria-invalid="true" aria-describedby="mistake"`}></label></div>
        <div class="actions"><button class="button-primary">Continue</button></div>
      </form>`,
  })
}

/** RFC 8628 §3.3.1: a link that carries the code shows it, so that it can be compared with that of the device. */
function comparingPage({ issuer }: DevicePageDeps, { signedIn, fresh }: View, code: string): Promise<Response> {
  return page({
    title: 'Compare the code',
    formTargets: outside(issuer),
    body: html`<h1>Does your device show this code?</h1>
      <p>Signed in as <strong>${nameOf(signedIn)}</strong></p>
      <p class="user-code"><code>${printUserCode(code)}</code></p>
      <p>Go on only if a device or program in front of you, that you started yourself just now, shows the same code.</p>
      ${neverForOthers()}
      <form method="post" action="/device">
        <input type="hidden" name="csrf" value="${csrfToken(signedIn.secret, PURPOSE)}">
        ${fresh === undefined ? '' : html`<input type="hidden" name="fresh" value="${fresh}">`}
        <input type="hidden" name="user_code" value="${printUserCode(code)}">
        <div class="actions">
          <button class="button-primary">It shows this code</button>
          <a class="button-quiet" href="/device">Enter another code</a>
        </div>
      </form>`,
  })
}

/** What the campaigns of Storm-2372 relied on: a code, or a link with one, from somebody who was not asked for it. */
function neverForOthers(): Html {
  return html`<div class="warning"><p><strong>Never use a code or link that somebody sent you,</strong> not for a meeting, a document or support either: whoever made it would act as you.</p></div>`
}

function nameOf({ user }: SignedIn): string {
  return plain(user.name ?? user.email ?? user.subject, 80)
}
