import type { Change } from '../audit/change.ts'
import type { Transaction } from './database.ts'

export const CHANNEL = 'lanyard_changes'

/** Tells all nodes of a change, in the transaction that makes it. */
export async function recordChange(tx: Transaction, change: Change, deliver: (change: Change) => void): Promise<void> {
  await tx.query('INSERT INTO changes (kind, key, at) VALUES ($1, $2, $3)', [change.kind, change.key, change.at])
  if (tx.dialect === 'postgres') await tx.query('SELECT pg_notify($1, $2)', [CHANNEL, JSON.stringify(change)])
  tx.onCommit(() => deliver(change))
}
