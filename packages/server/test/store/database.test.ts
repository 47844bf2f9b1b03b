// What every store promises to the domains: SQLite and PostgreSQL keep it alike.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Change } from '../../src/audit/change.ts'
import { changeFeed, cutoffs } from '../../src/store/changes.ts'
import { openDatabase, openStore } from '../../src/store/open.ts'
import { migrate } from '../../src/store/migrate.ts'
import { needsPostgres } from '../support/databases.ts'
import { postgresUrl } from '../support/postgres.ts'
import { eachStore } from '../support/store.ts'

eachStore('a transaction that throws leaves nothing behind and announces nothing', async ({ db, audit, events }) => {
  await assert.rejects(
    db.transaction(async (tx) => {
      await audit.append(tx, [{ action: 'logout', outcome: 'success' }])
      throw new Error('no')
    }),
    /no/,
  )
  assert.deepEqual(await db.query('SELECT * FROM audit'), [])
  assert.deepEqual(events, [])
  await audit.record({ action: 'logout', outcome: 'success', subject: 'usr_1' })
  assert.equal((await db.query('SELECT subject FROM audit')).length, 1)
  assert.equal(events.length, 1)
})

eachStore('of 50 parallel compare-and-swaps exactly one wins', async ({ db }) => {
  await db.query('INSERT INTO consents (user_id, client_id, redirect_host, resource, scope, client_digest, granted_at, reach) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', ['u', 'c', 'h', 'r', 's', 'free', 1, '[]'])
  const winners = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      db.transaction(async (tx) => (await tx.query(`UPDATE consents SET client_digest = $1 WHERE client_digest = 'free' RETURNING user_id`, [`taken ${index}`])).length),
    ),
  )
  assert.equal(winners.reduce((sum, count) => sum + count, 0), 1)
})

eachStore('parameters are used by number, integers come back as numbers, absent values as null', async ({ db }) => {
  const at = 1_795_000_000_123
  await db.query('INSERT INTO audit (at, action, outcome, event) VALUES ($2, $1, $1, $1)', ['x', at])
  const [row] = await db.query('SELECT at, action, subject FROM audit WHERE at = $1 AND action = $2', [at, 'x'])
  assert.deepEqual({ ...row }, { at, action: 'x', subject: null })
})

eachStore('rows that are looked for at once are each found by whoever looks, beside a mistake too', async ({ db }) => {
  await Promise.all(Array.from({ length: 60 }, (_, index) => db.query("INSERT INTO audit (at, action, outcome, event) VALUES ($1, 'x', 'x', 'x')", [index])))
  const found = await Promise.allSettled(Array.from({ length: 61 }, (_, index) => (index === 30 ? db.find('SELECT nothing FROM audit WHERE at = $1', [index]) : db.find('SELECT at FROM audit WHERE at = $1', [index]))))
  assert.deepEqual(found.map((each) => (each.status === 'rejected' ? 'rejected' : each.value?.['at'])), Array.from({ length: 61 }, (_, index) => (index === 30 ? 'rejected' : index === 60 ? undefined : index)))
})

eachStore('events recorded at once become durable in few commits, and each of them', async ({ db, audit, events }) => {
  await Promise.all(Array.from({ length: 250 }, (_, index) => audit.record({ action: 'call.allowed', outcome: 'success', reference: `r${index}` })))
  const [row] = await db.query<{ n: number }>('SELECT COUNT(*) AS n FROM audit')
  assert.equal(row?.n, 250)
  assert.equal(new Set(events.map((event) => event.reference)).size, 250)
})

eachStore('migrating twice, and twice at once, changes nothing', async ({ db }) => {
  assert.deepEqual(await Promise.all([migrate(db), migrate(db)]), [[], []])
})

