// The audit trail: durable before anybody goes on, in the transaction of what it tells of.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuditEvent } from '../../src/audit/event.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import type { Database, Transaction } from '../../src/store/database.ts'
import { openSqlite } from '../../src/store/sqlite.ts'
import { migrate } from '../../src/store/migrate.ts'
import { eventually } from '../support/eventually.ts'
import { eachPair } from '../support/store-pair.ts'

const event = (reference: string): AuditEvent => ({ action: 'call.allowed', outcome: 'success', reference })

/** A database whose transactions can be held and failed. */
async function faulty(): Promise<{ db: Database; faults: { fail: boolean; begun: number } }> {
  const plain = openSqlite(':memory:')
  await migrate(plain)
  const faults = { fail: false, begun: 0 }
  const db: Database = {
    ...plain,
    append: async (sql, params) => {
      faults.begun += 1
      if (faults.fail) throw new Error('the disk is full')
      await plain.append(sql, params)
    },
    transaction: (run) => {
      faults.begun += 1
      return plain.transaction(async (tx) => {
        const result = await run(tx)
        if (faults.fail) throw new Error('the disk is full')
        return result
      })
    },
  }
  return { db, faults }
}

async function references(db: Database): Promise<(string | null)[]> {
  return (await db.query<{ reference: string | null }>('SELECT reference FROM audit ORDER BY seq')).map((row) => row.reference)
}

test('a write that fails rejects everybody who waits for it, and the next one works', async () => {
  const { db, faults } = await faulty()
  const shown: AuditEvent[] = []
  const audit = auditLog(db, (recorded) => shown.push(...recorded.map((each) => each.event)))
  faults.fail = true
  const first = Array.from({ length: 20 }, (_, index) => audit.record(event(`lost ${index}`)))
  const outcomes = await Promise.allSettled(first)
  assert.equal(outcomes.filter((outcome) => outcome.status === 'rejected').length, 20)
  assert.deepEqual(await references(db), [])
  assert.equal(shown.length, 0, 'what is not durable is not shown')
  faults.fail = false
  await Promise.all([audit.record(event('a')), audit.record(event('b'))])
  assert.deepEqual(await references(db), ['a', 'b'])
  assert.deepEqual(shown.map((each) => each.reference), ['a', 'b'])
  await db.close()
})

test('a failure rejects its own batch alone: who came during the write is in the next one', async () => {
  const { db, faults } = await faulty()
  const audit = auditLog(db, () => undefined)
  faults.fail = true
  const lost = audit.record(event('lost'))
  await Promise.resolve()
  await new Promise((resolve) => setImmediate(resolve))
  const outcome = await lost.catch((error: unknown) => error)
  faults.fail = false
  const kept = audit.record(event('kept'))
  assert.match(String(outcome), /disk is full/)
  await kept
  assert.deepEqual(await references(db), ['kept'])
  await db.close()
})

test('a thousand events at once are few commits, in order, and nobody goes on before theirs', async () => {
  const { db, faults } = await faulty()
  const audit = auditLog(db, () => undefined)
  await Promise.all(
    Array.from({ length: 1000 }, async (_, index) => {
      await audit.record(event(String(index)), event(`${index}b`))
      const rows = await db.query('SELECT 1 AS one FROM audit WHERE reference IN ($1, $2)', [String(index), `${index}b`])
      assert.equal(rows.length, 2)
    }),
  )
  assert.deepEqual(await references(db), Array.from({ length: 1000 }, (_, index) => [String(index), `${index}b`]).flat())
  assert.ok(faults.begun <= 10, `${faults.begun} commits`)
  await db.close()
})

test('what is begun waits for whoever asks first, shares their commit, and is written soon when nobody asks', async () => {
  const { db, faults } = await faulty()
  const audit = auditLog(db, () => undefined)
  const begun = Array.from({ length: 20 }, (_, index) => audit.begin(event(String(index))))
  assert.equal(faults.begun, 0, 'nobody asked yet')
  await begun[7]?.()
  assert.equal((await references(db)).length, 20)
  await Promise.all(begun.map((written) => written()))
  assert.equal(faults.begun, 1, 'one commit for all')
  audit.begin(event('unasked'))
  await eventually('the record that nobody asked for', async () => (await references(db))[20] === 'unasked')
  faults.fail = true
  const lost = audit.begin(event('lost'))
  await eventually('the write that fails', () => faults.begun === 3)
  await assert.rejects(lost(), /the disk is full/, 'whoever asks later hears of it as well')
  await db.close()
})

eachPair('events in a transaction are rolled back with it, and shown after its commit alone', async ({ db }) => {
  const shown: AuditEvent[] = []
  const audit = auditLog(db, (recorded) => shown.push(...recorded.map((each) => each.event)))
  const append = async (tx: Transaction, fail: boolean): Promise<void> => {
    await audit.append(tx, [event('one'), event('two')])
    await tx.query(`INSERT INTO consents (user_id, client_id, redirect_host, resource, scope, client_digest, reach, granted_at) VALUES ('u', 'c', 'h', 'r', 's', 'd', 'x', 1)`)
    assert.deepEqual(shown, [])
    if (fail) throw new Error('no')
  }
  await assert.rejects(db.transaction((tx) => append(tx, true)), /no/)
  assert.deepEqual(await references(db), [])
  assert.deepEqual(shown, [])
  await db.transaction((tx) => append(tx, false))
  assert.deepEqual(await references(db), ['one', 'two'])
  assert.equal(shown.length, 2)
})

eachPair('more events than one statement takes, none at all, and whatever stands in them', async ({ db }) => {
  const audit = auditLog(db, () => undefined, () => 1_795_000_000_123)
  await audit.record()
  await audit.record(...Array.from({ length: 250 }, (_, index) => event(String(index))))
  assert.equal((await references(db)).length, 250)
  const odd: AuditEvent = { action: 'call.denied', outcome: 'failure', clientId: 'a\0b', subject: '\0', tool: `\0'; DROP TABLE audit; -- ☃ \u{1F600}`, reason: '"\\\n', detail: { list: ['a'], yes: true, n: 1 } }
  await audit.record(odd)
  const [row] = await db.query<{ at: number; event: string; client_id: string }>('SELECT at, event, client_id FROM audit ORDER BY seq DESC LIMIT 1')
  assert.equal(row?.at, 1_795_000_000_123)
  assert.deepEqual(JSON.parse(row.event), odd)
  // Events of others are written in the same statement: one that cannot be written must not fail them.
  assert.equal(row.client_id, 'a\ufffdb')
})
