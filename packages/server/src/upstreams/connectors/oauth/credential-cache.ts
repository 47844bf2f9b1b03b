import type { Upstream } from '../../upstream.ts'
import type { Credential } from '../connector.ts'
import { carried } from './possession.ts'
import { currentCredential, nameOf, type RefreshDeps } from './refresh.ts'

const MAX_CACHED = 50_000
/** A change that never arrived is noticed after this long at the latest. */
const MAX_AGE_MS = 5 * 60_000
/** An upstream that refuses everything does not have a token made for each call. */
const DOUBT_MS = 30_000

export interface CredentialCache {
  readonly credential: (userId: string, upstream: Upstream) => Promise<Credential>
  readonly refused: (userId: string, upstream: Upstream, version: string) => Promise<void>
}

interface Cached {
  readonly credential: Exclude<Credential, 'connection_required'>
  readonly usableUntil: number
}

interface Load {
  readonly name: string
  /** Whether something changed since it last looked at the store. */
  overtaken: boolean
  readonly result: Promise<Credential>
}

/** Serves credentials from memory; callers of one node wait for one promise. */
export function credentialCache(deps: RefreshDeps): CredentialCache {
  const cache = new Map<string, Cached>()
  const loads = new Map<string, Load>()
  const unsaved = new Map<string, Promise<void>>()
  /** Until when what replaced a refused credential is kept, though it is refused as well. */
  const doubts = new Map<string, number>()
  deps.feed.subscribe(({ kind, key }) => {
    if (kind !== 'connection' && kind !== 'subject') return
    const concerned = (name: string): boolean => (kind === 'connection' ? name === key : name.startsWith(`${key} `))
    if (kind === 'connection') cache.delete(key)
    else for (const name of cache.keys()) if (concerned(name)) cache.delete(name)
    for (const load of loads.values()) if (concerned(load.name)) load.overtaken = true
  })

  const load = async (mark: { overtaken: boolean }, userId: string, upstream: Upstream, refusedVersion: string | undefined): Promise<Credential> => {
    const onRead = (): void => void (mark.overtaken = false)
    const current = await currentCredential(deps, { userId, upstream, refusedVersion, onRead, unsaved })
    if (current === 'connection_required') return current
    const credential = carried(current.credential, String(current.version))
    const { expiresAt = Number.POSITIVE_INFINITY, refreshAt = expiresAt } = current.credential
    // What changed while it was read may have ended it: it is good for this call, and is not kept.
    if (!mark.overtaken) cache.set(nameOf({ userId, upstream: upstream.id }), { credential, usableUntil: Math.min(refreshAt, deps.now() + MAX_AGE_MS) })
    const [oldest] = cache.keys()
    if (cache.size > MAX_CACHED && oldest !== undefined) cache.delete(oldest)
    return credential
  }

  const shared = (userId: string, upstream: Upstream, refusedVersion?: string): Promise<Credential> => {
    const name = nameOf({ userId, upstream: upstream.id })
    // Who was refused must not be given what is loaded for those who were not.
    const key = `${name} ${refusedVersion ?? ''}`
    const before = loads.get(key)
    if (before !== undefined) return before.result
    const mark = { overtaken: false }
    const result = load(mark, userId, upstream, refusedVersion).finally(() => loads.delete(key))
    loads.set(key, Object.assign(mark, { name, result }))
    return result
  }

  return {
    credential(userId, upstream) {
      const cached = cache.get(nameOf({ userId, upstream: upstream.id }))
      return cached !== undefined && cached.usableUntil > deps.now() ? Promise.resolve(cached.credential) : shared(userId, upstream)
    },
    async refused(userId, upstream, version) {
      const name = nameOf({ userId, upstream: upstream.id })
      const cached = cache.get(name)
      // Somebody has a newer one by now: then there is nothing to do.
      if (cached !== undefined && cached.credential.version !== version) return
      if ((doubts.get(name) ?? 0) > deps.now()) return
      cache.delete(name)
      if ((await shared(userId, upstream, version)) === 'connection_required') return
      if (doubts.size >= MAX_CACHED) doubts.clear()
      doubts.set(name, deps.now() + DOUBT_MS)
    },
  }
}
