import type { RateLimit } from '../http/rate-limit.ts'
import { addressBucket } from '../http/address.ts'
import { checkCsrf } from '../http/csrf.ts'
import { PageError } from '../http/errors.ts'
import { Params } from '../http/params.ts'
import { requireSameOrigin } from '../http/same-origin.ts'
import type { RequestContext, Route } from '../http/route.ts'
import type { Flows } from '../identity/sign-in.ts'
import { OAuthError } from '../oauth/error.ts'
import { newId } from '../oauth/secret.ts'
import type { PendingRequest } from './authorize-store.ts'
import { consentFor, dispatch, refuse, type DispatchDeps, type Step } from './dispatch.ts'
import { errorResponse } from './respond.ts'
import { checkRequest, proveClient } from './validate.ts'

const PENDING_MS = 30 * 60_000
/** Tabs of one browser that may be on their way at once. */
const MAX_PENDING = 20

export interface AuthorizeDeps extends DispatchDeps {
  readonly flows: Flows
  /** A guard against floods of requests from one network. */
  readonly flood: RateLimit
}

export function authorizeRoutes(deps: AuthorizeDeps): readonly Route[] {
  const open: Route['respond'] = async (request, context) => {
    const params = request.method === 'POST' ? await Params.fromForm(request) : Params.from(new URL(request.url).searchParams)
    return start(deps, request, context, params)
  }
  return [
    { method: 'GET', path: '/authorize', access: 'public', errors: 'page', respond: open },
    { method: 'POST', path: '/authorize', access: 'public', errors: 'page', respond: open },
    { method: 'GET', path: '/authorize/:id', access: 'flow', errors: 'page', respond: async (request, context) => dispatch(deps, request, context, await findPending(deps, request, context)) },
    { method: 'POST', path: '/authorize/:id', access: 'session', errors: 'page', respond: (request, context) => answer(deps, request, context) },
  ]
}

/** Checks a new request, stores it bound to this browser, and takes the first step. */
async function start(deps: AuthorizeDeps, request: Request, context: RequestContext, params: Params): Promise<Response> {
  if (!deps.flood(addressBucket(context.address)).allowed) {
    throw new PageError(429, 'Too many requests', 'Wait a minute, then start again from your application.', { headers: { 'retry-after': '60' } })
  }
  const refused = { action: 'authorization.refused', outcome: 'failure', reference: context.reference, address: context.address } as const
  const proven = await proveClient(params, deps.clients).catch(async (error: unknown) => {
    const clientId = params.get('client_id')?.slice(0, 512)
    await deps.audit.record({ ...refused, reason: error instanceof PageError ? error.reason : 'fault', ...(clientId === undefined ? {} : { clientId }) })
    throw error
  })
  const flow = deps.flows.current(request)
  let pending: PendingRequest
  try {
    const checked = checkRequest(params, proven, deps.profiles)
    const now = deps.now()
    pending = { id: newId('req'), flowHash: flow.hash, request: checked, progress: {}, reference: context.reference, createdAt: now, expiresAt: now + PENDING_MS }
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error
    await deps.audit.record({ ...refused, clientId: proven.client.id, reason: `${error.code}: ${error.reason}` })
    const state = params.get('state')
    return errorResponse(deps.issuer, { redirectUri: proven.redirectUri, ...(state === undefined ? {} : { state }) }, error)
  }
  await deps.store.addRequest(pending, MAX_PENDING, {
    action: 'authorization.requested',
    outcome: 'success',
    clientId: proven.client.id,
    resource: pending.request.resource,
    reference: context.reference,
    address: context.address,
    detail: { scope: pending.request.scope },
  })
  const response = await dispatch(deps, withFlow(request, flow.setCookie), context, pending)
  if (flow.setCookie !== undefined) response.headers.append('set-cookie', flow.setCookie)
  return response
}

/** The request as this browser will send it from now on: a first step must not make a second flow of it. */
function withFlow(request: Request, setCookie: string | undefined): Request {
  if (setCookie === undefined) return request
  const headers = new Headers(request.headers)
  const pair = setCookie.slice(0, setCookie.indexOf(';'))
  headers.set('cookie', [headers.get('cookie'), pair].filter((value) => value !== null).join('; '))
  return new Request(request.url, { headers })
}

async function findPending(deps: AuthorizeDeps, request: Request, context: RequestContext): Promise<PendingRequest> {
  const pending = await deps.store.findRequest(context.params['id'] ?? '', deps.now())
  if (pending === undefined) {
    throw new PageError(400, 'This request has ended', 'It was finished before, or took too long. Go back to your application and start again from there.')
  }
  if (deps.flows.current(request).hash !== pending.flowHash) {
    await deps.audit.record({ action: 'authorization.refused', outcome: 'failure', clientId: pending.request.clientId, reference: pending.reference, reason: 'opened in another browser' })
    throw new PageError(403, 'This request was started in another browser', 'Start again from your application, in this browser, and use only links that you opened yourself.')
  }
  return pending
}

/** Takes the answer of a page: approve, deny, or go on without connections. */
async function answer(deps: AuthorizeDeps, request: Request, context: RequestContext): Promise<Response> {
  requireSameOrigin(request, deps.issuer)
  const params = await Params.fromForm(request)
  const pending = await findPending(deps, request, context)
  const signedIn = await deps.sessions.current(request)
  const profile = deps.profiles.byResource(pending.request.resource)
  if (signedIn === undefined || profile === undefined) return backTo(pending)
  if (!checkCsrf(params.get('csrf'), signedIn.secret, `consent:${pending.id}`)) {
    throw new PageError(403, 'This form is out of date', 'Go back, load the page again, and answer there.', { reason: 'csrf' })
  }
  const client = await deps.clients.find(pending.request.clientId)
  const step: Step = { pending, client, profile, signedIn, context }
  if (params.get('connections') === 'skip') {
    await deps.store.updateProgress(pending.id, { ...pending.progress, connectionsSkipped: true })
    return backTo(pending)
  }
  return params.get('decision') === 'approve' ? approve(deps, step) : deny(deps, step)
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
    resource: consent.resource,
    reference: pending.reference,
    address: context.address,
    detail: { scope: consent.scope, redirectHost: consent.redirectHost },
  })
  return backTo(pending)
}

async function deny(deps: AuthorizeDeps, { pending, signedIn }: Step): Promise<Response> {
  const { clientId, resource } = pending.request
  await deps.audit.record({ action: 'consent.denied', outcome: 'success', subject: signedIn.user.id, clientId, resource, reference: pending.reference })
  return refuse(deps, pending, new OAuthError('access_denied', 'the user did not approve'), signedIn)
}

function backTo(pending: PendingRequest): Response {
  return new Response(null, { status: 303, headers: { location: `/authorize/${pending.id}`, 'cache-control': 'no-store' } })
}
