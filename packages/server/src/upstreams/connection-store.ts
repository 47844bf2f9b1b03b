import type { AuditEvent } from '../audit/event.ts'
import type { Hashed, Sealed } from '../oauth/secret.ts'

export type ConnectionState = 'active' | 'reconnect_needed'

export interface ConnectionRecord {
  readonly userId: string
  readonly upstream: string
  readonly version: number
  readonly credential: Sealed
  readonly state: ConnectionState
  /** Milliseconds since the epoch. */
  readonly connectedAt: number
}

export interface AttemptRecord {
  readonly stateHash: Hashed
  readonly userId: string
  readonly upstream: string
  readonly sessionId: string
  readonly secrets: Sealed
  readonly returnTo: string
  readonly reference: string
  readonly expiresAt: number
}

export interface ConnectionKey {
  readonly userId: string
  readonly upstream: string
}

export interface ConnectionStore {
  addAttempt(attempt: AttemptRecord): Promise<void>
  /** Takes an attempt out, once. */
  takeAttempt(stateHash: Hashed, now: number): Promise<AttemptRecord | undefined>
  find(key: ConnectionKey): Promise<ConnectionRecord | undefined>
  list(userId: string): Promise<readonly ConnectionRecord[]>
  /** Stores a connection unless there is one. @returns whether it did */
  add(key: ConnectionKey, credential: Sealed, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Stores a new connection, or a new credential of an old one. */
  connect(key: ConnectionKey, credential: Sealed, now: number, ...events: readonly AuditEvent[]): Promise<void>
  /**
   * Claims the refresh of one version for `holder` until `until`: of all callers on all nodes one gets it, and another
   * one when the holder is gone.
   */
  claimRefresh(key: ConnectionKey, version: number, lease: { readonly holder: string; readonly now: number; readonly until: number }): Promise<boolean>
  /** Stores what a refresh brought; false when the version is not the one that was refreshed, or the lease went to another. */
  refresh(key: ConnectionKey, version: number, holder: string, credential: Sealed, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  releaseRefresh(key: ConnectionKey, holder: string): Promise<void>
  /**
   * Marks a connection as ended by its provider, unless somebody stored a newer credential or holds the lease instead
   * of `holder`: a loser never ends the winner.
   */
  needReconnect(key: ConnectionKey, ended: { readonly version: number; readonly holder?: string }, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Removes a connection and queues the revocation of its credential, if there is one, at the provider, in one transaction. */
  disconnect(key: ConnectionKey, revocation: (record: ConnectionRecord) => PendingRevocation | undefined, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Queues the revocation of a credential that has no connection. */
  addRevocation(revocation: PendingRevocation, now: number): Promise<void>
  /** Revocations that are due, counting this attempt; each is claimed until its next retry, so that one node makes it. */
  claimRevocations(now: number, limits: { readonly firstRetryMs: number; readonly limit: number }): Promise<readonly PendingRevocation[]>
  endRevocation(id: string, ...events: readonly AuditEvent[]): Promise<void>
  findClient(issuer: string, upstream: string): Promise<Sealed | undefined>
  /** Stores a registration unless another node was faster; returns the one that stands. */
  addClient(issuer: string, upstream: string, registration: Sealed, now: number): Promise<Sealed>
  /** Removes this very registration: not the one that another node made meanwhile. */
  forgetClient(issuer: string, upstream: string, registration: Sealed): Promise<void>
  reap(now: number): Promise<void>
}

export interface PendingRevocation {
  readonly id: string
  readonly userId: string
  readonly upstream: string
  /** Sealed for the row of this revocation. */
  readonly credential: Sealed
  readonly attempts: number
}
