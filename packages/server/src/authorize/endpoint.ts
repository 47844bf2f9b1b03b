// Owns the authorization endpoint: from request over sign-in, consent and connections to the code. It mints no token.
import type { RateLimit } from '../http/rate-limit.ts'
import { addressBucket } from '../http/address.ts'
import { applicationTrace } from '../clients/application.ts'
import { checkCsrf } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { Params } from '../http/params.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import { seeOther } from '../http/see-other.ts'
import type { Flows } from '../identity/sign-in.ts'
import { OAuthError } from '../oauth/error.ts'
import { newId } from '../oauth/secret.ts'
import { isFor } from '../upstreams/profile.ts'
import type { PendingRequest, Progress } from './authorize-store.ts'
import { withSkipped } from './connections-step.ts'
import { answerPurpose } from './consent-page.ts'
import { consentFor, dispatch, refuse, stepOf, type DispatchDeps } from './dispatch.ts'
import { isPushed, takePushed } from './par.ts'
import type { PushedRequestStore } from './par-store.ts'
import { errorResponse, requestEnded, stepResponse } from './respond.ts'
import type { Step } from './step.ts'
import { checkRequest, proveAgain, proveClient } from './validate.ts'
import { wantedOf } from './wanted.ts'
import { withFlow } from './with-flow.ts'

const PENDING_MS = 30 * 60_000
/** Tabs of one browser that may be on their way at once. */
const MAX_PENDING = 20

export interface AuthorizeDeps extends DispatchDeps {
  readonly flows: Flows
  /** A guard against floods of requests from one network. */
  readonly flood: RateLimit
  readonly pushed: Pick<PushedRequestStore, 'take'>
  /** Whether every client must push its requests (RFC 9126 §5). */
  readonly requirePushed: boolean
}

export function authorizeRoutes(deps: AuthorizeDeps): readonly Route[] {
  return [
    { method: 'GET', path: '/authorize', access: 'public', errors: 'page', respond: (request, context) => start(deps, request, context) },
    { method: 'POST', path: '/authorize', access: 'public', errors: 'page', respond: (request) => byGet(request) },
    { method: 'GET', path: '/authorize/:id', access: 'flow', errors: 'page', respond: (request, context) => resume(deps, request, context) },
    { method: 'POST', path: '/authorize/:id', access: 'session', errors: 'page', respond: (request, context) => answer(deps, request, context) },
  ]
}

/**
 * RFC 6749 §3.1: POST may be used too. It comes from the client's site, so it brings no cookies, and cookies set in its
 * answer would take the place of those of flows that are under way: the browser is sent to ask by GET.
 */
async function byGet(request: Request): Promise<Response> {
  const params = await Params.fromForm(request)
  return seeOther(`/authorize?${new URLSearchParams(params.entries()).toString()}`)
}

/** Checks a new request, stores it bound to this browser, and takes the first step. */
async function start(deps: AuthorizeDeps, request: Request, context: RequestContext): Promise<Response> {
  if (!deps.flood(addressBucket(context.address)).allowed) {
    throw new PageError(429, 'Too many requests', 'Wait a minute, then start again from your application.', { headers: { 'retry-after': '60' } })
  }
  const flow = deps.flows.current(request)
  const pending = await check(deps, request, flow.hash, context)
  if (pending instanceof Response) return pending
  await deps.store.addRequest(pending, MAX_PENDING, {
    action: 'authorization.requested',
    outcome: 'success',
    clientId: pending.request.clientId,
    resource: pending.request.resource,
    reference: context.reference,
    address: context.address,
    detail: { scope: pending.request.scope },
  })
  // A page that stood at the address of a pushed request could not be loaded again: it is good once.
  const response = isPushed(Params.from(new URL(request.url).searchParams)) ? stepResponse(pending) : await underReference(deps, pending, context, () => dispatch(deps, withFlow(request, flow), context, pending))
  if (flow.isNew) response.headers.append('set-cookie', flow.setCookie)
  return response
}

/** Makes a pending request of the parameters, or the answer to the client that refuses it. @throws before the client is proven */
async function check(deps: AuthorizeDeps, request: Request, flowHash: PendingRequest['flowHash'], context: RequestContext): Promise<PendingRequest | Response> {
  const search = new URL(request.url).searchParams
  const refused = { action: 'authorization.refused', outcome: 'failure', reference: context.reference, address: context.address } as const
  const proven = await prove(deps, search).catch(async (error: unknown) => {
    const clientId = search.get('client_id')?.slice(0, 512)
    const reason = error instanceof PageError || error instanceof OAuthError ? error.reason : 'fault'
    await deps.audit.record({ ...refused, reason, ...(clientId === undefined ? {} : { clientId }) })
    throw error
  })
  const { params, client, redirectUri } = proven
  try {
    if (!proven.pushed && (deps.requirePushed || client.requirePushedAuthorizationRequests === true)) throw new OAuthError('invalid_request', 'the client must push its requests (RFC 9126)', { reason: 'not pushed' })
    const checked = checkRequest(params, proven, deps.profiles)
    const now = deps.now()
    return { id: newId('req'), flowHash, request: checked, progress: {}, reference: context.reference, createdAt: now, expiresAt: now + PENDING_MS }
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error
    await deps.audit.record({ ...refused, clientId: client.id, reason: `${error.code}: ${error.reason}` })
    const state = params.get('state')
    const isSignedIn = (await deps.sessions.current(request)) !== undefined
    return errorResponse(deps.issuer, { client, redirectUri, isSignedIn, reference: context.reference, ...(state === undefined ? {} : { state }) }, error)
  }
}

