import type { Database, Transaction } from './database.ts'

/** For how long it is known which groups people had: longer than anybody asks about their calls. */
const KEPT_MS = 35 * 86_400_000

const MAX_ROWS = 500

interface Row {
  readonly user_id: string
  readonly since: number
  readonly groups: string
}

/** Writes down the groups that a person has from now on, unless they had the same before. */
export async function rememberGroups(tx: Transaction, userId: string, groups: readonly string[], now: number): Promise<void> {
  await tx.query(
    `INSERT INTO user_groups (user_id, since, groups) SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT)
     WHERE NOT EXISTS (SELECT 1 FROM (SELECT groups FROM user_groups WHERE user_id = $1 ORDER BY since DESC LIMIT 1) AS newest WHERE newest.groups = $3)
     ON CONFLICT (user_id, since) DO UPDATE SET groups = excluded.groups`,
    [userId, now, JSON.stringify(groups)],
  )
}

/** What was the last before the time that anybody may ask about stays. */
export async function reapGroups(db: Pick<Database, 'query'>, now: number): Promise<void> {
  await db.query('DELETE FROM user_groups WHERE since < $1 AND EXISTS (SELECT 1 FROM user_groups AS newer WHERE newer.user_id = user_groups.user_id AND newer.since > user_groups.since AND newer.since <= $1)', [now - KEPT_MS])
}

/** @returns the groups that a person had at a time; undefined where nobody wrote them down */
export async function groupsOf(db: Pick<Database, 'query'>, userIds: readonly string[]): Promise<(userId: string, at: number) => readonly string[] | undefined> {
  const spans = new Map<string, { readonly since: number; readonly groups: readonly string[] }[]>()
  for (let start = 0; start < userIds.length; start += MAX_ROWS) {
    const part = userIds.slice(start, start + MAX_ROWS)
    const places = part.map((_, index) => `$${index + 1}`).join(', ')
    for (const { user_id: userId, since, groups } of await db.query<Row>(`SELECT user_id, since, groups FROM user_groups WHERE user_id IN (${places}) ORDER BY since`, part)) {
      spans.set(userId, [...(spans.get(userId) ?? []), { since, groups: JSON.parse(groups) as readonly string[] }])
    }
  }
  return (userId, at) => spans.get(userId)?.findLast(({ since }) => since <= at)?.groups
}
