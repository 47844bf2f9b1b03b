// A node is killed between two of its steps: what was done is done once, and whoever repeats the request goes on.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { freezeAfter } from '../support/tcp-proxy.ts'
import type { Client, Tried } from './client.ts'
import { fault, house, pause, type House } from './house.ts'

let all: House
before(async () => {
  all = await house()
})
after(() => all.close())

fault({ id: 'X12', injected: 'kill -9 after the rotation was committed and before the answer', expected: 'the repeated request gets the same successor, from the other node and from the restarted one' }, async () => {
  const alice = all.client('x12')
  const before = await alice.signIn(all.one)
  const [node] = all.gateway.processes
  const [link] = all.links
  assert.ok(node && link)
  const { hash } = await import('../../src/oauth/secret.ts')
  const { promise: committed, resolve } = Promise.withResolvers<void>()
  // No answer passes any more as soon as the database itself has the rotation: the node does not know of it.
  link.gate = async (_, direction) => {
    if (direction !== 'answer') return
    const rows = await all.query('SELECT hash FROM refresh_tokens WHERE hash = $1 AND used_at IS NOT NULL', [hash(before.refresh)])
    if (rows.length === 0) return
    resolve()
    await new Promise(() => undefined)
  }
  const first = alice.refresh(all.one)
  await Promise.race([committed, pause(10_000)])
  await node.kill()
  assert.equal((await first).outcome, 'unanswered')
  const second = await alice.refresh(all.two)
  assert.equal(second.outcome, 'done', second.text)
  const successor = alice.tokens
  link.gate = undefined
  await node.start()
  alice.tokens = before
  const third = await alice.refresh(all.one)
  assert.equal(third.outcome, 'done', third.text)
  assert.deepEqual(alice.tokens, successor)
  assert.equal((await alice.call(all.one)).outcome, 'done')
  assert.equal((await alice.refresh(all.two)).outcome, 'done')
  return `the other node and the restarted one gave one and the same successor, after ${second.ms} and ${third.ms} ms`
})

fault({ id: 'X12', injected: 'kill -9 at every point of a code exchange: the node’s link to its database stands still after the k-th piece of data, for every k', expected: 'the code works when it is presented again, or it was used and its grant has ended; nothing is issued twice; the person signs in nowhere again' }, async () => {
  const alice = all.client('code')
  await alice.signIn(all.one)
  const seen = { worked: 0, ended: 0 }
  let restarting: Promise<void> = Promise.resolve()
  // One answer may be whole because a point was reached by something else: three in a row are behind the last point.
  for (let pieces = 0, whole = 0; whole < 3; pieces += 1) {
    const code = await alice.authorize(all.two)
    await restarting
    if (!(await killedDuring(() => alice.exchange(all.one, code), pieces))) {
      whole += 1
      continue
    }
    whole = 0
    restarting = all.gateway.processes[0]?.start() ?? Promise.resolve()
    restarting.catch(() => undefined)
    const again = await alice.exchange(all.two, code)
    await requireConsistent(alice, again.outcome, all.two)
    seen[again.outcome === 'done' ? 'worked' : 'ended'] += 1
    assert.ok(pieces < 200)
  }
  assert.ok(seen.worked > 0 && seen.ended > 0, JSON.stringify(seen))
  // Each of those codes came without another sign-in: the browser's session outlived every kill.
  assert.equal(alice.browser.visited.filter((url) => url.includes('/interaction/')).length, 2)
  return `${seen.worked + seen.ended} points: at ${seen.worked} the code worked again, at ${seen.ended} it had been used and its grant ended; one sign-in in all`
})

/** Lets so many pieces of data through to and from the database of the first node, then kills it. @returns whether the work came that far */
async function killedDuring(work: () => Promise<Tried>, pieces: number): Promise<boolean> {
  const [link] = all.links
  const [node] = all.gateway.processes
  assert.ok(link && node)
  const freeze = freezeAfter(link, pieces)
  const tried = work()
  const isReached = await Promise.race([freeze.reached.then(() => true), tried.then(() => false)])
  // The point may have been reached by something else: then the answer came all the same.
  const isAnswered = await Promise.race([tried.then(() => true), pause(isReached ? 30 : 0).then(() => false)])
  if (isReached) await node.kill()
  link.gate = undefined
  const { outcome } = await tried
  if (!isReached || isAnswered) assert.equal(outcome, 'done')
  if (isReached && isAnswered) await node.start()
  return isReached && !isAnswered
}

