import type { LateSession, LateSessionStore } from '../gateway/late-session-store.ts'
import type { StoreParts } from './parts.ts'

export function lateSessionStore({ db }: Pick<StoreParts, 'db'>): LateSessionStore {
  return {
    async find(id, now) {
      const [row] = await db.query<LateSession>('SELECT mark, sealed FROM late_sessions WHERE id = $1 AND expires_at > $2', [id, now])
      return row === undefined ? undefined : toSession(row)
    },
    settle: (id, { mark, sealed, expiresAt }, lost, now) =>
      db.transaction(async (tx) => {
        const [row] = await tx.query<LateSession>(
          `INSERT INTO late_sessions (id, mark, sealed, expires_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (id) DO UPDATE SET mark = excluded.mark, sealed = excluded.sealed, expires_at = excluded.expires_at
           WHERE late_sessions.mark = $5 OR late_sessions.expires_at <= $6
           RETURNING mark, sealed`,
          [id, mark, sealed, expiresAt, lost ?? '', now],
        )
        if (row !== undefined) return toSession(row)
        const [standing] = await tx.query<LateSession>('SELECT mark, sealed FROM late_sessions WHERE id = $1', [id])
        // Whoever ended it since leaves this one its place.
        return standing === undefined ? { mark, sealed } : toSession(standing)
      }),
    async end(id) {
      await db.query('DELETE FROM late_sessions WHERE id = $1', [id])
    },
    async reap(now) {
      await db.query('DELETE FROM late_sessions WHERE expires_at <= $1', [now])
    },
  }
}

function toSession({ mark, sealed }: LateSession): LateSession {
  return { mark, sealed }
}