/** RFC 6749 §3.1: a repeated parameter is refused before anything is believed, so it is a page whichever it is. */
async function prove(deps: AuthorizeDeps, search: URLSearchParams) {
  const given = Params.from(search)
  const pushed = isPushed(given)
  const params = pushed ? await takePushed(deps, given) : given
  return { params, pushed, ...(await proveClient(params, deps.clients)) }
}

async function resume(deps: AuthorizeDeps, request: Request, context: RequestContext): Promise<Response> {
  const pending = await findPending(deps, request, context)
  return underReference(deps, pending, context, () => dispatch(deps, request, context, pending))
}

/** A page that refuses a step names the reference under which all steps of the flow are recorded, this one too. */
async function underReference({ audit }: AuthorizeDeps, { request, reference }: PendingRequest, { address }: RequestContext, work: () => Promise<Response>): Promise<Response> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof PageError)) throw error
    const { status, title, message, reason, headers, cause } = error
    await audit.record({ action: 'authorization.refused', outcome: 'failure', clientId: request.clientId, resource: request.resource, reason, reference, address })
    throw new PageError(status, title, message, { reason, headers, cause, reference })
  }
}

async function findPending(deps: AuthorizeDeps, request: Request, context: RequestContext): Promise<PendingRequest> {
  const pending = await deps.store.findRequest(context.params['id'] ?? '', deps.now())
  if (pending === undefined) throw requestEnded()
  if (deps.flows.current(request).hash !== pending.flowHash) {
    const reason = 'opened in another browser'
    const { reference } = pending
    await deps.audit.record({ action: 'authorization.refused', outcome: 'failure', clientId: pending.request.clientId, reference, reason, address: context.address })
    throw new PageError(403, 'This request was started in another browser', 'Start again from your application, in this browser, and use only links that you opened yourself.', { reason, reference })
  }
  return pending
}

/** Takes the answer of a page: approve, deny, sign in as somebody else, or go on without an account. */
async function answer(deps: AuthorizeDeps, request: Request, context: RequestContext): Promise<Response> {
  const stored = await findPending(deps, request, context)
  return underReference(deps, stored, context, async () => {
    requireSameOrigin(request, deps.issuer)
    const params = await Params.fromForm(request)
    const signedIn = await deps.sessions.current(request)
    const pending = signedIn === undefined ? stored : await wantedOf(deps, stored, signedIn.user)
    const profile = deps.profiles.byResource(pending.request.resource)
    if (signedIn === undefined || profile === undefined || !isFor(profile, signedIn.user)) return stepResponse(pending)
    const client = await proveAgain(pending.request, deps)
    const step = stepOf(deps, { pending, client, profile, signedIn, context })
    if (!checkCsrf(params.get('csrf'), signedIn.secret, answerPurpose(step))) {
      throw new PageError(403, 'This form is out of date', 'Go back, load the page again, and answer there.', { reason: 'csrf' })
    }
    return decide(deps, step, params)
  })
}

function decide(deps: AuthorizeDeps, step: Step, params: Params): Promise<Response> {
  const skip = params.get('skip')
  if (skip !== undefined) return goOn(deps, step, withSkipped(step, skip))
  // Whatever sign-in there was for this request counts no more: the next one decides who is asked.
  if (params.get('account') === 'another') return goOn(deps, step, { anotherAccount: true })
  return params.get('decision') === 'approve' ? approve(deps, step) : deny(deps, step)
}

async function goOn(deps: AuthorizeDeps, { pending }: Step, progress: Progress): Promise<Response> {
  await deps.store.updateProgress(pending.id, progress)
  return stepResponse(pending)
}

async function approve(deps: AuthorizeDeps, step: Step): Promise<Response> {
  const { pending, signedIn, context } = step
  const consent = consentFor(step)
  const progress = { ...pending.progress, consentedBy: signedIn.session.id }
  await deps.store.addConsent(consent, pending.id, progress, deps.now(), {
    action: 'consent.granted',
    outcome: 'success',
    subject: consent.userId,
    clientId: consent.clientId,
    ...applicationTrace(step.client),
    resource: consent.resource,
    reference: pending.reference,
    address: context.address,
    detail: { scope: consent.scope, redirectHost: consent.redirectHost, reach: consent.reach },
  })
  return stepResponse(pending)
}

/** Whatever is no approval is a denial. */
function deny(deps: AuthorizeDeps, { pending, client, signedIn, context }: Step): Promise<Response> {
  const { clientId, resource } = pending.request
  const event = { action: 'consent.denied', outcome: 'success', subject: signedIn.user.id, clientId, ...applicationTrace(client), resource, reference: pending.reference, address: context.address } as const
  return refuse(deps, pending, new OAuthError('access_denied', 'the user did not approve'), signedIn, event)
}