async function requireConsistent(alice: Client, outcome: string, node: string): Promise<void> {
  const [grant] = await all.query<{ id: string; revoked_at: number | null }>('SELECT id, revoked_at FROM grants ORDER BY created_at DESC, last_used_at DESC, revoked_at DESC NULLS FIRST')
  const live = await all.query('SELECT g.id FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id WHERE r.used_at IS NULL AND g.revoked_at IS NOT NULL')
  assert.deepEqual(live, [], 'a grant that has ended has no live refresh token')
  assert.ok(grant)
  if (outcome === 'done') {
    assert.equal((await alice.call(node)).outcome, 'done')
    assert.equal((await alice.refresh(node)).outcome, 'done')
    assert.equal((await all.query('SELECT hash FROM refresh_tokens WHERE grant_id = $1 AND used_at IS NULL', [alice.tokens?.grant ?? ''])).length, 1)
  } else {
    assert.equal(outcome, 'refused')
  }
}

fault({ id: 'X12', injected: 'kill -9 at every point of a refresh, in the same way', expected: 'the repeated request is answered by the other node, every time' }, async () => {
  const alice = all.client('refresh')
  await alice.signIn(all.two)
  let points = 0
  let restarting: Promise<void> = Promise.resolve()
  for (; ; points += 1) {
    await restarting
    const before = alice.tokens
    if (!(await killedDuring(() => alice.refresh(all.one), points))) break
    restarting = all.gateway.processes[0]?.start() ?? Promise.resolve()
    restarting.catch(() => undefined)
    const again = await alice.refresh(all.two)
    assert.equal(again.outcome, 'done', `${points}: ${again.text}`)
    assert.notEqual(alice.tokens?.refresh, before?.refresh)
    assert.equal((await alice.call(all.two)).outcome, 'done')
    assert.ok(points < 200)
  }
  assert.ok(points > 5)
  await restarting
  return `${points} points, and ${points} times the other node gave the one successor`
})

fault({ id: 'X32', injected: 'two nodes, one, two again, eight times over by kill -9, without affinity, while a client works', expected: 'no refresh fails that is repeated; no call fails on a node that is up' }, async () => {
  const alice = all.client('flapping')
  const mallory = all.client('revoked while flapping', { person: 'bob' })
  await alice.signIn(all.one)
  await mallory.signIn(all.two)
  const over = new AbortController()
  let tries = 0
  const work = async (): Promise<number> => {
    let done = 0
    while (!over.signal.aborted) {
      const order = done % 2 === 0 ? all.nodes : all.nodes.toReversed()
      const refreshed = await alice.insist(order, (node) => ((tries += 1), alice.refresh(node)))
      assert.equal(refreshed.outcome, 'done', refreshed.text)
      assert.equal((await alice.insist(order, (node) => alice.call(node))).outcome, 'done')
      done += 1
      await pause(20)
    }
    return done
  }
  const working = work()
  working.catch(() => undefined)
  for (let turn = 0; turn < 8; turn += 1) {
    const node = all.gateway.processes[turn % 2]
    await pause(150 + turn * 30)
    await node?.kill()
    if (turn === 3) assert.equal((await mallory.insist(all.nodes, (at) => mallory.revoke(at))).outcome, 'done')
    await node?.start()
  }
  over.abort()
  const done = await working
  for (const node of all.nodes) assert.equal((await mallory.call(node)).outcome, 'refused')
  assert.ok(tries > done, 'no request met a node that was down')
  return `${done} refreshes and calls, ${tries - done} of them repeated, none failed; what was revoked meanwhile stayed revoked`
})

test('what the clients saw and what the database holds agree (I1 to I4), and no secret stands in the clear', async (t) => t.diagnostic(await all.verify()))
