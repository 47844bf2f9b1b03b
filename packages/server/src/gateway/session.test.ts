import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { stateSealer } from '../keys/seal.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Caller } from '../token/verify.ts'
import type { Profile } from '../upstreams/upstream.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'
import { sessions, upstreamSessionId } from './session.ts'

const key = { id: 'k1', key: randomBytes(32) }

function caller(userId: string, clientId = 'app'): Caller {
  const user = { id: userId, provider: 'corp', issuer: 'https://idp.example', subject: userId, groups: [], disabled: false }
  return { user, clientId, grantId: 'grt_1', scope: [], resource: 'https://lanyard.example/mcp/notes' as Resource, expiresAt: 0, issuedAt: 0, kid: 'k', authentication: {}, standing: { application: { id: 'app', verified: false }, required: false, holdChanged: false, decisions: [] } }
}

function profile(id: string): Profile {
  return { id, name: id, upstreams: [], resource: `https://lanyard.example/mcp/${id}` as Resource }
}

const upstream = { id: 'notes', name: 'Notes', url: 'https://notes.example', connector: { type: 'none' as const }, readOnlyTools: [], timeoutMs: 1000 }

function assertUnknown(open: () => unknown): void {
  assert.throws(open, (error) => error instanceof McpError && error.code === 'session_not_found' && error.status === 404)
}

test('a session opens for its owner, on every node with the key (RS-15)', () => {
  const state = { upstream: 'up-1', urlElicitation: true, initialize: { protocolVersion: '2025-11-25' } }
  const id = sessions(stateSealer([key]), () => 1000).seal(caller('alice'), profile('notes'), state)
  assert.match(id, /^[\x21-\x7e]+$/)
  const node = sessions(stateSealer([key]), () => 1000)
  for (let time = 0; time < 2; time += 1) assert.deepEqual(node.open(id, caller('alice'), profile('notes')), { ...state, id })
  const rotated = sessions(stateSealer([{ id: 'k2', key: randomBytes(32) }, key]), () => 1000)
  assert.equal(rotated.open(id, caller('alice'), profile('notes')).upstream, 'up-1')
})

test('another user, client or profile opens nothing, whoever opened it before (RS-42)', () => {
  const node = sessions(stateSealer([key]), () => 1000)
  const id = node.seal(caller('alice'), profile('notes'), { urlElicitation: false })
  const others = [[caller('anna'), 'notes'], [caller('alice', 'other'), 'notes'], [caller('alice'), 'weather'], [caller('app', 'alice'), 'notes']] as const
  for (const [who, where] of others) assertUnknown(() => node.open(id, who, profile(where)))
  assert.equal(node.open(id, caller('alice'), profile('notes')).id, id)
  for (const [who, where] of others) assertUnknown(() => node.open(id, who, profile(where)))
  assert.equal(node.open(id, caller('alice'), profile('notes')).id, id)
})

test('names that run together are not one owner', () => {
  const node = sessions(stateSealer([key]), () => 1000)
  const id = node.seal(caller('a\nb', 'c'), profile('notes'), { urlElicitation: false })
  assert.equal(node.open(id, caller('a\nb', 'c'), profile('notes')).id, id)
  assertUnknown(() => node.open(id, caller('a', 'b\nc'), profile('notes')))
})

test('a session that was changed in any place is unknown (RS-15, Z09)', () => {
  const node = sessions(stateSealer([key]), () => 1000)
  const id = node.seal(caller('alice'), profile('notes'), { urlElicitation: false, upstream: 'up' })
  for (let at = 0; at < id.length; at += 1) {
    const changed = `${id.slice(0, at)}${id[at] === 'A' ? 'B' : 'A'}${id.slice(at + 1)}`
    assertUnknown(() => node.open(changed, caller('alice'), profile('notes')))
  }
  for (const other of ['', '.', 'k1', 'k1.', `${id}A`, `${id}.`, id.slice(0, -1), `${id}=`, ` ${id}`, `k1.${'A'.repeat(9000)}`, '__proto__', 'constructor.x']) {
    assertUnknown(() => node.open(other, caller('alice'), profile('notes')))
  }
})

test('a session ends after a week, also where it is remembered (RS-15)', () => {
  let now = 1000
  const node = sessions(stateSealer([key]), () => now)
  const id = node.seal(caller('alice'), profile('notes'), { urlElicitation: false })
  node.open(id, caller('alice'), profile('notes'))
  now += 7 * 24 * 3600_000 - 1
  node.open(id, caller('alice'), profile('notes'))
  now += 1
  assertUnknown(() => node.open(id, caller('alice'), profile('notes')))
})

test('what is sealed for another purpose is no session', () => {
  const state = stateSealer([key])
  const node = sessions(state, () => 1000)
  assertUnknown(() => node.open(state.seal('mcp connect', ['notes', 'alice', 'app'], { urlElicitation: true, endsAt: 2000 }, 2000), caller('alice'), profile('notes')))
  assert.equal(node.open(state.seal('mcp session', ['notes', 'alice', 'app'], { urlElicitation: true, endsAt: 2000 }, 2000), caller('alice'), profile('notes')).urlElicitation, true)
})

test('an upstream’s identifier is visible ASCII and fits into ours (RS-41)', () => {
  const answer = (id: unknown): Answer => ({ status: 200, headers: { 'mcp-session-id': id as string }, consume: () => Promise.resolve(), pipe: () => Promise.resolve(), cancel: () => undefined })
  assert.equal(upstreamSessionId(answer('a!~'), upstream), 'a!~')
  assert.equal(upstreamSessionId(answer(undefined), upstream), undefined)
  for (const id of ['', 'a b', '\u00e9', 'x'.repeat(2049), ['a', 'b']]) {
    assert.throws(() => upstreamSessionId(answer(id), upstream), (error) => error instanceof McpError && error.status === 502)
  }
  const node = sessions(stateSealer([key]), () => 1000)
  const longest = node.seal(caller('alice'), profile('notes'), { urlElicitation: true, upstream: 'x'.repeat(2048), initialize: { clientInfo: '\u6f22'.repeat(682) } })
  assert.equal(node.open(longest, caller('alice'), profile('notes')).id, longest)
})
