// An upstream rotates a user's refresh token, and then something happens before it is stored.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Asked } from '../support/upstream-emulator.ts'
import type { Client, Tried } from './client.ts'
import { fault, house, pause, until, type House } from './house.ts'

let all: House
before(async () => {
  all = await house({ config: { rules: [{ id: 'everything', effect: 'allow' }] } })
})
after(() => all.close())

/** Refreshes that the upstream was asked for, by the refresh token that was used up. */
const refreshes = (): string[] => all.tickets.at('/token').filter(({ form }) => form.get('grant_type') === 'refresh_token').map(({ form }) => form.get('refresh_token') ?? '')
const subjectOf = (client: Client): string => (JSON.parse(Buffer.from(client.tokens?.access.split('.')[1] ?? '', 'base64url').toString('utf8')) as { sub: string }).sub

async function connected(name: string, person: string): Promise<Client> {
  const client = all.client(name, { person, profile: 'tickets' })
  const startedAt = Date.now()
  await client.signIn(all.one)
  all.history.push({ action: 'connect', client: name, node: all.one, startedAt, endedAt: Date.now(), outcome: 'done', presented: `${subjectOf(client)} tickets` })
  return client
}

const works = (tried: Tried): boolean => tried.outcome === 'done' && tried.text.includes('"ticket"')
const state = async (client: Client): Promise<{ state: string; version: number; lease: string | null }> => {
  const [row] = await all.query<{ state: string; version: number; lease: string | null }>('SELECT state, version, lease FROM connections WHERE user_id = $1', [subjectOf(client)])
  assert.ok(row)
  return row
}

/** Holds refreshes at the upstream, before it looks at them or after it rotated. */
function holding(when: (token: string) => 'before' | 'after' | 'never'): { readonly held: string[]; release(): void } {
  const held: string[] = []
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  all.tickets.on.set('/token', async (asked: Asked) => {
    const token = asked.form.get('refresh_token') ?? ''
    const place = asked.form.get('grant_type') === 'refresh_token' ? when(token) : 'never'
    if (place === 'never') return undefined
    const reply = place === 'after' ? all.tickets.behave(asked) : undefined
    held.push(token)
    await released
    return reply
  })
  return { held, release }
}

fault({ id: 'X13', injected: 'kill -9 in the middle of two upstream refreshes: of one, the upstream has rotated the token; of the other, not yet', expected: 'the second is refreshed by the other node as soon as the lease is over; for the first, the dead token is tried once, and the user connects again' }, async () => {
  all.tickets.lifetime = 2
  const [alice, bob] = await Promise.all([connected('x13-rotated', 'alice'), connected('x13-not-yet', 'bob')])
  const first = refreshes().length
  const order: string[] = []
  const { held, release } = holding((token) => (order.push(token), order.length === 1 ? 'after' : 'before'))
  await pause(2100)
  const lost = [alice.call(all.one)]
  await until('the first refresh is held', () => held.length === 1)
  lost.push(bob.call(all.one))
  await until('the second refresh is held', () => held.length === 2)
  const [node] = all.gateway.processes
  await node?.kill()
  const killedAt = Date.now()
  for (const each of await Promise.all(lost)) assert.equal(each.outcome, 'unanswered')
  all.tickets.on.delete('/token')
  all.tickets.lifetime = 600
  // The request of bob that the upstream never looked at went with its node.
  const waiting = await Promise.all([alice.call(all.two), bob.call(all.two)])
  for (const each of waiting) assert.notEqual(each.outcome, 'done')
  const back = await bob.insist([all.two], (at) => bob.call(at))
  const after = Date.now() - killedAt
  assert.ok(works(back), back.text)
  const asked = await alice.insist([all.two], async (at) => {
    const tried = await alice.call(at)
    return (await state(alice)).state === 'reconnect_needed' ? { ...tried, outcome: 'done' } : tried
  })
  assert.equal((await state(alice)).state, 'reconnect_needed', asked.text)
  release()
  await node?.start()
  await Promise.all([alice.call(all.one), alice.call(all.two)])
  const dead = order[0] ?? ''
  assert.equal(refreshes().slice(first).filter((token) => token === dead).length, 2, 'once by the node that died, once by the other')
  // The user is not logged out, and connects again in the same sitting.
  const again = await alice.authorize(all.two)
  assert.equal((await alice.exchange(all.two, again)).outcome, 'done')
  assert.ok(works(await alice.call(all.one)))
  return `refreshed by the other node ${(after / 1000).toFixed(0)} s after the kill; the dead token was tried once, and the account connected again without a sign-in`
})

fault({ id: 'X14', injected: 'the node loses its database for 4 seconds after the upstream rotated', expected: 'it holds the new token, nobody is answered with it before it is stored, and it is stored' }, async () => {
  all.tickets.lifetime = 2
  const dana = await connected('x14', 'dana')
  const before = await state(dana)
  await pause(2100)
  all.tickets.lifetime = 600
  const { held, release } = holding(() => 'after')
  const called = dana.call(all.one)
  await until('the refresh is held', () => held.length === 1)
  const [link] = all.links
  assert.ok(link)
  const { promise: back, resolve } = Promise.withResolvers<void>()
  link.gate = () => back
  release()
  await pause(4000)
  assert.equal((await state(dana)).version, before.version)
  link.gate = undefined
  resolve()
  await called
  const after = await dana.insist(all.nodes, (at) => dana.call(at))
  assert.ok(works(after), after.text)
  assert.equal((await state(dana)).version, before.version + 1)
  assert.equal(refreshes().filter((token) => token === held[0]).length, 1)
  return `stored when the database was back; one refresh upstream; the call that waited was answered with ${(await called).status}`
})

test('what the clients saw and what the database holds agree (I1 to I4), and no secret stands in the clear', async (t) => t.diagnostic(await all.verify()))
