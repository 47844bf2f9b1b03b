import type { Session } from '../identity/user.ts'
import { equalHashes, hash, type Hashed } from '../oauth/secret.ts'
import { allHold, compileRequirement } from '../policy/condition.ts'
import type { Authentication, SignInRequirement } from '../policy/rule.ts'
import type { AuthorizationRequest, PendingRequest, Progress } from './authorize-store.ts'

type Asked = Pick<PendingRequest, 'request' | 'progress'>

/** How far the identity provider's clock may be off. */
export const SKEW_MS = 60_000
const PROOF = 'signed_in'

/**
 * Whether the person must be asked anew: the client said `prompt=login`, or `select_account`, which may not end in
 * silence with the account of before (OpenID Connect Core §3.1.2.1); or they themselves said that they are another one.
 */
export function wantsNewSignIn({ request, progress }: Asked): boolean {
  return request.prompt.includes('login') || request.prompt.includes('select_account') || progress.anotherAccount === true
}

/** What the request asks of the sign-in. */
export function requirementOf({ acrValues, maxAge, claims }: Pick<AuthorizationRequest, 'acrValues' | 'maxAge' | 'claims'>): SignInRequirement {
  return {
    ...(acrValues === undefined ? {} : { acrValues: acrValues.split(' ') }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(claims === undefined ? {} : { claims }),
  }
}

/** Whether a sign-in proves all of it, at that moment: what the provider did not say is not proven. */
export function isProven(requirement: SignInRequirement, authentication: Authentication, at: number): boolean {
  return allHold(compileRequirement(requirement), { at, authentication }) === true
}

/**
 * Whether the session suffices for the request, a new sign-in is needed (OpenID Connect Core §3.1.2.1), or the one that
 * the request asked for did not prove what it was for (RFC 9470 §5): then the next one would not either.
 */
export function judgeSession(pending: Asked, session: Session, now: number): 'suffices' | 'sign-in' | 'unmet' {
  const { signedInBy, signInStartedAt = 0 } = pending.progress
  const requirement = requirementOf(pending.request)
  const proves = !wantsNewSignIn(pending) && pending.request.demanded === undefined && isProven(requirement, session, now)
  if (signedInBy !== session.id) return proves ? 'suffices' : 'sign-in'
  const started = signInStartedAt - SKEW_MS
  // A provider that never names the time has vouched by itself for the new sign-in that it was asked for.
  const isOld = wantsNewSignIn(pending) && session.authTime !== undefined && session.authTime * 1000 < started
  return !isOld && isProven(requirement, session, started) ? 'suffices' : 'unmet'
}

/** Where a sign-in for this request comes back to; the browser learns the proof when that very sign-in succeeds. */
export function signInReturn({ id }: Pick<PendingRequest, 'id'>, proof: string): string {
  return `/authorize/${id}?${PROOF}=${proof}`
}

/**
 * The progress when the browser comes back from the sign-in that this request started. A new session alone proves
 * nothing: it may come of a sign-in in another tab, which asked for no new authentication and got none.
 */
export function afterSignIn(progress: Progress, url: URL, session: Session): Progress | undefined {
  const { signInProof, ...rest } = progress
  const given = url.searchParams.get(PROOF)
  if (signInProof === undefined || given === null || !equalHashes(hash(given), signInProof)) return undefined
  return { ...rest, signedInBy: session.id }
}

export function startedSignIn(progress: Progress, proof: Hashed, now: number): Progress {
  return { ...progress, signInProof: proof, signInStartedAt: now }
}

const UNMET = 'unmet'

/** Where a browser comes back to when the identity provider could not give what the sign-in was for. */
export function withUnmet(path: string): string {
  return `${path}${path.includes('?') ? '&' : '?'}${UNMET}=1`
}

/** Whether it comes back so from a sign-in of this request: it ends the request, and proves nothing. */
export function cameBackUnmet(progress: Progress, url: URL): boolean {
  return progress.signInProof !== undefined && url.searchParams.has(UNMET)
}
