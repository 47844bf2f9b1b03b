import type { AuditEvent } from '../audit/event.ts'
import type { NewNotice } from '../notices/notice.ts'
import type { Need, StandingDecision } from './approval.ts'

/** An application as it was last seen. */
export interface ApplicationRecord {
  readonly id: string
  /** One of its clients. */
  readonly clientId: string
  readonly name: string
  readonly verified: boolean
  readonly voucher?: string
  readonly digest: string
}

export interface KnownApplication extends ApplicationRecord {
  readonly pin?: string
  /** Milliseconds since the epoch. */
  readonly firstSeenAt: number
  readonly changedAt: number
}

/** What was asked for, as it looked then. */
export interface RequestContent extends ApplicationRecord {
  readonly redirectUris?: readonly string[]
  readonly resource: string
  readonly needs: readonly Need[]
  /** For a call. */
  readonly tool?: string
  /** For people: who asks. */
  readonly person: string
}

export interface ApprovalRequest {
  readonly id: string
  readonly key: string
  readonly kind: 'application' | 'call'
  readonly userId: string
  readonly content: RequestContent
  readonly reference: string
  readonly createdAt: number
}

export interface StoredRequest extends ApprovalRequest {
  readonly state: 'pending' | 'approved' | 'refused' | 'withdrawn'
  readonly decision?: RequestDecision
  readonly decidedBy?: string
  readonly decidedAt?: number
}

export interface RequestDecision {
  readonly effect: 'approve' | 'refuse'
  readonly groups?: readonly string[]
  readonly reason?: string
}

/** Who decides, and when. */
export interface Act {
  readonly by: string
  readonly at: number
}

export interface ApplicationFacts {
  readonly known?: KnownApplication
  readonly decisions: readonly StandingDecision[]
}

export interface CallKey {
  readonly userId: string
  readonly application: string
  readonly upstream: string
  readonly tool: string
}

/** What is written when an application is another one than before. */
export interface ChangeReport {
  /** Whether it is told even where nobody decided about the application: the built-in directory has something else. */
  readonly watched?: boolean
  readonly events: readonly AuditEvent[]
  readonly notices: readonly NewNotice[]
}

export interface ApprovalStore {
  facts(application: string): Promise<ApplicationFacts>
  /** Remembers an application that a person wants to use. */
  addApplication(application: ApplicationRecord, at: number): Promise<void>
  /**
   * Says what a known application looks like now; of all that see one change, one reports it, and only where somebody
   * decided about the application or pinned it.
   */
  sawApplication(application: ApplicationRecord, at: number, report: ChangeReport): Promise<void>
  applications(max: number): Promise<readonly (KnownApplication & Pick<ApplicationFacts, 'decisions'>)[]>
  /** Puts a request into the queue, unless an equal one waits, was decided since `since`, or the person has `max` waiting. */
  ask(request: ApprovalRequest, limits: { readonly since: number; readonly max: number }, notices: readonly NewNotice[], ...events: readonly AuditEvent[]): Promise<Asked>
  findRequest(id: string): Promise<StoredRequest | undefined>
  /** Oldest first while they wait, newest first when decided. */
  requests(state: StoredRequest['state'], max: number): Promise<readonly StoredRequest[]>
  /** Decides once: of two administrators at once, one does. */
  decide(id: string, decision: RequestDecision, act: Act, event: (request: StoredRequest) => AuditEvent): Promise<'decided' | 'already decided' | 'unknown'>
  /** Forgets what was decided about a call; false when nothing was. */
  withdrawCall(id: string, act: Act, event: (request: StoredRequest) => AuditEvent): Promise<boolean>
  callDecision(key: CallKey): Promise<RequestDecision | undefined>
  /** Puts these decisions in the place of all others about the application, and answers what waits for them; ends its grants on all nodes when asked to. */
  replaceDecisions(application: string, decisions: readonly StandingDecision[], act: Act, endGrants: boolean, ...events: readonly AuditEvent[]): Promise<number>
  /** Pins what the application is now, or nothing; false when it is unknown, or is something else than `digest` by now. */
  pin(application: string, digest: string | undefined, act: Act, ...events: readonly AuditEvent[]): Promise<boolean>
  reap(before: { readonly pending: number; readonly decided: number }): Promise<void>
}

export type Asked = { readonly kind: 'waiting'; readonly request: StoredRequest } | { readonly kind: 'decided' | 'too many' }
