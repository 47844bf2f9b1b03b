import type { AuditEvent } from '../audit/event.ts'
import { EVERY_UPSTREAM, settledBy, type StandingDecision } from './approval.ts'
import type { Act, ApprovalStore, KnownApplication, RequestDecision, StoredRequest } from './approval-store.ts'

/** The administrator who acts, and by which request. */
export interface Acting {
  readonly userId: string
  readonly reference: string
  readonly address: string
}

export type Settled = 'done' | 'unknown' | 'changed'

/** What administrators do about requests and applications, each with its record. */
export interface Decisions {
  decide(id: string, decision: RequestDecision, acting: Acting): ReturnType<ApprovalStore['decide']>
  /** Forgets what was decided about a call. */
  withdrawCall(id: string, acting: Acting): Promise<boolean>
  /** Approves the application for every upstream, as what it was when the administrator looked at it. */
  approve(id: string, digest: string, groups: readonly string[] | undefined, acting: Acting): Promise<Settled>
  /** Refuses the application altogether, and ends its grants. @returns how many ended, or undefined when it is unknown */
  refuse(id: string, reason: string, acting: Acting): Promise<number | undefined>
  /** Forgets what was decided, and ends the application's grants. */
  withdraw(id: string, acting: Acting): Promise<number | undefined>
  /** Pins what the administrator looked at; without a digest, nothing is pinned any more. */
  pin(id: string, digest: string | undefined, acting: Acting): Promise<Settled>
}

export function decisions(store: ApprovalStore, now: () => number): Decisions {
  const act = ({ userId }: Acting): Act => ({ by: userId, at: now() })
  const known = async (id: string): Promise<KnownApplication | undefined> => (await store.facts(id)).known
  const end = async (id: string, made: (application: KnownApplication) => readonly StandingDecision[], event: Pick<AuditEvent, 'action' | 'reason'>, acting: Acting): Promise<number | undefined> => {
    const application = await known(id)
    if (application === undefined) return undefined
    return store.replaceDecisions(id, made(application), act(acting), true, { outcome: 'success', ...event, ...about(application, acting) })
  }
  return {
    decide: (id, decision, acting) => store.decide(id, decision, act(acting), (request) => decided(request, decision, acting)),
    withdrawCall: (id, acting) => store.withdrawCall(id, act(acting), (request) => ({ ...decided(request, { effect: 'approve' }, acting), action: 'approval.withdrawn' })),
    async approve(id, digest, groups, acting) {
      const application = await known(id)
      if (application === undefined) return 'unknown'
      if (application.digest !== digest) return 'changed'
      const made = everywhere('approve', digest).map((decision) => ({ ...decision, ...(groups === undefined ? {} : { groups }) }))
      await store.replaceDecisions(id, made, act(acting), false, { action: 'application.approved', outcome: 'success', ...about(application, acting, groups) })
      return 'done'
    },
    refuse: (id, reason, acting) => end(id, ({ digest }) => everywhere('refuse', digest).map((decision) => ({ ...decision, reason })), { action: 'application.refused', reason }, acting),
    withdraw: (id, acting) => end(id, () => [], { action: 'application.withdrawn' }, acting),
    async pin(id, digest, acting) {
      const application = await known(id)
      if (application === undefined) return 'unknown'
      const detail = { name: application.name, pinned: digest !== undefined, ...(digest === undefined ? {} : { digest }) }
      const pinned = await store.pin(id, digest, act(acting), { action: 'application.pinned', outcome: 'success', ...about(application, acting), detail })
      return pinned ? 'done' : 'changed'
    },
  }
}

function everywhere(effect: StandingDecision['effect'], digest: string): readonly StandingDecision[] {
  return settledBy({ upstream: EVERY_UPSTREAM, access: effect === 'approve' ? 'write' : 'read' }, effect).map((need) => ({ ...need, effect, digest }))
}

function about({ id, clientId, verified, name }: KnownApplication, { userId, reference, address }: Acting, groups?: readonly string[]): Omit<AuditEvent, 'action' | 'outcome' | 'reason'> {
  return { subject: userId, clientId, application: id, verified, reference, address, detail: { name, ...(groups === undefined ? {} : { groups }) } }
}

/** The record's subject is the administrator; who asked stands in the detail. */
function decided({ id, kind, userId, content }: StoredRequest, { effect, groups, reason }: RequestDecision, acting: Acting): AuditEvent {
  const { clientId, verified, resource, tool, needs, digest } = content
  return {
    action: effect === 'approve' ? 'approval.granted' : 'approval.refused',
    outcome: 'success',
    subject: acting.userId,
    clientId,
    application: content.id,
    verified,
    resource,
    reference: acting.reference,
    address: acting.address,
    ...(tool === undefined ? {} : { tool }),
    ...(reason === undefined ? {} : { reason }),
    detail: { request: id, kind, askedBy: userId, digest, needs: needs.map(({ upstream, access }) => `${upstream} ${access}`), ...(groups === undefined ? {} : { groups }) },
  }
}
