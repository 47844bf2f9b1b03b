import type { Recorder } from '../audit/event.ts'
import type { Client, Clients } from '../clients/client.ts'
import type { RequestContext } from '../http/route.ts'
import type { SignedIn, Sessions, SignIn } from '../identity/sign-in.ts'
import { OAuthError } from '../oauth/error.ts'
import { hash, newId, newSecret } from '../oauth/secret.ts'
import type { Policy } from '../policy/policy.ts'
import type { Connections } from '../upstreams/connections.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'
import type { AuthorizeStore, Consent, PendingRequest } from './authorize-store.ts'
import { connectionsPage } from './connections-page.ts'
import { consentPage, redirectHost } from './consent-page.ts'
import { codeResponse, errorResponse } from './respond.ts'

const CODE_SECONDS = 60

export interface DispatchDeps {
  readonly issuer: string
  readonly clients: Clients
  readonly profiles: Profiles
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly policy: Policy
  readonly connections: Connections
  readonly store: AuthorizeStore
  readonly audit: Recorder
  readonly now: () => number
}

/** One pending request with everything that a step needs to know of it. */
export interface Step {
  readonly pending: PendingRequest
  readonly client: Client
  readonly profile: Profile
  readonly signedIn: SignedIn
  readonly context: RequestContext
}

/**
 * Decides the next step of a request from what is stored: sign-in, policy, consent, connections, code. Every step comes
 * back here; no step knows another. Nothing goes to an upstream's provider before the consent (P-1, P-2).
 */
export async function dispatch(deps: DispatchDeps, request: Request, context: RequestContext, pending: PendingRequest): Promise<Response> {
  const signedIn = await deps.sessions.current(request)
  if (signedIn === undefined || mustSignInAgain(pending, signedIn, deps.now())) return toSignIn(deps, request, context, pending, signedIn)
  const profile = deps.profiles.byResource(pending.request.resource)
  if (profile === undefined) return refuse(deps, pending, new OAuthError('invalid_target', 'the resource is gone'), signedIn)
  const client = await deps.clients.find(pending.request.clientId)
  const step: Step = { pending, client, profile, signedIn, context }
  if (!mayReachAny(deps, step)) {
    return refuse(deps, pending, new OAuthError('access_denied', 'your administrator has not allowed you to use this with this application', { reason: 'no rule allows' }), signedIn)
  }
  if (await needsConsent(deps, step)) {
    return pending.request.prompt.includes('none') ? refuse(deps, pending, new OAuthError('consent_required', 'the user must approve'), signedIn) : consentPage(step)
  }
  const missing = pending.progress.connectionsSkipped === true || pending.request.prompt.includes('none') ? [] : await deps.connections.missing(signedIn.user.id, profile)
  if (missing.length > 0) return connectionsPage(step, missing, deps.issuer)
  return issueCode(deps, step)
}

/** OpenID Connect Core §3.1.2.1: `prompt=login` and `max_age` ask for a sign-in that is newer than the session's. */
function mustSignInAgain({ request, progress }: PendingRequest, { session }: SignedIn, now: number): boolean {
  const signedInForThis = progress.signInStartedAt !== undefined && progress.sessionBefore !== session.id
  if (signedInForThis) return false
  if (request.prompt.includes('login') || request.prompt.includes('select_account')) return true
  if (request.acrValues !== undefined && !request.acrValues.split(' ').includes(session.acr ?? '')) return true
  if (request.maxAge === undefined) return false
  return session.authTime === undefined || session.authTime + request.maxAge < now / 1000
}

async function toSignIn(deps: DispatchDeps, request: Request, context: RequestContext, pending: PendingRequest, signedIn: SignedIn | undefined): Promise<Response> {
  const { prompt, maxAge, acrValues, loginHint } = pending.request
  if (prompt.includes('none')) return refuse(deps, pending, new OAuthError('login_required', 'the user must sign in'), signedIn)
  await deps.store.updateProgress(pending.id, {
    ...pending.progress,
    signInStartedAt: deps.now(),
    ...(signedIn === undefined ? {} : { sessionBefore: signedIn.session.id }),
  })
  return deps.signIn.start(request, context, {
    returnTo: `/authorize/${pending.id}`,
    reference: pending.reference,
    ...(prompt.includes('login') ? { prompt: 'login' } : {}),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(loginHint === undefined ? {} : { loginHint }),
  })
}

function mayReachAny({ policy }: DispatchDeps, { profile, signedIn, client, context }: Step): boolean {
  const { id: subject, groups } = signedIn.user
  return profile.upstreams.some((upstream) => policy.mayReach({ subject, groups, clientId: client.id, upstream: upstream.id, address: context.address }))
}

/** What a consent must cover: D06, F08 of the field's attacks are a scope, a host or a document that grew since. */
export function consentFor({ pending, client, signedIn }: Step): Consent {
  const { redirectUri, resource, scope } = pending.request
  return { userId: signedIn.user.id, clientId: client.id, redirectHost: redirectHost(redirectUri), resource, scope, clientDigest: client.digest }
}

async function needsConsent(deps: DispatchDeps, step: Step): Promise<boolean> {
  if (step.pending.request.prompt.includes('consent') && step.pending.progress.consentedBy !== step.signedIn.session.id) return true
  const wanted = consentFor(step)
  const given = await deps.store.findConsent(wanted)
  return given === undefined || given.clientDigest !== wanted.clientDigest || !wanted.scope.every((scope) => given.scope.includes(scope))
}

async function issueCode(deps: DispatchDeps, { pending, client, signedIn, context }: Step): Promise<Response> {
  const code = newSecret('lyd_ac')
  const { resource, scope, redirectUri, codeChallenge } = pending.request
  const { authTime, acr, amr } = signedIn.session
  const grantId = newId('grt')
  const now = deps.now()
  const record = {
    hash: hash(code),
    authorization: {
      id: grantId,
      userId: signedIn.user.id,
      clientId: client.id,
      resource,
      scope,
      ...(authTime === undefined ? {} : { authTime }),
      ...(acr === undefined ? {} : { acr }),
      ...(amr === undefined ? {} : { amr }),
    },
    redirectUri,
    codeChallenge,
    expiresAt: Math.floor(now / 1000) + CODE_SECONDS,
  }
  const issued = await deps.store.grantAuthorization(pending.id, record, now, {
    action: 'authorization.granted',
    outcome: 'success',
    subject: signedIn.user.id,
    clientId: client.id,
    grantId,
    resource,
    reference: pending.reference,
    address: context.address,
    detail: { scope },
  })
  if (!issued) return errorResponse(deps.issuer, pending.request, new OAuthError('invalid_request', 'this request was answered before'))
  return codeResponse(deps.issuer, pending.request, code)
}

/** Ends a request with an error that the client is told of, and that the reference finds. */
export async function refuse(deps: DispatchDeps, pending: PendingRequest, error: OAuthError, signedIn: SignedIn | undefined): Promise<Response> {
  await deps.store.endRequest(pending.id, {
    action: 'authorization.refused',
    outcome: 'failure',
    clientId: pending.request.clientId,
    resource: pending.request.resource,
    reference: pending.reference,
    reason: `${error.code}: ${error.reason}`,
    ...(signedIn === undefined ? {} : { subject: signedIn.user.id }),
  })
  return errorResponse(deps.issuer, pending.request, error)
}