eachStore('a cutoff reaches another node by polling alone, and cuts what was issued before it', async ({ db, changed }) => {
  const feed = await changeFeed(db, Date.now)
  const ended = await cutoffs(db, feed, { maxTokenLifetimeMs: 900_000, now: Date.now })
  const issuedAt = Math.floor(Date.now() / 1000)
  const token = { userId: 'usr_1', clientId: 'c', grantId: 'grt_1', kid: 'k', issuedAt }
  assert.equal(ended.isCut(token), false)
  const heard = new Promise<Change>((resolve) => feed.subscribe(resolve))
  await db.transaction((tx) => changed(tx, { kind: 'grant', key: 'grt_1', at: Date.now() }))
  assert.equal((await heard).key, 'grt_1')
  assert.equal(ended.isCut(token), true)
  assert.equal(ended.isCut({ ...token, grantId: 'grt_2' }), false)
  assert.equal(ended.isCut({ ...token, issuedAt: issuedAt + 5 }), true, 'a grant never comes back')
  assert.equal(feed.fresh, true)
  feed.close()
})

eachStore('a node that starts later knows earlier cutoffs', async ({ db, changed }) => {
  await db.transaction((tx) => changed(tx, { kind: 'subject', key: 'usr_1', at: Date.now() }))
  const feed = await changeFeed(db, Date.now)
  const ended = await cutoffs(db, feed, { maxTokenLifetimeMs: 900_000, now: Date.now })
  assert.equal(ended.isCut({ userId: 'usr_1', clientId: 'c', grantId: 'g', kid: 'k', issuedAt: Math.floor(Date.now() / 1000) - 10 }), true)
  feed.close()
})

eachStore('a node that hears nothing for ten seconds is stale, and fresh again when it does', async ({ db }) => {
  let now = Date.now()
  const feed = await changeFeed(db, () => now)
  assert.equal(feed.fresh, true)
  now += 10_001
  assert.equal(feed.fresh, false)
  await new Promise((resolve) => setTimeout(resolve, 1200))
  assert.equal(feed.fresh, true)
  feed.close()
})

test('on PostgreSQL a row is found while transactions have every other connection', needsPostgres, async () => {
  const database = await postgresUrl()
  const db = openDatabase(database.url)
  await migrate(db)
  const over = Promise.withResolvers<void>()
  const held = Array.from({ length: 10 }, () => {
    const begun = Promise.withResolvers<void>()
    const ended = db.transaction(async (tx) => {
      await tx.query('SELECT 1 AS one')
      begun.resolve()
      await over.promise
    })
    return { begun: begun.promise, ended }
  })
  await Promise.all(held.map(({ begun }) => begun))
  assert.deepEqual({ ...(await db.find('SELECT name FROM migrations WHERE name = $1', ['001-audit.sql'])) }, { name: '001-audit.sql' })
  over.resolve()
  await Promise.all(held.map(({ ended }) => ended))
  await db.close()
  await database.close()
})

test('on PostgreSQL two nodes that start at once migrate once, and hear of each other at once', needsPostgres, async () => {
  const database = await postgresUrl()
  const options = { sink: () => undefined, now: Date.now, maxTokenLifetimeMs: 900_000 }
  const [one, two] = await Promise.all([openStore(database.url, options), openStore(database.url, options)])
  const heard = new Promise<Change>((resolve) => two.feed.subscribe(resolve))
  const started = performance.now()
  await one.db.transaction((tx) => one.changed(tx, { kind: 'client', key: 'c', at: Date.now() }))
  assert.equal((await heard).key, 'c')
  assert.ok(performance.now() - started < 900, 'the announcement came before the next poll')
  await two.db.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'listen %' AND pid <> pg_backend_pid()`)
  const again = new Promise<Change>((resolve) => two.feed.subscribe((change) => change.key === 'd' && resolve(change)))
  await one.db.transaction((tx) => one.changed(tx, { kind: 'client', key: 'd', at: Date.now() }))
  assert.equal((await again).key, 'd')
  await Promise.all([one.close(), two.close()])
  await database.close()
})

test('a database file and its folder are readable by their owner alone', async () => {
  const { mkdtempSync, statSync, rmSync } = await import('node:fs')
  const { tmpdir } = await import('node:os')
  const directory = mkdtempSync(`${tmpdir()}/lanyard-`)
  const db = openDatabase(`sqlite:${directory}/deep/lanyard.db`)
  await db.query('SELECT 1 AS one')
  assert.equal(statSync(`${directory}/deep/lanyard.db`).mode & 0o777, 0o600)
  await db.close()
  rmSync(directory, { recursive: true })
})
