// Two nodes over one database, for what every store promises: atomic, for one caller alone, or not at all.
import assert from 'node:assert/strict'
import type { AuditEvent } from '../../src/audit/event.ts'
import type { Change } from '../../src/audit/change.ts'
import { hash, type Hashed } from '../../src/oauth/secret.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { eachDatabase } from './databases.ts'

export interface StorePair {
  readonly db: Database
  readonly one: StoreParts
  /** On PostgreSQL a pool of its own; SQLite has one handle. */
  readonly two: StoreParts
  /** The same database, where the last row of the audit trail cannot be written. */
  readonly failing: StoreParts
  /** What was announced after a commit, on either node. */
  readonly changes: Change[]
  /** The actions of the audit trail, as the database has them. */
  actions(): Promise<readonly string[]>
  /** Everything that stands in the database. */
  snapshot(): Promise<Readonly<Record<string, readonly string[]>>>
  count(table: string): Promise<number>
}

export const EVENT: AuditEvent = { action: 'logout', outcome: 'success', reference: 'r' }

/** Runs a test with two handles of one database, as `LANYARD_TEST_STORE` says. */
export function eachPair(name: string, run: (pair: StorePair) => Promise<void>): void {
  eachDatabase(name, (handles) => run(pairOf(...handles)))
}

function pairOf(one: Database, two: Database): StorePair {
  const changes: Change[] = []
  const parts = (db: Database): StoreParts => ({ db, audit: auditLog(db, () => undefined), changed: (tx, change) => recordChange(tx, change, (made) => changes.push(made)) })
  const sound = parts(one)
  const failing: StoreParts = {
    ...sound,
    audit: {
      ...sound.audit,
      async append(tx, events) {
        await sound.audit.append(tx, events)
        // What the database itself refuses: the transaction is broken as by a full disk.
        await tx.query('INSERT INTO audit (at, action, outcome, event) VALUES ($1, NULL, NULL, NULL)', [1])
      },
      within: (events) => {
        const prepared = sound.audit.within(events)
        return { ...prepared, values: (first) => ({ ...prepared.values(first), params: prepared.values(first).params.map((value, index) => (index === 1 ? null : value)) }) }
      },
    },
  }
  return {
    db: one,
    one: sound,
    two: parts(two),
    failing,
    changes,
    actions: async () => (await one.query<{ action: string }>('SELECT action FROM audit ORDER BY seq')).map((row) => row.action),
    snapshot: () => snapshot(one),
    count: async (table) => (await one.query(`SELECT 1 AS one FROM ${table}`)).length,
  }
}

async function snapshot(db: Database): Promise<Record<string, string[]>> {
  const names = await db.query<{ name: string }>(
    db.dialect === 'sqlite'
      ? `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
      : `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'`,
  )
  const tables: Record<string, string[]> = {}
  for (const { name } of names) tables[name] = (await db.query(`SELECT * FROM ${name}`)).map((row) => JSON.stringify({ ...row })).sort()
  return tables
}

/** Proves that a verb leaves nothing behind and announces nothing when its audit events cannot be written. */
export async function rollsBack(pair: StorePair, verb: (parts: StoreParts) => Promise<unknown>): Promise<void> {
  const before = await pair.snapshot()
  const announced = pair.changes.length
  await assert.rejects(verb(pair.failing), /null|NULL/)
  assert.deepEqual(await pair.snapshot(), before)
  assert.equal(pair.changes.length, announced)
}

/** Twenty callers at once, alternating between the nodes. */
export function race<T>(pair: StorePair, verb: (parts: StoreParts, index: number) => Promise<T>, callers = 20): Promise<T[]> {
  return Promise.all(Array.from({ length: callers }, (_, index) => verb(index % 2 === 0 ? pair.one : pair.two, index)))
}

export function hashed(value: string): Hashed {
  return hash(value)
}
