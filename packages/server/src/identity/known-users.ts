import type { ChangeFeed } from '../audit/change.ts'
import { remembered } from '../audit/remembered.ts'
import type { User, Users } from './user.ts'

const MAX_KNOWN = 50_000

/** Remembers users as the store has them; a change of theirs, on any node, forgets them. */
export function knownUsers(read: (userId: string) => Promise<User | undefined>, feed: Pick<ChangeFeed, 'subscribe' | 'fresh'>): Users {
  const known = remembered<User | undefined>(feed, ['user', 'subject'], MAX_KNOWN)
  return {
    async find(userId) {
      // A node that does not hear of changes asks.
      const found = feed.fresh ? known.get(userId) : undefined
      if (found !== undefined) return found
      const keep = known.asking(userId)
      const user = await read(userId)
      keep(user)
      return user
    },
  }
}
