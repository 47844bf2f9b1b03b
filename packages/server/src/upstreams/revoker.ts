import type { AuditEvent } from '../audit/event.ts'
import type { ConnectionStore, PendingRevocation } from './connection-store.ts'
import { ConnectionRefused, UpstreamUnavailable } from './connectors/connector.ts'
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
  const outcome = upstream === undefined ? { final: true, reason: 'the upstream is not configured any more' } : await tried(() => oauth.revoke(upstream, revocation))
  if (!outcome.final && revocation.attempts < MAX_ATTEMPTS) return
  // The trail says of each ended connection whether its provider knows.
  const event = { action: 'connection.revoked', subject: revocation.userId, upstream: revocation.upstream, detail: { attempts: revocation.attempts } } as const
  const ended: AuditEvent = outcome.reason === undefined ? { ...event, outcome: 'success' } : { ...event, outcome: 'failure', reason: outcome.reason }
  await store.endRevocation(revocation.id, ended)
}

async function tried(revoke: () => Promise<string | undefined>): Promise<{ final: boolean; reason: string | undefined }> {
  try {
    return { final: true, reason: await revoke() }
  } catch (error) {
    const reason = error instanceof ConnectionRefused ? error.reason : error instanceof UpstreamUnavailable ? error.message : 'it could not be tried'
    return { final: false, reason }
  }
}
