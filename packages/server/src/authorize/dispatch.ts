import type { Need } from '../approval/approval.ts'
import type { AuditEvent, Recorder } from '../audit/event.ts'
import { applicationOf, applicationTrace } from '../clients/application.ts'
import type { Clients } from '../clients/client.ts'
import type { RequestContext } from '../http/route.ts'
import { authenticationOf } from '../identity/authentication.ts'
import type { ScopeMapping } from '../identity/scope-mapping.ts'
import type { SignedIn, Sessions, SignIn } from '../identity/sign-in.ts'
import { OAuthError } from '../oauth/error.ts'
import { scopeAllows } from '../oauth/scope.ts'
import { hash, newId, newSecret } from '../oauth/secret.ts'
import type { Policy } from '../policy/policy.ts'
import type { Connections } from '../upstreams/connections.ts'
import { isFor, isWithin, reachOf } from '../upstreams/profile.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'
import { approvalOf, refusedByAdministrator, tooManyWaiting, waitForApproval, type ApprovalStepDeps } from './approval-step.ts'
import type { Authorization, CodeRecord } from './authorization.ts'
import type { AuthorizeStore, Consent, PendingRequest, RedirectRequest } from './authorize-store.ts'
import { nextConnection } from './connections-step.ts'
import { answerPlace, consentPage } from './consent-page.ts'
import { denyDevice, grantDevice, type DeviceSteps } from './device-step.ts'
import { codeResponse, errorResponse, requestEnded } from './respond.ts'
import { afterSignIn, cameBackUnmet, judgeSession, signInReturn, startedSignIn, wantsNewSignIn, withUnmet } from './sign-in-again.ts'
import type { StepUpStore } from './step-up-store.ts'
import type { Step } from './step.ts'
import { mayAsk, proveAgain } from './validate.ts'
import { wantedOf } from './wanted.ts'

const CODE_SECONDS = 60

export interface DispatchDeps extends ApprovalStepDeps {
  readonly clients: Clients
  readonly profiles: Profiles
  readonly sessions: Sessions
  readonly signIn: SignIn
  readonly policy: Pick<Policy, 'mayReach'>
  readonly connections: Connections
  readonly store: AuthorizeStore
  readonly stepUps: StepUpStore
  readonly scopes: ScopeMapping
  readonly audit: Recorder
  /** Absent when device codes are switched off. */
  readonly devices?: DeviceSteps
  /** How long a grant lasts at most, for the page that asks for it. */
  readonly grantSeconds: number
}

/**
 * Decides the next step of a request from what is stored: sign-in, policy, consent, approval, connections, code. Every
 * step comes back here; no step knows another. Nothing goes to an upstream's provider before the consent (P-1, P-2).
 */
export async function dispatch(deps: DispatchDeps, request: Request, context: RequestContext, stored: PendingRequest): Promise<Response> {
  const signedIn = await deps.sessions.current(request)
  if (cameBackUnmet(stored.progress, new URL(request.url))) return unmet(deps, stored, signedIn)
  const begun = await withSignIn(deps, request, stored, signedIn)
  if (signedIn === undefined) return toSignIn(deps, request, begun, signedIn)
  const pending = await wantedOf(deps, begun, signedIn.user)
  const session = judgeSession(pending, signedIn.session, deps.now())
  if (session !== 'suffices') return session === 'unmet' ? unmet(deps, pending, signedIn) : toSignIn(deps, request, pending, signedIn)
  if (pending.request.scope.length === 0) return refuse(deps, pending, new OAuthError('access_denied', 'your administrator has given you none of the scopes that were asked for', { reason: 'no scope' }), signedIn)
  const profile = deps.profiles.byResource(pending.request.resource)
  // Whose it is not is told what is told of one that does not exist.
  if (profile === undefined || !isFor(profile, signedIn.user)) return refuse(deps, pending, new OAuthError('invalid_target', 'there is no such resource here', { reason: 'gone, or for others' }), signedIn)
  const client = await proveAgain(pending.request, deps)
  const step = stepOf(deps, { pending, client, profile, signedIn, context })
  if (step.upstreams.length === 0 && profile.scopes === undefined) {
    return refuse(deps, pending, new OAuthError('access_denied', 'your administrator has not allowed you to use this with this application', { reason: 'no rule allows' }), signedIn)
  }
  if (!mayAsk(profile, client)) {
    return refuse(deps, pending, new OAuthError('unauthorized_client', 'only an application that your administrator configured may have this', { reason: 'not pre-registered' }), signedIn)
  }
  const since = deps.now()
  const approval = await approvalOf(deps, step)
  if (approval.kind === 'refused') return refuse(deps, pending, refusedByAdministrator(approval.reason), signedIn)
  const silent = pending.request.prompt.includes('none')
  if (await needsConsent(deps, step)) {
    return silent ? refuse(deps, pending, new OAuthError('consent_required', 'the user must approve'), signedIn) : consentPage(step, deps)
  }
  if (approval.kind === 'unknown') return waitFor(deps, step, approval.needs, { since, still: new URL(request.url).searchParams.has('still') })
  const connecting = silent ? undefined : await nextConnection(deps, request, step)
  return connecting ?? grant(deps, step)
}

