import type { AuditEvent } from '../audit/event.ts'
import type { Hashed } from '../oauth/secret.ts'
import type { ClientMetadata } from './metadata.ts'

export interface RegisteredClient {
  readonly id: string
  /** Equal for registrations of what looks like one application. */
  readonly fingerprint: string
  readonly metadata: ClientMetadata
  readonly secretHash?: Hashed
  readonly registrationTokenHash: Hashed
  /** Milliseconds since the epoch. */
  readonly createdAt: number
  /** The network that it was registered from, as a flood guard counts it. */
  readonly address: string
  readonly lastUsedAt?: number
}

export interface ClientStore {
  /**
   * Adds a registration, unless as many as `limits.pending` of its fingerprint and address were added since
   * `limits.since` and are still unused. Of the unused ones that are older than `limits.abandonedBefore`, the newest
   * `limits.abandoned` stay: the table does not grow however often a client registers.
   */
  addClient(client: RegisteredClient, limits: RegistrationLimits, ...events: readonly AuditEvent[]): Promise<boolean>
  findClient(id: string): Promise<RegisteredClient | undefined>
  /** Replaces what a client said of itself; false when it is gone. */
  updateClient(client: RegisteredClient, at: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Removes a client and ends its grants on all nodes. */
  deleteClient(id: string, at: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Says that a registration is still used. */
  touchClient(id: string, at: number): Promise<void>
  /** Remembers an assertion; false when it was used before. */
  useAssertion(clientId: string, jti: Hashed, expiresAt: number): Promise<boolean>
  /** Removes registrations without a grant that are no longer used, and expired assertions. */
  reap(since: UnusedSince, now: number): Promise<void>
}

/** Milliseconds since the epoch: what was last used, or made and never used, before that is forgotten. */
export interface UnusedSince {
  readonly used: number
  readonly never: number
}

export interface RegistrationLimits {
  readonly pending: number
  readonly since: number
  readonly abandoned: number
  readonly abandonedBefore: number
}
