import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Resource } from '../oauth/resource.ts'
import { onlyProfile, profiles, type ProfileSettings } from './profiles.ts'
import type { Upstream } from './upstream.ts'

const ISSUER = 'https://lanyard.example'
const upstream = (id: string): Upstream => ({ id, name: id.toUpperCase(), url: `https://${id}.example/mcp`, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 1000 })
const notes = [upstream('notes')]
const upstreams = [...notes, upstream('tickets')]
const stored = (...all: readonly ProfileSettings[]) => ({ published: () => all.filter(({ owner }) => owner === undefined), find: (id: string) => all.find((profile) => profile.id === id) })

test('each upstream is a profile of its own, and each profile of one is one more', () => {
  const made = profiles(ISSUER, upstreams, [{ id: 'sales', name: 'Sales', upstreams: ['notes'] }])
  assert.deepEqual(['notes', 'tickets', 'sales'].map((id) => made.byId(id)).map((profile) => [profile?.id, profile?.name, profile?.resource, profile?.upstreams.map((member) => member.id)]), [
    ['notes', 'NOTES', 'https://lanyard.example/mcp/notes', ['notes']],
    ['tickets', 'TICKETS', 'https://lanyard.example/mcp/tickets', ['tickets']],
    ['sales', 'Sales', 'https://lanyard.example/mcp/sales', ['notes']],
  ])
  assert.equal(made.byResource('https://lanyard.example/mcp/sales' as Resource)?.id, 'sales')
})

test('all upstreams together are the profile at /mcp, and at no other address', () => {
  const made = profiles(ISSUER, notes, [])
  const everything = made.byResource('https://lanyard.example/mcp' as Resource)
  assert.deepEqual([everything?.id, everything?.resource, everything?.upstreams.map(({ id }) => id)], ['everything', 'https://lanyard.example/mcp', ['notes']])
  assert.equal(made.byId('everything'), everything)
  assert.equal(made.byResource('https://lanyard.example/mcp/everything' as Resource), undefined)
})

test('who names no resource means the only upstream, and nothing where there is a choice', () => {
  assert.equal(onlyProfile(profiles(ISSUER, notes, []))?.id, 'notes')
  assert.equal(onlyProfile(profiles(ISSUER, upstreams, [])), undefined)
  assert.equal(onlyProfile(profiles(ISSUER, notes, [{ id: 'sales', name: 'Sales', upstreams: ['notes'] }])), undefined)
  // What a person made for themselves is no choice of anybody else.
  assert.equal(onlyProfile(profiles(ISSUER, notes, [], stored({ id: 'u-1', name: 'Mine', owner: 'usr_1', upstreams: ['notes'] })))?.id, 'notes')
})

test('stored profiles are served as long as they are stored; what is declared stands before them', () => {
  let all: readonly ProfileSettings[] = []
  const made = profiles(ISSUER, notes, [], { published: () => all, find: (id) => stored(...all).find(id) })
  assert.equal(made.byId('team'), undefined)
  all = [{ id: 'team', name: 'Team', groups: ['a'], upstreams: ['notes', 'gone'] }, { id: 'notes', name: 'Shadow', upstreams: ['notes'] }, { id: 'empty', name: 'Empty', upstreams: ['gone'] }]
  assert.deepEqual(made.byId('team')?.groups, ['a'])
  assert.equal(made.byId('team'), made.byResource('https://lanyard.example/mcp/team' as Resource))
  assert.equal(made.byId('team'), made.byId('team'))
  assert.equal(made.byId('notes')?.name, 'NOTES')
  assert.equal(made.byId('empty'), undefined)
  assert.deepEqual(made.all().map(({ id }) => id).sort(), ['everything', 'notes', 'team'])
  all = []
  assert.equal(made.byResource('https://lanyard.example/mcp/team' as Resource), undefined)
})

test('nothing else is a profile: not another id, not another spelling of a resource (RFC 8707 §2)', () => {
  const made = profiles(ISSUER, upstreams, [])
  for (const id of ['', 'missing', 'Notes', '__proto__', 'constructor']) assert.equal(made.byId(id), undefined, id)
  for (const resource of ['https://lanyard.example/mcp/missing', 'https://lanyard.example', 'https://evil.example/mcp/notes', 'https://lanyard.example/mcp/notes/', 'https://lanyard.example/mcp/']) {
    assert.equal(made.byResource(resource as Resource), undefined, resource)
  }
})

test('a profile of several upstreams has them in its own order, each once; one of none that exists is not served', () => {
  const made = profiles(ISSUER, upstreams, [
    { id: 'all', name: 'All', upstreams: ['tickets', 'notes', 'tickets', 'missing'] },
    { id: 'none', name: 'None', upstreams: ['missing'] },
  ])
  assert.deepEqual(made.byId('all')?.upstreams.map(({ id }) => id), ['tickets', 'notes'])
  assert.deepEqual(made.byId('everything')?.upstreams.map(({ id }) => id), upstreams.map(({ id }) => id))
  assert.equal(made.byId('none'), undefined)
  assert.deepEqual(made.all().map(({ id }) => id), ['notes', 'tickets', 'all', 'everything'])
})