/** RFC 9470 §5: the sign-in that was asked for did not prove what it was to prove, and the next one would not either. */
async function unmet(deps: DispatchDeps, pending: PendingRequest, signedIn: SignedIn | undefined): Promise<Response> {
  const { clientId, resource } = pending.request
  if (signedIn !== undefined) await deps.stepUps.markUnmet({ userId: signedIn.user.id, clientId, resource }, deps.now())
  return refuse(deps, pending, new OAuthError('unmet_authentication_requirements', 'the sign-in was not as strong or as recent as was asked for'), signedIn)
}

async function waitFor(deps: DispatchDeps, step: Step, needs: readonly Need[], how: { readonly since: number; readonly still: boolean }): Promise<Response> {
  const { pending, signedIn } = step
  // OpenID Connect Core §3.1.2.6: no page may be shown, and one would be needed.
  if (pending.request.prompt.includes('none')) return refuse(deps, pending, new OAuthError('interaction_required', 'an administrator must approve the application'), signedIn)
  return (await waitForApproval(deps, step, needs, how)) ?? refuse(deps, pending, tooManyWaiting(), signedIn)
}

async function withSignIn(deps: DispatchDeps, request: Request, pending: PendingRequest, signedIn: SignedIn | undefined): Promise<PendingRequest> {
  const progress = signedIn === undefined ? undefined : afterSignIn(pending.progress, new URL(request.url), signedIn.session)
  if (progress === undefined) return pending
  await deps.store.updateProgress(pending.id, progress)
  return { ...pending, progress }
}

async function toSignIn(deps: DispatchDeps, request: Request, pending: PendingRequest, signedIn: SignedIn | undefined): Promise<Response> {
  const { prompt, maxAge, acrValues, claims, demanded, loginHint } = pending.request
  // OpenID Connect Core §3.1.2.1: with `none` nobody is asked anything.
  if (prompt.includes('none')) return refuse(deps, pending, new OAuthError('login_required', 'the user must sign in'), signedIn)
  const proof = newSecret('lyd_st')
  await deps.store.updateProgress(pending.id, startedSignIn(pending.progress, hash(proof), deps.now()))
  const hint = pending.progress.anotherAccount === true ? undefined : loginHint
  return deps.signIn.start(request, {
    returnTo: signInReturn(pending, proof),
    startAgainAt: `/authorize/${pending.id}`,
    unmetAt: withUnmet(`/authorize/${pending.id}`),
    reference: pending.reference,
    ...(wantsNewSignIn(pending) ? { prompt: 'login' } : {}),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(acrValues === undefined ? {} : { acrValues }),
    ...(claims === undefined ? {} : { claims }),
    ...(demanded === undefined ? {} : { demanded }),
    // Whoever must prove more proves it where they are known.
    ...(signedIn === undefined || wantsNewSignIn(pending) ? {} : { provider: signedIn.session.provider }),
    ...(hint === undefined ? {} : { loginHint: hint }),
  })
}

