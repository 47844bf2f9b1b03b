// The stored profiles: names are given out once, changes follow the version that was read, and what was granted for a
// profile that grew or went ends in the same transaction.
import assert from 'node:assert/strict'
import type { Resource } from '../../src/oauth/resource.ts'
import { profileStore } from '../../src/store/profiles.ts'
import type { ProfileSettings } from '../../src/upstreams/profiles.ts'
import { EVENT, eachPair, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_700_000_000_000
const TEAM: ProfileSettings = { id: 'team', name: 'Team', groups: ['a', 'b'], upstreams: ['notes', 'tickets'], tools: { tickets: ['list_*', 'read_ticket'] } }
const OWN: ProfileSettings = { id: 'u-1', name: 'Mine', owner: 'usr_1', upstreams: ['notes'] }
const AT = 'https://lanyard.example/mcp/team' as Resource

async function granted(pair: StorePair, id: string, resource: string, revoked: number | null = null): Promise<void> {
  await pair.db.query(`INSERT INTO grants (id, user_id, client_id, resource, scope, created_at, last_used_at, revoked_at) VALUES ($1, 'usr_1', 'app', $2, 's', 1, 1, $3)`, [id, resource, revoked])
}

async function live(pair: StorePair): Promise<readonly string[]> {
  return (await pair.db.query<{ id: string }>('SELECT id FROM grants WHERE revoked_at IS NULL ORDER BY id')).map((row) => row.id)
}

eachPair('a profile is read back as it was added, in the order of adding, by any node', async (pair) => {
  const [one, two] = [profileStore(pair.one), profileStore(pair.two)]
  assert.equal(await one.add(TEAM, 5, NOW + 1, EVENT), 'added')
  assert.equal(await two.add(OWN, 5, NOW, EVENT), 'added')
  assert.deepEqual(await two.find('team'), { ...TEAM, version: 1 })
  assert.deepEqual(await two.all(), [{ ...OWN, version: 1 }, { ...TEAM, version: 1 }])
  assert.equal(await one.find('other'), undefined)
  assert.deepEqual(pair.changes.map(({ kind, key }) => `${kind} ${key}`), ['profile team', 'profile u-1'])
})

eachPair('of 20 who want one name at once, one gets it', async (pair) => {
  const added = await race(pair, (parts, index) => profileStore(parts).add({ ...TEAM, name: `Team ${index}` }, 5, NOW, EVENT))
  assert.equal(added.filter((outcome) => outcome === 'added').length, 1)
  assert.deepEqual(new Set(added), new Set(['added', 'taken']))
  assert.deepEqual([await pair.count('profiles'), (await pair.actions()).length], [1, 1])
  assert.equal((await profileStore(pair.one).find('team'))?.name, `Team ${added.indexOf('added')}`)
})

eachPair('nobody has more of their own than they may, however many they add at once', async (pair) => {
  await pair.db.query(`INSERT INTO users (id, provider, issuer, subject, groups, disabled, checked_at, created_at) VALUES ('usr_1', 'corp', 'i', 's', '[]', 0, 1, 1)`)
  const added = await race(pair, (parts, index) => profileStore(parts).add({ ...OWN, id: `u-${index}` }, 3, NOW, EVENT))
  assert.equal(added.filter((outcome) => outcome === 'added').length, 3)
  assert.equal(await pair.count('profiles'), 3)
  assert.equal(await profileStore(pair.two).add({ ...OWN, id: 'u-x', owner: 'usr_2' }, 3, NOW), 'added')
  assert.equal(await profileStore(pair.two).add(TEAM, 3, NOW), 'added')
})

eachPair('of 20 changes that know one version, one is made', async (pair) => {
  const store = profileStore(pair.one)
  await store.add(TEAM, 5, NOW)
  const made = await race(pair, (parts, index) => profileStore(parts).change({ ...TEAM, version: 1, name: `Team ${index}` }, undefined, NOW, EVENT))
  assert.equal(made.filter(Boolean).length, 1)
  assert.deepEqual(await store.find('team'), { ...TEAM, name: `Team ${made.indexOf(true)}`, version: 2 })
  assert.equal((await pair.actions()).length, 1)
  // What is left out is gone.
  assert.equal(await store.change({ id: 'team', name: 'Bare', upstreams: ['notes'], version: 2 }, undefined, NOW), true)
  assert.deepEqual(await profileStore(pair.two).find('team'), { id: 'team', name: 'Bare', upstreams: ['notes'], version: 3 })
})

eachPair('E06: a profile of somebody else is neither changed nor removed', async (pair) => {
  const store = profileStore(pair.one)
  await store.add(OWN, 5, NOW)
  await store.add(TEAM, 5, NOW)
  for (const owner of [{ owner: 'usr_2' }, {}]) {
    assert.equal(await store.change({ id: 'u-1', name: 'Taken', upstreams: ['notes'], version: 1, ...owner }, undefined, NOW, EVENT), false)
    assert.equal(await store.remove({ id: 'u-1', ...owner }, AT, NOW, EVENT), false)
  }
  assert.equal(await store.remove({ id: 'team', owner: 'usr_1' }, AT, NOW, EVENT), false)
  assert.deepEqual([await pair.count('profiles'), await pair.actions()], [2, []])
  assert.equal(await store.change({ ...OWN, version: 1, name: 'Still mine' }, undefined, NOW, EVENT), true)
  assert.equal(await store.remove(OWN, AT, NOW, EVENT), true)
  assert.equal(await store.remove(TEAM, AT, NOW, EVENT), true)
  assert.equal(await pair.count('profiles'), 0)
})

eachPair('D06: with a profile that grew every grant for it ends, and with one that goes its consents too; others stay', async (pair) => {
  const store = profileStore(pair.one)
  await store.add(TEAM, 5, NOW)
  for (const [id, resource] of [['g1', AT], ['g2', AT], ['g3', 'https://lanyard.example/mcp/notes']] as const) await granted(pair, id, resource)
  await granted(pair, 'g4', AT, 7)
  const consent = `INSERT INTO consents (user_id, client_id, redirect_host, resource, scope, client_digest, granted_at, reach) VALUES ('usr_1', $1, 'h', $2, 's', 'd', 1, '[]')`
  for (const resource of [AT, 'https://lanyard.example/mcp/notes']) await pair.db.query(consent, ['app', resource])
  assert.equal(await store.change({ ...TEAM, version: 1, name: 'Same' }, undefined, NOW), true)
  assert.deepEqual(await live(pair), ['g1', 'g2', 'g3'])
  // A change that is not made ends nothing.
  assert.equal(await store.change({ ...TEAM, version: 1 }, AT, NOW), false)
  assert.deepEqual(await live(pair), ['g1', 'g2', 'g3'])
  pair.changes.length = 0
  assert.equal(await store.change({ ...TEAM, version: 2, upstreams: ['notes', 'tickets', 'mail'] }, AT, NOW, EVENT), true)
  assert.deepEqual(await live(pair), ['g3'])
  assert.deepEqual(pair.changes.map(({ kind, key }) => `${kind} ${key}`).sort(), ['grant g1', 'grant g2', 'profile team'])
  assert.equal(await pair.count('consents'), 2)
  await granted(pair, 'g5', AT)
  assert.equal(await store.remove(TEAM, AT, NOW, EVENT), true)
  assert.deepEqual(await live(pair), ['g3'])
  assert.equal(await pair.count('consents'), 1)
  assert.equal((await pair.db.query<{ revoked_at: number }>(`SELECT revoked_at FROM grants WHERE id = 'g4'`))[0]?.revoked_at, 7)
})

eachPair('a change whose events cannot be written leaves nothing behind', async (pair) => {
  await rollsBack(pair, (parts) => profileStore(parts).add(TEAM, 5, NOW, EVENT))
  await profileStore(pair.one).add(TEAM, 5, NOW)
  await granted(pair, 'g1', AT)
  await rollsBack(pair, (parts) => profileStore(parts).change({ ...TEAM, version: 1 }, AT, NOW, EVENT))
  await rollsBack(pair, (parts) => profileStore(parts).remove(TEAM, AT, NOW, EVENT))
})
