import type { IdentityStore } from '../identity/identity-store.ts'
import type { User } from '../identity/user.ts'
import type { Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'

interface Found {
  readonly id: string
}

/** People whom somebody trusted names, and who they are at an identity provider. */
export function linkVerbs({ db, audit }: StoreParts, findUser: (id: string) => Promise<User | undefined>): Pick<IdentityStore, 'findLinked' | 'linkByEmail'> {
  return {
    async findLinked({ issuer, tenant = '', subject }) {
      const [link] = await db.query<Found>('SELECT user_id AS id FROM linked_people WHERE issuer = $1 AND tenant = $2 AND subject = $3', [issuer, tenant, subject])
      return link && findUser(link.id)
    },
    async linkByEmail({ issuer, tenant = '', subject }, { provider, email, now }, events) {
      const userId = await db.transaction(async (tx) => {
        const only = await onlyOwner(tx, provider, email)
        if (only === undefined) return undefined
        const [added] = await tx.query<Found>('INSERT INTO linked_people (issuer, tenant, subject, user_id, linked_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (issuer, tenant, subject) DO NOTHING RETURNING user_id AS id', [issuer, tenant, subject, only, now])
        if (added !== undefined) await audit.append(tx, events(only))
        // Another node may have found them first, and perhaps somebody else.
        const [link] = await tx.query<Found>('SELECT user_id AS id FROM linked_people WHERE issuer = $1 AND tenant = $2 AND subject = $3', [issuer, tenant, subject])
        return link?.id
      })
      return userId === undefined ? undefined : findUser(userId)
    },
  }
}

/** Whose address it is, as their own sign-in verified it; of two who have it, nobody's. */
async function onlyOwner(tx: Transaction, provider: string, email: string): Promise<string | undefined> {
  const owners = await tx.query<Found>('SELECT id FROM users WHERE provider = $1 AND LOWER(email) = LOWER($2) AND email_verified = 1 LIMIT 2', [provider, email])
  return owners.length === 1 ? owners[0]?.id : undefined
}
