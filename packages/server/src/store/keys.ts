import type { KeyRecord, KeyStore } from '../keys/key-store.ts'
import type { Sealed } from '../oauth/secret.ts'
import type { Transaction } from './database.ts'
import type { StoreParts } from './parts.ts'

interface KeyRow {
  readonly kid: string
  readonly algorithm: string
  readonly state: KeyRecord['state']
  readonly public_jwk: string
  readonly private_jwk: Sealed
  readonly since: number
}

/** Of what the keys sign: access tokens, assertions about people for authorization servers elsewhere, or about this gateway for Entra ID. */
export type KeyKind = 'access' | 'assertion' | 'federation'

export function keyStore({ db, audit, changed }: StoreParts, kind: KeyKind = 'access'): KeyStore {
  return {
    kind,
    async all() {
      const rows = await db.query<KeyRow>(`SELECT kid, algorithm, state, public_jwk, private_jwk, since FROM signing_keys WHERE kind = $1 ORDER BY since, kid`, [kind])
      return rows.map((row) => ({ kid: row.kid, algorithm: row.algorithm, state: row.state, publicJwk: row.public_jwk, privateJwk: row.private_jwk, since: row.since }))
    },
    addFirst: (keys, events) =>
      db.transaction(async (tx) => {
        // The row of the kind is the lock: whoever inserts it makes the keys of the installation.
        const first = await tx.query('INSERT INTO signing_key_setup (kind) VALUES ($1) ON CONFLICT (kind) DO NOTHING RETURNING kind', [kind])
        if (first.length === 0) return false
        for (const key of keys) await insert(tx, kind, key)
        await audit.append(tx, events)
        return true
      }),
    rotate: ({ activeKid, nextKid, added, at }, events) =>
      db.transaction(async (tx) => {
        const { active, next } = await lockCurrent(tx, kind)
        if (active !== activeKid || next !== nextKid) return false
        await setState(tx, [activeKid, 'retired', at])
        await setState(tx, [nextKid, 'active', at])
        await insert(tx, kind, added)
        await audit.append(tx, events)
        await changed(tx, { kind: 'signing-keys', key: nextKid, at })
        return true
      }),
    revoke: ({ kid, added, at }, events) =>
      db.transaction(async (tx) => {
        const { active, next } = await lockCurrent(tx, kind)
        const revoked = await tx.query(`UPDATE signing_keys SET state = 'revoked', since = $1 WHERE kid = $2 AND kind = $3 AND state <> 'revoked' RETURNING kid`, [at, kid, kind])
        if (revoked.length === 0) return false
        // Never without a key that signs, nor without one that will: nothing could be signed, or rotated, any more.
        if (kid === active && next !== undefined) await setState(tx, [next, 'active', at])
        if (kid === active || kid === next) await insert(tx, kind, added)
        await audit.append(tx, events({ ...(kid === active && next !== undefined ? { activated: next } : {}), ...(kid === active || kid === next ? { added: added.kid } : {}) }))
        await changed(tx, { kind: 'key', key: kid, at })
        await changed(tx, { kind: 'signing-keys', key: kid, at })
        return true
      }),
    async forgetRetired(before) {
      await db.query(`DELETE FROM signing_keys WHERE kind = $1 AND state IN ('retired', 'revoked') AND since < $2`, [kind, before])
    },
  }
}

/** The keys in use; the row of their kind is locked, so that changes of them wait for each other on all nodes. */
async function lockCurrent(tx: Transaction, kind: KeyKind): Promise<{ readonly active: string | undefined; readonly next: string | undefined }> {
  await tx.query('UPDATE signing_key_setup SET kind = kind WHERE kind = $1', [kind])
  const rows = await tx.query<{ kid: string; state: string }>(`SELECT kid, state FROM signing_keys WHERE kind = $1 AND state IN ('active', 'next')`, [kind])
  const kidOf = (state: KeyRecord['state']): string | undefined => rows.find((row) => row.state === state)?.kid
  return { active: kidOf('active'), next: kidOf('next') }
}

async function setState(tx: Transaction, [kid, state, at]: readonly [kid: string, state: KeyRecord['state'], at: number]): Promise<void> {
  await tx.query('UPDATE signing_keys SET state = $1, since = $2 WHERE kid = $3', [state, at, kid])
}

async function insert(tx: Transaction, kind: KeyKind, key: KeyRecord): Promise<void> {
  await tx.query('INSERT INTO signing_keys (kid, kind, algorithm, state, public_jwk, private_jwk, since) VALUES ($1, $2, $3, $4, $5, $6, $7)', [
    key.kid,
    kind,
    key.algorithm,
    key.state,
    key.publicJwk,
    key.privateJwk,
    key.since,
  ])
}
