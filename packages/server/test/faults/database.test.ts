// The database is down, crashes, may only be read, is locked, full, or has no connection left.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import postgres from 'postgres'
import { modern } from '../support/mcp-nodes.ts'
import { ask, type Client, type Tried } from './client.ts'
import { fault, house, pause, until, type House } from './house.ts'

let all: House
before(async () => {
  all = await house({ postgres: { max_connections: '60' } })
})
after(async () => {
  await all.close()
  // Still there when a test failed in between.
  if (existsSync('/proc/mounts') && readFileSync('/proc/mounts', 'utf8').includes(` ${smallDisk()} `)) execFileSync('umount', [smallDisk()])
})
const smallDisk = (): string => join(all.postgres?.directory ?? '', 'small')

const probe = (node: string, path: string): Promise<number> => ask(node, `${all.gateway.issuer}${path}`).then(({ status }) => status, () => 0)
const isReady = async (): Promise<boolean> => (await Promise.all(all.nodes.map((node) => probe(node, '/readyz')))).every((status) => status === 200)

/** 503 with Retry-After, in time, and nothing issued. */
function assertLater(tried: Tried): void {
  assert.equal(tried.status, 503, tried.text)
  assert.ok(Number(tried.headers.get('retry-after')) > 0, 'says when to come back')
}

