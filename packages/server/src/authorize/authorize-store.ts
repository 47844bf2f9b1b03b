import type { AuditEvent } from '../audit/event.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Claims } from '../policy/rule.ts'
import type { RedirectUri } from '../oauth/redirect-uri.ts'
import type { Unconnected } from '../upstreams/connections.ts'
import type { CodeRecord } from './authorization.ts'

/** What the client asked for, after every check. */
interface Asked {
  readonly clientId: string
  readonly state?: string
  readonly resource: Resource
  readonly scope: readonly string[]
  readonly prompt: readonly string[]
  readonly maxAge?: number
  readonly acrValues?: string
  /** What the sign-in must prove besides. */
  readonly claims?: Claims
  /** What whoever issues a credential for an upstream demanded of it. */
  readonly demanded?: string
  readonly loginHint?: string
}

/** A request that is answered by a redirect (RFC 6749 §4.1). */
export interface RedirectRequest extends Asked {
  readonly redirectUri: RedirectUri
  readonly codeChallenge: string
  /** The key that the code is to be bound to (RFC 9449 §10). */
  readonly dpopJkt?: string
  readonly device?: undefined
}

/** A request that a device made, and that a person goes through for it (RFC 8628 §3.3). */
export interface OnBehalfOfDevice extends Asked {
  readonly device: AskingDevice
}

export interface AskingDevice {
  readonly id: string
  /** The code that the device shows, sealed: whoever approves compares it. */
  readonly userCode: string
  readonly address: string
  /** Milliseconds since the epoch. */
  readonly askedAt: number
}

export type AuthorizationRequest = RedirectRequest | OnBehalfOfDevice

/** How far a request came. Every step reads and writes this; no step knows another. */
export interface Progress {
  /** Milliseconds since the epoch: when the browser was sent to sign in for this request. */
  readonly signInStartedAt?: number
  /** The hash of what the browser brings back from that sign-in, once. */
  readonly signInProof?: Hashed
  /** The session that came of that sign-in. */
  readonly signedInBy?: string
  /** The person said that they are somebody else: asks for a sign-in as `prompt=login` does. */
  readonly anotherAccount?: boolean
  /** The session whose user approved, in that session. */
  readonly consentedBy?: string
  /** Upstreams whose accounts the person does not want to connect in this flow. */
  readonly skipped?: readonly string[]
  /** Upstreams whose accounts could not be connected in this flow, and why. */
  readonly unconnected?: Readonly<Record<string, Unconnected>>
}

export interface PendingRequest {
  readonly id: string
  readonly flowHash: Hashed
  readonly request: AuthorizationRequest
  readonly progress: Progress
  readonly reference: string
  readonly createdAt: number
  readonly expiresAt: number
}

/** What a person approved before. */
export interface Consent {
  readonly userId: string
  readonly clientId: string
  readonly redirectHost: string
  readonly resource: Resource
  readonly scope: readonly string[]
  readonly clientDigest: string
  /** What of which upstreams the profile reached: see `reachOf`. */
  readonly reach: readonly string[]
}

export interface GrantSummary {
  readonly id: string
  readonly clientId: string
  readonly resource: Resource
  readonly scope: readonly string[]
  /** Seconds since the epoch. */
  readonly lastUsedAt: number
}

export interface AuthorizeStore {
  /** Adds a request; of one browser's pending ones only the newest `maxPending` stay. */
  addRequest(pending: PendingRequest, maxPending: number, ...events: readonly AuditEvent[]): Promise<void>
  findRequest(id: string, now: number): Promise<PendingRequest | undefined>
  updateProgress(id: string, progress: Progress): Promise<void>
  /** Removes a request that ends without a code; false when it was gone, and then nothing is recorded. */
  endRequest(id: string, ...events: readonly AuditEvent[]): Promise<boolean>
  findConsent(key: Pick<Consent, 'userId' | 'clientId' | 'redirectHost' | 'resource'>): Promise<Consent | undefined>
  /** Remembers a consent and the progress of its request, in one transaction. */
  addConsent(consent: Consent, requestId: string, progress: Progress, now: number, ...events: readonly AuditEvent[]): Promise<void>
  /**
   * Ends the request and writes its grant and code, once, while the session lives in which the person approved: false
   * when the request or the session was gone.
   */
  grantAuthorization(requestId: string, sessionId: string, code: CodeRecord, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** The user's grants of which a token may still be valid, those used last first. */
  grantsOf(userId: string, now: number): Promise<readonly GrantSummary[]>
  /**
   * Ends what the user granted: this grant and every other one of its client and resource, with all their tokens on all
   * nodes, and forgets the consents that they came from. False when it is no live grant of this user.
   */
  endAccess(grantId: string, userId: string, at: number, event: (grant: GrantSummary) => AuditEvent): Promise<boolean>
  reap(now: number): Promise<void>
}
