import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { stateSealer } from '../../keys/seal.ts'
import type { Caller } from '../../token/verify.ts'
import type { Profile, Upstream } from '../../upstreams/upstream.ts'
import { McpError } from '../error.ts'
import type { Message } from '../message.ts'
import { openCursor, sealCursor } from './cursor.ts'
import { openRequestState, sealRequestState } from './request-state.ts'

const NOW = 1_800_000_000_000
const state = stateSealer([{ id: 'k1', key: randomBytes(32) }])
const deps = { state, now: () => NOW }
const later = { state, now: () => NOW + 3600_000 }

const caller = (userId = 'usr_alice', clientId = 'app'): Caller => ({ user: { id: userId }, clientId }) as Caller
const profile = (id = 'team'): Profile => ({ id }) as Profile
const upstream = (id = 'notes'): Upstream => ({ id }) as Upstream
const message = (method = 'tools/call', params: Message['params'] = { name: 'read', arguments: { a: 1, b: 2 } }): Message => ({ kind: 'request', method, id: 1, params, json: {} })

test('a cursor opens for who was given it, in its profile, for its list, within the hour, as what it was (H12)', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.string()), (given) => {
      const cursors = new Map(Object.entries(given))
      assert.deepEqual(openCursor(deps, { caller: caller(), profile: profile() }, 'tools', sealCursor(deps, { caller: caller(), profile: profile() }, 'tools', cursors)), cursors)
    }),
  )
  const sealed = sealCursor(deps, { caller: caller(), profile: profile() }, 'tools', new Map([['notes', 'secret-cursor']]))
  assert.doesNotMatch(sealed, /secret-cursor|notes/)
  assert.ok(openCursor(deps, { caller: caller(), profile: profile() }, 'tools', sealed))
  assert.equal(openCursor(deps, { caller: caller(), profile: profile() }, 'tools', undefined), undefined)
  const refused: [string, () => unknown][] = [
    ['another user', () => openCursor(deps, { caller: caller('usr_bob'), profile: profile() }, 'tools', sealed)],
    ['another client', () => openCursor(deps, { caller: caller('usr_alice', 'other'), profile: profile() }, 'tools', sealed)],
    ['another profile', () => openCursor(deps, { caller: caller(), profile: profile('other') }, 'tools', sealed)],
    ['another list', () => openCursor(deps, { caller: caller(), profile: profile() }, 'prompts', sealed)],
    ['too late', () => openCursor(later, { caller: caller(), profile: profile() }, 'tools', sealed)],
    ['the upstream’s own', () => openCursor(deps, { caller: caller(), profile: profile() }, 'tools', 'secret-cursor')],
    ['no text', () => openCursor(deps, { caller: caller(), profile: profile() }, 'tools', 7)],
    ['changed', () => openCursor(deps, { caller: caller(), profile: profile() }, 'tools', `${sealed.slice(0, -2)}AA`)],
    ['a requestState', () => openCursor(deps, { caller: caller(), profile: profile() }, 'tools', sealRequestState(deps, { caller: caller(), profile: profile(), upstream: upstream(), message: message() }, 'x'))],
  ]
  for (const [name, open] of refused) assert.throws(open, (error) => error instanceof McpError && error.code === 'invalid_params', name)
})

test('a requestState goes back to its upstream for the same request of the same user and client alone (RS-33, H12)', () => {
  const asking = { caller: caller(), profile: profile(), upstream: upstream(), message: message() }
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (own) => assert.equal(openRequestState(deps, asking, sealRequestState(deps, asking, own)), Buffer.from(own).toString())))
  const sealed = sealRequestState(deps, asking, 'own-state')
  assert.doesNotMatch(sealed, /own-state/)
  const again = message('tools/call', { name: 'read', arguments: { b: 2, a: 1 }, requestState: sealed, inputResponses: {} })
  assert.equal(openRequestState(deps, { ...asking, message: again }, sealed), 'own-state', 'the order of arguments means nothing, and what is added to a retry does not count')
  const refused: [string, Partial<typeof asking>, string][] = [
    ['another user', { caller: caller('usr_bob') }, sealed],
    ['another client', { caller: caller('usr_alice', 'other') }, sealed],
    ['another profile', { profile: profile('other') }, sealed],
    ['another upstream', { upstream: upstream('tickets') }, sealed],
    ['another tool', { message: message('tools/call', { name: 'write', arguments: { a: 1, b: 2 } }) }, sealed],
    ['other arguments', { message: message('tools/call', { name: 'read', arguments: { a: 1, b: 3 } }) }, sealed],
    ['another method', { message: message('prompts/get') }, sealed],
    ['the upstream’s own', {}, 'own-state'],
    ['without its prefix', {}, sealed.slice('upstream.'.length)],
    ['changed', {}, `${sealed.slice(0, -2)}AA`],
  ]
  for (const [name, other, given] of refused) assert.throws(() => openRequestState(deps, { ...asking, ...other }, given), (error) => error instanceof McpError && error.code === 'invalid_params', name)
  assert.throws(() => openRequestState(later, asking, sealed), McpError, 'too late')
})
