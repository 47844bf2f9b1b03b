// Owns who may use the JSON API: a browser session of an administrator, or an access token that was issued for it.
import { assess } from '../approval/approval.ts'
import type { Cutoffs } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import { addressBucket } from '../http/address.ts'
import { ProblemError } from '../http/problem.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import type { RequestContext } from '../http/route.ts'
import { isSameOrigin } from '../http/same-origin.ts'
import type { Sessions } from '../identity/sign-in.ts'
import type { User } from '../identity/user.ts'
import { AccessTokenError } from '../token/access-token.ts'
import { DpopError } from '../token/dpop.ts'
import { presentedToken, requirePossession, type PresentedToken, type ProofRules } from '../token/possession.ts'
import type { AccessTokenVerifier, Caller } from '../token/verify.ts'
import { ADMIN_SCOPE, isAdministrator, type Administration } from './administration.ts'

/** Who uses the API. */
export interface Actor {
  readonly user: User
  readonly administrator: boolean
  /** The client whose token it is; absent for a browser session. */
  readonly clientId?: string
}

/** `admin` is for administrators; `user` for everybody who is signed in. */
export type ApiAccess = 'admin' | 'user'

export interface AccessDeps {
  readonly issuer: string
  readonly administration: Administration
  readonly sessions: Sessions
  readonly verifier: AccessTokenVerifier
  readonly proof: ProofRules
  readonly cutoffs: Cutoffs
  readonly audit: Recorder
  /** A guard against floods of refused tokens from one network. */
  readonly flood: RateLimit
}

/** @throws ProblemError for everybody who may not */
export type CheckAccess = (request: Request, context: RequestContext, access: ApiAccess) => Promise<Actor>

export function accessCheck(deps: AccessDeps): CheckAccess {
  return async (request, context, access) => {
    const actor = request.headers.has('authorization') ? await byToken(deps, request, context) : await bySession(deps, request)
    if (access === 'user' || actor.administrator) return actor
    const { user, clientId } = actor
    await deps.audit.record({ action: 'api.refused', outcome: 'failure', subject: user.id, ...(clientId === undefined ? {} : { clientId }), address: context.address, reference: context.reference, reason: 'not an administrator' })
    throw new ProblemError('not-an-administrator', 'This is for administrators alone.')
  }
}

async function byToken(deps: AccessDeps, request: Request, context: RequestContext): Promise<Actor> {
  const { administration, cutoffs } = deps
  const token = presentedToken(request.headers.get('authorization') ?? '')
  if (token === undefined) throw invalidToken(deps)
  // A node that has not heard of revocations for a while answers nobody.
  if (!cutoffs.fresh) throw new ProblemError('unavailable', 'This node cannot tell what was revoked; try again in a moment.', { headers: { 'retry-after': '2' } })
  const caller = await verified(deps, token, request, context)
  // RFC 6750 §3.1: the scope that it takes is named.
  if (!caller.scope.includes(ADMIN_SCOPE)) throw new ProblemError('insufficient-scope', `This needs the scope ${ADMIN_SCOPE}.`, { headers: challenge(deps, 'insufficient_scope') })
  return { user: caller.user, clientId: caller.clientId, administrator: isAdministrator(administration, caller.user) }
}

async function verified(deps: AccessDeps, token: PresentedToken, request: Request, { address, reference }: RequestContext): Promise<Caller> {
  const { resource } = deps.administration
  try {
    // RFC 8707 §2: a token for an MCP server is worth nothing here, and one for here nothing there.
    const caller = await deps.verifier.verify(token.value, resource)
    // What reaches no upstream is not judged by call: whom an administrator refused altogether is refused here.
    if (assess(caller.standing, [], caller.user.groups).kind === 'refused') throw new AccessTokenError('application_refused')
    await requirePossession(deps.proof, caller, { token, proof: request.headers.get('dpop') ?? undefined, method: request.method, url: `${deps.issuer}${new URL(request.url).pathname}` })
    return caller
  } catch (error) {
    if (error instanceof DpopError) throw proofRefused(deps, error)
    if (!(error instanceof AccessTokenError)) throw error
    if (deps.flood(addressBucket(address)).allowed) await deps.audit.record({ action: 'token.refused', outcome: 'failure', reason: error.reason, resource, address, reference })
    throw invalidToken(deps)
  }
}

async function bySession(deps: AccessDeps, request: Request): Promise<Actor> {
  const signedIn = await deps.sessions.current(request)
  if (signedIn === undefined) throw new ProblemError('not-signed-in', 'Sign in first.', { headers: challenge(deps) })
  if (!isOwnRequest(request, deps.issuer)) throw new ProblemError('cross-site', 'This request came from another site.')
  return { user: signedIn.user, administrator: isAdministrator(deps.administration, signedIn.user) }
}

/** The browser sends its cookie along whoever asks: what changes something must be proven to come from here. */
function isOwnRequest(request: Request, issuer: string): boolean {
  if (!isSameOrigin(request, issuer)) return false
  return request.method === 'GET' || request.headers.get('origin') === new URL(issuer).origin || request.headers.get('sec-fetch-site') === 'same-origin'
}

function invalidToken(deps: Pick<AccessDeps, 'issuer'>): ProblemError {
  // RFC 6750 §3.1: one code, whatever is wrong with it.
  return new ProblemError('invalid-token', 'The access token is invalid, expired or revoked.', { headers: challenge(deps, 'invalid_token') })
}

/** RFC 9449 §7.1, §9. */
function proofRefused(deps: Pick<AccessDeps, 'issuer'>, { code, nonce }: DpopError): ProblemError {
  const { 'www-authenticate': bearer = '' } = challenge(deps)
  const headers = { 'www-authenticate': `DPoP error="${code}", ${bearer.replace('Bearer ', '')}`, ...(nonce === undefined ? {} : { 'dpop-nonce': nonce }) }
  return new ProblemError('invalid-token', 'The proof of possession is missing, wrong, or needs another nonce.', { headers })
}

/** RFC 9728 §5.1, RFC 6750 §3: where the metadata is, and the scope to ask for. */
function challenge({ issuer }: Pick<AccessDeps, 'issuer'>, error?: 'invalid_token' | 'insufficient_scope'): Readonly<Record<string, string>> {
  const parameters = [...(error === undefined ? [] : [`error="${error}"`]), `resource_metadata="${issuer}/.well-known/oauth-protected-resource/api"`, `scope="${ADMIN_SCOPE}"`]
  return { 'www-authenticate': `Bearer ${parameters.join(', ')}` }
}
