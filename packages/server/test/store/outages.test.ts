// What a store says when its database is not there, busy, or gone in the middle; and what its migrations survive.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, test } from 'node:test'
import { StoreUnavailable } from '../../src/http/errors.ts'
import type { Transaction } from '../../src/store/database.ts'
import { migrate } from '../../src/store/migrate.ts'
import { openDatabase, openStore, StoreError } from '../../src/store/open.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { needsPostgres } from '../support/databases.ts'
import { postgresUrl } from '../support/postgres.ts'
import { eachPair } from '../support/store-pair.ts'
import { tcpProxy } from '../support/tcp-proxy.ts'

const OPTIONS = { sink: () => undefined, now: Date.now, maxTokenLifetimeMs: 900_000 }
const directory = mkdtempSync(join(tmpdir(), 'lanyard-outages-'))
after(() => rmSync(directory, { recursive: true, force: true }))

/** Fails with a message that helps, and that shows no password; not even where errors are printed whole. */
async function refused(url: string, message: RegExp): Promise<void> {
  const { inspect } = await import('node:util')
  await assert.rejects(
    async () => openStore(url, OPTIONS),
    (error) => error instanceof StoreError && message.test(error.message) && !inspect(error, { depth: 10, showHidden: true }).includes('hunter2'),
    url,
  )
}

test('PostgreSQL that is not there, or not known: which one and why, without its password', async () => {
  const closed = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => closed.once('listening', resolve))
  const { port } = closed.address() as AddressInfo
  await new Promise((resolve) => closed.close(resolve))
  await refused(`postgres://lanyard:hunter2@127.0.0.1:${port}/db`, /ECONNREFUSED/)
  await refused('postgres://lanyard:hunter2@no-such-host.invalid/db', /store postgres:\/\/no-such-host\.invalid: .+/)
  await refused('postgres://lanyard:h@hunter2@no-such-host.invalid', /store postgres:\/\/no-such-host\.invalid: .+/)
  await refused('postgres://lanyard:hunter2#x@127.0.0.1/db', /cannot be read/)
})

test('SQLite that another process keeps locked, or that may not grow: an outage that passes, and nothing half written (X10)', async () => {
  const file = join(directory, 'busy.db')
  const db = openDatabase(`sqlite:${file}`)
  await migrate(db)
  await db.query('PRAGMA busy_timeout = 50')
  const write = (name: string): Promise<unknown> => db.transaction((tx) => tx.query('INSERT INTO migrations (name, applied_at) VALUES ($1, $2)', [name, 1]))
  const other = new DatabaseSync(file)
  other.exec('BEGIN IMMEDIATE')
  await assert.rejects(write('locked'), (error) => error instanceof StoreUnavailable && error.code === 'SQLITE_5')
  await db.query('SELECT 1 AS one')
  other.exec('ROLLBACK')
  other.close()
  await write('free again')
  const [{ page_count: pages } = { page_count: 0 }] = await db.query<{ page_count: number }>('PRAGMA page_count')
  await db.query(`PRAGMA max_page_count = ${pages}`)
  await assert.rejects(write('x'.repeat(100_000)), (error) => error instanceof StoreUnavailable && error.code === 'SQLITE_13')
  await db.query('PRAGMA max_page_count = 1000000')
  await write('y'.repeat(100_000))
  const names = await db.query<{ name: string }>("SELECT substr(name, 1, 4) AS name FROM migrations WHERE name NOT LIKE '%.sql' ORDER BY 1")
  assert.deepEqual(names.map(({ name }) => name), ['free', 'yyyy'])
  // A mistake of ours is none of these.
  await assert.rejects(db.query('SELECT nothing FROM nowhere'), (error) => !(error instanceof StoreUnavailable))
  await db.close()
})

test('PostgreSQL whose connections are all taken: an error in time, never silence, and nothing that happens afterwards', needsPostgres, async () => {
  const database = await postgresUrl()
  const db = openPostgres(database.url, 500)
  await migrate(db)
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const holders = Array.from({ length: 10 }, () => db.transaction(async (tx) => (await tx.query('SELECT 1 AS one'), released)))
  await new Promise((resolve) => setTimeout(resolve, 300))
  let ran = false
  await Promise.all([
    assert.rejects(db.query('SELECT 1 AS one'), { message: 'the database does not answer', code: 'ETIMEDOUT' }),
    assert.rejects(db.transaction(async () => void (ran = true)), { message: 'the database does not answer' }),
  ])
  release()
  await Promise.all(holders)
  await db.query('SELECT 1 AS one')
  assert.equal(ran, false, 'who was told of a failure must not have succeeded')
  await db.close()
  await database.close()
})

