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

/** The tables of each kind of key. */
const TABLES = {
  access: { keys: 'signing_keys', setup: 'signing_key_setup' },
  assertion: { keys: 'assertion_keys', setup: 'assertion_key_setup' },
  federation: { keys: 'federation_keys', setup: 'federation_key_setup' },
} as const

export type KeyKind = keyof typeof TABLES

type Tables = (typeof TABLES)[KeyKind]

/** @param kind of what the keys sign: access tokens, assertions about people for authorization servers elsewhere, or about this gateway for Entra ID */
export function keyStore({ db, audit, changed }: StoreParts, kind: KeyKind = 'access'): KeyStore {
  const tables = TABLES[kind]
  return {
    table: tables.keys,
    async all() {
      const rows = await db.query<KeyRow>(`SELECT kid, algorithm, state, public_jwk, private_jwk, since FROM ${tables.keys} ORDER BY since, kid`)
      return rows.map((row) => ({ kid: row.kid, algorithm: row.algorithm, state: row.state, publicJwk: row.public_jwk, privateJwk: row.private_jwk, since: row.since }))
    },
    addFirst: (keys, events) =>
      db.transaction(async (tx) => {
        // The singleton row is the lock: whoever inserts it makes the keys of the installation.
        const first = await tx.query(`INSERT INTO ${tables.setup} (id) VALUES (1) ON CONFLICT (id) DO NOTHING RETURNING id`)
        if (first.length === 0) return false
        for (const key of keys) await insert(tx, tables, key)
        await audit.append(tx, events)
        return true
      }),
    rotate: ({ activeKid, nextKid, added, at }, events) =>
      db.transaction(async (tx) => {
        const { active, next } = await lockCurrent(tx, tables)
        if (active !== activeKid || next !== nextKid) return false
        await setState(tx, tables, [activeKid, 'retired', at])
        await setState(tx, tables, [nextKid, 'active', at])
        await insert(tx, tables, added)
        await audit.append(tx, events)
        await changed(tx, { kind: 'signing-keys', key: nextKid, at })
        return true
      }),
    revoke: ({ kid, added, at }, events) =>
      db.transaction(async (tx) => {
        const { active, next } = await lockCurrent(tx, tables)
        const revoked = await tx.query(`UPDATE ${tables.keys} SET state = 'revoked', since = $1 WHERE kid = $2 AND state <> 'revoked' RETURNING kid`, [at, kid])
        if (revoked.length === 0) return false
        // Never without a key that signs, nor without one that will: nothing could be signed, or rotated, any more.
        if (kid === active && next !== undefined) await setState(tx, tables, [next, 'active', at])
        if (kid === active || kid === next) await insert(tx, tables, added)
        await audit.append(tx, events({ ...(kid === active && next !== undefined ? { activated: next } : {}), ...(kid === active || kid === next ? { added: added.kid } : {}) }))
        await changed(tx, { kind: 'key', key: kid, at })
        await changed(tx, { kind: 'signing-keys', key: kid, at })
        return true
      }),
    async forgetRetired(before) {
      await db.query(`DELETE FROM ${tables.keys} WHERE state IN ('retired', 'revoked') AND since < $1`, [before])
    },
  }
}

/** The keys in use; the singleton row is locked, so that changes of them wait for each other on all nodes. */
async function lockCurrent(tx: Transaction, { keys, setup }: Tables): Promise<{ readonly active: string | undefined; readonly next: string | undefined }> {
  await tx.query(`UPDATE ${setup} SET id = 1 WHERE id = 1`)
  const rows = await tx.query<{ kid: string; state: string }>(`SELECT kid, state FROM ${keys} WHERE state IN ('active', 'next')`)
  const kidOf = (state: KeyRecord['state']): string | undefined => rows.find((row) => row.state === state)?.kid
  return { active: kidOf('active'), next: kidOf('next') }
}

async function setState(tx: Transaction, { keys }: Tables, [kid, state, at]: readonly [kid: string, state: KeyRecord['state'], at: number]): Promise<void> {
  await tx.query(`UPDATE ${keys} SET state = $1, since = $2 WHERE kid = $3`, [state, at, kid])
}

async function insert(tx: Transaction, { keys }: Tables, key: KeyRecord): Promise<void> {
  await tx.query(`INSERT INTO ${keys} (kid, algorithm, state, public_jwk, private_jwk, since) VALUES ($1, $2, $3, $4, $5, $6)`, [
    key.kid,
    key.algorithm,
    key.state,
    key.publicJwk,
    key.privateJwk,
    key.since,
  ])
}
