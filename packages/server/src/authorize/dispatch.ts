import type { AuditEvent, Recorder } from '../audit/event.ts'
import type { Clients } from '../clients/client.ts'
import type { RequestContext } from '../http/route.ts'
import type { SignedIn, Sessions, SignIn } from '../identity/sign-in.ts'
import { OAuthError } from '../oauth/error.ts'
import { scopeAllows } from '../oauth/scope.ts'
import { hash, newId, newSecret } from '../oauth/secret.ts'
import type { Policy } from '../policy/policy.ts'
import type { Connections } from '../upstreams/connections.ts'
import type { Profiles, Upstream } from '../upstreams/upstream.ts'
import type { CodeRecord } from './authorization.ts'
import type { AuthorizeStore, Consent, PendingRequest } from './authorize-store.ts'
import { connectionsPage } from './connections-page.ts'
import { consentPage, redirectHost } from './consent-page.ts'
import { codeResponse, errorResponse, requestEnded } from './respond.ts'
import { afterSignIn, mustSignInAgain, signInReturn, startedSignIn, wantsNewSignIn } from './sign-in-again.ts'
import type { Step } from './step.ts'
import { proveAgain } from './validate.ts'

const CODE_SECONDS = 60

export interface DispatchDeps {
  readonly issuer: string
  readonly clients: Clients
  readonly profiles: Profiles
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly policy: Pick<Policy, 'mayReach'>
  readonly connections: Connections
  readonly store: AuthorizeStore
  readonly audit: Recorder
  /** How long a grant lasts at most, for the page that asks for it. */
  readonly grantSeconds: number
  readonly now: () => number
}

/**
 * Decides the next step of a request from what is stored: sign-in, policy, consent, connections, code. Every step comes
 * back here; no step knows another. Nothing goes to an upstream's provider before the consent (P-1, P-2).
 */
export async function dispatch(deps: DispatchDeps, request: Request, context: RequestContext, stored: PendingRequest): Promise<Response> {
  const signedIn = await deps.sessions.current(request)
  const pending = await withSignIn(deps, request, stored, signedIn)
  if (signedIn === undefined || mustSignInAgain(pending, signedIn.session, deps.now())) return toSignIn(deps, request, pending, signedIn)
  const profile = deps.profiles.byResource(pending.request.resource)
  if (profile === undefined) return refuse(deps, pending, new OAuthError('invalid_target', 'the resource is gone'), signedIn)
  const client = await proveAgain(pending.request, deps.clients)
  const step: Step = { pending, client, profile, signedIn, context }
  if (!profile.upstreams.some((upstream) => mayReach(deps, step, upstream))) {
    return refuse(deps, pending, new OAuthError('access_denied', 'your administrator has not allowed you to use this with this application', { reason: 'no rule allows' }), signedIn)
  }
  const silent = pending.request.prompt.includes('none')
  if (await needsConsent(deps, step)) {
    return silent ? refuse(deps, pending, new OAuthError('consent_required', 'the user must approve'), signedIn) : consentPage(step, deps)
  }
  const missing = silent || pending.progress.connectionsSkipped === true ? [] : await missingConnections(deps, step)
  return missing.length > 0 ? connectionsPage(step, missing, deps.issuer) : issueCode(deps, step)
}

async function withSignIn(deps: DispatchDeps, request: Request, pending: PendingRequest, signedIn: SignedIn | undefined): Promise<PendingRequest> {
  const progress = signedIn === undefined ? undefined : afterSignIn(pending.progress, new URL(request.url), signedIn.session)
  if (progress === undefined) return pending
  await deps.store.updateProgress(pending.id, progress)
  return { ...pending, progress }
}

async function toSignIn(deps: DispatchDeps, request: Request, pending: PendingRequest, signedIn: SignedIn | undefined): Promise<Response> {
  const { prompt, maxAge, acrValues, loginHint } = pending.request
  // OpenID Connect Core §3.1.2.1: with `none` nobody is asked anything.
  if (prompt.includes('none')) return refuse(deps, pending, new OAuthError('login_required', 'the user must sign in'), signedIn)
  const proof = newSecret('lyd_st')
  await deps.store.updateProgress(pending.id, startedSignIn(pending.progress, hash(proof), deps.now()))
  const hint = pending.progress.anotherAccount === true ? undefined : loginHint
  return deps.signIn.start(request, {
    returnTo: signInReturn(pending, proof),
    startAgainAt: `/authorize/${pending.id}`,
    reference: pending.reference,
    ...(wantsNewSignIn(pending) ? { prompt: 'login' } : {}),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(hint === undefined ? {} : { loginHint: hint }),
  })
}

function mayReach({ policy }: DispatchDeps, { signedIn, client, context }: Step, upstream: Upstream): boolean {
  const { id: subject, groups } = signedIn.user
  return policy.mayReach({ subject, groups, clientId: client.id, upstream: upstream.id, address: context.address })
}

/** The accounts that the tools of this very request need: nobody is sent to connect what they may not use. */
async function missingConnections(deps: DispatchDeps, step: Step): Promise<readonly Upstream[]> {
  const { scope } = step.pending.request
  const missing = await deps.connections.missing(step.signedIn.user.id, step.profile.upstreams)
  return missing.filter((upstream) => scopeAllows(scope, 'read', upstream.id) && mayReach(deps, step, upstream))
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

async function issueCode(deps: DispatchDeps, step: Step): Promise<Response> {
  const { pending, signedIn, context } = step
  const code = newSecret('lyd_ac')
  const now = deps.now()
  const record = codeRecord(step, code, now)
  const { id: grantId, clientId, resource, scope } = record.authorization
  const event = { action: 'authorization.granted', outcome: 'success', subject: signedIn.user.id, clientId, grantId, resource, reference: pending.reference, address: context.address, detail: { scope } } as const
  if (!(await deps.store.grantAuthorization(pending.id, signedIn.session.id, record, now, event))) throw requestEnded()
  return codeResponse(deps.issuer, pending.request, code)
}

function codeRecord({ pending, client, signedIn }: Step, code: string, now: number): CodeRecord {
  const { resource, scope, redirectUri, codeChallenge } = pending.request
  const { authTime, acr, amr } = signedIn.session
  return {
    hash: hash(code),
    authorization: {
      id: newId('grt'),
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
}

/** Ends a request with an error that the client is told of, and that the reference finds; at most one answer leaves. */
export async function refuse(deps: DispatchDeps, pending: PendingRequest, error: OAuthError, signedIn: SignedIn | undefined, ...events: readonly AuditEvent[]): Promise<Response> {
  const ended = await deps.store.endRequest(pending.id, ...events, {
    action: 'authorization.refused',
    outcome: 'failure',
    clientId: pending.request.clientId,
    resource: pending.request.resource,
    reference: pending.reference,
    reason: `${error.code}: ${error.reason}`,
    ...(signedIn === undefined ? {} : { subject: signedIn.user.id }),
  })
  if (!ended) throw requestEnded()
  return errorResponse(deps.issuer, pending.request, error)
}
