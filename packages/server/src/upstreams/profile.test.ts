import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Resource } from '../oauth/resource.ts'
import { isFor, isWithin, offers, reachOf } from './profile.ts'
import { isFreeForAdministrators, isProfileName, newOwnName } from './profile-name.ts'
import type { Profile, Upstream } from './upstream.ts'

const upstream = (id: string): Upstream => ({ id, name: id, url: `https://${id}.example/mcp`, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 })
const profile = (more: Partial<Profile> = {}): Profile => ({ id: 'p', name: 'P', upstreams: [upstream('notes'), upstream('tickets')], resource: 'https://lanyard.example/mcp/p' as Resource, ...more })
const alice = { id: 'usr_alice', groups: ['engineering'] }

test('a profile is for its owner alone, for its groups alone, or for everybody', () => {
  assert.equal(isFor(profile(), alice), true)
  assert.equal(isFor(profile({ owner: 'usr_alice' }), alice), true)
  assert.equal(isFor(profile({ owner: 'usr_bob' }), alice), false)
  assert.equal(isFor(profile({ groups: ['sales', 'engineering'] }), alice), true)
  assert.equal(isFor(profile({ groups: ['sales'] }), alice), false)
  assert.equal(isFor(profile({ groups: [] }), alice), false)
  assert.equal(isFor(profile({ owner: 'usr_alice', groups: ['sales'] }), alice), false)
})

test('of an upstream that names tools, a profile offers those, and nothing that is no tool', () => {
  const some = profile({ tools: { tickets: ['list_*', 'read_ticket'] } })
  assert.deepEqual(['list_tickets', 'read_ticket', 'delete_ticket', ''].map((tool) => offers(some, 'tickets', tool)), [true, true, false, false])
  assert.equal(offers(some, 'tickets'), false)
  assert.equal(offers(some, 'notes', 'delete_note'), true)
  assert.equal(offers(some, 'notes'), true)
  assert.equal(offers(profile(), 'tickets', 'delete_ticket'), true)
})

test('an upstream may be named like what every object has', () => {
  const odd = profile({ upstreams: [upstream('constructor'), upstream('notes')], tools: { notes: ['read_*'] } })
  assert.equal(offers(odd, 'constructor', 'a'), true)
  assert.deepEqual(reachOf(odd), ['constructor', 'notes read_*'])
  assert.equal(offers(profile({ upstreams: [upstream('constructor')], tools: { constructor: ['read_*'] } }), 'constructor', 'a'), false)
})

test('what was approved holds what is there now, unless it grew (D06)', () => {
  const reach = reachOf(profile({ tools: { tickets: ['list_*', 'read_ticket'] } }))
  assert.deepEqual(reach, ['notes', 'tickets list_*', 'tickets read_ticket'])
  assert.equal(isWithin(reach, reach), true)
  assert.equal(isWithin(reach, ['notes', 'tickets']), true)
  assert.equal(isWithin(['notes'], reach), true)
  assert.equal(isWithin([...reach, 'weather'], reach), false)
  assert.equal(isWithin(['notes', 'tickets'], reach), false)
  assert.equal(isWithin(['tickets *'], reach), false)
})

test('names of addresses: what is reserved is refused, and those of people are not guessed', () => {
  for (const id of ['everything', 'mcp', 'api', 'u-', 'u-abc', `u-${'a'.repeat(24)}`]) assert.equal(isFreeForAdministrators(id), false, id)
  for (const id of ['engineering', 'u', 'uu-a', 'everything-else']) assert.equal(isFreeForAdministrators(id), true, id)
  for (const id of ['', 'A', 'a b', '-a', 'a-', 'a/b', 'a.b', 'ä', 'a'.repeat(64)]) assert.equal(isProfileName(id), false, id)
  const made = new Set(Array.from({ length: 200 }, newOwnName))
  assert.equal(made.size, 200)
  for (const id of made) assert.ok(isProfileName(id) && /^u-[a-z2-7]{24}$/.test(id), id)
})