/** What a request is about: nobody is shown, or sent to connect, what they may not use or did not ask for. */
export function stepOf({ policy }: Pick<DispatchDeps, 'policy'>, known: Omit<Step, 'upstreams'>): Step {
  const { pending, client, profile, signedIn, context } = known
  const input = { subject: signedIn.user.id, groups: signedIn.user.groups, clientId: client.id, address: context.address, application: applicationOf(client) }
  const isUsable = ({ id: upstream }: Profile['upstreams'][number]): boolean => scopeAllows(pending.request.scope, 'read', upstream) && policy.mayReach({ ...input, upstream })
  return { ...known, upstreams: profile.upstreams.filter(isUsable) }
}

/** What a consent must cover: D06, F08 of the field's attacks are a scope, a host, a document or a profile that grew since. */
export function consentFor({ pending, client, profile, signedIn }: Step): Consent {
  const { resource, scope } = pending.request
  return { userId: signedIn.user.id, clientId: client.id, redirectHost: answerPlace(pending.request), resource, scope, clientDigest: client.digest, reach: reachOf(profile) }
}

async function needsConsent(deps: DispatchDeps, step: Step): Promise<boolean> {
  const { request, progress } = step.pending
  // L03: what was approved for one device says nothing of the next one, so that nobody is connected in silence.
  if ((request.prompt.includes('consent') || request.device !== undefined) && progress.consentedBy !== step.signedIn.session.id) return true
  const wanted = consentFor(step)
  const given = await deps.store.findConsent(wanted)
  return given === undefined || given.clientDigest !== wanted.clientDigest || !wanted.scope.every((scope) => given.scope.includes(scope)) || !isWithin(wanted.reach, given.reach)
}

/** Gives the client what the person approved: a code by way of the browser, or the device its grant. */
async function grant(deps: DispatchDeps, step: Step): Promise<Response> {
  const { pending, signedIn, context } = step
  const { request } = pending
  await deps.approvals.used(step.client)
  const authorization = authorizationOf(step)
  const { id: grantId, clientId, resource, scope } = authorization
  const event = { action: 'authorization.granted', outcome: 'success', subject: signedIn.user.id, clientId, ...applicationTrace(step.client), grantId, resource, reference: pending.reference, address: context.address, detail: { scope } } as const
  if (request.device !== undefined) return grantDevice(deps, step, authorization, { ...event, detail: { scope, device: request.device.address } })
  const code = newSecret('lyd_ac')
  const now = deps.now()
  const record = codeRecord(request, authorization, code, now)
  if (!(await deps.store.grantAuthorization(pending.id, signedIn.session.id, record, now, event))) throw requestEnded()
  return codeResponse(deps.issuer, request, code)
}

function authorizationOf({ pending: { request }, client, profile, signedIn }: Step): Authorization {
  const { resource, scope } = request
  return {
    id: newId('grt'),
    userId: signedIn.user.id,
    clientId: client.id,
    resource,
    scope,
    reach: reachOf(profile),
    ...authenticationOf(signedIn.session),
    ...(request.device !== undefined || request.dpopJkt === undefined ? {} : { jkt: request.dpopJkt }),
  }
}

function codeRecord({ redirectUri, codeChallenge }: RedirectRequest, authorization: Authorization, code: string, now: number): CodeRecord {
  return { hash: hash(code), authorization, redirectUri, codeChallenge, expiresAt: Math.floor(now / 1000) + CODE_SECONDS }
}

/** Ends a request with an error that the client is told of, and that the reference finds; at most one answer leaves. */
export async function refuse(deps: DispatchDeps, pending: PendingRequest, error: OAuthError, signedIn: SignedIn | undefined, ...events: readonly AuditEvent[]): Promise<Response> {
  const refused: AuditEvent = {
    action: 'authorization.refused',
    outcome: 'failure',
    clientId: pending.request.clientId,
    resource: pending.request.resource,
    reference: pending.reference,
    reason: `${error.code}: ${error.reason}`,
    ...(signedIn === undefined ? {} : { subject: signedIn.user.id }),
  }
  const { request } = pending
  if (request.device !== undefined) return denyDevice(deps, pending, request.device, error, [...events, refused])
  const client = await proveAgain(request, deps)
  if (!(await deps.store.endRequest(pending.id, ...events, refused))) throw requestEnded()
  const { redirectUri, state } = request
  return errorResponse(deps.issuer, { client, redirectUri, isSignedIn: signedIn !== undefined, reference: pending.reference, ...(state === undefined ? {} : { state }) }, error)
}
