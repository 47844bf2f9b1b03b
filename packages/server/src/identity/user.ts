// Owns people: users and their groups, browser sessions, sign-in at identity providers. It does not own what they
// granted to whom (authorize/) or what they connected (upstreams/).

/** A person, known by (provider, issuer, subject) and by nothing else; the e-mail address is only an attribute. */
export interface User {
  readonly id: string
  readonly provider: string
  readonly issuer: string
  readonly subject: string
  readonly name?: string
  readonly email?: string
  readonly groups: readonly string[]
  readonly disabled: boolean
}

/** What an identity provider proved at a sign-in. */
export interface Identity extends Omit<User, 'id' | 'disabled'> {
  readonly authTime?: number
  readonly acr?: string
  readonly amr?: readonly string[]
  /** The identity provider's session, for single sign-out. */
  readonly sid?: string
  readonly tokens: IdentityTokens
}

/** What is kept, sealed, to ask the provider again, and to know what it said before. Its access token is not. */
export interface IdentityTokens {
  readonly idToken: string
  readonly refreshToken?: string
}

/** The user's browser session. */
export interface Session {
  readonly id: string
  readonly userId: string
  readonly provider: string
  /** Seconds since the epoch, when the identity provider authenticated the user; absent when it did not say. */
  readonly authTime?: number
  readonly acr?: string
  readonly amr?: readonly string[]
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface Users {
  find(userId: string): Promise<User | undefined>
}
