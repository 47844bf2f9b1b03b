import type { PushedParams, PushedRequestStore } from '../authorize/par-store.ts'
import type { StoreParts } from './parts.ts'

export function pushedRequestStore({ db, audit }: StoreParts): PushedRequestStore {
  return {
    push: ({ hash, clientId, params, expiresAt }, ...events) =>
      db.transaction(async (tx) => {
        await tx.query('INSERT INTO pushed_requests (hash, client_id, params, expires_at) VALUES ($1, $2, $3, $4)', [hash, clientId, JSON.stringify(params), expiresAt])
        await audit.append(tx, events)
      }),
    async take(hash, clientId, now) {
      const [row] = await db.query<{ params: string }>('DELETE FROM pushed_requests WHERE hash = $1 AND client_id = $2 AND expires_at > $3 RETURNING params', [hash, clientId, now])
      return row === undefined ? undefined : (JSON.parse(row.params) as PushedParams)
    },
    async reap(now) {
      await db.query('DELETE FROM pushed_requests WHERE expires_at <= $1', [now])
    },
  }
}
