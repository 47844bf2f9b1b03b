import type { ConnectionStore } from './connection-store.ts'
import type { OAuthConnector } from './connectors/oauth/connector.ts'
import type { Upstream } from './upstream.ts'

const BATCH = 20
const MAX_ATTEMPTS = 12
const FIRST_RETRY_MS = 30_000

export interface RevokerDeps {
  readonly store: ConnectionStore
  readonly upstreams: readonly Upstream[]
  readonly oauth: Pick<OAuthConnector, 'revoke'>
  readonly now: () => number
}

/** Revokes at their providers the credentials of ended connections, until it succeeds or was tried often enough. */
export function revoker({ store, upstreams, oauth, now }: RevokerDeps): () => Promise<void> {
  return async () => {
    const due = await store.claimRevocations(now(), now() + FIRST_RETRY_MS, BATCH)
    for (const revocation of due) {
      const upstream = upstreams.find((candidate) => candidate.id === revocation.upstream)
      const done = upstream === undefined || (await oauth.revoke(upstream, revocation).then(() => true, () => false))
      if (done || revocation.attempts >= MAX_ATTEMPTS) await store.endRevocation(revocation.id)
    }
  }
}
