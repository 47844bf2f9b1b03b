import type { ProofStore } from '../token/dpop.ts'
import type { StoreParts } from './parts.ts'

export function proofStore({ db }: Pick<StoreParts, 'db'>): ProofStore {
  return {
    async use(proof, expiresAt) {
      const added = await db.query('INSERT INTO dpop_proofs (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING RETURNING hash', [proof, expiresAt])
      return added.length > 0
    },
    async reap(now) {
      await db.query('DELETE FROM dpop_proofs WHERE expires_at < $1', [now])
    },
  }
}
