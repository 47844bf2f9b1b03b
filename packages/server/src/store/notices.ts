import type { DueNotice, NewNotice } from '../notices/notice.ts'
import type { OutboxStore } from '../notices/outbox.ts'
import type { Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'

interface NoticeRow {
  readonly id: string
  readonly target: string
  readonly body: string
  readonly attempts: number
  readonly created_at: number
}

/** Writes notices with what they tell of: none is lost, and none tells of what did not happen. */
export async function addNotices(tx: Transaction, notices: readonly NewNotice[]): Promise<void> {
  for (const { id, target, body, createdAt } of notices) {
    await tx.query('INSERT INTO notices (id, target, body, attempts, created_at, not_before) VALUES ($1, $2, $3, 0, $4, $4)', [id, target, body, createdAt])
  }
}

export function outboxStore({ db, audit }: StoreParts): OutboxStore {
  return {
    async takeDue(now, until, max) {
      const rows = await db.query<NoticeRow>(
        `UPDATE notices SET attempts = attempts + 1, not_before = $1 WHERE not_before <= $2
           AND id IN (SELECT id FROM notices WHERE not_before <= $2 ORDER BY not_before, id LIMIT $3) RETURNING id, target, body, attempts, created_at`,
        [until, now, max],
      )
      return rows.map(toNotice)
    },
    finish: (id, ...events) =>
      db.transaction(async (tx) => {
        const gone = await tx.query('DELETE FROM notices WHERE id = $1 RETURNING id', [id])
        if (gone.length > 0) await audit.append(tx, events)
      }),
    async postpone(id, notBefore) {
      await db.query('UPDATE notices SET not_before = $1 WHERE id = $2', [notBefore, id])
    },
  }
}

function toNotice({ id, target, body, attempts, created_at: createdAt }: NoticeRow): DueNotice {
  return { id, target, body, attempts, createdAt }
}
