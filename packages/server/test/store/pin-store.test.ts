// What the store of pinned definitions promises.
import assert from 'node:assert/strict'
import type { Pin, Sight, Tidings } from '../../src/gateway/pin-store.ts'
import { definitionOf } from '../../src/gateway/pinned-definition.ts'
import { pinStore } from '../../src/store/pins.ts'
import { eachPair, EVENT, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000

const NOTHING = (): Tidings => ({ events: [], notices: [] })
const recorded = (added: readonly Pin[]): Tidings => ({ events: added.map(() => EVENT), notices: [] })

function sight(name: string, description = 'first', refusal?: string): Sight {
  return { ...definitionOf({ name, description }), refusal }
}

async function states(pair: StorePair, tool: string): Promise<string[]> {
  return (await pair.db.query<{ state: string }>('SELECT state FROM tool_definitions WHERE tool = $1 ORDER BY seen_at, state', [tool])).map(({ state }) => state)
}

eachPair('the first definition of a tool is approved, every other one waits, a refused one is neither', async (pair) => {
  const [store, other] = [pinStore(pair.one), pinStore(pair.two)]
  const told: Pin[] = []
  const seen = [sight('b'), sight('a'), sight('a', 'second in one list'), sight('c', 'hidden', 'because'), sight('c')]
  const notice = { id: 'ntc_1', target: 'webhook', body: '{}', createdAt: NOW }
  const first = await store.see('notes', seen, NOW, (added) => {
    told.push(...added)
    return { events: [EVENT], notices: [notice] }
  })
  assert.equal(await pair.count('notices'), 1)
  assert.deepEqual(seen.map(({ hash }) => first.get(hash)), ['approved', 'approved', 'pending', 'refused', 'approved'])
  const again = await other.states('notes', [...seen.map(({ hash }) => hash), 'unknown'])
  assert.equal(again.size, seen.length)
  for (const { hash } of seen) assert.equal(again.get(hash), first.get(hash))
  assert.equal((await other.states('tickets', seen.map(({ hash }) => hash))).size, 0, 'of another upstream nothing is known')
  const words = told.map(({ tool, state, reason }) => `${tool} ${state} ${reason}`)
  assert.deepEqual(new Set(words), new Set(['a approved undefined', 'b approved undefined', 'c approved undefined', 'a pending description', 'c refused because']))
  assert.equal(words.length, 5)
  assert.deepEqual(pair.changes, [{ kind: 'pin', key: 'notes', at: NOW }])
  const before = await pair.snapshot()
  assert.deepEqual(await other.see('notes', seen, NOW + 1, recorded), first, 'what was seen before is not new')
  assert.deepEqual(await pair.snapshot(), before)
  const later = sight('b', 'later')
  assert.equal((await other.see('notes', [later], NOW + 2, NOTHING)).get(later.hash), 'pending')
  assert.equal((await store.find('notes', later.hash))?.reason, 'description')
})

eachPair('of 20 that see a tool at once, each with a definition of its own, one pins it', async (pair) => {
  const answers = await race(pair, (parts, index) => {
    const seen = [sight('x', `from ${index % 2 === 0 ? 'one' : 'the other'}`), sight('y'), sight(`own ${index}`)]
    return pinStore(parts).see('notes', index % 3 === 0 ? seen : seen.toReversed(), NOW, recorded).then((found) => seen.map(({ hash }) => found.get(hash)))
  })
  assert.ok(answers.every(([, y, own]) => y === 'approved' && own === 'approved'))
  assert.deepEqual(await states(pair, 'x'), ['approved', 'pending'])
  const [even, odd] = [new Set(answers.filter((_, index) => index % 2 === 0).map(([x]) => x)), new Set(answers.filter((_, index) => index % 2 === 1).map(([x]) => x))]
  assert.deepEqual(new Set([...even, ...odd]), new Set(['approved', 'pending']), 'all agree which one')
  assert.equal(even.size + odd.size, 2)
  assert.equal((await pair.actions()).length, 23, 'each is recorded once')
})

eachPair('an approval and its end are decided once, recorded, and told to all nodes', async (pair) => {
  const [store, other] = [pinStore(pair.one), pinStore(pair.two)]
  const [first, second, refused] = [sight('a'), sight('a', 'second'), sight('a', 'third', 'hidden')]
  await store.see('notes', [first, second, refused], NOW, NOTHING)
  pair.changes.splice(0)
  const decision = { upstream: 'notes', hashes: [second.hash, second.hash, refused.hash, first.hash, 'unknown'], state: 'approved', by: 'usr_dana', at: NOW + 1 } as const
  const [decided, ...more] = await other.decide(decision, (pins) => pins.map(() => EVENT))
  assert.deepEqual(decided, { upstream: 'notes', tool: 'a', hash: second.hash, state: 'approved', reason: 'description', seenAt: NOW, decidedAt: NOW + 1, decidedBy: 'usr_dana' })
  assert.equal(more.length, 0, 'what is refused or approved is not approved again')
  assert.deepEqual(pair.changes, [{ kind: 'pin', key: 'notes', at: NOW + 1 }])
  assert.deepEqual(await pair.actions(), ['logout'])
  assert.equal((await store.approvedBefore('notes', 'a', second.hash))?.hash, first.hash)
  assert.equal((await store.approvedBefore('notes', 'a', refused.hash))?.hash, second.hash, 'the last one')
  const unchanged = await pair.snapshot()
  assert.deepEqual(await other.decide({ ...decision, upstream: 'tickets' }, () => [EVENT]), [])
  assert.deepEqual(await pair.snapshot(), unchanged)
  assert.equal((await store.decide({ ...decision, hashes: [first.hash], state: 'pending', at: NOW + 2 }, () => [EVENT])).length, 1)
  assert.equal((await other.states('notes', [first.hash])).get(first.hash), 'pending')
  const again = await race(pair, (parts) => pinStore(parts).decide({ ...decision, hashes: [first.hash] }, () => [EVENT]))
  assert.equal(again.flat().length, 1)
  // A tool whose last approval was taken back is not pinned by whatever comes next.
  await store.decide({ ...decision, hashes: [first.hash, second.hash], state: 'pending' }, () => [])
  const fourth = sight('a', 'fourth')
  assert.equal((await other.see('notes', [fourth], NOW + 3, NOTHING)).get(fourth.hash), 'pending')
})

eachPair('of one tool the ten newest definitions wait, and those that were approved stay', async (pair) => {
  const store = pinStore(pair.one)
  for (let version = 0; version < 15; version += 1) await store.see('notes', [sight('a', `version ${version}`), sight('b', `version ${version}`, version % 2 === 0 ? 'hidden' : undefined)], NOW + version, NOTHING)
  const listed = await store.list({ upstream: 'notes', state: 'pending' })
  assert.deepEqual(listed.filter(({ tool }) => tool === 'a').map(({ seenAt }) => seenAt - NOW), [14, 13, 12, 11, 10, 9, 8, 7, 6, 5])
  assert.equal((await states(pair, 'a')).filter((state) => state === 'approved').length, 1)
  assert.equal((await states(pair, 'b')).length, 11)
  assert.deepEqual((await store.list({ state: 'approved' })).map(({ tool, seenAt }) => [tool, seenAt - NOW]), [['b', 1], ['a', 0]])
  assert.equal((await store.list({})).length, 22)
  assert.deepEqual(await store.list({ upstream: 'tickets' }), [])
  const [newest] = listed
  assert.deepEqual(JSON.parse((await store.find('notes', newest?.hash ?? ''))?.text ?? ''), { name: newest?.tool, description: 'version 14' })
  assert.equal(await store.find('tickets', newest?.hash ?? ''), undefined)
})

eachPair('an upstream with ten thousand tools gets no further one pinned', async (pair) => {
  const store = pinStore(pair.one)
  await pair.db.transaction(async (tx) => {
    for (let part = 0; part < 20; part += 1) {
      const names = Array.from({ length: 500 }, (_, index) => `('notes', 'tool ${part * 500 + index}', 1)`)
      await tx.query(`INSERT INTO pinned_tools (upstream, tool, seen_at) VALUES ${names.slice(0, part === 19 ? 499 : 500).join(', ')}`)
    }
  })
  const [last, late] = [sight('last'), sight('zlate')]
  const seen = await store.see('notes', [late, last], NOW, NOTHING)
  assert.deepEqual([seen.get(last.hash), seen.get(late.hash)], ['approved', 'pending'])
  assert.equal((await store.see('tickets', [late], NOW, NOTHING)).get(late.hash), 'approved')
})

eachPair('what cannot be recorded is not pinned and not decided', async (pair) => {
  await rollsBack(pair, (parts) => pinStore(parts).see('notes', [sight('a')], NOW, () => ({ events: [EVENT], notices: [] })))
  const pending = sight('a', 'second')
  await pinStore(pair.one).see('notes', [sight('a'), pending], NOW, NOTHING)
  await rollsBack(pair, (parts) => pinStore(parts).decide({ upstream: 'notes', hashes: [pending.hash], state: 'approved', by: 'usr_dana', at: NOW }, () => [EVENT]))
})

eachPair('names and texts of every kind come back as they were', async (pair) => {
  const store = pinStore(pair.one)
  for (const name of ['工具', "it's \"quoted\"", '%_\\', '\u{1f600}'.repeat(128)]) {
    const seen = { ...definitionOf({ name, description: '\u0000\ud800\u2028 \\u0000' }), refusal: undefined }
    await store.see('notes', [seen], NOW, NOTHING)
    const found = await store.find('notes', seen.hash)
    assert.equal(found?.tool, name)
    assert.equal(found?.text, seen.text)
  }
})
