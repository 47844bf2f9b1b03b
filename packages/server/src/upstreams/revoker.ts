import type { AuditEvent } from '../audit/event.ts'
import type { ConnectionStore, PendingRevocation } from './connection-store.ts'
import type { OAuthConnector } from './connectors/oauth/connector.ts'
import type { Upstream } from './upstream.ts'

const BATCH = 20
/** With the waiting time doubled after each: a day and a half. */
const MAX_ATTEMPTS = 12
const FIRST_RETRY_MS = 30_000

export interface RevokerDeps {
  readonly store: ConnectionStore
  readonly upstreams: readonly Upstream[]
  readonly oauth: Pick<OAuthConnector, 'revoke'>
  readonly now: () => number
}

/** Revokes at their providers the credentials of ended connections, until it succeeds or was tried often enough. */
export function revoker(deps: RevokerDeps): () => Promise<void> {
  return async () => {
    const due = await deps.store.claimRevocations(deps.now(), { firstRetryMs: FIRST_RETRY_MS, limit: BATCH })
    await Promise.all(due.map((revocation) => revokeOne(deps, revocation)))
  }
}

async function revokeOne({ store, upstreams, oauth }: RevokerDeps, revocation: PendingRevocation): Promise<void> {
  const upstream = upstreams.find((candidate) => candidate.id === revocation.upstream)
  const reason = upstream === undefined ? 'the upstream is not configured any more' : await oauth.revoke(upstream, revocation).then(() => undefined, failure)
  // The trail says of each ended connection whether its provider knows.
  const event = { action: 'connection.revoked', subject: revocation.userId, upstream: revocation.upstream, detail: { attempts: revocation.attempts } } as const
  const ended: AuditEvent = reason === undefined ? { ...event, outcome: 'success' } : { ...event, outcome: 'failure', reason }
  if (reason === undefined || upstream === undefined || revocation.attempts >= MAX_ATTEMPTS) await store.endRevocation(revocation.id, ended)
}

function failure(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  return 'reason' in error ? String(error.reason) : error.message
}
