import type { AuditEvent } from '../audit/event.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Authentication, SignInRequirement } from '../policy/rule.ts'

export interface StepUpKey {
  readonly userId: string
  readonly clientId: string
  readonly resource: Resource
}

/** What a client was told to come back with, by a challenge at the resource (RFC 9470 §3, RFC 6750 §3.1). */
export interface StepUp extends StepUpKey {
  readonly grantId: string
  readonly requirement: SignInRequirement
  readonly scope: readonly string[]
}

/** All times in milliseconds since the epoch. */
export interface StepUpStore {
  /**
   * Remembers what a client is told. @returns `unmet`, and changes nothing, when the identity provider could not give it
   * to this person and client since then: telling it again would make a loop.
   */
  ask(stepUp: StepUp, at: number, unmetSince: number, ...events: readonly AuditEvent[]): Promise<'asked' | 'unmet'>
  /** What was told since then and not done yet. */
  findAsked(key: StepUpKey, since: number): Promise<StepUp | undefined>
  /** Whether the grant's client was told since then and refreshes now, for the first time. */
  refuseRefresh(grantId: string, since: number, at: number): Promise<boolean>
  markUnmet(key: StepUpKey, at: number): Promise<void>
  /** Renews how the person signed in for a grant of theirs, on all nodes: false when it is no live grant of this user. */
  raise(grant: { readonly id: string; readonly userId: string; readonly sessionId: string }, authentication: Authentication, at: number, ...events: readonly AuditEvent[]): Promise<boolean>
}
