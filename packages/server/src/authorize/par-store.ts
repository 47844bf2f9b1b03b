import type { AuditEvent } from '../audit/event.ts'
import type { Hashed } from '../oauth/secret.ts'

/** The parameters of a request, in the order in which they came. */
export type PushedParams = readonly (readonly [name: string, value: string])[]

export interface PushedRequest {
  readonly hash: Hashed
  readonly clientId: string
  readonly params: PushedParams
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface PushedRequestStore {
  push(request: PushedRequest, ...events: readonly AuditEvent[]): Promise<void>
  /** Takes what the client pushed, for one caller alone; whoever names another client takes nothing. */
  take(hash: Hashed, clientId: string, now: number): Promise<PushedParams | undefined>
  reap(now: number): Promise<void>
}
