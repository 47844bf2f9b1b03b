import type { AuditEvent } from '../audit/event.ts'
import type { NewNotice } from '../notices/notice.ts'
import type { Definition } from './pinned-definition.ts'

/** `approved` may be shown; `pending` differs from what was approved; `refused` is never shown, whoever approves it. */
export type PinState = 'approved' | 'pending' | 'refused'

/** A definition as an upstream showed it. */
export interface Sight extends Definition {
  /** Why it is refused. */
  readonly refusal: string | undefined
}

/** One definition of a tool, as the store has it. */
export interface Pin {
  readonly upstream: string
  readonly tool: string
  readonly hash: string
  readonly state: PinState
  /** Why it is refused, or which members differ from the definition that was approved last. */
  readonly reason?: string
  /** Milliseconds since the epoch. */
  readonly seenAt: number
  readonly decidedAt?: number
  /** The administrator who decided; absent for what was pinned at first sight. */
  readonly decidedBy?: string
}

export interface PinWithText extends Pin {
  /** The canonical form. */
  readonly text: string
}

/** What is told of definitions that nobody had seen. */
export interface Tidings {
  readonly events: readonly AuditEvent[]
  readonly notices: readonly NewNotice[]
}

export interface PinFilter {
  readonly upstream?: string | undefined
  readonly state?: PinState | undefined
}

export interface PinDecision {
  readonly upstream: string
  readonly hashes: readonly string[]
  readonly state: 'approved' | 'pending'
  readonly by: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

export interface PinStore {
  /** What is known of these definitions; those that are not in the answer were never seen. */
  states(upstream: string, hashes: readonly string[]): Promise<ReadonlyMap<string, PinState>>
  /**
   * Takes note of definitions, in one transaction. The first one of a tool is approved by that, on one node, whichever
   * is first; every other one waits for an administrator. All nodes are told of what is not approved.
   *
   * @param tell what is to be told of the ones that nobody had seen
   */
  see(upstream: string, seen: readonly Sight[], at: number, tell: (added: readonly Pin[]) => Tidings): Promise<ReadonlyMap<string, PinState>>
  /** Newest first. */
  list(filter: PinFilter): Promise<readonly Pin[]>
  find(upstream: string, hash: string): Promise<PinWithText | undefined>
  /** The definition of a tool that was approved last, other than the one named. */
  approvedBefore(upstream: string, tool: string, hash: string): Promise<PinWithText | undefined>
  /** Approves definitions that are pending, or takes approvals back; all nodes are told. @returns those that were changed */
  decide(decision: PinDecision, events: (changed: readonly Pin[]) => readonly AuditEvent[]): Promise<readonly Pin[]>
}
