import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import type { AuditEvent } from '../audit/event.ts'
import type { Caller } from '../token/verify.ts'
import type { Profile, Upstream } from '../upstreams/upstream.ts'
import type { Message } from './message.ts'
import type { OpenCall } from './open-calls.ts'
import type { Operation } from './operation.ts'
import type { Revision } from './revisions.ts'
import type { Session } from './session.ts'

/** Who calls, and where: known before the body is. */
export interface Contact {
  readonly caller: Caller
  readonly profile: Profile
  readonly upstream: Upstream
  readonly headers: IncomingHttpHeaders
  readonly response: ServerResponse
  readonly open: OpenCall
  readonly address: string
}

/** One message on its way to the upstream, with all that is known of it. */
export interface Call extends Contact {
  readonly message: Message
  readonly revision: Revision
  readonly operation: Operation
  /** The session of a 2025 revision. */
  readonly session: Session | undefined
}

/** The members that all events of one call share. */
export function trace({ caller, upstream, address }: Contact): Pick<AuditEvent, 'subject' | 'clientId' | 'application' | 'verified' | 'grantId' | 'resource' | 'upstream' | 'address'> {
  const { user, clientId, grantId, resource, standing } = caller
  const { id: application, verified } = standing.application
  return { subject: user.id, clientId, application, verified, grantId, resource, upstream: upstream.id, address }
}
