import type { AuditEvent } from '../audit/event.ts'
import type { Hashed, Sealed } from '../oauth/secret.ts'
import type { Identity, Session, User } from './user.ts'

/** A sign-in that is under way. */
export interface LoginRecord {
  readonly stateHash: Hashed
  readonly flowHash: Hashed
  readonly provider: string
  /** Nonce and code verifier, sealed. */
  readonly secrets: Sealed
  readonly prompt?: 'login'
  readonly maxAge?: number
  readonly acrValues?: string
  /** Sealed as well: the path may prove that this very sign-in succeeded. */
  readonly returnTo: Sealed
  readonly startAgainAt: string
  readonly unmetAt?: string
  readonly reference: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface SessionRecord extends Session {
  readonly hash: Hashed
  readonly sid?: string
}

export interface IdentityStore {
  findUser(id: string): Promise<User | undefined>
  addLogin(login: LoginRecord): Promise<void>
  /** Takes a sign-in out, once: of parallel callbacks one gets it. */
  takeLogin(stateHash: Hashed, now: number): Promise<LoginRecord | undefined>
  /**
   * Creates or updates the user that an identity names, and opens a session, in one transaction.
   * @returns undefined when the user is disabled.
   */
  signIn(entry: SignInEntry): Promise<User | undefined>
  /**
   * Finds or creates the user whom somebody trusted vouches for. Of a known one what is said of groups counts, unless it was
   * said before what is known, and name and address where none is known: their own sign-in says these better.
   */
  recognize(entry: { readonly person: VouchedFor; readonly newUserId: string; readonly now: number }): Promise<User>
  /** The user whom a subject was linked to. */
  findLinked(key: SubjectKey): Promise<User | undefined>
  /**
   * Links a subject to the one user of the provider whose verified address this is, once and for good.
   * @returns undefined when nobody has it, or more than one
   */
  linkByEmail(key: SubjectKey, by: { readonly provider: string; readonly email: string; readonly now: number }, events: (userId: string) => readonly AuditEvent[]): Promise<User | undefined>
  /** Finds a live session and counts this as use of it. */
  useSession(hash: Hashed, now: number, idleMs: number): Promise<SessionRecord | undefined>
  endSession(hash: Hashed, ...events: readonly AuditEvent[]): Promise<void>
  /**
   * Claims the check of a user with the identity provider when the last one is older than `before`: of parallel
   * callers on all nodes, one gets the sealed tokens and makes the check. It has the lease of them.
   */
  claimCheck(userId: string, before: number, lease: Lease): Promise<Sealed | undefined>
  /** The sealed tokens of the newest sign-in, as they are now. */
  findTokens(userId: string): Promise<Sealed | undefined>
  /** The same for one caller on all nodes, who alone may redeem the refresh token until then. */
  leaseTokens(userId: string, lease: Lease): Promise<Sealed | undefined>
  /** Ends that before its time. */
  releaseTokens(userId: string, lease: Lease): Promise<void>
  /** Stores tokens that replaced the claimed ones. @returns false when the user signed in anew meanwhile. */
  replaceTokens(userId: string, claimed: Sealed, tokens: Sealed): Promise<boolean>
  /** Stores what a check brought: groups, names and tokens; nothing when the user signed in anew meanwhile. */
  updateUser(userId: string, claimed: Sealed, identity: Identity, tokens: Sealed, now: number): Promise<void>
  /** Like `revokeSubject`. @returns false, and changes nothing, when the user signed in anew since the tokens were claimed. */
  endCheck(userId: string, claimed: Sealed, at: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Ends every session, grant and token of a user on all nodes; their identity stays known. */
  revokeSubject(userId: string, at: number, ...events: readonly AuditEvent[]): Promise<void>
  reap(now: number): Promise<void>
}

/** The time for which one caller has what a lease is of; milliseconds since the epoch. */
export interface Lease {
  readonly now: number
  readonly until: number
}

/** A subject of an issuer, and of its tenant where it has several. */
export interface SubjectKey {
  readonly issuer: string
  readonly tenant?: string
  readonly subject: string
}

/** A person as somebody else than their own sign-in tells of them: what is not said is absent. */
export interface VouchedFor extends Pick<User, 'provider' | 'issuer' | 'subject' | 'name' | 'email'> {
  readonly groups?: readonly string[]
  readonly roles?: readonly string[]
  /** Milliseconds since the epoch, when it was said; groups and roles of before the last word on them are old news. Now when absent. */
  readonly toldAt?: number
}

export interface SignInEntry {
  readonly newUserId: string
  readonly identity: Identity
  /** Seals the identity provider's tokens into the row of the user that it turns out to be; `before` are those of the last sign-in. */
  readonly sealTokens: (userId: string, before: Sealed | undefined) => Sealed
  readonly session: Omit<SessionRecord, 'userId'>
  /** The session that the browser had: it ends with this sign-in. */
  readonly replaces?: Hashed
  readonly now: number
  readonly events: (userId: string) => readonly AuditEvent[]
}
