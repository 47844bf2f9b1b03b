import type { Session } from '../identity/user.ts'
import { equalHashes, hash, type Hashed } from '../oauth/secret.ts'
import type { PendingRequest, Progress } from './authorize-store.ts'

type Asked = Pick<PendingRequest, 'request' | 'progress'>

/** Seconds that the identity provider's clock may differ. */
const SKEW_S = 60
const PROOF = 'signed_in'

/**
 * Whether the person must be asked anew: the client said `prompt=login`, or `select_account`, which may not end in
 * silence with the account of before (OpenID Connect Core §3.1.2.1); or they themselves said that they are another one.
 */
export function wantsNewSignIn({ request, progress }: Asked): boolean {
  return request.prompt.includes('login') || request.prompt.includes('select_account') || progress.anotherAccount === true
}

/** OpenID Connect Core §3.1.2.1: `prompt=login` and `max_age` ask for a sign-in that is newer than the session's. */
export function mustSignInAgain(pending: Asked, session: Session, now: number): boolean {
  const { signedInBy, signInStartedAt = 0 } = pending.progress
  const { maxAge, acrValues } = pending.request
  const { authTime } = session
  if (signedInBy === session.id) {
    const started = signInStartedAt / 1000 - SKEW_S
    // A provider that never names the time has vouched by itself for the new sign-in that it was asked for.
    if (wantsNewSignIn(pending)) return authTime !== undefined && authTime < started
    return maxAge !== undefined && (authTime === undefined || authTime + maxAge < started)
  }
  if (wantsNewSignIn(pending)) return true
  if (acrValues !== undefined && !acrValues.split(' ').includes(session.acr ?? '')) return true
  return maxAge !== undefined && (authTime === undefined || authTime + maxAge < now / 1000)
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
