import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import type { AuditEvent } from '../audit/event.ts'
import type { Caller } from '../token/verify.ts'
import { hasSharedAccount } from '../upstreams/shared-account.ts'
import type { Profile, Upstream } from '../upstreams/upstream.ts'
import type { Message } from './message.ts'
import type { OpenCall } from './open-calls.ts'
import type { Operation } from './operation.ts'
import type { Outward } from './outward.ts'
import type { Revision } from './revisions.ts'
import type { Session } from './session.ts'

/** Who calls, and where: known before the body is. */
export interface Visit {
  readonly caller: Caller
  readonly profile: Profile
  readonly headers: IncomingHttpHeaders
  readonly response: ServerResponse
  readonly open: OpenCall
  readonly address: string
}

/** A visit to one of the profile's upstreams. */
export interface Contact extends Visit {
  readonly upstream: Upstream
}

/** What the client said, in its own words. */
export interface Asked extends Visit {
  readonly message: Message
  readonly revision: Revision
  readonly operation: Operation
  /** The session of a 2025 revision. */
  readonly session: Session | undefined
}

/** One message on its way to the upstream, in the upstream's words, with all that is known of it. */
export interface Call extends Contact, Asked {
  /** How the client knows what is the upstream's; absent where both use the same words. */
  readonly outward?: Outward
}

/** The members that all events of one call share. */
export function trace({ caller, upstream, address }: Pick<Contact, 'caller' | 'address'> & Partial<Pick<Contact, 'upstream'>>): Pick<AuditEvent, 'subject' | 'owner' | 'clientId' | 'application' | 'verified' | 'grantId' | 'resource' | 'upstream' | 'credential' | 'address'> {
  const { user, clientId, grantId, resource, standing } = caller
  const { id: application, verified } = standing.application
  return { subject: user.id, ...(user.owner === undefined ? {} : { owner: user.owner }), clientId, application, verified, grantId, resource, ...(upstream === undefined ? {} : { upstream: upstream.id, ...(hasSharedAccount(upstream) ? { credential: 'shared' } : {}) }), address }
}
