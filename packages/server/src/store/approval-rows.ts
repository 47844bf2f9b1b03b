import type { KnownApplication, RequestContent, RequestDecision, StoredRequest } from '../approval/approval-store.ts'
import type { StandingDecision } from '../approval/approval.ts'
import type { Access } from '../oauth/scope.ts'

export interface ApplicationRow {
  readonly id: string
  readonly client_id: string
  readonly name: string
  readonly verified: number
  readonly voucher: string | null
  readonly digest: string
  readonly pin: string | null
  readonly first_seen_at: number
  readonly changed_at: number
}

export interface DecisionRow {
  readonly application: string
  readonly upstream: string
  readonly access: Access
  readonly effect: StandingDecision['effect']
  readonly digest: string
  readonly groups: string | null
  readonly reason: string | null
}

export interface RequestRow {
  readonly id: string
  readonly key: string
  readonly kind: StoredRequest['kind']
  readonly user_id: string
  readonly request: string
  readonly state: StoredRequest['state']
  readonly reference: string
  readonly created_at: number
  readonly decision: string | null
  readonly decided_by: string | null
  readonly decided_at: number | null
}

export function toApplication(row: ApplicationRow): KnownApplication {
  return {
    id: row.id,
    clientId: row.client_id,
    name: row.name,
    verified: row.verified === 1,
    digest: row.digest,
    firstSeenAt: row.first_seen_at,
    changedAt: row.changed_at,
    ...(row.voucher === null ? {} : { voucher: row.voucher }),
    ...(row.pin === null ? {} : { pin: row.pin }),
  }
}

export function toDecision({ upstream, access, effect, digest, groups, reason }: DecisionRow): StandingDecision {
  return {
    upstream,
    access,
    effect,
    digest,
    ...(groups === null ? {} : { groups: JSON.parse(groups) as string[] }),
    ...(reason === null ? {} : { reason }),
  }
}

export function toRequest(row: RequestRow): StoredRequest {
  return {
    id: row.id,
    key: row.key,
    kind: row.kind,
    userId: row.user_id,
    content: JSON.parse(row.request) as RequestContent,
    state: row.state,
    reference: row.reference,
    createdAt: row.created_at,
    ...(row.decision === null ? {} : { decision: JSON.parse(row.decision) as RequestDecision }),
    ...(row.decided_by === null ? {} : { decidedBy: row.decided_by }),
    ...(row.decided_at === null ? {} : { decidedAt: row.decided_at }),
  }
}
