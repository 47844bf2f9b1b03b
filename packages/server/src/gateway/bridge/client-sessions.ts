import type { ChangeFeed } from '../../audit/change.ts'
import { newId } from '../../oauth/secret.ts'
import type { Contact } from '../call.ts'
import type { BridgeStore, ClientSession, Opening } from './bridge-store.ts'
import { NOTE_PREFIX } from './mailbox.ts'

/** The sessions of 2025 clients in front of upstreams that have none, the same on every node. */
export interface ClientSessions {
  begin(contact: Contact, opening: Opening): Promise<string>
  /** @returns undefined for one that has ended, or is another user's or upstream's (RS-42) */
  find(contact: Contact, id: string): Promise<ClientSession | undefined>
  /** Tells of every change until it is left; with undefined when the session has ended. */
  watch(id: string, changed: (session: ClientSession | undefined) => Promise<void>): () => void
  /** Reads it anew, and waits until those who watch it here have taken it in. */
  refresh(id: string): Promise<void>
}

export interface ClientSessionDeps {
  readonly bridgeStore: BridgeStore
  readonly feed: Pick<ChangeFeed, 'subscribe'>
  readonly now: () => number
}

const LIFETIME_MS = 7 * 24 * 3600_000
const FRESH_MS = 60_000
const MAX_CACHED = 20_000

type Watcher = (session: ClientSession | undefined) => Promise<void>

export function clientSessions({ bridgeStore, feed, now }: ClientSessionDeps): ClientSessions {
  const cache = new Map<string, { readonly session: ClientSession; readonly until: number }>()
  const watchers = new Map<string, Set<Watcher>>()
  const read = async (id: string): Promise<ClientSession | undefined> => {
    cache.delete(id)
    const session = await bridgeStore.findSession(id, now())
    if (session === undefined) return undefined
    cache.set(id, { session, until: now() + FRESH_MS })
    const [oldest] = cache.keys()
    if (cache.size > MAX_CACHED && oldest !== undefined) cache.delete(oldest)
    return session
  }
  const refresh: ClientSessions['refresh'] = async (id) => {
    cache.delete(id)
    const watching = [...(watchers.get(id) ?? [])]
    if (watching.length === 0) return
    const session = await read(id)
    await Promise.all(watching.map((changed) => changed(session)))
  }
  feed.subscribe(({ kind, key }) => {
    if (kind === 'bridge' && !key.startsWith(NOTE_PREFIX)) void refresh(key).catch(() => undefined)
  })
  return {
    async begin({ caller, upstream }, opening) {
      const id = newId('lbs')
      await bridgeStore.addSession({ id, userId: caller.user.id, upstream: upstream.id, opening }, now() + LIFETIME_MS)
      return id
    },
    async find({ caller, upstream }, id) {
      const known = cache.get(id)
      const session = known !== undefined && known.until > now() ? known.session : await read(id)
      return session?.userId === caller.user.id && session.upstream === upstream.id ? session : undefined
    },
    watch(id, changed) {
      const own = watchers.get(id) ?? new Set<Watcher>()
      watchers.set(id, own.add(changed))
      return () => {
        own.delete(changed)
        if (own.size === 0 && watchers.get(id) === own) watchers.delete(id)
      }
    },
    refresh,
  }
}
