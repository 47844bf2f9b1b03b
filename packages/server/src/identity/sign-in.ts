import type { Hashed } from '../oauth/secret.ts'
import type { Claims } from '../policy/rule.ts'
import type { Session, User } from './user.ts'

/** The signed-in browser of a request. */
export interface SignedIn {
  readonly session: Session
  readonly user: User
  /** The session cookie's value: keys the CSRF tokens of this session's forms. */
  readonly secret: string
}

export interface Sessions {
  /** Undefined when there is no session, it expired or was ended, or the user is disabled. */
  current(request: Request): Promise<SignedIn | undefined>
}

/** Binds pending requests to the browser that started them. */
export interface Flows {
  /** The browser's flow, made when it has none. */
  current(request: Request): Flow
}

export interface Flow {
  readonly hash: Hashed
  /** Whether the browser does not have it yet: then `setCookie` must go into the answer. */
  readonly isNew: boolean
  /** Makes the browser remember the flow, for its whole time from now on. */
  readonly setCookie: string
}

export interface SignInOptions {
  /** A path of this gateway to come back to, signed in. It may prove that: whoever is not signed in never learns it. */
  readonly returnTo: string
  /** The path that a person starts again from when the provider does not answer. */
  readonly startAgainAt: string
  /** The path to come back to when the provider knows the person and cannot give what is asked for; else a page says so. */
  readonly unmetAt?: string
  readonly reference: string
  readonly prompt?: 'login'
  readonly maxAge?: number
  readonly acrValues?: string
  /** What the sign-in must prove besides. */
  readonly claims?: Claims
  /** A value of the parameter `claims` to pass on as it is, to a provider that knows it. */
  readonly demanded?: string
  /** The provider to send the browser to, where the person is known already. */
  readonly provider?: string
  readonly loginHint?: string
  /** Asks for a refresh token, which the provider gives with a consent alone; who refuses it is signed in all the same. */
  readonly consent?: true
}

export interface SignIn {
  /** Sends the browser to the identity provider, or to the choice between several. */
  start(request: Request, options: SignInOptions): Promise<Response>
}

/** Asks the identity provider again, at most every few minutes, whether the user may go on. */
export interface Recheck {
  /** `ended` when the provider said so or the user is disabled; a provider that cannot be reached changes nothing. */
  recheck(userId: string): Promise<'active' | 'ended'>
}
