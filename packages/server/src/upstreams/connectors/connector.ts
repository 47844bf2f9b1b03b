import type { SignInRequirement } from '../../policy/rule.ts'
import type { Upstream } from '../upstream.ts'

/** What a call upstream carries: headers to set, or the fact that the user must connect an account first. When it ends (milliseconds since the epoch) and what it is good for are there where they are known. */
export type Credential =
  | { readonly headers: Readonly<Record<string, string>>; readonly version: string; readonly possession?: Possession; readonly expiresAt?: number; readonly scope?: string }
  | 'connection_required'

/** The key that a credential is bound to: each request proves it (RFC 9449 §7). */
export interface Possession {
  /** The value of the header `DPoP`. @param now milliseconds since the epoch */
  prove(method: string, url: string, now: number): string
  /** Told of each answer. @returns whether the request was refused for want of the nonce that the answer brought */
  learn(status: number, headers: Readonly<Record<string, string | string[] | undefined>> & { readonly 'www-authenticate'?: string | undefined }): boolean
}

/** How the gateway gets a credential for an upstream. */
export interface Connector {
  /** Whether the credential is the user's own: nothing that it brought is shown to anybody else. Where there is `connect`, they connect an account first. */
  readonly perUser: boolean
  /** Whether `credential` may ask for another sign-in of the person: then that is what there is to connect. */
  readonly bySignIn?: true
  /**
   * Served from memory when it can be; refreshes at most once per grant in the whole cluster.
   * @throws UpstreamUnavailable when the credential needs a refresh and its server does not answer.
   * @throws CredentialRefused when this person cannot have one.
   * @throws SignInRequired when they can have one after another sign-in.
   */
  credential(userId: string, upstream: Upstream): Promise<Credential>
  /**
   * The upstream refused the credential of this version with 401: the next one is another, or must be connected.
   * @param challenge its `WWW-Authenticate`
   * @throws UpstreamUnavailable as `credential`
   * @throws SignInRequired when what it refuses is the person's sign-in (RFC 9470 §3), the newest that there is
   */
  refused(userId: string, upstream: Upstream, version: string, challenge?: string): Promise<void>
  /**
   * The upstream refused a call with 403 because the credential lacks these scopes (RFC 6750 §3.1): what the user is to
   * be asked for instead, or undefined where asking again gives no more.
   */
  stepUp?(userId: string, upstream: Upstream, lacking: readonly string[]): Promise<readonly string[] | undefined>
  /** The scopes that connecting asks for. @throws UpstreamUnavailable, ConnectionRefused */
  asks?(upstream: Upstream): Promise<readonly string[]>
  /** Starts connecting: where to send the browser. Only after consent, only from the user's own session. */
  connect?(start: ConnectionStart): Promise<URL>
  /**
   * Finishes connecting with the answer of the upstream's authorization server.
   * @returns the scopes that were asked for and that the person did not give, one by one
   * @throws ConnectionRefused
   */
  finish?(callback: URL, attempt: ConnectionAttempt): Promise<readonly string[]>
}

export interface ConnectionStart {
  readonly userId: string
  readonly upstream: Upstream
  /** The browser session that must also finish. */
  readonly sessionId: string
  /** Where the browser goes afterwards: a path of this gateway. */
  readonly returnTo: string
  readonly reference: string
  /** The browser's, for the audit trail. */
  readonly address: string
  /** What a call lacked, and what was asked for before it. */
  readonly lacking?: readonly string[]
}

export interface ConnectionAttempt {
  readonly userId: string
  readonly upstream: Upstream
  readonly state: string
  /** What `connect` kept for this attempt. */
  readonly secrets: string
  readonly reference: string
  readonly address: string
}

/** An upstream or its authorization server cannot be reached; trying again later may help. */
export class UpstreamUnavailable extends Error {
  override readonly name = 'UpstreamUnavailable'
}

/**
 * There is no credential for this person until somebody changes something: trying again alone does not help. The message
 * says who must change what, for the person to read; `reason` is for the audit trail.
 */
export class CredentialRefused extends Error {
  override readonly name = 'CredentialRefused'
  readonly reason: string
  constructor(message: string, reason: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.reason = reason
  }
}

/** There is no credential for this person until they sign in again at their identity provider, as this says. */
export class SignInRequired extends Error {
  override readonly name = 'SignInRequired'
  readonly reason: string
  readonly signIn: SignInRequirement
  constructor(reason: string, signIn: SignInRequirement, cause?: unknown) {
    super('another sign-in is needed', cause === undefined ? undefined : { cause })
    this.reason = reason
    this.signIn = signIn
  }
}

/** The reason when the person, or the upstream for them, said no (RFC 6749 §4.1.2.1). */
export const ACCESS_DENIED = 'answer: access_denied'

/** The upstream's authorization server cannot be used, or its answer proves nothing. `reason` is for the audit trail. */
export class ConnectionRefused extends Error {
  override readonly name = 'ConnectionRefused'
  readonly reason: string
  constructor(reason: string, cause?: unknown) {
    super('the account could not be connected', cause === undefined ? undefined : { cause })
    this.reason = reason
  }
}

/** A server's error code, fit for the audit trail (RFC 6749 §5.2); of anything else that it says, nothing. */
export function errorCode(error: string): string {
  return /^[\w.:/-]{1,60}$/.test(error) ? error : 'an unknown code'
}
