import type { Claims, SignInRequirement } from '../../policy/rule.ts'
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
  /** Asks the person to consent once more, where that alone brings a refresh token. */
  readonly consent?: true
  /** A value of `claims` that a resource demanded, to be asked for as it is (OpenID Connect Core §5.5). */
  readonly demanded?: string
  /** Milliseconds since the epoch, when the browser left for the provider. */
  readonly startedAt?: number
}

/** Proves who a user is. A preset is a short file over this. */
export interface IdentityProvider {
  readonly id: string
  readonly name: string
  /** Whether refresh tokens come with a consent alone: who has none is asked for it once. */
  readonly offlineByConsent?: true
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
  readonly refresh?: (tokens: IdentityTokens, known: KnownIdentity, keep: (tokens: IdentityTokens) => Promise<void>) => Promise<Identity | undefined>
  /**
   * Redeems the refresh token for an access token of other scopes, of a provider whose refresh tokens are good for that.
   * @param keep as of `refresh`
   * @throws SignInNeeded, ProviderUnavailable, LoginRefused
   */
  redeem?(tokens: IdentityTokens, known: KnownIdentity, request: TokenRequest, keep: (tokens: IdentityTokens) => Promise<void>): Promise<RedeemedToken | 'ended'>
  /**
   * Verifies a token of the provider that somebody presents: signature, issuer, kind and times, not for whom it is.
   * @throws LoginRefused with a reason, ProviderUnavailable
   */
  present?(token: string, kind: PresentedKind): Promise<PresentedClaims>
  /**
   * The groups of somebody who is in more than their token holds, which was verified and is accepted.
   * @throws LoginRefused with a reason, ProviderUnavailable
   */
  groupsOf?(person: KnownIdentity, token: string): Promise<readonly string[]>
  /**
   * Asks the provider to exchange a token, as the client that Lanyard is there (RFC 8693).
   * @throws ExchangeRefused, ProviderUnavailable, LoginRefused
   */
  exchange?(parameters: ExchangeParameters): Promise<ExchangedToken>
  /**
   * Redeems a refresh token of Lanyard's own client there that somebody presents.
   * @param replaced is told what is good in its place from now on, of a provider that rotates, whatever becomes of the rest
   * @returns who it is of
   * @throws LoginRefused with a reason, ProviderUnavailable
   */
  presentRefreshToken?(token: string, replaced: (successor: string) => void): Promise<PresentedClaims>
  /** Whether tokens with this issuer are the provider's. */
  issues?(issuer: string): boolean
}

/** What of a provider's tokens can be presented: each is good for what it was made for alone. */
export type PresentedKind = 'id_token' | 'access_token'

/** What a presented token proves; times in seconds since the epoch. */
export interface PresentedClaims extends Omit<Identity, 'tokens' | 'sid' | 'groups' | 'roles'> {
  readonly kind: PresentedKind
  /** Absent when the token does not say; so are roles. */
  readonly groups?: readonly string[]
  /** There are more groups than the token holds: the provider is asked for them once it is known that the token is accepted. */
  readonly groupsElsewhere?: true
  readonly roles?: readonly string[]
  readonly audiences: readonly string[]
  /** The client of the provider that it was issued to. */
  readonly clientId?: string
  /** Of Lanyard's scopes those that the token names; absent when it says nothing of them. */
  readonly scope?: readonly string[]
  readonly issuedAt: number
  readonly expiresAt: number
  /** RFC 8693 §4.1, §4.4 and RFC 7800, as they stand in the token. */
  readonly act?: unknown
  readonly mayAct?: unknown
  readonly cnf?: unknown
}

/** What is asked of the refresh token. */
export interface TokenRequest {
  readonly scopes: readonly string[]
  /** The value of the parameter `claims`, as a resource demanded it (OpenID Connect Core §5.5). */
  readonly claims?: string
}

export interface RedeemedToken {
  readonly accessToken: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly scope?: string
}

/** What an exchange asks for, and of whose token: the parameters of RFC 8693 §2.1 under their own names. */
export type ExchangeParameters = Readonly<Record<string, string>>

export interface ExchangedToken {
  readonly token: string
  /** What was issued (RFC 8693 §2.2.1). */
  readonly issuedTokenType: string
  readonly tokenType: string
  /** Milliseconds since the epoch, when the provider said so. */
  readonly expiresAt?: number
  readonly scope?: string
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

/** The sign-in is that of somebody who is not let in here, or not any more: that is said of the person, and not of the provider. */
export class NotWelcome extends LoginRefused {}

/** The sign-in is that of somebody, and not what it was asked to be: older, or weaker (RFC 9470 §5). */
export class RequirementsUnmet extends LoginRefused {}

/** The identity provider exchanges the token for nothing: `code` is its own, and it may have said what would help. */
export class ExchangeRefused extends LoginRefused {
  readonly code: string
  readonly signIn: SignInRequirement
  /** Where the person can do something about it. */
  readonly interaction: string | undefined
  constructor(code: string, signIn: SignInRequirement, interaction: string | undefined, cause?: unknown) {
    super(`provider: ${code}`, cause)
    this.code = code
    this.signIn = signIn
    this.interaction = interaction
  }
}

/** The identity provider gives the token only after a sign-in of the person, with these claims asked for where it says so. */
export class SignInNeeded extends Error {
  override readonly name = 'SignInNeeded'
  readonly reason: string
  readonly claims: string | undefined
  constructor(reason: string, claims?: string) {
    super('the person must sign in again')
    this.reason = reason
    this.claims = claims
  }
}
