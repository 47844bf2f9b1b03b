// What two nodes know of the stored profiles: what is stored, a moment after it is; and nothing while they cannot tell.
import assert from 'node:assert/strict'
import type { Resource } from '../../src/oauth/resource.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { changeFeed, recordChange, type RunningFeed } from '../../src/store/changes.ts'
import type { Database } from '../../src/store/database.ts'
import { profileStore } from '../../src/store/profiles.ts'
import type { ProfileStore } from '../../src/upstreams/profile-store.ts'
import { profiles, type ProfileSettings } from '../../src/upstreams/profiles.ts'
import { storedProfiles, type LiveProfiles } from '../../src/upstreams/stored-profiles.ts'
import type { Profiles } from '../../src/upstreams/upstream.ts'
import { eachDatabase, type Handles } from '../support/databases.ts'
import { eventually } from '../support/eventually.ts'

const ISSUER = 'https://lanyard.example'
const AT = `${ISSUER}/mcp/team` as Resource
const TEAM: ProfileSettings = { id: 'team', name: 'Team', upstreams: ['notes'], groups: ['a'] }
const NOTES = { id: 'notes', name: 'Notes', url: 'https://notes.example/mcp', connector: { type: 'none' as const }, readOnlyTools: [], timeoutMs: 1000 }

interface Node {
  readonly store: ProfileStore
  readonly live: LiveProfiles
  readonly profiles: Profiles
  /** Set to let this node's next looks at one profile fail. */
  failing: boolean
}

async function nodeOf(db: Database, feeds: RunningFeed[]): Promise<Node> {
  const feed = await changeFeed(db, Date.now)
  feeds.push(feed)
  const store = profileStore({ db, audit: auditLog(db, () => undefined), changed: (tx, change) => recordChange(tx, change, (own) => feed.deliver(own)) })
  const reading = { all: () => store.all(), find: async (id: string) => (node.failing ? Promise.reject(new Error('the database is away')) : store.find(id)) }
  const live = await storedProfiles(reading, feed)
  const node: Node = { store, live, profiles: profiles(ISSUER, [NOTES], [], live), failing: false }
  return node
}

function eachTwo(name: string, run: (one: Node, two: Node) => Promise<void>): void {
  eachDatabase(name, async ([first, second]: Handles) => {
    const feeds: RunningFeed[] = []
    try {
      await run(await nodeOf(first, feeds), await nodeOf(second, feeds))
    } finally {
      for (const feed of feeds) feed.close()
    }
  })
}

eachTwo('a profile is there, is another one, and is gone, on every node', async (one, two) => {
  assert.equal(await one.store.add(TEAM, 5, 1), 'added')
  await one.live.settled('team')
  assert.equal(one.profiles.byResource(AT)?.name, 'Team')
  await eventually('the other node has it', () => two.profiles.byId('team') !== undefined)
  assert.equal(await two.store.change({ ...TEAM, name: 'Other', groups: ['b'], version: 1 }, undefined, 2), true)
  await eventually('the first node has the change', () => one.profiles.byId('team')?.name === 'Other')
  assert.deepEqual(one.profiles.byId('team')?.groups, ['b'])
  assert.equal(await one.store.remove(TEAM, AT, 3), true)
  await one.live.settled('team')
  assert.equal(one.profiles.byResource(AT), undefined)
  await eventually('the other node has it no more', () => two.profiles.byResource(AT) === undefined)
})

eachTwo('changes at once on both nodes: both end with what is stored', async (one, two) => {
  await one.store.add(TEAM, 5, 1)
  const change = async ({ store, live }: Node, name: string): Promise<void> => {
    for (let before = await store.find('team'); before !== undefined; before = await store.find('team')) {
      if (await store.change({ ...before, name }, undefined, 2)) break
    }
    await live.settled('team')
  }
  await Promise.all(Array.from({ length: 20 }, (_, index) => change(index % 2 === 0 ? one : two, `Team ${index}`)))
  const stored = await one.store.find('team')
  assert.equal(stored?.version, 21)
  for (const node of [one, two]) await eventually('this node knows it', () => (node.live.find('team')?.version ?? 0) === 21 && node.live.find('team')?.name === stored?.name)
})

eachTwo('a node that cannot read what became of a profile serves it no more, until it can', async (one, two) => {
  await one.store.add(TEAM, 5, 1)
  await eventually('the other node has it', () => two.profiles.byId('team') !== undefined)
  two.failing = true
  assert.equal(await one.store.change({ ...TEAM, groups: ['b'], version: 1 }, undefined, 2), true)
  await eventually('the other node serves it no more', () => two.profiles.byId('team') === undefined)
  await assert.rejects(two.live.settled('team'), /the database is away/)
  two.failing = false
  await eventually('the other node has it again', () => two.profiles.byId('team')?.groups?.join() === 'b')
})

eachTwo('a node that starts knows what is stored; reading all again makes up for what was missed', async (one, two) => {
  await one.store.add(TEAM, 5, 1)
  await one.store.add({ id: 'u-1', name: 'Mine', owner: 'usr_1', upstreams: ['notes'] }, 5, 1)
  const started = await storedProfiles(two.store, { subscribe: () => undefined })
  assert.deepEqual([...started.published()].map(({ id }) => id), ['team'])
  assert.deepEqual(started.ownedBy('usr_1').map(({ id }) => id), ['u-1'])
  assert.deepEqual(started.ownedBy('usr_2'), [])
  await one.store.remove(TEAM, AT, 2)
  assert.ok(started.find('team'))
  await started.reload()
  assert.equal(started.find('team'), undefined)
})
