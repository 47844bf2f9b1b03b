// The checker itself: good histories pass, and each kind of bad one is found.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { violations, type Entry, type FinalState } from './history.ts'

const BOUNDS = { revocationMs: 10_000, replayMs: 60_000 }
const base: Entry = { action: 'exchange', client: 'alice', node: 'one', startedAt: 0, endedAt: 10, outcome: 'done', presented: 'code', grant: 'g', jti: 'j0', access: 'a0', refresh: 'r0' }
const rotated: Entry = { ...base, action: 'refresh', startedAt: 100, endedAt: 110, presented: 'r0', jti: 'j1', access: 'a1', refresh: 'r1' }
const called: Entry = { action: 'call', client: 'alice', node: 'two', startedAt: 200, endedAt: 210, outcome: 'done', presented: 'a1', grant: 'g' }
const revoked: Entry = { action: 'revoke', client: 'alice', node: 'one', startedAt: 300, endedAt: 310, outcome: 'done', presented: 'r1', grant: 'g' }
const connected: Entry = { action: 'connect', client: 'alice', node: 'one', startedAt: 20, endedAt: 30, outcome: 'done', presented: 'alice tickets' }
const GOOD = [base, connected, rotated, called]
const STATE: FinalState = {
  grants: [{ id: 'g', revoked: false }],
  refreshTokens: [{ hash: 'r0', grant: 'g', used: true }, { hash: 'r1', grant: 'g', used: false }],
  connections: ['alice tickets'],
  audit: [{ action: 'token.issued', grant: 'g', jti: 'j0' }, { action: 'token.refreshed', grant: 'g', jti: 'j1' }, { action: 'connection.created', connection: 'alice tickets' }],
}
const ENDED: FinalState = { ...STATE, grants: [{ id: 'g', revoked: true }], refreshTokens: [], audit: [...STATE.audit, { action: 'token.revoked', grant: 'g' }] }

test('good histories hold: issued, rotated, repeated within the window, revoked', () => {
  assert.deepEqual(violations(GOOD, STATE, BOUNDS), [])
  const repeated = [{ ...rotated, outcome: 'unanswered' as const }, { ...rotated, node: 'two', startedAt: 50_000, endedAt: 50_010 }]
  assert.deepEqual(violations([base, ...repeated], STATE, BOUNDS), [])
  const afterwards = [{ ...called, startedAt: 900, endedAt: 910 }, { ...called, startedAt: 20_000, endedAt: 20_010, outcome: 'refused' as const }]
  assert.deepEqual(violations([...GOOD, revoked, ...afterwards], ENDED, BOUNDS), [])
})

const BAD: readonly [string, RegExp, readonly Entry[], FinalState][] = [
  ['I1: a call long after the revocation', /^I1: two accepted a call of g 10001 ms/, [...GOOD, revoked, { ...called, startedAt: 10_311, endedAt: 10_320 }], ENDED],
  ['I1: a refresh long after the revocation', /^I1: one accepted a refresh/, [base, connected, revoked, { ...rotated, startedAt: 11_000, endedAt: 11_001 }], ENDED],
  ['I2: two successors of one refresh token', /^I2: r0 was answered with r1 and with r2/, [...GOOD, { ...rotated, node: 'two', refresh: 'r2' }], { ...STATE, refreshTokens: [...STATE.refreshTokens, { hash: 'r2', grant: 'g', used: true }] }],
  ['I2: two answers to one code', /^I2: code was answered with r0 and with r9/, [...GOOD, { ...base, refresh: 'r9' }], { ...STATE, refreshTokens: [...STATE.refreshTokens, { hash: 'r9', grant: 'g', used: true }] }],
  ['I2: two live refresh tokens in the database', /^I2: grant g has 2 live/, GOOD, { ...STATE, refreshTokens: STATE.refreshTokens.map((token) => ({ ...token, used: false })) }],
  ['I2: a code that was answered twice, by the audit trail', /^I2: tokens were issued 2 times/, GOOD, { ...STATE, audit: [...STATE.audit, { action: 'token.issued', grant: 'g', jti: 'j8' }] }],
  ['I3: a current refresh token is refused', /^I3: alice was logged out by one, 10 ms/, [base, { ...rotated, outcome: 'refused' }], STATE],
  ['I3: a repeated one is refused within the window', /^I3: alice was logged out by two/, [base, { ...rotated, outcome: 'unanswered' }, { ...rotated, node: 'two', startedAt: 59_000, endedAt: 59_001, outcome: 'refused' }], STATE],
  ['I4: an acknowledged grant is gone', /^I4: one acknowledged a exchange of alice, and its grant/, [base], { ...STATE, grants: [] }],
  ['I4: an acknowledged refresh token is gone', /its refresh token is not in the database/, GOOD, { ...STATE, refreshTokens: STATE.refreshTokens.slice(0, 1) }],
  ['I4: an acknowledged refresh has no audit event', /acknowledged a refresh of alice, and its audit event/, GOOD, { ...STATE, audit: STATE.audit.filter(({ jti }) => jti !== 'j1') }],
  ['I4: an acknowledged revocation is gone', /its revocation is not/, [...GOOD, revoked], STATE],
  ['I4: an acknowledged revocation has no audit event', /acknowledged a revoke of alice, and its audit event/, [...GOOD, revoked], { ...ENDED, audit: STATE.audit }],
  ['I4: an acknowledged connection is gone', /its connection is not/, GOOD, { ...STATE, connections: [] }],
  ['I4: an acknowledged connection has no audit event', /acknowledged a connect of alice, and its audit event/, GOOD, { ...STATE, audit: STATE.audit.slice(0, 2) }],
]

for (const [title, expected, history, state] of BAD) {
  test(`bad histories are found: ${title}`, () => {
    const found = violations(history, state, BOUNDS)
    assert.ok(found.some((violation) => expected.test(violation)), found.join('\n'))
  })
}

test('refused within the window after the user ended the grant: nobody was logged out', () => {
  assert.deepEqual(violations([base, { ...rotated, outcome: 'refused' }, revoked], { ...ENDED }, BOUNDS), [])
})