test('PostgreSQL whose connection for reading is gone without a word: who waits for it is told, and the next one has another', needsPostgres, async () => {
  const database = await postgresUrl()
  const link = await tcpProxy(Number(new URL(database.url).port))
  const url = new URL(database.url)
  url.port = String(link.port)
  const db = openPostgres(url.href, 500)
  const find = () => db.find<{ one: number }>('SELECT $1::int AS one', [1])
  assert.equal((await find())?.one, 1)
  // What was on its way when the other end went never comes.
  link.gate = () => new Promise(() => undefined)
  await Promise.all([1, 2, 3].map(() => assert.rejects(find(), { message: 'the database does not answer', code: 'ETIMEDOUT' })))
  link.gate = undefined
  assert.deepEqual((await Promise.all([find(), find()])).map((row) => row?.one), [1, 1])
  assert.equal(link.opened(), 2)
  await db.close()
  await link.close()
  await database.close()
})

test('PostgreSQL that refuses the user or lacks the database says so', needsPostgres, async () => {
  const database = await postgresUrl()
  const url = new URL(database.url)
  url.username = 'nobody_of_that_name'
  url.password = 'hunter2'
  await refused(url.href, /nobody_of_that_name/)
  const missing = new URL(database.url)
  missing.pathname = '/no_such_database'
  await refused(missing.href, /no_such_database/)
  await database.close()
})

test('SQLite: a folder, a file that is no database, and a path below a file are refused with the path', async () => {
  await refused(`sqlite:${directory}`, /^store sqlite:.+/)
  const text = join(directory, 'text')
  writeFileSync(text, 'this is no database, and long enough to be looked at as one'.repeat(100))
  await refused(`sqlite:${text}`, /not a database/)
  await refused(`sqlite:${text}/lanyard.db`, /^store sqlite:.+/)
  const store = await openStore(`sqlite:${join(directory, 'new', 'lanyard.db')}`, OPTIONS)
  await store.ping()
  await store.close()
})

test('SQLite: what stood in the file before is there again, and its files are private', async () => {
  const url = `sqlite:${join(directory, 'kept.db')}`
  const first = await openStore(url, OPTIONS)
  await first.audit.record({ action: 'logout', outcome: 'success', reference: 'kept' })
  for (const suffix of ['', '-wal', '-shm']) assert.equal(statSync(`${join(directory, 'kept.db')}${suffix}`).mode & 0o077, 0, suffix)
  await first.close()
  const second = await openStore(url, OPTIONS)
  assert.equal((await second.db.query('SELECT reference FROM audit')).length, 1)
  await second.close()
})

test('SQLite that another process holds: waits for it, and what it wrote is seen', async () => {
  const path = join(directory, 'busy.db')
  const store = await openStore(`sqlite:${path}`, OPTIONS)
  const other = new DatabaseSync(path)
  other.exec('PRAGMA busy_timeout = 50')
  await store.db.transaction(async (tx) => {
    await tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'mine', 1)`)
    assert.throws(() => other.exec(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'other', 1)`), /locked/)
  })
  other.exec(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'other', 1)`)
  assert.deepEqual((await store.db.query<{ key: string }>('SELECT key FROM changes ORDER BY seq')).map((row) => row.key), ['mine', 'other'])
  other.close()
  await store.close()
})

test('SQLite that another process holds for too long: an error, nothing half done, and well again afterwards', async () => {
  const path = join(directory, 'held.db')
  const db = openDatabase(`sqlite:${path}`)
  await migrate(db)
  await db.query('PRAGMA busy_timeout = 50')
  const other = new DatabaseSync(path)
  other.exec('BEGIN IMMEDIATE')
  const write = () => db.transaction((tx) => tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'x', 1)`))
  await assert.rejects(write(), /locked/)
  await assert.rejects(db.query('DELETE FROM changes'), /locked/)
  assert.deepEqual(await db.query('SELECT key FROM changes'), [])
  other.exec('COMMIT')
  await write()
  assert.equal((await db.query('SELECT key FROM changes')).length, 1)
  other.close()
  await db.close()
})

