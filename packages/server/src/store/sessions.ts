import type { AuditEvent } from '../audit/event.ts'
import type { IdentityStore, SessionRecord } from '../identity/identity-store.ts'
import type { Hashed } from '../oauth/secret.ts'
import { authenticationColumns, toAuthentication } from './authentications.ts'
import type { Transaction } from './database.ts'
import { endGrants } from './grants.ts'
import type { StoreParts } from './parts.ts'
import { reapGroups } from './user-groups.ts'

interface SessionRow {
  readonly hash: Hashed
  readonly id: string
  readonly user_id: string
  readonly provider: string
  readonly auth_time: number | null
  readonly acr: string | null
  readonly amr: string | null
  readonly claims: string | null
  readonly sid: string | null
  readonly expires_at: number
}

/** How exactly the last use of a session is known: one write per session and minute is enough. */
const USE_STEP_MS = 60_000

export function sessionVerbs({ db, audit, changed }: StoreParts): Pick<IdentityStore, 'useSession' | 'endSession' | 'endCheck' | 'revokeSubject' | 'reap'> {
  const revoke = async (tx: Transaction, userId: string, at: number, events: readonly AuditEvent[]): Promise<void> => {
    await tx.query('DELETE FROM sessions WHERE user_id = $1', [userId])
    await changed(tx, { kind: 'subject', key: userId, at })
    await endGrants({ changed }, tx, 'user_id = $2', [userId], at)
    await audit.append(tx, events)
  }
  return {
    async useSession(hash, now, idleMs) {
      const [row] = await db.query<SessionRow & { last_used_at: number }>('SELECT * FROM sessions WHERE hash = $1 AND expires_at > $2 AND last_used_at > $3', [
        hash,
        now,
        now - idleMs,
      ])
      if (row === undefined) return undefined
      if (now - row.last_used_at > USE_STEP_MS) await db.query('UPDATE sessions SET last_used_at = $1 WHERE hash = $2', [now, hash])
      return toSession(row)
    },
    endSession: (hash, ...events) =>
      db.transaction(async (tx) => {
        const ended = await tx.query('DELETE FROM sessions WHERE hash = $1 RETURNING hash', [hash])
        if (ended.length > 0) await audit.append(tx, events)
      }),
    revokeSubject: (userId, at, ...events) =>
      db.transaction(async (tx) => {
        // The user's row first, as a sign-in does: of the two at once, one waits for the other.
        await tx.query('UPDATE users SET tokens = NULL WHERE id = $1', [userId])
        await revoke(tx, userId, at, events)
      }),
    endCheck: (userId, claimed, at, ...events) =>
      db.transaction(async (tx) => {
        const ended = await tx.query('UPDATE users SET tokens = NULL WHERE id = $1 AND tokens = $2 RETURNING id', [userId, claimed])
        if (ended.length > 0) await revoke(tx, userId, at, events)
        return ended.length > 0
      }),
    async reap(now) {
      await db.query('DELETE FROM sessions WHERE expires_at < $1', [now])
      await db.query('DELETE FROM logins WHERE expires_at < $1', [now])
      await reapGroups(db, now)
    },
  }
}

export async function addSession(tx: Transaction, session: SessionRecord, now: number): Promise<void> {
  await tx.query('INSERT INTO sessions (hash, id, user_id, provider, auth_time, acr, amr, claims, sid, last_used_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)', [
    session.hash,
    session.id,
    session.userId,
    session.provider,
    ...authenticationColumns(session),
    session.sid ?? null,
    now,
    session.expiresAt,
  ])
}

function toSession(row: SessionRow): SessionRecord {
  return {
    hash: row.hash,
    id: row.id,
    userId: row.user_id,
    provider: row.provider,
    expiresAt: row.expires_at,
    ...toAuthentication(row),
    ...(row.sid === null ? {} : { sid: row.sid }),
  }
}
