import type { TaskStore } from '../gateway/tasks/task-store.ts'
import type { StoreParts } from './parts.ts'

/** So many are asked for at once. */
const PART = 200

export function taskStore({ db }: Pick<StoreParts, 'db'>): TaskStore {
  return {
    add: ({ owner, own, name, expiresAt }, now) =>
      db.transaction(async (tx) => {
        const [row] = await tx.query<{ name: string }>(
          `INSERT INTO task_names (owner, own, name, expires_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (owner, own) DO UPDATE SET name = excluded.name, expires_at = excluded.expires_at
           WHERE task_names.expires_at <= $5
           RETURNING name`,
          [owner, own, name, expiresAt, now],
        )
        if (row !== undefined) return row.name
        const [standing] = await tx.query<{ name: string }>('SELECT name FROM task_names WHERE owner = $1 AND own = $2', [owner, own])
        return standing?.name ?? name
      }),
    async find(owner, owns, now) {
      const found = new Map<string, string>()
      for (let from = 0; from < owns.length; from += PART) {
        const part = owns.slice(from, from + PART)
        const rows = await db.query<{ own: string; name: string }>(`SELECT own, name FROM task_names WHERE owner = $1 AND expires_at > $2 AND own IN (${part.map((_own, index) => `$${index + 3}`).join(', ')})`, [owner, now, ...part])
        for (const { own, name } of rows) found.set(own, name)
      }
      return found
    },
    async reap(now) {
      await db.query('DELETE FROM task_names WHERE expires_at <= $1', [now])
    },
  }
}
