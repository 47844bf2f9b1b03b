import type { ChangeFeed } from '../audit/change.ts'
import type { User, Users } from './user.ts'

const MAX_KNOWN = 50_000

/** Remembers users as the store has them; a change of theirs, on any node, forgets them. */
export function knownUsers(read: (userId: string) => Promise<User | undefined>, feed: Pick<ChangeFeed, 'subscribe' | 'fresh'>): Users {
  const known = new Map<string, User>()
  let changes = 0
  feed.subscribe((change) => {
    if (change.kind !== 'user' && change.kind !== 'subject') return
    changes += 1
    known.delete(change.key)
  })
  return {
    async find(userId) {
      const found = known.get(userId)
      // A node that does not hear of changes asks.
      if (found !== undefined && feed.fresh) return found
      const before = changes
      const user = await read(userId)
      if (user === undefined) known.delete(userId)
      // Who changed while they were read may have been read as they were.
      else if (changes === before) {
        if (known.size >= MAX_KNOWN) known.clear()
        known.set(userId, user)
      }
      return user
    },
  }
}