async function admin<T>(work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres(all.postgres?.url ?? '', { max: 1, onnotice: () => undefined })
  try {
    return await work(sql)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** The client works again, on both nodes and without a new sign-in. @returns after how many milliseconds */
async function recovered(alice: Client): Promise<number> {
  const ms = await until('both nodes are ready', isReady)
  for (const node of all.nodes) {
    assert.equal((await alice.refresh(node)).outcome, 'done')
    assert.equal((await alice.call(node)).outcome, 'done')
  }
  return ms
}

/** A request that is not recorded: it shows whether the node believes in what it knows of revocations. */
async function ping(alice: Client, node: string): Promise<number> {
  const { headers, body } = modern(alice.tokens?.access ?? '', 'prompts/list')
  const answer = await ask(node, `${all.gateway.issuer}/mcp/notes`, { method: 'POST', headers: headers as Record<string, string>, body: String(body) })
  return answer.status
}

fault({ id: 'X07', injected: 'PostgreSQL is stopped for 15 seconds', expected: 'tokens that are known are accepted for 10 s at most, then 503; nothing is issued; readyz 503, livez 200; all well without a restart' }, async () => {
  const alice = all.client('x07')
  await alice.signIn(all.one)
  assert.equal(await ping(alice, all.one), 200)
  assert.equal((await alice.call(all.one)).outcome, 'done')
  const pids = all.gateway.processes.map(({ pid }) => pid)
  all.postgres?.stop('fast')
  const stoppedAt = Date.now()
  let lastAccepted = 0
  let refused = 0
  const refresh = alice.refresh(all.two)
  const recorded = alice.call(all.one)
  while (Date.now() - stoppedAt < 15_000) {
    const sentAt = Date.now() - stoppedAt
    const status = await ping(alice, all.one)
    if (status === 200) lastAccepted = sentAt
    else assert.equal(status, 503)
    if (status === 503) refused += 1
    assert.equal(await probe(all.one, '/livez'), 200)
    await pause(200)
  }
  assert.ok(lastAccepted < 11_000 && refused > 0, `accepted until ${lastAccepted} ms`)
  assert.equal(await probe(all.one, '/readyz'), 503)
  assertLater(await refresh)
  // What must be recorded and cannot be is not answered.
  assertLater(await recorded)
  assert.ok((await recorded).ms < 12_000, `${(await recorded).ms} ms`)
  await all.postgres?.start()
  const ms = await recovered(alice)
  assert.deepEqual(all.gateway.processes.map(({ pid }) => pid), pids)
  return `requests that need no record were accepted for ${(lastAccepted / 1000).toFixed(1)} s, then 503; calls, which are recorded, 503 after ${(await recorded).ms} ms; refresh 503; ready again ${ms} ms after the start`
})

fault({ id: 'X09', injected: 'PostgreSQL crashes (stop -m immediate) under load, twice', expected: 'every acknowledged write is there afterwards; nobody is logged out' }, async () => {
  const clients = await Promise.all(Array.from({ length: 4 }, async (_, index) => {
    const each = all.client(`x09-${index}`)
    await each.signIn(all.nodes[index % 2] ?? '')
    return each
  }))
  const over = new AbortController()
  const work = async (each: Client): Promise<number> => {
    let done = 0
    while (!over.signal.aborted) {
      const { outcome, text } = await each.insist(all.nodes, (node) => each.refresh(node))
      assert.equal(outcome, 'done', text)
      done += 1
    }
    return done
  }
  const working = Promise.all(clients.map(work))
  working.catch(() => undefined)
  for (let crash = 0; crash < 2; crash += 1) {
    await pause(800)
    all.postgres?.stop('immediate')
    await all.postgres?.start()
  }
  await pause(800)
  over.abort()
  const done = (await working).reduce((sum, count) => sum + count, 0)
  const [first] = clients
  assert.ok(first)
  await recovered(first)
  return `${done} rotations were acknowledged around two crashes; all of them are in the database, with their events`
})

fault({ id: 'X10', injected: 'the database may only be read', expected: 'mutations and calls are refused with 503 and Retry-After; well without a restart' }, async () => {
  const alice = all.client('read-only')
  await alice.signIn(all.one)
  await admin(async (sql) => {
    await sql.unsafe('ALTER SYSTEM SET default_transaction_read_only = on')
    await sql.unsafe('SELECT pg_reload_conf()')
  })
  await pause(300)
  assertLater(await alice.refresh(all.one))
  assertLater(await alice.call(all.two))
  assertLater(await alice.revoke(all.one))
  await admin(async (sql) => {
    await sql.unsafe('SET default_transaction_read_only = off')
    await sql.unsafe('ALTER SYSTEM RESET default_transaction_read_only')
    await sql.unsafe('SELECT pg_reload_conf()')
  })
  await pause(300)
  const ms = await recovered(alice)
  return `refresh, call and revocation 503 with Retry-After; well ${ms} ms after`
})

/** Every refresh token is written with this difficulty, until the work is over. */
async function withTrigger<T>(condition: string, work: () => Promise<T>): Promise<T> {
  await admin(async (sql) => {
    await sql.unsafe('CREATE SEQUENCE x10')
    await sql.unsafe(`CREATE FUNCTION x10() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF ${condition} THEN RAISE 'conflict' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$`)
    await sql.unsafe('CREATE TRIGGER x10 BEFORE INSERT ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION x10()')
  })
  try {
    return await work()
  } finally {
    await admin((sql) => sql.unsafe('DROP FUNCTION x10 CASCADE; DROP SEQUENCE x10'))
  }
}

fault({ id: 'X10', injected: 'serialization errors (40001): each write of a refresh token conflicts once, or always', expected: 'what conflicts once is done again and succeeds; what always does is refused with 503 and Retry-After; nobody is logged out' }, async () => {
  const alice = all.client('serialization')
  await alice.signIn(all.one)
  // A sequence is not rolled back with its transaction: odd tries fail, even ones succeed.
  await withTrigger("nextval('x10') % 2 = 1", async () => {
    for (const node of all.nodes) {
      const tried = await alice.refresh(node)
      assert.equal(tried.outcome, 'done', tried.text)
    }
  })
  await withTrigger('true', async () => {
    for (const node of all.nodes) assertLater(await alice.refresh(node))
  })
  const ms = await recovered(alice)
  return `two of two refreshes succeeded at their second try, two of two were refused with 503; well ${ms} ms after`
})

fault({ id: 'X10, X11', injected: 'a table is locked while 40 refreshes come to one node: every connection of its pool is taken', expected: 'all are answered in bounded time with 503 and Retry-After; livez and readyz are answered meanwhile; nobody is logged out' }, async () => {
  const clients = await Promise.all(Array.from({ length: 10 }, async (_, index) => {
    const each = all.client(`x11-${index}`)
    await each.signIn(all.nodes[index % 2] ?? '')
    return each
  }))
  const sql = postgres(all.postgres?.url ?? '', { max: 1, onnotice: () => undefined })
  const held = Promise.withResolvers<void>()
  const locked = Promise.withResolvers<void>()
  const holding = sql.begin(async (tx) => {
    await tx.unsafe('LOCK TABLE refresh_tokens IN ACCESS EXCLUSIVE MODE')
    locked.resolve()
    await held.promise
  })
  await locked.promise
  const observed = await whileLocked(clients).finally(() => held.resolve())
  await holding
  await sql.end()
  const [first] = clients
  assert.ok(first)
  await recovered(first)
  for (const each of clients) assert.equal((await each.refresh(all.two)).outcome, 'done')
  return `${observed}; all 10 people refreshed afterwards`
})

async function whileLocked(clients: readonly Client[]): Promise<string> {
  const refreshes = clients.flatMap((each) => Array.from({ length: 4 }, () => each.refresh(all.one)))
  await pause(500)
  const startedAt = Date.now()
  assert.equal(await probe(all.one, '/livez'), 200)
  const livez = Date.now() - startedAt
  const readyz = await probe(all.one, '/readyz')
  const readyAfter = Date.now() - startedAt - livez
  assert.ok(livez < 500 && readyAfter < 3000, `livez ${livez} ms, readyz ${readyAfter} ms`)
  const tried = await Promise.all(refreshes)
  for (const each of tried) assertLater(each)
  const longest = Math.max(...tried.map(({ ms }) => ms))
  assert.ok(longest < 20_000, `${longest} ms`)
  return `40 of 40 refused with 503 within ${(longest / 1000).toFixed(1)} s; livez after ${livez} ms, readyz ${readyz} after ${readyAfter} ms`
}

fault({ id: 'X10', injected: 'max_connections: others took every connection, and the nodes lost theirs', expected: '503 with Retry-After; well again as soon as there are connections' }, async () => {
  const alice = all.client('connections')
  await alice.signIn(all.one)
  const hogs: postgres.Sql[] = []
  // While the others come, nothing of the nodes reaches the database: they would be back at once.
  const { promise: taken, resolve } = Promise.withResolvers<void>()
  for (const link of all.links) link.gate = (_, direction) => (direction === 'request' ? taken : undefined)
  await admin(async (sql) => {
    await sql`SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE application_name = 'lanyard'`
    // The superuser's own reserve is taken as well: the nodes connect as one here.
    for (let isFree = true; isFree && hogs.length < 100; ) {
      const hog = postgres(all.postgres?.url ?? '', { max: 1, onnotice: () => undefined, connect_timeout: 2 })
      hogs.push(hog)
      isFree = await hog`SELECT 1`.then(() => true, () => false)
    }
  })
  // The connection that looked on is free again; it goes to one more.
  const last = postgres(all.postgres?.url ?? '', { max: 1, onnotice: () => undefined })
  hogs.push(last)
  await until('no connection is left', () => last`SELECT 1`.then(() => true, () => false))
  for (const link of all.links) link.gate = undefined
  resolve()
  try {
    const refreshed = await alice.refresh(all.one)
    assertLater(refreshed)
    assert.equal(await probe(all.one, '/livez'), 200)
    await Promise.all(hogs.map((hog) => hog.end({ timeout: 1 })))
    const ms = await recovered(alice)
    return `refresh 503 after ${refreshed.ms} ms; ready ${ms} ms after the connections came back`
  } finally {
    await Promise.all(hogs.map((hog) => hog.end({ timeout: 1 })))
  }
})

const FULL = 'could not extend file: No space left on device'

/** Fills the disk of the audit trail, a tablespace of two megabytes of memory; where nobody may mount one, the database says the same by itself. @returns what undoes it, and how it was done */
async function fillDisk(): Promise<{ readonly how: string; undo(): Promise<void> }> {
  const disk = smallDisk()
  try {
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', disk], { stdio: 'ignore' })
  } catch {
    return refuseRows()
  }
  const { uid, gid } = statSync(all.postgres?.directory ?? '')
  chownSync(disk, uid, gid)
  await admin(async (sql) => {
    await sql.unsafe(`CREATE TABLESPACE small LOCATION '${disk}'`)
    await sql.unsafe('ALTER TABLE audit SET (autovacuum_enabled = false)')
    await sql.unsafe('ALTER TABLE audit SET TABLESPACE small')
    for (const rows of [2000, 200, 20, 1, 1, 1]) {
      const fill = (): Promise<boolean> => sql.unsafe(`INSERT INTO audit (at, action, outcome, event) SELECT 0, 'filler', 'success', repeat('{}', 40) FROM generate_series(1, ${rows})`).then(() => true, () => false)
      while (await fill());
    }
    await assert.rejects(sql.unsafe(`INSERT INTO audit (at, action, outcome, event) VALUES (0, 'filler', 'success', '{}' || repeat(' ', 80))`), { code: '53100' })
  })
  return {
    how: 'a tablespace without a free page',
    undo: () =>
      admin(async (sql) => {
        await sql.unsafe(`DELETE FROM audit WHERE action = 'filler'`)
        await sql.unsafe('ALTER TABLE audit SET TABLESPACE pg_default')
        await sql.unsafe('DROP TABLESPACE small')
        execFileSync('umount', [disk], { stdio: 'ignore' })
      }),
  }
}

async function refuseRows(): Promise<{ readonly how: string; undo(): Promise<void> }> {
  await admin(async (sql) => {
    await sql.unsafe(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '${FULL}' USING ERRCODE = '53100'; END $$`)
    await sql.unsafe('CREATE TRIGGER full_disk BEFORE INSERT ON audit EXECUTE FUNCTION full_disk()')
  })
  return { how: 'the error of a full disk for every row', undo: () => admin(async (sql) => void (await sql.unsafe('DROP FUNCTION full_disk CASCADE'))) }
}

fault({ id: 'X22', injected: 'the audit trail takes nothing: its disk is full (53100)', expected: 'issuance, revocation and calls fail closed, and nothing of them is in the database' }, async () => {
  const alice = all.client('x22')
  const bob = all.client('x22-code', { person: 'bob' })
  await alice.signIn(all.one)
  const code = await bob.authorize(all.two)
  const count = async (): Promise<string> => JSON.stringify([await all.query('SELECT count(*) AS n FROM refresh_tokens'), await all.query('SELECT count(*) AS n FROM grants WHERE revoked_at IS NULL'), await all.query('SELECT count(*) AS n FROM audit')])
  const { how, undo } = await fillDisk()
  const before = await count()
  assertLater(await alice.refresh(all.one))
  assertLater(await bob.exchange(all.one, code))
  assertLater(await alice.revoke(all.two))
  assertLater(await alice.call(all.two))
  await assert.rejects(alice.authorize(all.one), /503/)
  assert.equal(await count(), before)
  await undo()
  // The code was not burnt, and nobody was logged out.
  assert.equal((await bob.exchange(all.two, code)).outcome, 'done')
  await recovered(alice)
  return `${how}: refresh, code, revocation, call and consent 503, not one row changed; the same code and refresh token worked afterwards`
})

test('what the clients saw and what the database holds agree (I1 to I4), and no secret stands in the clear', async (t) => t.diagnostic(await all.verify()))
