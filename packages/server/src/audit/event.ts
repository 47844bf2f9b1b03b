// Owns the one schema of what Lanyard records. It does not decide what is recorded: every domain names its own events.

/** What happened, as `noun.verb`. Every event that a domain records is listed here. */
export type AuditAction =
  | 'client.registered' | 'client.updated' | 'client.deleted' | 'client.refused'
  | 'authorization.requested' | 'authorization.granted' | 'authorization.refused'
  | 'authorization.pushed'
  | 'device.requested' | 'device.entered' | 'device.refused'
  | 'consent.granted' | 'consent.denied' | 'consent.revoked'
  | 'login.started' | 'login.succeeded' | 'login.failed' | 'logout'
  | 'subject.revoked' | 'subject.linked'
  | 'step-up.requested' | 'step-up.granted' | 'step-up.refused'
  | 'token.issued' | 'token.refreshed' | 'token.replayed' | 'token.refused' | 'token.reuse_detected' | 'token.revoked' | 'token.introspected' | 'token.vended'
  | 'assertion.issued'
  | 'connection.started' | 'connection.created' | 'connection.refreshed' | 'connection.failed' | 'connection.deleted' | 'connection.revoked'
  | 'call.allowed' | 'call.denied' | 'call.finished' | 'list.filtered' | 'session.opened' | 'session.closed'
  | 'api.refused' | 'rule.created' | 'rule.changed' | 'rule.deleted' | 'access.evaluated'
  | 'key.created' | 'key.activated' | 'key.revoked'
  | 'profile.created' | 'profile.changed' | 'profile.deleted'
  | 'provider.degraded'
  | 'tool.pinned' | 'tool.changed' | 'tool.refused' | 'pin.approved' | 'pin.withdrawn'
  | 'approval.requested' | 'approval.granted' | 'approval.refused' | 'approval.withdrawn'
  | 'application.approved' | 'application.refused' | 'application.withdrawn' | 'application.pinned' | 'application.changed'
  | 'notice.sent' | 'notice.failed'

/** One recorded fact. It never holds a token, a code, a secret, an assertion or a tool's arguments. */
export interface AuditEvent {
  readonly action: AuditAction
  readonly outcome: 'success' | 'failure'
  /** The user's identifier, when known. */
  readonly subject?: string
  /** Who answers for the machine that the subject is. */
  readonly owner?: string
  readonly clientId?: string
  /** The application that the client is, and whether anybody vouches for it. */
  readonly application?: string
  readonly verified?: boolean
  readonly grantId?: string
  readonly resource?: string
  readonly upstream?: string
  /** The upstream knows the call by one account that everybody shares, not by one of the subject's own. */
  readonly credential?: 'shared'
  readonly tool?: string
  /** The rule that decided, for policy. */
  readonly rule?: string
  readonly reason?: string
  /** The reference that a person reads on an error page, and that finds all events of one flow or request. */
  readonly reference?: string
  readonly address?: string
  readonly detail?: Readonly<Record<string, string | number | boolean | readonly string[]>>
}

const FIELDS = [
  'action', 'outcome', 'subject', 'owner', 'clientId', 'application', 'verified', 'grantId', 'resource', 'upstream', 'credential', 'tool', 'rule', 'reason', 'reference', 'address', 'detail',
] as const satisfies readonly (keyof AuditEvent)[]

/** The fields of the schema alone: what else an object carried along, that was spread into an event, is never recorded. */
export function ownFields(event: AuditEvent): AuditEvent {
  const fields: Partial<Record<keyof AuditEvent, unknown>> = {}
  for (const field of FIELDS) if (event[field] !== undefined) fields[field] = event[field]
  return fields as AuditEvent
}

/** An event as it was written. */
export interface RecordedEvent {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly event: AuditEvent
  /** The event, printed. */
  readonly json: string
}

/** Records events that stand alone. State changes carry their events into the store instead. */
export interface Recorder {
  /** Begins a record that is written within milliseconds. @returns writes it now, if it is not yet, and resolves when the store has it */
  begin(...events: readonly AuditEvent[]): () => Promise<void>
  /** Resolves when the store has the events. */
  record(...events: readonly AuditEvent[]): Promise<void>
}
