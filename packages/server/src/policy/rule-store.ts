import type { AuditEvent } from '../audit/event.ts'
import type { Authentication, Rule } from './rule.ts'

/** A rule that an administrator keeps. */
export interface StoredRule {
  readonly rule: Rule
  /** Rises with each change. */
  readonly version: number
}

/** What became of the stored rules. */
export interface RuleChanges {
  readonly added: readonly Rule[]
  readonly changed: readonly Rule[]
  readonly removed: readonly string[]
}

/** A call as the audit trail has it, with what is known of who made it. */
export interface RecordedCall {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly subject: string
  /** Those that held then; today's where nobody wrote them down; undefined of somebody who is no person that is known. */
  readonly groups: readonly string[] | undefined
  readonly clientId: string
  readonly application?: { readonly id?: string; readonly verified: boolean }
  readonly upstream: string
  readonly tool: string
  readonly address?: string
  /** As the grant has it. */
  readonly authentication?: Authentication
}

export interface RuleStore {
  /** All of them, by identifier. */
  all(): Promise<readonly StoredRule[]>
  /** @returns false when the name is taken */
  add(rule: Rule, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Puts a rule in the place of its own version, which rises; false when that is not the version that is stored. */
  change(stored: StoredRule, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** @returns false when it is not there */
  remove(id: string, now: number, ...events: readonly AuditEvent[]): Promise<boolean>
  /** Puts a whole set in the place of what is stored, in one transaction. @param events what is to be recorded of it */
  replace(rules: readonly Rule[], now: number, events: (changes: RuleChanges) => readonly AuditEvent[]): Promise<RuleChanges>
}

export interface CallRecords {
  /** Calls of tools since then, newest first, at most so many. */
  calls(since: number, limit: number): Promise<readonly RecordedCall[]>
  /** The definitions of tools that were approved last, as JSON, by upstream and tool. */
  definitions(): Promise<ReadonlyMap<string, string>>
}
