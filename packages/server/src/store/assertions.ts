import type { TokenStore, UsedAssertion } from '../token/token-store.ts'
import type { Database, Transaction } from './database.ts'

/** Which assertions of others were used. */
export function assertionVerbs(db: Pick<Database, 'find'>): Pick<TokenStore, 'isUsedAssertion'> {
  return {
    async isUsedAssertion(hash) {
      return (await db.find('SELECT hash FROM used_assertions WHERE hash = $1', [hash])) !== undefined
    },
  }
}

/** Of several at once, on all nodes, one is the first: the others wait for it, and find its row. */
export async function useAssertion(tx: Transaction, { hash, expiresAt }: UsedAssertion): Promise<boolean> {
  return (await tx.query('INSERT INTO used_assertions (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING RETURNING hash', [hash, expiresAt])).length > 0
}
