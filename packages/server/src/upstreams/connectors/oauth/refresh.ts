import { setTimeout as delay } from 'node:timers/promises'
import type { ChangeFeed } from '../../../audit/change.ts'
import type { AuditEvent, Recorder } from '../../../audit/event.ts'
import { newId } from '../../../oauth/secret.ts'
import type { OAuthCredential, Vault } from '../../../vault/credential.ts'
import type { ConnectionKey, ConnectionRecord, ConnectionStore } from '../../connection-store.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, UpstreamUnavailable } from '../connector.ts'
import type { GrantEnded } from './exchange.ts'

/** Longer than the one request that is made under it: only a holder that is gone, or was paused, loses it. */
const LEASE_MS = 30_000
const POLL_MS = 100
const MAX_WAIT_MS = 20_000
/** How long a caller waits for the store to take what a refresh brought; the node itself tries for longer. */
const SAVE_WAIT_MS = 5000
const SAVE_ATTEMPTS = 600

/** Refreshes a credential. @throws UpstreamUnavailable, ConnectionRefused: neither says that the grant has ended. */
export type Refresh = (credential: OAuthCredential) => Promise<OAuthCredential | GrantEnded>

export interface RefreshDeps {
  readonly vault: Vault
  readonly store: ConnectionStore
  readonly audit: Recorder
  readonly feed: ChangeFeed
  /** Finds whom to ask, before the lease is taken. @throws UpstreamUnavailable, ConnectionRefused */
  readonly prepare: (upstream: Upstream) => Promise<Refresh>
  /** Told of a credential that could not be stored, because something newer stands there or the connection is gone. */
  readonly orphaned: (key: ConnectionKey, credential: OAuthCredential) => Promise<void>
  /** Whether a credential can be had anew without the person; when absent, one with a refresh token can. */
  readonly renewable?: (credential: OAuthCredential) => boolean
  readonly now: () => number
}

export interface Wanted {
  readonly userId: string
  readonly upstream: Upstream
  /** The version that the upstream answered with 401. */
  readonly refusedVersion: string | undefined
  /** Called before each look at the store. */
  readonly onRead: () => void
  /** What this node got from upstreams and could not store yet. */
  readonly unsaved: Map<string, Promise<void>>
}

export interface Current {
  readonly credential: OAuthCredential
  readonly version: number
}

/**
 * Reads the stored credential, refreshed when it is old: once per grant in the whole cluster. Nodes compete for one
 * lease; whoever loses reads what the winner stored.
 */
export async function currentCredential(deps: RefreshDeps, wanted: Wanted): Promise<Current | 'connection_required'> {
  const key = { userId: wanted.userId, upstream: wanted.upstream.id }
  const startedAt = deps.now()
  let first: number | undefined
  for (;;) {
    wanted.onRead()
    const record = await deps.store.find(key)
    if (record?.state !== 'active') return 'connection_required'
    const current = { credential: deps.vault.open(key.userId, key.upstream, record.credential), version: record.version }
    first ??= record.version
    const refused = wanted.refusedVersion === String(record.version)
    const { expiresAt = Number.POSITIVE_INFINITY, refreshAt = expiresAt } = current.credential
    // One refresh is enough for one call: what it brought is used, however short it lives.
    if (!refused && (refreshAt > deps.now() || record.version !== first)) return current
    const usable = !refused && expiresAt > deps.now()
    if (!(deps.renewable ?? hasRefreshToken)(current.credential)) {
      if (usable) return current
      await endConnection(deps, record, 'it ended at the upstream and cannot be refreshed')
      continue
    }
    const outcome = await attempt(deps, wanted, record, current.credential)
    if (outcome === 'done') continue
    if (usable) return current
    if (outcome === 'unavailable') throw new UpstreamUnavailable('the upstream account cannot be refreshed at the moment')
    if (deps.now() - startedAt > MAX_WAIT_MS) throw new UpstreamUnavailable('the upstream account is being refreshed elsewhere')
    await delay(POLL_MS)
  }
}

