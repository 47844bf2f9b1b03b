import type { AuditEvent } from '../audit/event.ts'
import type { CallRecords, RecordedCall } from '../policy/rule-store.ts'
import { toAuthentication, type AuthenticationRow } from './authentications.ts'
import type { StoreParts } from './parts.ts'
import { groupsOf } from './user-groups.ts'

interface CallRow {
  readonly at: number
  readonly event: string
}

interface GrantRow extends AuthenticationRow {
  readonly id: string
}

const MAX_ROWS = 500

/** Reads what the audit trail has of calls, the groups that held then, and what is known now of the grants behind them. */
export function callRecords({ db }: Pick<StoreParts, 'db'>): CallRecords {
  const byId = async <Row extends { readonly id: string }>(columns: string, table: 'users' | 'grants', ids: readonly string[]): Promise<ReadonlyMap<string, Row>> => {
    const found = new Map<string, Row>()
    for (let start = 0; start < ids.length; start += MAX_ROWS) {
      const part = ids.slice(start, start + MAX_ROWS)
      for (const row of await db.query<Row>(`SELECT ${columns} FROM ${table} WHERE id IN (${part.map((_, index) => `$${index + 1}`).join(', ')})`, part)) found.set(row.id, row)
    }
    return found
  }
  return {
    async calls(since, limit) {
      const rows = await db.query<CallRow>(`SELECT at, event FROM audit WHERE action IN ('call.allowed', 'call.denied') AND at >= $1 ORDER BY seq DESC LIMIT $2`, [since, limit])
      const events = rows.map(({ at, event }) => ({ at, event: JSON.parse(event) as AuditEvent }))
      const users = await byId<{ id: string; groups: string }>('id, groups', 'users', unique(events.map(({ event }) => event.subject)))
      const grants = await byId<GrantRow>('id, auth_time, acr, amr, claims', 'grants', unique(events.map(({ event }) => event.grantId)))
      const groupsAt = await groupsOf(db, unique(events.map(({ event }) => event.subject)))
      return events.flatMap(({ at, event }) => recordedCall(at, event, groupsAt(event.subject ?? '', at) ?? groupsIn(users.get(event.subject ?? '')), grants.get(event.grantId ?? '')))
    },
    async definitions() {
      const rows = await db.query<{ upstream: string; tool: string; definition: string }>(`SELECT upstream, tool, definition FROM tool_definitions WHERE state = 'approved' ORDER BY COALESCE(decided_at, seen_at)`)
      return new Map(rows.map(({ upstream, tool, definition }) => [`${upstream} ${tool}`, definition]))
    },
  }
}

function unique(ids: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(ids.filter((id) => id !== undefined))]
}

function groupsIn(user: { readonly groups: string } | undefined): readonly string[] | undefined {
  return user === undefined ? undefined : (JSON.parse(user.groups) as readonly string[])
}

function recordedCall(at: number, event: AuditEvent, groups: readonly string[] | undefined, grant: GrantRow | undefined): readonly RecordedCall[] {
  const { subject, clientId, upstream, tool, address, application, verified } = event
  if (subject === undefined || clientId === undefined || upstream === undefined || tool === undefined) return []
  return [{
    at,
    subject,
    groups,
    clientId,
    upstream,
    tool,
    ...(address === undefined ? {} : { address }),
    ...(verified === undefined ? {} : { application: { ...(application === undefined ? {} : { id: application }), verified } }),
    ...(grant === undefined ? {} : { authentication: toAuthentication(grant) }),
  }]
}
