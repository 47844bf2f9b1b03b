import type { Transaction, Value } from './database.ts'
import type { StoreParts } from './parts.ts'

/**
 * Ends grants, with all their tokens on all nodes. Each is told of by itself, whatever else is told of: what came of one by
 * exchange ends with it, and a token of a node whose clock runs ahead seems issued after the end of its person.
 *
 * @param where which ones, with parameters from `$2` on
 * @param at milliseconds since the epoch
 * @returns how many there were
 */
export async function endGrants({ changed }: Pick<StoreParts, 'changed'>, tx: Transaction, where: string, params: readonly Value[], at: number): Promise<number> {
  const ended = await tx.query<{ id: string }>(`UPDATE grants SET revoked_at = $1 WHERE ${where} AND revoked_at IS NULL RETURNING id`, [Math.floor(at / 1000), ...params])
  for (const { id } of ended) await changed(tx, { kind: 'grant', key: id, at })
  return ended.length
}
