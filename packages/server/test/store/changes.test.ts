// How nodes hear of each other: whatever their clocks say, however long they were cut off.
import assert from 'node:assert/strict'
import { createServer, connect, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { Change } from '../../src/audit/change.ts'
import { changeFeed, cutoffs, recordChange, type RunningFeed } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import { openStore } from '../../src/store/open.ts'
import { needsPostgres } from '../support/databases.ts'
import { postgresUrl } from '../support/postgres.ts'
import { eachPair, type StorePair } from '../support/store-pair.ts'

const HOUR = 3600_000
const LIFETIME = 900_000
const token = { userId: 'usr_1', clientId: 'c', grantId: 'grt_1', kid: 'k', issuedAt: Math.floor(Date.now() / 1000) }

async function write(pair: StorePair, change: Change): Promise<void> {
  await pair.db.transaction((tx) => recordChange(tx, change, () => undefined))
}

/** The changes that a feed delivers, and a wait for one of them. */
function listen(feed: RunningFeed): { readonly heard: Change[]; until(key: string): Promise<void> } {
  const heard: Change[] = []
  feed.subscribe((change) => heard.push(change))
  return {
    heard,
    async until(key) {
      const deadline = Date.now() + 10_000
      while (!heard.some((change) => change.key === key)) {
        assert.ok(Date.now() < deadline, `${key} was not heard of`)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    },
  }
}

/** A database that can be cut off. */
function severable(db: Database): Database & { cut: boolean; hang: boolean } {
  const state = { cut: false, hang: false }
  const reach = async <T>(work: () => Promise<T>): Promise<T> => {
    if (state.hang) return new Promise<T>(() => undefined)
    if (state.cut) throw new Error('connection refused')
    return work()
  }
  const through: Database = {
    ...db,
    query: (sql, params) => reach(() => db.query(sql, params)),
    transaction: (run) => reach(() => db.transaction(run)),
    append: (sql, params) => reach(() => db.append(sql, params)),
    close: () => db.close(),
  }
  return Object.assign(state, through)
}

eachPair('a change is heard of whatever the clock of its writer or of its reader says', async (pair) => {
  for (const readerAhead of [0, HOUR, -HOUR]) {
    const feed = await changeFeed(pair.two.db, () => Date.now() + readerAhead)
    const ended = await cutoffs(pair.two.db, feed, { maxTokenLifetimeMs: LIFETIME, now: () => Date.now() + readerAhead })
    const listener = listen(feed)
    const writers = [0, HOUR, -HOUR, 60_000, -24 * HOUR]
    for (const writerAhead of writers) await write(pair, { kind: 'grant', key: `${readerAhead} ${writerAhead}`, at: Date.now() + writerAhead })
    for (const writerAhead of writers) {
      const key = `${readerAhead} ${writerAhead}`
      await listener.until(key)
      assert.equal(ended.isCut({ ...token, grantId: key }), true, key)
      assert.equal(ended.isCut({ ...token, grantId: `${key}x` }), false)
    }
    feed.close()
  }
})

eachPair('a node that starts knows every cutoff of the longest token life, whatever the writers\' clocks said', async (pair) => {
  for (const ahead of [0, HOUR, -HOUR]) await write(pair, { kind: 'client', key: `c${ahead}`, at: Date.now() + ahead })
  const feed = await changeFeed(pair.two.db, Date.now)
  const ended = await cutoffs(pair.two.db, feed, { maxTokenLifetimeMs: LIFETIME, now: Date.now })
  for (const ahead of [0, HOUR, -HOUR]) assert.equal(ended.isCut({ ...token, clientId: `c${ahead}` }), true)
  assert.equal(ended.isCut(token), false)
  feed.close()
})

eachPair('grants, clients and keys never come back; a person may sign in again', async (pair) => {
  const feed = await changeFeed(pair.db, Date.now)
  const ended = await cutoffs(pair.db, feed, { maxTokenLifetimeMs: LIFETIME, now: Date.now })
  const at = Date.now()
  for (const [kind, key] of [['grant', 'grt_1'], ['client', 'c'], ['key', 'k'], ['subject', 'usr_1']] as const) {
    feed.deliver({ kind, key, at })
    const other = { userId: 'x', clientId: 'x', grantId: 'x', kid: 'x', issuedAt: Math.floor(at / 1000) }
    const name = ({ grant: 'grantId', client: 'clientId', key: 'kid', subject: 'userId' } as const)[kind]
    assert.equal(ended.isCut({ ...other, [name]: key }), true, `${kind}, of the very second`)
    assert.equal(ended.isCut({ ...other, [name]: key, issuedAt: other.issuedAt + 1 }), kind !== 'subject', `${kind}, issued later or by a clock that is ahead`)
    assert.equal(ended.isCut(other), false)
  }
  for (const kind of ['user', 'connection', 'signing-keys'] as const) feed.deliver({ kind, key: 'y', at })
  assert.equal(ended.isCut({ ...token, userId: 'y', clientId: 'y', grantId: 'y', kid: 'y' }), false)
  feed.close()
})

eachPair('an older cutoff of a person never replaces a newer one, and cutoffs are forgotten after the last token ended', async (pair) => {
  let now = Date.now()
  const feed = await changeFeed(pair.db, () => now)
  const ended = await cutoffs(pair.db, feed, { maxTokenLifetimeMs: LIFETIME, now: () => now })
  feed.deliver({ kind: 'subject', key: 'usr_1', at: now })
  feed.deliver({ kind: 'subject', key: 'usr_1', at: now - HOUR })
  const issued = { ...token, issuedAt: Math.floor(now / 1000) }
  assert.equal(ended.isCut(issued), true)
  now += HOUR
  feed.deliver({ kind: 'subject', key: 'usr_2', at: now })
  assert.equal(ended.isCut(issued), true, 'a token of an hour, from before the configuration allowed less, still lives')
  now += 5 * 60_000
  feed.deliver({ kind: 'subject', key: 'usr_3', at: now })
  assert.equal(ended.isCut(issued), false, 'no token of then lives')
  assert.equal(ended.isCut({ ...issued, userId: 'usr_2' }), true)
  feed.close()
})

eachPair('a node that was cut off longer than the window of a poll hears of everything that it missed', async (pair) => {
  let ahead = 0
  const db = severable(pair.two.db)
  const feed = await changeFeed(db, () => Date.now() + ahead)
  const ended = await cutoffs(db, feed, { maxTokenLifetimeMs: LIFETIME, now: () => Date.now() + ahead })
  const listener = listen(feed)
  db.cut = true
  await write(pair, { kind: 'grant', key: 'grt_1', at: Date.now() })
  // As if ten minutes passed: the change is older than every window around the present.
  ahead = 600_000
  assert.equal(feed.fresh, false, 'it does not know, and says so')
  assert.equal(ended.fresh, false)
  db.cut = false
  await listener.until('grt_1')
  assert.equal(ended.isCut(token), true)
  assert.equal(feed.fresh, true)
  feed.close()
})

eachPair('rows that a slow transaction commits behind faster ones are heard of, each once by polling', async (pair) => {
  const feed = await changeFeed(pair.two.db, Date.now)
  const listener = listen(feed)
  const insert = (key: string, seq: number, age: number) =>
    pair.db.query(`INSERT INTO changes (seq, kind, key, at, recorded_at) ${pair.db.dialect === 'postgres' ? 'OVERRIDING SYSTEM VALUE' : ''} VALUES ($1, 'grant', $2, 1, $3)`, [seq, key, Date.now() - age])
  await insert('fast', 100, 0)
  await listener.until('fast')
  await insert('slow', 50, 15_000)
  await listener.until('slow')
  await insert('old clock', 101, 10 * HOUR)
  await listener.until('old clock')
  await new Promise((resolve) => setTimeout(resolve, 2200))
  assert.deepEqual(listener.heard.map((change) => change.key), ['fast', 'slow', 'old clock'])
  feed.close()
})

eachPair('an answer that never comes makes a node stale, and does not keep it from asking again', async (pair) => {
  let ahead = 0
  const db = severable(pair.two.db)
  const feed = await changeFeed(db, () => Date.now() + ahead)
  const listener = listen(feed)
  db.hang = true
  await new Promise((resolve) => setTimeout(resolve, 1200))
  ahead = 10_001
  assert.equal(feed.fresh, false)
  db.hang = false
  await write(pair, { kind: 'grant', key: 'after', at: Date.now() })
  await listener.until('after')
  assert.equal(feed.fresh, true)
  feed.close()
})

eachPair('a clock that was set back makes a node stale until its next answer', async (pair) => {
  let ahead = 0
  const db = severable(pair.two.db)
  const feed = await changeFeed(db, () => Date.now() + ahead)
  db.cut = true
  ahead = -HOUR
  assert.equal(feed.fresh, false)
  db.cut = false
  await new Promise((resolve) => setTimeout(resolve, 1300))
  assert.equal(feed.fresh, true)
  feed.close()
})

test('PostgreSQL: without its announcements changes still come, within a poll', needsPostgres, async () => {
  const database = await postgresUrl()
  const options = { sink: () => undefined, now: Date.now, maxTokenLifetimeMs: LIFETIME }
  const [one, two] = await Promise.all([openStore(database.url, options), openStore(database.url, options)])
  const listener = listen(two.feed)
  await one.db.query(`INSERT INTO changes (kind, key, at) VALUES ('grant', 'unannounced', 1)`)
  await listener.until('unannounced')
  assert.equal(two.cutoffs.isCut({ ...token, grantId: 'unannounced' }), true)
  await Promise.all([one.close(), two.close()])
  await database.close()
})

test('PostgreSQL: an announcement that is none hurts nobody, and the next one is heard', needsPostgres, async () => {
  const database = await postgresUrl()
  const options = { sink: () => undefined, now: Date.now, maxTokenLifetimeMs: LIFETIME }
  const [one, two] = await Promise.all([openStore(database.url, options), openStore(database.url, options)])
  const ear = listen(two.feed)
  // Who may connect to a database may announce whatever they like in it.
  for (const payload of ['', 'x', '{', 'null', '7', '[]', '{}', '{"kind":"grant"}', '{"kind":7,"key":"forged","at":1}', '{"kind":"grant","key":"forged","at":"1"}']) {
    await one.db.query('SELECT pg_notify($1, $2)', ['lanyard_changes', payload])
  }
  await one.db.transaction((tx) => one.changed(tx, { kind: 'grant', key: 'grt_1', at: Date.now() }))
  await ear.until('grt_1')
  assert.deepEqual(ear.heard.map(({ kind, key }) => `${kind} ${key}`), ['grant grt_1'])
  assert.equal(two.cutoffs.isCut(token), true)
  await Promise.all([one.close(), two.close()])
  await database.close()
})

test('PostgreSQL behind a network that breaks: stale, never wrong, and well again by itself', { ...needsPostgres, timeout: 60_000 }, async () => {
  const database = await postgresUrl()
  const network = await proxy(new URL(database.url))
  let ahead = 0
  const through = new URL(database.url)
  through.port = String(network.port)
  const direct = await openStore(database.url, { sink: () => undefined, now: Date.now, maxTokenLifetimeMs: LIFETIME })
  const node = await openStore(through.href, { sink: () => undefined, now: () => Date.now() + ahead, maxTokenLifetimeMs: LIFETIME })
  const listener = listen(node.feed)
  network.break()
  await direct.db.transaction((tx) => direct.changed(tx, { kind: 'grant', key: 'during', at: Date.now() }))
  await assert.rejects(node.ping())
  ahead = 10_001
  assert.equal(node.feed.fresh, false)
  await network.mend()
  await listener.until('during')
  assert.equal(node.cutoffs.isCut({ ...token, grantId: 'during' }), true)
  assert.equal(node.feed.fresh, true)
  await node.ping()
  network.break()
  await node.close()
  await direct.close()
  await database.close()
})

interface Proxy {
  readonly port: number
  break(): void
  mend(): Promise<void>
}

async function proxy(target: URL): Promise<Proxy> {
  const sockets = new Set<Socket>()
  const make = (): Server =>
    createServer((client) => {
      const upstream = connect(Number(target.port), target.hostname)
      for (const socket of [client, upstream]) {
        sockets.add(socket)
        socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
      }
      client.pipe(upstream).pipe(client)
    })
  let server = make()
  const listenAt = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve))
  await listenAt(0)
  const { port } = server.address() as AddressInfo
  return {
    port,
    break() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
    async mend() {
      server = make()
      await listenAt(port)
    },
  }
}
