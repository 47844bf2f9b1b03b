import type { AttemptRecord, ConnectionRecord, ConnectionState, ConnectionStore, PendingRevocation } from '../upstreams/connection-store.ts'
import type { Hashed, Sealed } from '../oauth/secret.ts'
import type { Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'

interface ConnectionRow {
  readonly user_id: string
  readonly upstream: string
  readonly version: number
  readonly credential: Sealed
  readonly state: ConnectionState
  readonly connected_at: number
}

interface AttemptRow {
  readonly state_hash: Hashed
  readonly user_id: string
  readonly upstream: string
  readonly session_id: string
  readonly secrets: Sealed
  readonly return_to: string
  readonly reference: string
  readonly expires_at: number
}

interface RevocationRow {
  readonly id: string
  readonly user_id: string
  readonly upstream: string
  readonly credential: Sealed
  readonly attempts: number
}

/** How long the token of an account of the gateway's own is kept that nobody uses. */
const SERVICE_KEEP_MS = 30 * 86_400_000
const COLUMNS = 'user_id, upstream, version, credential, state, connected_at'

export function connectionStore(parts: StoreParts): ConnectionStore {
  return { ...attemptVerbs(parts), ...connectionVerbs(parts), ...refreshVerbs(parts), ...revocationVerbs(parts), ...clientVerbs(parts) }
}

function attemptVerbs({ db }: StoreParts): Pick<ConnectionStore, 'addAttempt' | 'takeAttempt' | 'reap'> {
  return {
    async addAttempt(attempt: AttemptRecord) {
      await db.query(
        'INSERT INTO connection_attempts (state_hash, user_id, upstream, session_id, secrets, return_to, reference, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)',
        [attempt.stateHash, attempt.userId, attempt.upstream, attempt.sessionId, attempt.secrets, attempt.returnTo, attempt.reference, attempt.expiresAt],
      )
    },
    async takeAttempt(stateHash, now) {
      const [row] = await db.query<AttemptRow>('DELETE FROM connection_attempts WHERE state_hash = $1 AND expires_at > $2 RETURNING *', [stateHash, now])
      if (row === undefined) return undefined
      return {
        stateHash: row.state_hash,
        userId: row.user_id,
        upstream: row.upstream,
        sessionId: row.session_id,
        secrets: row.secrets,
        returnTo: row.return_to,
        reference: row.reference,
        expiresAt: row.expires_at,
      }
    },
    async reap(now) {
      await db.query('DELETE FROM connection_attempts WHERE expires_at < $1', [now])
      // Of settings that are no longer: with others it is another account.
      await db.query("DELETE FROM connections WHERE user_id LIKE 'service:%' AND updated_at < $1", [now - SERVICE_KEEP_MS])
    },
  }
}

function connectionVerbs({ db, audit, changed }: StoreParts): Pick<ConnectionStore, 'find' | 'list' | 'add' | 'connect' | 'needReconnect'> {
  return {
    async find({ userId, upstream }) {
      const [row] = await db.query<ConnectionRow>(`SELECT ${COLUMNS} FROM connections WHERE user_id = $1 AND upstream = $2`, [userId, upstream])
      return row === undefined ? undefined : toRecord(row)
    },
    async list(userId) {
      return (await db.query<ConnectionRow>(`SELECT ${COLUMNS} FROM connections WHERE user_id = $1 ORDER BY upstream`, [userId])).map(toRecord)
    },
    add: ({ userId, upstream }, credential, now, ...events) =>
      db.transaction(async (tx) => {
        const added = await tx.query(
          `INSERT INTO connections (user_id, upstream, version, credential, state, connected_at, updated_at) VALUES ($1, $2, $4, $3, 'active', $4, $4)
           ON CONFLICT (user_id, upstream) DO NOTHING RETURNING version`,
          [userId, upstream, credential, now],
        )
        if (added.length > 0) await audit.append(tx, events)
        return added.length > 0
      }),
    connect: ({ userId, upstream }, credential, now, ...events) =>
      db.transaction(async (tx) => {
        await tx.query(
          `INSERT INTO connections (user_id, upstream, version, credential, state, connected_at, updated_at) VALUES ($1, $2, $4, $3, 'active', $4, $4)
           ON CONFLICT (user_id, upstream) DO UPDATE SET version = connections.version + 1, credential = excluded.credential, state = 'active',
             lease = NULL, lease_until = NULL, connected_at = excluded.connected_at, updated_at = excluded.updated_at`,
          [userId, upstream, credential, now],
        )
        await audit.append(tx, events)
        await changed(tx, { kind: 'connection', key: `${userId} ${upstream}`, at: now })
      }),
    needReconnect: ({ userId, upstream }, { version, holder }, now, ...events) =>
      db.transaction(async (tx) => {
        const marked = await tx.query(
          `UPDATE connections SET state = 'reconnect_needed', lease = NULL, lease_until = NULL, updated_at = $1
           WHERE user_id = $2 AND upstream = $3 AND version = $4 AND state = 'active' AND lease IS NOT DISTINCT FROM $5 RETURNING version`,
          [now, userId, upstream, version, holder ?? null],
        )
        if (marked.length === 0) return false
        await audit.append(tx, events)
        await changed(tx, { kind: 'connection', key: `${userId} ${upstream}`, at: now })
        return true
      }),
  }
}

function refreshVerbs({ db, audit, changed }: StoreParts): Pick<ConnectionStore, 'claimRefresh' | 'refresh' | 'releaseRefresh'> {
  return {
    async claimRefresh({ userId, upstream }, version, { holder, now, until }) {
      const claimed = await db.query(
        `UPDATE connections SET lease = $1, lease_until = $2
         WHERE user_id = $3 AND upstream = $4 AND version = $5 AND state = 'active' AND (lease IS NULL OR lease_until < $6) RETURNING version`,
        [holder, until, userId, upstream, version, now],
      )
      return claimed.length > 0
    },
    refresh: ({ userId, upstream }, version, holder, credential, now, ...events) =>
      db.transaction(async (tx) => {
        // The holder's name is the fence: one that was paused past its lease cannot write over its successor.
        const stored = await tx.query(
          `UPDATE connections SET version = version + 1, credential = $1, lease = NULL, lease_until = NULL, updated_at = $2
           WHERE user_id = $3 AND upstream = $4 AND version = $5 AND lease = $6 RETURNING version`,
          [credential, now, userId, upstream, version, holder],
        )
        if (stored.length === 0) return false
        await audit.append(tx, events)
        await changed(tx, { kind: 'connection', key: `${userId} ${upstream}`, at: now })
        return true
      }),
    async releaseRefresh({ userId, upstream }, holder) {
      await db.query('UPDATE connections SET lease = NULL, lease_until = NULL WHERE user_id = $1 AND upstream = $2 AND lease = $3', [userId, upstream, holder])
    },
  }
}

function revocationVerbs({ db, audit, changed }: StoreParts): Pick<ConnectionStore, 'disconnect' | 'addRevocation' | 'claimRevocations' | 'endRevocation'> {
  const add = async (on: Pick<Transaction, 'query'>, { id, userId, upstream, credential }: PendingRevocation, now: number): Promise<void> => {
    await on.query('INSERT INTO pending_revocations (id, user_id, upstream, credential, attempts, not_before) VALUES ($1, $2, $3, $4, 0, $5)', [id, userId, upstream, credential, now])
  }
  return {
    disconnect: ({ userId, upstream }, revocation, now, ...events) =>
      db.transaction(async (tx) => {
        const [row] = await tx.query<ConnectionRow>(`DELETE FROM connections WHERE user_id = $1 AND upstream = $2 RETURNING ${COLUMNS}`, [userId, upstream])
        if (row === undefined) return false
        const pending = revocation(toRecord(row))
        if (pending !== undefined) await add(tx, pending, now)
        await audit.append(tx, events)
        await changed(tx, { kind: 'connection', key: `${userId} ${upstream}`, at: now })
        return true
      }),
    addRevocation: (pending, now) => add(db, pending, now),
    async claimRevocations(now, { firstRetryMs, limit }) {
      // PostgreSQL asks the last condition again once it holds the row's lock: of two nodes, the second finds it claimed.
      const rows = await db.query<RevocationRow>(
        `UPDATE pending_revocations SET attempts = attempts + 1, not_before = CAST($1 AS BIGINT) + (CAST($2 AS BIGINT) << attempts)
         WHERE id IN (SELECT id FROM pending_revocations WHERE not_before <= $1 ORDER BY not_before LIMIT $3) AND not_before <= $1
         RETURNING id, user_id, upstream, credential, attempts`,
        [now, firstRetryMs, limit],
      )
      return rows.map(({ user_id: userId, ...row }) => ({ ...row, userId }))
    },
    endRevocation: (id, ...events) =>
      db.transaction(async (tx) => {
        const ended = await tx.query('DELETE FROM pending_revocations WHERE id = $1 RETURNING id', [id])
        if (ended.length > 0) await audit.append(tx, events)
      }),
  }
}

function clientVerbs({ db }: StoreParts): Pick<ConnectionStore, 'findClient' | 'addClient' | 'forgetClient'> {
  const find = async (issuer: string, upstream: string): Promise<Sealed | undefined> => {
    const [row] = await db.query<{ registration: Sealed }>('SELECT registration FROM upstream_clients WHERE issuer = $1 AND upstream = $2', [issuer, upstream])
    return row?.registration
  }
  return {
    findClient: find,
    async addClient(issuer, upstream, registration, now) {
      await db.query('INSERT INTO upstream_clients (issuer, upstream, registration, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (issuer, upstream) DO NOTHING', [
        issuer,
        upstream,
        registration,
        now,
      ])
      return (await find(issuer, upstream)) ?? registration
    },
    async forgetClient(issuer, upstream, registration) {
      await db.query('DELETE FROM upstream_clients WHERE issuer = $1 AND upstream = $2 AND registration = $3', [issuer, upstream, registration])
    },
  }
}

function toRecord(row: ConnectionRow): ConnectionRecord {
  return { userId: row.user_id, upstream: row.upstream, version: row.version, credential: row.credential, state: row.state, connectedAt: row.connected_at }
}
