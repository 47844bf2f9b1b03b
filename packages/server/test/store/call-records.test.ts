// What the store knows of calls that were recorded: who made them, and the groups that they had then.
import assert from 'node:assert/strict'
import { callRecords } from '../../src/store/call-records.ts'
import { identityStore } from '../../src/store/users.ts'
import { reapGroups } from '../../src/store/user-groups.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import { eachPair, EVENT, hashed, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const HOUR = 3600_000
const DAY = 24 * HOUR

const ALICE = { provider: 'corp', issuer: 'https://idp.example', subject: 'alice', tokens: { idToken: 'x' } }

function signIn(pair: StorePair, at: number, groups: readonly string[]) {
  const id = `ses_${at}`
  return identityStore(pair.one).signIn({
    newUserId: 'usr_alice',
    identity: { ...ALICE, groups },
    sealTokens: () => 'v1.k.tokens' as Sealed,
    session: { id, hash: hashed(id), provider: 'corp', authTime: at / 1000, expiresAt: at + DAY },
    now: at,
    events: () => [EVENT],
  })
}

async function called(pair: StorePair, at: number, subject: string): Promise<void> {
  const event = { action: 'call.allowed', outcome: 'success', subject, clientId: 'app', application: 'app', verified: true, upstream: 'notes', tool: 'read_note' }
  await pair.db.query('INSERT INTO audit (at, action, outcome, subject, client_id, event) VALUES ($1, $2, $3, $4, $5, $6)', [at, event.action, event.outcome, subject, 'app', JSON.stringify(event)])
}

async function groupsOf(pair: StorePair): Promise<readonly (readonly string[] | undefined)[]> {
  return (await callRecords(pair.two).calls(0, 100)).toReversed().map(({ groups }) => groups)
}

eachPair('a call has the groups that its person had when they made it, however they changed since', async (pair) => {
  await signIn(pair, NOW, ['engineering'])
  await called(pair, NOW + HOUR, 'usr_alice')
  // Nothing is written of what stays.
  await signIn(pair, NOW + 2 * HOUR, ['engineering'])
  assert.equal((await pair.db.query('SELECT since FROM user_groups')).length, 1)
  await identityStore(pair.two).updateUser('usr_alice', 'v1.k.tokens' as Sealed, { ...ALICE, groups: ['sales', 'it-admins'] }, 'v1.k.other' as Sealed, NOW + 3 * HOUR)
  await called(pair, NOW + 3 * HOUR, 'usr_alice')
  await signIn(pair, NOW + 4 * HOUR, ['engineering'])
  await called(pair, NOW + 5 * HOUR, 'usr_alice')
  assert.deepEqual(await groupsOf(pair), [['engineering'], ['sales', 'it-admins'], ['engineering']])
})

eachPair('where nobody wrote them down, today’s groups count, and of a stranger none are known', async (pair) => {
  await signIn(pair, NOW, ['engineering'])
  await called(pair, NOW - HOUR, 'usr_alice')
  await called(pair, NOW, 'machine:job')
  assert.deepEqual(await groupsOf(pair), [['engineering'], undefined])
})

eachPair('what nobody asks about any more goes, and what held at the beginning of that time stays', async (pair) => {
  for (const [days, group] of [[0, 'a'], [10, 'b'], [40, 'c'], [50, 'd']] as const) await signIn(pair, NOW + days * DAY, [group])
  await called(pair, NOW + 36 * DAY, 'usr_alice')
  await reapGroups(pair.db, NOW + 70 * DAY)
  const rows = await pair.db.query<{ groups: string }>('SELECT groups FROM user_groups ORDER BY since')
  assert.deepEqual(rows.map(({ groups }) => groups), ['["b"]', '["c"]', '["d"]'])
  assert.deepEqual(await groupsOf(pair), [['b']])
})
