// Owns what this node knows of the stored profiles: all of them, in memory, as fresh as the changes that it hears of.
import type { ChangeFeed } from '../audit/change.ts'
import type { ProfileStore, StoredProfile } from './profile-store.ts'
import type { StoredProfiles } from './profiles.ts'

export interface LiveProfiles extends StoredProfiles {
  find(id: string): StoredProfile | undefined
  published(): Iterable<StoredProfile>
  /** A person's own, those made first first. */
  ownedBy(userId: string): readonly StoredProfile[]
  /** Resolves when this node knows the profile as it is stored now. */
  settled(id: string): Promise<void>
  /** Reads all of them again. */
  reload(): Promise<void>
}

const RETRY_MS = 1000

/** Reads all stored profiles, and again each one that changed, on whatever node. */
export async function storedProfiles(store: Pick<ProfileStore, 'all' | 'find'>, feed: Pick<ChangeFeed, 'subscribe'>): Promise<LiveProfiles> {
  let known = new Map<string, StoredProfile>()
  // One after the other: what was asked for first must not be written last.
  let turn: Promise<void> = Promise.resolve()
  const inTurn = (read: () => Promise<void>): Promise<void> => {
    const done = turn.then(read)
    turn = done.catch(() => undefined)
    return done
  }
  const read = (id: string): Promise<void> =>
    inTurn(async () => {
      const profile = await store.find(id).catch((error: unknown) => {
        // What it is now is not known: until it is, it is not there.
        known.delete(id)
        setTimeout(() => void read(id).catch(() => undefined), RETRY_MS).unref()
        throw error
      })
      if (profile === undefined) known.delete(id)
      else known.set(id, profile)
    })
  const reload = (): Promise<void> =>
    inTurn(async () => {
      known = new Map((await store.all()).map((profile) => [profile.id, profile]))
    })

  // Before the first look: what changes meanwhile is read after it.
  feed.subscribe(({ kind, key }) => {
    if (kind === 'profile') void read(key).catch(() => undefined)
  })
  await reload()
  return {
    find: (id) => known.get(id),
    published: () => [...known.values()].filter(({ owner }) => owner === undefined),
    ownedBy: (userId) => [...known.values()].filter(({ owner }) => owner === userId),
    settled: read,
    reload,
  }
}
