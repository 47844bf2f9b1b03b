// Owns people: users and their groups, browser sessions, sign-in at identity providers. It does not own what they
// granted to whom (authorize/) or what they connected (upstreams/).
import type { Authentication } from '../policy/rule.ts'

/** A person, known by (provider, issuer, subject) and by nothing else, where the e-mail address is only an attribute; or a machine. */
export interface User {
  readonly id: string
  /** A client that stands for itself alone (RFC 6749 §4.4): it has no sign-in, no session and no accounts. Absent for a person. */
  readonly kind?: 'machine'
  /** Who answers for the machine. */
  readonly owner?: string
  /** What the machine may hold at most; absent where its groups alone decide. */
  readonly scopes?: readonly string[]
  readonly provider: string
  readonly issuer: string
  readonly subject: string
  readonly name?: string
  readonly email?: string
  /** Whether their own sign-in said that the address is theirs; what is not said is not so. */
  readonly emailVerified?: true
  readonly groups: readonly string[]
  /** The application roles that the provider gave them, such as Entra's app roles: scopes may depend on them. */
  readonly roles?: readonly string[]
  readonly disabled: boolean
}

/** What an identity provider proved at a sign-in. */
export interface Identity extends Omit<User, 'id' | 'disabled' | 'kind' | 'owner' | 'scopes'>, Authentication {
  /** The identity provider's session, for single sign-out. */
  readonly sid?: string
  readonly tokens: IdentityTokens
}

/** What is kept, sealed, to ask the provider again, to know what it said before, and to exchange for what upstreams take. */
export interface IdentityTokens {
  readonly idToken: string
  readonly refreshToken?: string
  /** Kept only where a connector exchanges it. */
  readonly accessToken?: string
  /** Milliseconds since the epoch. */
  readonly accessTokenExpiresAt?: number
}

/** The user's browser session, and how they signed in for it: what the identity provider did not say is absent. */
export interface Session extends Authentication {
  readonly id: string
  readonly userId: string
  readonly provider: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface Users {
  find(userId: string): Promise<User | undefined>
}
