import type { Claims } from '../../policy/rule.ts'
import type { Identity, IdentityTokens } from '../user.ts'

/** What a sign-in must remember between the redirect to the identity provider and the way back. */
export interface LoginSecrets {
  readonly state: string
  readonly nonce: string
  readonly codeVerifier: string
}

export interface LoginOptions {
  readonly redirectUri: string
  /** Forces re-authentication (OpenID Connect Core §3.1.2.1). */
  readonly prompt?: 'login'
  readonly maxAge?: number
  readonly acrValues?: string
  /** Claims that the sign-in must bring, each with one of the values. */
  readonly claims?: Claims
  readonly loginHint?: string
  /** Milliseconds since the epoch, when the browser left for the provider. */
  readonly startedAt?: number
}

/** Proves who a user is. A preset is a short file over this. */
export interface IdentityProvider {
  readonly id: string
  readonly name: string
  /** @throws ProviderUnavailable when the provider cannot be reached: nothing else of Lanyard depends on it. */
  authorizationUrl(secrets: LoginSecrets, options: LoginOptions): Promise<URL>
  /** @throws LoginRefused with a reason when any check of the answer fails. */
  finish(callback: URL, secrets: LoginSecrets, options: LoginOptions): Promise<Identity>
  /**
   * Asks the provider again who the user is.
   * @param keep stores tokens that replaced the given ones, whatever becomes of the rest
   * @returns undefined when the provider says that the grant has ended (`invalid_grant`), or names somebody else.
   * @throws ProviderUnavailable or LoginRefused: neither says anything of the user
   */
  refresh?(tokens: IdentityTokens, known: KnownIdentity, keep: (tokens: IdentityTokens) => Promise<void>): Promise<Identity | undefined>
}

export interface KnownIdentity {
  readonly issuer: string
  readonly subject: string
}

/** The identity provider cannot be reached, or answers with an error of its own. */
export class ProviderUnavailable extends Error {
  override readonly name = 'ProviderUnavailable'
}

/** The identity provider's answer does not prove an identity. `reason` goes to the audit trail only. */
export class LoginRefused extends Error {
  override readonly name = 'LoginRefused'
  readonly reason: string
  constructor(reason: string, cause?: unknown) {
    super('the sign-in could not be verified', cause === undefined ? undefined : { cause })
    this.reason = reason
  }
}

/** The sign-in is that of somebody, and not what it was asked to be: older, or weaker (RFC 9470 §5). */
export class RequirementsUnmet extends LoginRefused {}
