import type { DeviceRequest, DeviceStore } from '../authorize/device-store.ts'
import type { Resource } from '../oauth/resource.ts'
import { formatScope } from '../oauth/scope.ts'
import type { DeviceCodes } from '../token/grants/device-code.ts'
import { endRequest, insertGrant, lockSession } from './authorize.ts'
import type { Database, Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'
import { addRefreshToken, GRANT, grant, touchGrant, type GrantRow } from './tokens.ts'

interface DeviceRow {
  readonly id: string
  readonly client_id: string
  readonly resource: Resource
  readonly scope: string
  readonly reference: string
  readonly address: string
  readonly created_at: number
  readonly expires_at: number
}

/** How long a device that just learnt of it has to fetch what was granted, when its time is nearly over. */
const FETCH_MS = 60_000
/** How much sooner than told a device may ask: networks deliver one question late and the next one early. */
const TOLERANCE_MS = 1000
/** Rows outlive their codes for so long, so that a device which is late is told that it is. */
const KEEP_MS = 3600_000
/** RFC 8628 §3.5: by how much `slow_down` raises the interval, for good. */
const SLOWER_SECONDS = 5

export function deviceStore(parts: StoreParts): DeviceStore & DeviceCodes {
  return { ...personVerbs(parts), ...deviceVerbs(parts) }
}

function personVerbs({ db, audit }: StoreParts): DeviceStore {
  return {
    add: (device, ...events) =>
      db.transaction(async (tx) => {
        const added = await tx.query(
          `INSERT INTO device_codes (id, hash, user_code_hash, client_id, resource, scope, reference, address, state, poll_seconds, too_soon, created_at, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', $9, 0, $10, $11) ON CONFLICT (user_code_hash) DO NOTHING RETURNING id`,
          [device.id, device.hash, device.userCodeHash, device.clientId, device.resource, formatScope(device.scope), device.reference, device.address, device.pollSeconds, device.createdAt, device.expiresAt],
        )
        if (added.length > 0) await audit.append(tx, events)
        return added.length > 0
      }),
    async findWaiting(userCodeHash, now) {
      const [row] = await db.query<DeviceRow>(`SELECT * FROM device_codes WHERE user_code_hash = $1 AND state = 'waiting' AND expires_at > $2`, [userCodeHash, now])
      return row && toDevice(row)
    },
    grant: (requestId, sessionId, deviceId, granted, now, ...events) =>
      db.transaction(async (tx) => {
        if (!(await lockSession(tx, sessionId, granted.userId))) return false
        if (!(await endRequest(tx, requestId))) return false
        // Of several browsers that answer one device, one finds it waiting.
        const given = await tx.query(
          `UPDATE device_codes SET state = 'granted', grant_id = $1, expires_at = CASE WHEN expires_at < $2 THEN $2 ELSE expires_at END
           WHERE id = $3 AND state = 'waiting' AND expires_at > $4 RETURNING id`,
          [granted.id, now + FETCH_MS, deviceId, now],
        )
        if (given.length === 0) return false
        await insertGrant(tx, granted, sessionId, now)
        await audit.append(tx, events)
        return true
      }),
    deny: (requestId, deviceId, ...events) =>
      db.transaction(async (tx) => {
        if (!(await endRequest(tx, requestId))) return false
        await tx.query(`UPDATE device_codes SET state = 'denied' WHERE id = $1 AND state = 'waiting'`, [deviceId])
        await audit.append(tx, events)
        return true
      }),
    async reap(now) {
      await db.query('DELETE FROM device_codes WHERE expires_at < $1', [now - KEEP_MS])
    },
  }
}

function deviceVerbs({ db, audit }: StoreParts): DeviceCodes {
  return {
    async poll({ hash, clientId, now }) {
      const rows = await db.query<{ too_soon: number }>(
        `UPDATE device_codes SET
           too_soon = CASE WHEN polled_at + poll_seconds * 1000 > $1 THEN 1 ELSE 0 END,
           poll_seconds = CASE WHEN polled_at + poll_seconds * 1000 > $1 THEN poll_seconds + ${SLOWER_SECONDS} ELSE poll_seconds END,
           polled_at = $2
         WHERE hash = $3 AND client_id = $4 AND state = 'waiting' AND expires_at > $5 RETURNING too_soon`,
        [now + TOLERANCE_MS, now, hash, clientId, now],
      )
      const [waiting] = rows
      if (waiting !== undefined) return { kind: waiting.too_soon === 0 ? 'waiting' : 'too soon' }
      return answered(db, { hash, clientId, now })
    },
    consumeDevice: ({ hash, grantId, at, refreshToken, jkt }, events) =>
      db.transaction(async (tx) => {
        // The grant first, as everywhere: whoever revokes it waits for this transaction, or this one for them.
        if (!(await touchGrant(tx, grantId, at))) return 'ended'
        if (!(await use(tx, hash, grantId))) return 'spent'
        if (jkt !== undefined) await tx.query('UPDATE grants SET jkt = $1 WHERE id = $2', [jkt, grantId])
        if (refreshToken !== undefined) await addRefreshToken(tx, refreshToken)
        await audit.append(tx, events)
        return 'consumed'
      }),
  }
}

async function answered(db: Database, { hash, clientId, now }: Parameters<DeviceCodes['poll']>[0]): ReturnType<DeviceCodes['poll']> {
  const [row] = await db.query<{ state: string; grant_id: string | null; expires_at: number }>('SELECT state, grant_id, expires_at FROM device_codes WHERE hash = $1 AND client_id = $2', [hash, clientId])
  if (row === undefined) return { kind: 'unknown' }
  if (row.state === 'used') return { kind: 'used' }
  if (row.state === 'denied') return { kind: 'denied' }
  if (row.expires_at <= now || row.state === 'waiting') return { kind: 'expired' }
  const [granted] = await db.query<GrantRow>(`SELECT ${GRANT} FROM grants g WHERE g.id = $1 AND g.revoked_at IS NULL`, [row.grant_id])
  return granted === undefined ? { kind: 'ended' } : { kind: 'granted', ...grant(granted) }
}

async function use(tx: Transaction, hash: string, grantId: string): Promise<boolean> {
  return (await tx.query(`UPDATE device_codes SET state = 'used' WHERE hash = $1 AND grant_id = $2 AND state = 'granted' RETURNING id`, [hash, grantId])).length > 0
}

function toDevice(row: DeviceRow): DeviceRequest {
  return {
    id: row.id,
    clientId: row.client_id,
    resource: row.resource,
    scope: row.scope.split(' '),
    reference: row.reference,
    address: row.address,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
  }
}
