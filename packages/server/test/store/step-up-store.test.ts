// What the store of step-ups promises: what was asked is asked once, what was proven counts for one grant, and what a
// provider says again of a sign-in counts for that sign-in alone.
import assert from 'node:assert/strict'
import type { Resource } from '../../src/oauth/resource.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import { stepUpStore } from '../../src/store/step-ups.ts'
import { tokenStore } from '../../src/store/tokens.ts'
import { identityStore } from '../../src/store/users.ts'
import { eachPair, EVENT, hashed, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const SECONDS = NOW / 1000
const RESOURCE = 'https://lanyard.example/mcp/notes' as Resource
const KEY = { userId: 'usr_1', clientId: 'app', resource: RESOURCE }
const ASKED = { ...KEY, grantId: 'grt_1', requirement: { acrValues: ['urn:mfa'], maxAge: 300 }, scope: ['mcp.write'] }

async function addGrant(pair: StorePair, id: string, userId = 'usr_1', sessionId: string | null = null): Promise<void> {
  await pair.db.query(
    `INSERT INTO grants (id, user_id, client_id, resource, scope, auth_time, acr, session_id, created_at, last_used_at) VALUES ($1, $2, 'app', $3, 'mcp.read', $4, 'urn:pwd', $5, $4, $4)`,
    [id, userId, RESOURCE, SECONDS - 900, sessionId],
  )
}

const authentication = async (pair: StorePair, id: string) => {
  const { authTime, acr, amr, claims } = (await tokenStore(pair.two).findGrant(id))?.authorization ?? {}
  return { authTime, acr, amr, claims }
}

eachPair('what was asked is found while it is new, by whom it is for, and replaced by what is asked next', async (pair) => {
  const [store, other] = [stepUpStore(pair.one), stepUpStore(pair.two)]
  assert.equal(await store.ask(ASKED, NOW, NOW, EVENT), 'asked')
  assert.deepEqual(await other.findAsked(KEY, NOW - 1), ASKED)
  assert.equal(await other.findAsked(KEY, NOW), undefined)
  for (const another of [{ userId: 'usr_2' }, { clientId: 'other' }, { resource: 'https://lanyard.example/mcp/tickets' as Resource }]) assert.equal(await other.findAsked({ ...KEY, ...another }, NOW - 1), undefined)
  await other.ask({ ...ASKED, requirement: {}, scope: [] }, NOW + 1, NOW, EVENT)
  assert.deepEqual(await store.findAsked(KEY, NOW), { ...ASKED, requirement: {}, scope: [] })
  assert.deepEqual([await pair.count('step_ups'), await pair.actions()], [1, ['logout', 'logout']])
  await rollsBack(pair, (parts) => stepUpStore(parts).ask({ ...ASKED, userId: 'usr_9' }, NOW, NOW, EVENT))
})

eachPair('what the provider could not give is not asked again for a while; something else is (RFC 9470 §5)', async (pair) => {
  const store = stepUpStore(pair.one)
  await store.ask(ASKED, NOW, NOW)
  await store.markUnmet(KEY, NOW + 10)
  assert.equal(await store.findAsked(KEY, NOW - 1), undefined)
  assert.equal(await stepUpStore(pair.two).ask(ASKED, NOW + 20, NOW, EVENT), 'unmet')
  assert.equal(await store.ask({ ...ASKED, requirement: { acrValues: ['urn:pwd'] } }, NOW + 20, NOW), 'asked')
  await store.ask(ASKED, NOW + 20, NOW)
  await store.markUnmet(KEY, NOW + 30)
  assert.equal(await store.ask(ASKED, NOW + 40, NOW + 31), 'asked')
})

eachPair('of 20 refreshes at once after a challenge one is refused, and none without or long after one', async (pair) => {
  const store = stepUpStore(pair.one)
  assert.equal(await store.refuseRefresh('grt_1', NOW - 1, NOW), false)
  await store.ask(ASKED, NOW, NOW)
  assert.equal(await store.refuseRefresh('grt_2', NOW - 1, NOW), false)
  assert.equal(await store.refuseRefresh('grt_1', NOW, NOW + 60_000), false)
  const refused = await race(pair, (parts) => stepUpStore(parts).refuseRefresh('grt_1', NOW - 1, NOW + 5))
  assert.equal(refused.filter((each) => each).length, 1)
})

eachPair('what a person proves counts for that grant of theirs, on all nodes, and for no other', async (pair) => {
  for (const [id, user] of [['grt_1', 'usr_1'], ['grt_2', 'usr_1'], ['grt_3', 'usr_2']] as const) await addGrant(pair, id, user)
  const proven = { authTime: SECONDS, acr: 'urn:mfa', amr: ['otp'], claims: { device: 'managed' } }
  const store = stepUpStore(pair.one)
  assert.equal(await store.raise({ id: 'grt_3', userId: 'usr_1', sessionId: 'ses_1' }, proven, NOW, EVENT), false)
  assert.deepEqual([await pair.actions(), pair.changes], [[], []])
  assert.equal(await store.raise({ id: 'grt_1', userId: 'usr_1', sessionId: 'ses_1' }, proven, NOW, EVENT), true)
  assert.deepEqual(await authentication(pair, 'grt_1'), proven)
  for (const id of ['grt_2', 'grt_3']) assert.equal((await authentication(pair, id)).acr, 'urn:pwd')
  assert.deepEqual(pair.changes, [{ kind: 'authentication', key: 'grt_1', at: NOW }])
  await rollsBack(pair, (parts) => stepUpStore(parts).raise({ id: 'grt_2', userId: 'usr_1', sessionId: 'ses_1' }, proven, NOW, EVENT))
  await tokenStore(pair.one).revokeGrant('grt_1', SECONDS, [])
  assert.equal(await store.raise({ id: 'grt_1', userId: 'usr_1', sessionId: 'ses_1' }, proven, NOW, EVENT), false)
})

eachPair('OpenID Connect Core §12.2: what the provider says anew counts for that sign-in; older news is none, and what is left out stands', async (pair) => {
  const store = identityStore(pair.one)
  const identity = { provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups: [], tokens: { idToken: '' }, authTime: SECONDS, acr: 'urn:mfa', amr: ['otp'], claims: { device: 'managed' } }
  const user = await store.signIn({ newUserId: 'usr_1', identity, sealTokens: () => 'sealed' as Sealed, session: { hash: hashed('s'), id: 'ses_1', provider: 'corp', expiresAt: NOW + 1e9, authTime: SECONDS, acr: 'urn:mfa', amr: ['otp'], claims: { device: 'managed' } }, now: NOW, events: () => [] })
  assert.equal(user?.id, 'usr_1')
  await addGrant(pair, 'grt_1', 'usr_1', 'ses_1')
  await addGrant(pair, 'grt_2', 'usr_1', 'ses_0')
  const told = (more: object) => store.updateUser('usr_1', 'sealed' as Sealed, { provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups: [], tokens: { idToken: '' }, ...more }, 'sealed' as Sealed, NOW)
  const session = async () => {
    const { authTime, acr, claims } = (await store.useSession(hashed('s'), NOW, 1e9)) ?? {}
    return { authTime, acr, claims }
  }
  await told({ claims: { device: 'lost' } })
  assert.deepEqual(await session(), { authTime: SECONDS, acr: 'urn:mfa', claims: { device: 'lost' } })
  assert.deepEqual((await authentication(pair, 'grt_1')).claims, { device: 'lost' })
  assert.deepEqual((await authentication(pair, 'grt_2')).claims, undefined)
  await told({ authTime: SECONDS - 10, acr: 'urn:old', claims: { device: 'managed' } })
  assert.deepEqual(await session(), { authTime: SECONDS, acr: 'urn:mfa', claims: { device: 'lost' } })
  await told({ authTime: SECONDS + 10, acr: 'urn:hardware', claims: { device: 'managed' } })
  assert.deepEqual(await session(), { authTime: SECONDS + 10, acr: 'urn:hardware', claims: { device: 'managed' } })
  assert.deepEqual(await authentication(pair, 'grt_1'), { authTime: SECONDS + 10, acr: 'urn:hardware', amr: undefined, claims: { device: 'managed' } })
  // Nobody proved that the newer sign-in was as strong.
  await told({ authTime: SECONDS + 20, claims: { device: 'managed' } })
  assert.deepEqual(await session(), { authTime: SECONDS + 20, acr: undefined, claims: { device: 'managed' } })
})