function hasRefreshToken({ refreshToken }: OAuthCredential): boolean {
  return refreshToken !== undefined
}

/** @returns `busy` while somebody else refreshes, `unavailable` when this try failed and the next may not. */
async function attempt(deps: RefreshDeps, { upstream, unsaved }: Wanted, record: ConnectionRecord, credential: OAuthCredential): Promise<'done' | 'busy' | 'unavailable'> {
  // This node holds the successor already: what is stored was used, and must not be used again.
  if (unsaved.has(nameOf(record))) return 'busy'
  const holder = newId('lse')
  try {
    const refresh = await deps.prepare(upstream)
    const claimed = await deps.store.claimRefresh(record, record.version, { holder, now: deps.now(), until: deps.now() + LEASE_MS })
    if (!claimed) return 'busy'
    const refreshed = await refresh(credential)
    if ('ended' in refreshed) {
      await endConnection(deps, record, refreshed.ended, holder)
      return 'done'
    }
    return await saved(deps, unsaved, { record, holder, before: credential, refreshed })
  } catch (error) {
    await deps.store.releaseRefresh(record, holder)
    // A server that does not answer, or answers with an error of its own, says nothing of the grant.
    if (error instanceof UpstreamUnavailable) return 'unavailable'
    if (!(error instanceof ConnectionRefused)) throw error
    await deps.audit.record({ action: 'connection.failed', outcome: 'failure', subject: record.userId, upstream: record.upstream, reason: error.reason })
    return 'unavailable'
  }
}

interface Rotation {
  readonly record: ConnectionRecord
  readonly holder: string
  readonly before: OAuthCredential
  readonly refreshed: OAuthCredential
}

/**
 * The upstream has rotated its token already: what it gave is held in memory and written until the store takes it, and
 * nobody is answered with it before.
 */
async function saved(deps: RefreshDeps, unsaved: Map<string, Promise<void>>, rotation: Rotation): Promise<'done' | 'unavailable'> {
  const name = nameOf(rotation.record)
  const saving = write(deps, rotation).finally(() => unsaved.delete(name))
  unsaved.set(name, saving)
  const late = delay(SAVE_WAIT_MS, 'unavailable' as const, { ref: false })
  return Promise.race([saving.then(() => 'done' as const, () => 'unavailable' as const), late])
}

async function write(deps: RefreshDeps, { record, holder, before, refreshed }: Rotation): Promise<void> {
  const sealed = deps.vault.seal(record.userId, record.upstream, refreshed)
  const event: AuditEvent = { action: 'connection.refreshed', outcome: 'success', subject: record.userId, upstream: record.upstream, detail: difference(before, refreshed) }
  for (let tries = 1; ; tries += 1) {
    try {
      const stored = await deps.store.refresh(record, record.version, holder, sealed, deps.now(), event)
      if (!stored) await deps.orphaned(record, refreshed)
      return
    } catch (error) {
      if (tries === SAVE_ATTEMPTS) throw error
      await delay(Math.min(50 * 2 ** tries, 1000))
    }
  }
}

/** An upstream that gives less than before is no error, and is told. */
function difference(before: OAuthCredential, after: OAuthCredential): Record<string, boolean | readonly string[]> {
  const kept = new Set(after.scope?.split(' '))
  const lost = (before.scope ?? '').split(' ').filter((scope) => scope !== '' && !kept.has(scope))
  return { rotated: after.refreshToken !== before.refreshToken, ...(lost.length === 0 ? {} : { scopeLost: lost }) }
}

async function endConnection(deps: RefreshDeps, record: ConnectionRecord, reason: string, holder?: string): Promise<void> {
  const event: AuditEvent = { action: 'connection.failed', outcome: 'failure', subject: record.userId, upstream: record.upstream, reason }
  await deps.store.needReconnect(record, { version: record.version, ...(holder === undefined ? {} : { holder }) }, deps.now(), event)
}

export function nameOf({ userId, upstream }: ConnectionKey): string {
  return `${userId} ${upstream}`
}