eachPair('a transaction that is over takes no more statements', async (pair) => {
  const kept = await pair.db.transaction(async (tx) => tx)
  await assert.rejects(async () => kept.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'late', 1)`))
  assert.equal(await pair.count('changes'), 0)
})

eachPair('an error of the database in a transaction ends it, and the next one is sound', async (pair) => {
  for (let attempt = 0; attempt < 15; attempt += 1) {
    await assert.rejects(
      pair.db.transaction(async (tx) => {
        await tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'x', 1)`)
        await tx.query('INSERT INTO changes (kind, key, at) VALUES (NULL, NULL, NULL)')
      }),
      /null/i,
    )
  }
  assert.equal(await pair.count('changes'), 0)
  await pair.db.transaction((tx) => tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'x', 1)`))
  assert.equal(await pair.count('changes'), 1)
})

/** Where in a transaction its connection is lost, and what the transaction does about it. */
const LOSSES: Readonly<Record<string, (tx: Transaction, lose: () => Promise<unknown>) => Promise<unknown>>> = {
  'before a statement': async (tx, lose) => (await lose(), tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'y', 1)`)),
  'long before a statement': async (tx, lose) => (await lose(), await pause(50), tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'y', 1)`)),
  'during a statement': (tx, lose) => Promise.all([tx.query('SELECT pg_sleep(5)'), pause(50).then(lose)]),
  'long before its end': async (_, lose) => (await lose(), pause(50)),
  'at its end': (_, lose) => lose(),
  'and it goes on regardless': async (tx, lose) => {
    await lose()
    for (let attempt = 0; attempt < 5; attempt += 1) await tx.query('SELECT 1 AS one').catch(() => undefined)
    await pause(20)
    await tx.query('SELECT 1 AS one').catch(() => undefined)
  },
  'and it fails by itself': async (_, lose) => {
    await lose()
    await pause(20)
    throw new Error('something else')
  },
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

for (const [place, work] of Object.entries(LOSSES)) {
  test(`PostgreSQL: a connection that is lost ${place}: an error, nothing left behind, and process and pool go on`, needsPostgres, async () => {
    const database = await postgresUrl()
    const [db, admin] = [openDatabase(database.url), openDatabase(database.url)]
    await migrate(db)
    let committed = 0
    for (let attempt = 0; attempt < 12; attempt += 1) {
      await assert.rejects(
        db.transaction(async (tx) => {
          tx.onCommit(() => (committed += 1))
          await tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'x', 1)`)
          const [own] = await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
          await work(tx, () => admin.query('SELECT pg_terminate_backend($1, 5000)', [own?.pid ?? 0]))
        }),
      )
    }
    assert.equal(committed, 0)
    assert.deepEqual(await admin.query('SELECT key FROM changes'), [])
    await Promise.all(Array.from({ length: 20 }, () => db.transaction((tx) => tx.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'z', 1)`))))
    assert.equal((await admin.query('SELECT key FROM changes')).length, 20)
    await Promise.all([db.close(), admin.close()])
    await database.close()
  })
}

test('PostgreSQL: transactions that block each other both happen', needsPostgres, async () => {
  const database = await postgresUrl()
  const db = openDatabase(database.url)
  await migrate(db)
  for (const key of ['a', 'b']) await db.query(`INSERT INTO registration_turns (key, at) VALUES ($1, 0)`, [key])
  const bothHold = Promise.withResolvers<void>()
  const held = new Set<string>()
  const crosswise = (first: string, second: string) =>
    db.transaction(async (tx) => {
      await tx.query('UPDATE registration_turns SET at = at + 1 WHERE key = $1', [first])
      if (held.add(first).size === 2) bothHold.resolve()
      await bothHold.promise
      await tx.query('UPDATE registration_turns SET at = at + 1 WHERE key = $1', [second])
    })
  await Promise.all([crosswise('a', 'b'), crosswise('b', 'a')])
  assert.deepEqual((await db.query<{ at: number }>('SELECT at FROM registration_turns')).map((row) => row.at), [2, 2])
  await db.close()
  await database.close()
})

eachPair('migrations: all once, from an empty schema, whoever comes first; a newer version\'s are left alone', async ({ db, one, two }) => {
  const names = (await db.query<{ name: string }>('SELECT name FROM migrations ORDER BY name')).map((row) => row.name)
  assert.ok(names.length >= 7 && names.every((name) => /^\d{3}-[a-z-]+\.sql$/.test(name)), names.join())
  assert.deepEqual(await migrate(db), [])
  await db.query(`INSERT INTO migrations (name, applied_at) VALUES ('999-from-the-future.sql', 1)`)
  await db.query('CREATE TABLE from_the_future (id INTEGER)')
  assert.deepEqual(await Promise.all([migrate(one.db), migrate(two.db)]), [[], []])
  assert.equal((await db.query('SELECT 1 AS one FROM migrations')).length, names.length + 1)
  await one.audit.record({ action: 'logout', outcome: 'success' })
})

test('migrations on PostgreSQL by four nodes at once: each file once', needsPostgres, async () => {
  const database = await postgresUrl()
  const nodes = Array.from({ length: 4 }, () => openDatabase(database.url))
  const applied = (await Promise.all(nodes.map((db) => migrate(db)))).flat()
  assert.equal(new Set(applied).size, applied.length)
  assert.equal((await nodes[0]!.query('SELECT 1 AS one FROM migrations')).length, applied.length)
  await Promise.all(nodes.map((db) => db.close()))
  await database.close()
})

test('migrations on PostgreSQL wait for another node longer than a request may take', { ...needsPostgres, timeout: 60_000 }, async () => {
  const database = await postgresUrl()
  const [db, other] = [openDatabase(database.url), openDatabase(database.url)]
  let done: unknown
  await other.transaction(async (tx) => {
    await tx.query('SET LOCAL idle_in_transaction_session_timeout = 0')
    await tx.query('SELECT pg_advisory_xact_lock(5021834)')
    done = migrate(db)
    await new Promise((resolve) => setTimeout(resolve, 11_000))
  })
  assert.ok(((await done) as readonly string[]).length >= 7)
  await Promise.all([db.close(), other.close()])
  await database.close()
})
