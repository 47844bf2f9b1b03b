import { setTimeout as delay } from 'node:timers/promises'
import type { ChangeFeed } from '../../../audit/change.ts'
import type { AuditEvent } from '../../../audit/event.ts'
import { newId } from '../../../oauth/secret.ts'
import type { OAuthCredential, Vault } from '../../../vault/credential.ts'
import type { ConnectionRecord, ConnectionStore } from '../../connection-store.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, UpstreamUnavailable, type Credential } from '../connector.ts'

/** Credentials are refreshed this long before they end, so that a call does not end with them. */
const EARLY_MS = 60_000
const LEASE_MS = 30_000
const WAIT_MS = 100
const MAX_WAIT_MS = 20_000
const MAX_CACHED = 50_000
const STORE_ATTEMPTS = 6

export interface CredentialCacheDeps {
  readonly vault: Vault
  readonly store: ConnectionStore
  readonly feed: ChangeFeed
  /** @returns undefined when the grant has ended at its server. @throws UpstreamUnavailable */
  readonly refresh: (upstream: Upstream, credential: OAuthCredential) => Promise<OAuthCredential | undefined>
  readonly now: () => number
}

export interface CredentialCache {
  readonly credential: (userId: string, upstream: Upstream) => Promise<Credential>
  readonly refused: (userId: string, upstream: Upstream, version: string) => Promise<void>
}

interface Cached {
  readonly credential: Exclude<Credential, 'connection_required'>
  readonly usableUntil: number
}

/**
 * Serves credentials from memory, and refreshes each grant once in the whole cluster: callers of one node wait for one
 * promise, nodes for one lease, and whoever loses reads what the winner stored.
 */
export function credentialCache(deps: CredentialCacheDeps): CredentialCache {
  const cache = new Map<string, Cached>()
  const underWay = new Map<string, Promise<Credential>>()
  deps.feed.subscribe((change) => {
    if (change.kind === 'connection') cache.delete(change.key)
    else if (change.kind === 'subject') for (const key of cache.keys()) if (key.startsWith(`${change.key} `)) cache.delete(key)
  })

  const load = async (userId: string, upstream: Upstream, refusedVersion: string | undefined): Promise<Credential> => {
    const current = await currentCredential(deps, userId, upstream, refusedVersion)
    if (current === 'connection_required') return current
    const credential = { headers: { authorization: `Bearer ${current.credential.accessToken}` }, version: String(current.version) }
    const key = `${userId} ${upstream.id}`
    cache.set(key, { credential, usableUntil: (current.credential.expiresAt ?? Number.POSITIVE_INFINITY) - EARLY_MS })
    const [oldest] = cache.keys()
    if (cache.size > MAX_CACHED && oldest !== undefined) cache.delete(oldest)
    return credential
  }

  const shared = (userId: string, upstream: Upstream, refusedVersion?: string): Promise<Credential> => {
    const key = `${userId} ${upstream.id}`
    let work = underWay.get(key)
    if (work === undefined) {
      work = load(userId, upstream, refusedVersion).finally(() => underWay.delete(key))
      underWay.set(key, work)
    }
    return work
  }

  return {
    credential(userId, upstream) {
      const cached = cache.get(`${userId} ${upstream.id}`)
      return cached !== undefined && cached.usableUntil > deps.now() ? Promise.resolve(cached.credential) : shared(userId, upstream)
    },
    async refused(userId, upstream, version) {
      const key = `${userId} ${upstream.id}`
      // Somebody may have a newer one by now: then there is nothing to do.
      if (cache.get(key)?.credential.version !== version) return
      cache.delete(key)
      await shared(userId, upstream, version)
    },
  }
}

interface Current {
  readonly credential: OAuthCredential
  readonly version: number
}

async function currentCredential(deps: CredentialCacheDeps, userId: string, upstream: Upstream, refusedVersion: string | undefined): Promise<Current | 'connection_required'> {
  const key = { userId, upstream: upstream.id }
  const startedAt = deps.now()
  for (;;) {
    const record = await deps.store.find(key)
    if (record === undefined || record.state !== 'active') return 'connection_required'
    const credential = deps.vault.open(userId, upstream.id, record.credential)
    const current = { credential, version: record.version }
    const usable = (credential.expiresAt ?? Number.POSITIVE_INFINITY) > deps.now()
    const old = (credential.expiresAt ?? Number.POSITIVE_INFINITY) - EARLY_MS <= deps.now()
    const refused = refusedVersion === String(record.version)
    if (!old && !refused) return current
    if (credential.refreshToken === undefined) {
      if (usable && !refused) return current
      await endConnection(deps, record, 'it expired and cannot be refreshed')
      continue
    }
    const holder = newId('lse')
    const claimed = await deps.store.claimRefresh(key, record.version, { holder, now: deps.now(), until: deps.now() + LEASE_MS })
    if (claimed) {
      const refreshed = await refreshClaimed(deps, upstream, { record, credential, holder })
      if (refreshed === 'unavailable') {
        if (usable && !refused) return current
        throw new UpstreamUnavailable('the upstream account cannot be refreshed at the moment')
      }
      continue
    }
    if (usable && !refused) return current
    if (deps.now() - startedAt > MAX_WAIT_MS) throw new UpstreamUnavailable('the upstream account is being refreshed elsewhere')
    await delay(WAIT_MS)
  }
}

interface Claimed {
  readonly record: ConnectionRecord
  readonly credential: OAuthCredential
  readonly holder: string
}

async function refreshClaimed(deps: CredentialCacheDeps, upstream: Upstream, { record, credential, holder }: Claimed): Promise<'done' | 'unavailable'> {
  let refreshed: OAuthCredential | undefined
  try {
    refreshed = await deps.refresh(upstream, credential)
  } catch (error) {
    // A server that does not answer, or answers with an error of its own, says nothing of the grant.
    await deps.store.releaseRefresh(record, holder)
    if (error instanceof UpstreamUnavailable || error instanceof ConnectionRefused) return 'unavailable'
    throw error
  }
  if (refreshed === undefined) {
    await endConnection(deps, record, 'the upstream ended it')
    return 'done'
  }
  const sealed = deps.vault.seal(record.userId, record.upstream, refreshed)
  const event = { action: 'connection.refreshed', outcome: 'success', subject: record.userId, upstream: record.upstream } as const
  await persisted(() => deps.store.refresh(record, record.version, holder, sealed, deps.now(), event))
  return 'done'
}

/** The upstream has rotated its token already: what it gave must not be lost to one failed write. */
async function persisted(write: () => Promise<boolean>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await write()
      return
    } catch (error) {
      if (attempt === STORE_ATTEMPTS) throw error
      await delay(50 * 2 ** attempt)
    }
  }
}

async function endConnection(deps: CredentialCacheDeps, record: ConnectionRecord, reason: string): Promise<void> {
  const event: AuditEvent = { action: 'connection.failed', outcome: 'failure', subject: record.userId, upstream: record.upstream, reason }
  await deps.store.needReconnect(record, record.version, deps.now(), event)
}
