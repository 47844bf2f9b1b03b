// A node is paused as a whole (SIGSTOP), which is also what a blocked event loop looks like from outside, and wakes up.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { fault, house, pause, until, type House } from './house.ts'

let all: House
before(async () => {
  all = await house({ config: { rules: [{ id: 'everything', effect: 'allow' }] } })
})
after(() => all.close())

fault({ id: 'X15, X16', injected: 'SIGSTOP for the node that holds the lease of an upstream refresh, past the end of the lease', expected: 'the other node refreshes, once; what the paused one learns when it wakes up is refused, and the connection stands' }, async () => {
  all.tickets.lifetime = 2
  const alice = all.client('x16', { profile: 'tickets' })
  await alice.signIn(all.one)
  await pause(2100)
  all.tickets.lifetime = 600
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  let asked = 0
  all.tickets.on.set('/token', async ({ form }) => {
    if (form.get('grant_type') !== 'refresh_token') return undefined
    asked += 1
    // The paused node's own request is looked at last: it brings a token that is dead by then.
    if (asked === 1) await released
    return undefined
  })
  const paused = alice.call(all.one)
  await until('the refresh is under way', () => asked === 1)
  const [node] = all.gateway.processes
  node?.signal('SIGSTOP')
  const pausedAt = Date.now()
  const callers = Array.from({ length: 20 }, () => alice.insist([all.two], (at) => alice.call(at)))
  for (const each of await Promise.all(callers)) assert.equal(each.outcome, 'done', each.text)
  const after = Date.now() - pausedAt
  assert.equal(asked, 2, 'one refresh by the other node')
  release()
  await pause(200)
  node?.signal('SIGCONT')
  await paused
  await until('the node is ready', () => fetch(`${all.one}/readyz`).then(({ status }) => status === 200, () => false))
  const [row] = await all.query<{ state: string }>('SELECT state FROM connections')
  assert.equal(row?.state, 'active')
  for (const at of all.nodes) assert.equal((await alice.call(at)).outcome, 'done')
  assert.equal(asked, 2)
  return `20 callers were answered by the other node ${(after / 1000).toFixed(0)} s after the pause began, with one refresh; the late answer of the paused node ended nothing`
})

fault({ id: 'X26', injected: 'a node stands still for 11 seconds while a grant is revoked at the other; a call with its token waits in the socket', expected: 'when it wakes up it does not accept the token, and is ready again by itself' }, async () => {
  const alice = all.client('x26')
  const bob = all.client('x26-stays', { person: 'bob' })
  await alice.signIn(all.one)
  await bob.signIn(all.one)
  assert.equal((await alice.call(all.one)).outcome, 'done')
  assert.equal((await bob.call(all.one)).outcome, 'done')
  const [node] = all.gateway.processes
  node?.signal('SIGSTOP')
  assert.equal((await alice.revoke(all.two)).outcome, 'done')
  await pause(500)
  const queued = Array.from({ length: 10 }, () => alice.call(all.one))
  await pause(10_500)
  node?.signal('SIGCONT')
  const outcomes = (await Promise.all(queued)).map(({ status }) => status)
  assert.ok(outcomes.every((status) => status === 401 || status === 503), String(outcomes))
  const ms = await until('the node is ready', () => fetch(`${all.one}/readyz`).then(({ status }) => status === 200, () => false))
  assert.equal((await alice.call(all.one)).outcome, 'refused')
  assert.equal((await bob.call(all.one)).outcome, 'done')
  return `10 calls that had waited: ${[...new Set(outcomes)].join(' and ')}, none accepted; ready ${ms} ms after it woke up; somebody else's token went on working`
})

test('what the clients saw and what the database holds agree (I1 to I4), and no secret stands in the clear', async (t) => t.diagnostic(await all.verify()))
