// What the store of people, sign-ins and sessions promises.
import assert from 'node:assert/strict'
import type { LoginRecord, SignInEntry } from '../../src/identity/identity-store.ts'
import type { Identity } from '../../src/identity/user.ts'
import type { Sealed } from '../../src/oauth/secret.ts'
import { identityStore } from '../../src/store/users.ts'
import { changeFeed, cutoffs } from '../../src/store/changes.ts'
import { eachPair, EVENT, hashed, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const HOUR = 3600_000
const sealed = (text: string): Sealed => `v1.k.${text}` as Sealed

const ALICE: Identity = { provider: 'corp', issuer: 'https://idp.example', subject: 'alice', name: 'Alice', email: 'alice@example.com', groups: ['engineering'], tokens: { idToken: 'never stored in clear' } }

function entry(index: number | string, more: Partial<SignInEntry> = {}): SignInEntry {
  return {
    newUserId: `usr_${index}`,
    identity: ALICE,
    sealTokens: (userId) => sealed(`tokens of ${userId} ${index}`),
    session: { id: `ses_${index}`, hash: hashed(`session ${index}`), provider: 'corp', authTime: NOW / 1000, acr: 'urn:mfa', amr: ['pwd'], sid: 'idp-session', expiresAt: NOW + 24 * HOUR },
    now: NOW,
    events: () => [EVENT],
    ...more,
  }
}

async function signedIn(pair: StorePair, index: number | string = 1, more: Partial<SignInEntry> = {}): Promise<string> {
  const user = await identityStore(pair.one).signIn(entry(index, more))
  return user?.id ?? assert.fail('not signed in')
}

async function addGrant(pair: StorePair, id: string, userId: string): Promise<void> {
  await pair.db.query(`INSERT INTO grants (id, user_id, client_id, resource, scope, created_at, last_used_at) VALUES ($1, $2, 'app', 'r', 's', 1, 1)`, [id, userId])
}

const login: LoginRecord = { stateHash: hashed('state'), flowHash: hashed('flow'), provider: 'corp', secrets: sealed('nonce'), prompt: 'login', maxAge: 0, acrValues: 'urn:mfa', returnTo: sealed('/authorize?x'), startAgainAt: '/authorize', reference: 'r', expiresAt: NOW + 1000 }

eachPair('OpenID Connect Core §3.1.2.1: a sign-in under way is taken out by one of 20 callbacks, as it was, and never after its end', async (pair) => {
  const store = identityStore(pair.one)
  await store.addLogin(login)
  const taken = await race(pair, (parts) => identityStore(parts).takeLogin(hashed('state'), NOW))
  assert.deepEqual(taken.filter((each) => each !== undefined), [login])
  const { prompt: _p, maxAge: _m, acrValues: _a, ...plain } = login
  await store.addLogin(plain)
  assert.equal(await store.takeLogin(hashed('another'), NOW), undefined)
  assert.equal(await store.takeLogin(hashed('state'), NOW + 1000), undefined)
  assert.deepEqual(await store.takeLogin(hashed('state'), NOW + 999), plain)
})

eachPair('OpenID Connect Core §5.1: an address is verified by the person’s own sign-in alone, and only while their newest one says so', async (pair) => {
  const store = identityStore(pair.one)
  const { email: _email, ...nameless } = ALICE
  const verified = async (id: string): Promise<unknown> => (await identityStore(pair.two).findUser(id))?.emailVerified
  const id = await signedIn(pair, 1, { identity: nameless })
  // Somebody else tells an address: it is one, and nobody's word that it is theirs.
  await store.recognize({ person: { provider: 'corp', issuer: 'https://idp.example', subject: 'alice', email: 'alice@example.com' }, newUserId: 'usr_x', now: NOW })
  assert.deepEqual([(await store.findUser(id))?.email, await verified(id)], ['alice@example.com', undefined])
  await signedIn(pair, 2, { identity: { ...ALICE, emailVerified: true } })
  assert.equal(await verified(id), true)
  const claimed = await store.claimCheck(id, NOW + HOUR, { now: NOW + HOUR, until: NOW + HOUR })
  assert.ok(claimed)
  await store.updateUser(id, claimed, ALICE, claimed, NOW + HOUR)
  assert.equal(await verified(id), undefined)
  await signedIn(pair, 3, { identity: { ...nameless, emailVerified: true } })
  assert.equal(await verified(id), undefined, 'without an address there is nothing to verify')
})

eachPair('of what is told of groups the newest word counts: neither an old token nor a check that is late brings old ones back (AS-30)', async (pair) => {
  const person = { provider: 'corp', issuer: 'https://idp.example', subject: 'alice' }
  const told = await race(pair, (parts, index) => identityStore(parts).recognize({ person: { ...person, groups: [`group-${index}`], roles: [`role-${index}`], toldAt: NOW - 60_000 + index * 1000 }, newUserId: `usr_${index}`, now: NOW }))
  const id = told[0]?.id ?? ''
  assert.deepEqual([...new Set(told.map((user) => user.id))], [id])
  const known = async (): Promise<readonly unknown[]> => {
    const user = await identityStore(pair.two).findUser(id)
    return [user?.groups, user?.roles]
  }
  assert.deepEqual(await known(), [['group-19'], ['role-19']])
  // Their own sign-in is the newest; what is told of the future counts as told now.
  assert.equal(await signedIn(pair, 1), id)
  const store = identityStore(pair.one)
  const tell = (groups: readonly string[], toldAt: number, now = NOW) => store.recognize({ person: { ...person, groups, toldAt }, newUserId: 'usr_x', now })
  assert.deepEqual((await tell(['old'], NOW - 1000)).groups, ['engineering'])
  assert.deepEqual((await tell(['next'], NOW + HOUR)).groups, ['next'])
  assert.deepEqual((await tell(['later'], NOW + 1, NOW + 2)).groups, ['later'])
  // Who says nothing of groups changes none, and makes nothing newer.
  await store.recognize({ person: { ...person, email: 'alice@example.com' }, newUserId: 'usr_x', now: NOW + HOUR })
  const claimed = await store.claimCheck(id, NOW + HOUR, { now: NOW + HOUR, until: NOW + HOUR })
  assert.ok(claimed)
  await store.updateUser(id, claimed, ALICE, claimed, NOW + HOUR)
  assert.deepEqual((await tell(['old'], NOW + HOUR - 1, NOW + HOUR)).groups, ['engineering'])
  assert.deepEqual((await tell(['new'], NOW + HOUR, NOW + HOUR)).groups, ['new'])
})

eachPair('20 first sign-ins of one person at once make one user, with a session each', async (pair) => {
  const users = await race(pair, (parts, index) => identityStore(parts).signIn(entry(index)))
  const [first] = users
  assert.equal(new Set(users.map((user) => user?.id)).size, 1)
  assert.equal(await pair.count('users'), 1)
  assert.equal(await pair.count('sessions'), 20)
  assert.equal((await pair.actions()).length, 20)
  assert.deepEqual(await identityStore(pair.two).findUser(first?.id ?? ''), {
    id: first?.id, provider: 'corp', issuer: 'https://idp.example', subject: 'alice', name: 'Alice', email: 'alice@example.com', groups: ['engineering'], disabled: false,
  })
  assert.equal(await identityStore(pair.two).findUser('nobody'), undefined)
})

eachPair('a person is provider, issuer and subject; an e-mail address makes nobody the same (G12)', async (pair) => {
  const ids = [
    await signedIn(pair, 1),
    await signedIn(pair, 2, { identity: { ...ALICE, provider: 'other' } }),
    await signedIn(pair, 3, { identity: { ...ALICE, issuer: 'https://evil.example' } }),
    await signedIn(pair, 4, { identity: { ...ALICE, subject: 'Alice' } }),
  ]
  assert.equal(new Set(ids).size, 4)
  assert.equal(await signedIn(pair, 5, { identity: { provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups: [], tokens: ALICE.tokens } }), ids[0])
  const user = await identityStore(pair.two).findUser(ids[0] ?? '')
  assert.deepEqual([user?.name, user?.email, user?.groups], [undefined, undefined, []], 'what the provider says no more is gone')
})

eachPair('the next sign-in hears of the tokens of the last one, and ends the session that the browser had', async (pair) => {
  const heard: (Sealed | undefined)[] = []
  const sealTokens = (userId: string, before: Sealed | undefined): Sealed => (heard.push(before), sealed(`of ${userId}`))
  const userId = await signedIn(pair, 1, { sealTokens })
  await signedIn(pair, 2, { sealTokens, replaces: hashed('session 1') })
  assert.deepEqual(heard, [undefined, sealed(`of ${userId}`)])
  const store = identityStore(pair.two)
  assert.equal(await store.useSession(hashed('session 1'), NOW, HOUR), undefined)
  assert.equal((await store.useSession(hashed('session 2'), NOW, HOUR))?.userId, userId)
})

eachPair('a disabled person does not sign in: no session, no event, no tokens', async (pair) => {
  const userId = await signedIn(pair)
  await pair.db.query('UPDATE users SET disabled = 1')
  const sessions = await pair.count('sessions')
  const events = (await pair.actions()).length
  assert.equal(await identityStore(pair.one).signIn(entry(2)), undefined)
  assert.deepEqual([await pair.count('sessions'), (await pair.actions()).length], [sessions, events])
  assert.equal((await identityStore(pair.one).findUser(userId))?.disabled, true)
})

eachPair('a session lives until its end, and while it is used; using it is written once a minute', async (pair) => {
  const userId = await signedIn(pair)
  const store = identityStore(pair.two)
  const use = (now: number, idleMs = HOUR) => store.useSession(hashed('session 1'), now, idleMs)
  assert.deepEqual(await use(NOW + 1), { hash: hashed('session 1'), id: 'ses_1', userId, provider: 'corp', expiresAt: NOW + 24 * HOUR, authTime: NOW / 1000, acr: 'urn:mfa', amr: ['pwd'], sid: 'idp-session' })
  const lastUse = async () => (await pair.db.query<{ last_used_at: number }>('SELECT last_used_at FROM sessions'))[0]?.last_used_at
  await use(NOW + 60_000)
  assert.equal(await lastUse(), NOW)
  await use(NOW + 60_001)
  assert.equal(await lastUse(), NOW + 60_001)
  assert.equal(await use(NOW + 60_001 + HOUR), undefined, 'idle')
  assert.notEqual(await use(NOW + 60_000 + HOUR), undefined)
  assert.equal(await use(NOW + 24 * HOUR, 48 * HOUR), undefined, 'over')
  assert.equal(await store.useSession(hashed('another'), NOW, HOUR), undefined)
})

eachPair('of 20 that end a session at once one records it; the others of the person go on', async (pair) => {
  await signedIn(pair, 1)
  await signedIn(pair, 2)
  await race(pair, (parts) => identityStore(parts).endSession(hashed('session 1'), EVENT))
  assert.equal((await pair.actions()).length, 3)
  assert.equal(await identityStore(pair.two).useSession(hashed('session 1'), NOW, HOUR), undefined)
  assert.notEqual(await identityStore(pair.two).useSession(hashed('session 2'), NOW, HOUR), undefined)
})

eachPair('of 20 that would check a person at once one gets the tokens, and nobody until it is time again', async (pair) => {
  const userId = await signedIn(pair)
  const claim = (now: number) => identityStore(pair.two).claimCheck(userId, now - HOUR, { now, until: now })
  assert.equal(await claim(NOW + HOUR), undefined, 'the sign-in was the last check')
  const claimed = await race(pair, (parts) => identityStore(parts).claimCheck(userId, NOW + 1, { now: NOW + HOUR + 1, until: NOW + HOUR + 1 }))
  assert.deepEqual(claimed.filter((each) => each !== undefined), [sealed(`tokens of ${userId} 1`)])
  assert.equal(await claim(NOW + 2 * HOUR), undefined)
  assert.notEqual(await claim(NOW + 2 * HOUR + 2), undefined)
  assert.equal(await identityStore(pair.one).claimCheck('nobody', NOW, { now: NOW, until: NOW }), undefined)
})

eachPair('of 20 that would redeem the refresh token at once one has it until it is done, and no check begins meanwhile', async (pair) => {
  const userId = await signedIn(pair)
  const lease = { now: NOW + HOUR, until: NOW + HOUR + 30_000 }
  const leased = await race(pair, (parts) => identityStore(parts).leaseTokens(userId, lease))
  assert.deepEqual(leased.filter((each) => each !== undefined), [sealed(`tokens of ${userId} 1`)])
  const other = identityStore(pair.two)
  const check = (now: number) => other.claimCheck(userId, NOW + 1, { now, until: now + 30_000 })
  assert.equal(await check(NOW + HOUR + 1), undefined)
  // Whoever lost the lease releases nothing of the next holder's.
  await other.releaseTokens(userId, { now: NOW, until: NOW + 1 })
  assert.equal(await other.leaseTokens(userId, { now: NOW + HOUR + 1, until: NOW + 2 * HOUR }), undefined)
  await identityStore(pair.one).releaseTokens(userId, lease)
  assert.notEqual(await check(NOW + HOUR + 1), undefined)
  assert.equal(await other.leaseTokens(userId, { now: NOW + HOUR + 2, until: NOW + 2 * HOUR }), undefined, 'a check has the lease too')
  assert.notEqual(await other.leaseTokens(userId, { now: NOW + HOUR + 30_001, until: NOW + 2 * HOUR }), undefined, 'a holder that is gone loses it')
  assert.equal(await other.findTokens(userId), sealed(`tokens of ${userId} 1`))
})

eachPair('what a check brought counts unless the person signed in anew meanwhile', async (pair) => {
  const userId = await signedIn(pair)
  const store = identityStore(pair.one)
  const claimed = sealed(`tokens of ${userId} 1`)
  await store.updateUser(userId, claimed, { ...ALICE, groups: ['sales'] }, sealed('rotated'), NOW + 1)
  assert.deepEqual((await identityStore(pair.two).findUser(userId))?.groups, ['sales'])
  const swapped = await race(pair, (parts, index) => identityStore(parts).replaceTokens(userId, sealed('rotated'), sealed(`t${index}`)))
  assert.equal(swapped.filter(Boolean).length, 1)
  await signedIn(pair, 2)
  const before = await pair.snapshot()
  const announced = pair.changes.length
  await store.updateUser(userId, claimed, { ...ALICE, groups: ['admins'] }, sealed('x'), NOW + 2)
  assert.equal(await store.replaceTokens(userId, claimed, sealed('x')), false)
  assert.equal(await store.endCheck(userId, claimed, NOW + 2, EVENT), false)
  assert.deepEqual(await pair.snapshot(), before)
  assert.equal(pair.changes.length, announced)
})

eachPair('ASVS 7.4.2: ending a person ends every session, grant and token, on all nodes, and nobody else\'s', async (pair) => {
  const alice = await signedIn(pair, 1)
  await signedIn(pair, 2)
  const bob = await signedIn(pair, 3, { identity: { ...ALICE, subject: 'bob' } })
  for (const [id, userId] of [['a1', alice], ['a2', alice], ['b1', bob]] as const) await addGrant(pair, id, userId)
  const at = Date.now()
  await identityStore(pair.one).revokeSubject(alice, at, EVENT)
  assert.deepEqual((await pair.db.query<{ user_id: string }>('SELECT user_id FROM sessions')).map((row) => row.user_id), [bob])
  assert.deepEqual((await pair.db.query<{ id: string }>('SELECT id FROM grants WHERE revoked_at IS NULL')).map((row) => row.id), ['b1'])
  assert.equal(await identityStore(pair.two).claimCheck(alice, at + HOUR, { now: at, until: at }), undefined, 'the tokens of the identity provider are gone')
  assert.equal((await identityStore(pair.two).findUser(alice))?.subject, 'alice')
  const feed = await changeFeed(pair.two.db, Date.now)
  const ended = await cutoffs(pair.two.db, feed, { maxTokenLifetimeMs: 900_000, now: Date.now })
  const token = { clientId: 'app', kid: 'k', issuedAt: Math.floor(at / 1000) }
  assert.equal(ended.isCut({ ...token, userId: alice, grantId: 'a1' }), true)
  // Issued by a node whose clock runs ahead: the grant has ended, whatever time its tokens bear.
  assert.equal(ended.isCut({ ...token, userId: alice, grantId: 'a1', issuedAt: token.issuedAt + 30 }), true)
  assert.equal(ended.isCut({ ...token, userId: alice, grantId: 'a2', issuedAt: token.issuedAt + 30 }), true)
  assert.equal(ended.isCut({ ...token, userId: alice, grantId: 'made afterwards', issuedAt: token.issuedAt + 1 }), false)
  assert.equal(ended.isCut({ ...token, userId: bob, grantId: 'b1' }), false)
  feed.close()
})

eachPair('ending a check of 20 at once ends the person once', async (pair) => {
  const userId = await signedIn(pair)
  await addGrant(pair, 'g', userId)
  const ended = await race(pair, (parts) => identityStore(parts).endCheck(userId, sealed(`tokens of ${userId} 1`), NOW, EVENT))
  assert.equal(ended.filter(Boolean).length, 1)
  assert.deepEqual([await pair.count('sessions'), await pair.count('grants WHERE revoked_at IS NULL'), (await pair.actions()).length], [0, 0, 2])
})

eachPair('signing in and being ended at once: a session of before never survives', async (pair) => {
  const userId = await signedIn(pair, 'first')
  for (let round = 0; round < 6; round += 1) {
    await Promise.all([identityStore(pair.one).signIn(entry(round)), identityStore(pair.two).revokeSubject(userId, NOW, EVENT)])
    const [row] = await pair.db.query<{ tokens: string | null }>('SELECT tokens FROM users')
    assert.equal(await pair.count('sessions'), row?.tokens === null ? 0 : 1, 'tokens and session stand or fall together')
  }
})

eachPair('people: no change stays whose event cannot be written', async (pair) => {
  await rollsBack(pair, (parts) => identityStore(parts).signIn(entry(1)))
  const userId = await signedIn(pair)
  await addGrant(pair, 'g', userId)
  await rollsBack(pair, (parts) => identityStore(parts).signIn(entry(2, { replaces: hashed('session 1') })))
  await rollsBack(pair, (parts) => identityStore(parts).endSession(hashed('session 1'), EVENT))
  await rollsBack(pair, (parts) => identityStore(parts).revokeSubject(userId, NOW, EVENT))
  await rollsBack(pair, (parts) => identityStore(parts).endCheck(userId, sealed(`tokens of ${userId} 1`), NOW, EVENT))
})

eachPair('reap forgets sessions and sign-ins that are over, and nothing else', async (pair) => {
  await signedIn(pair)
  await identityStore(pair.one).addLogin(login)
  await identityStore(pair.one).reap(NOW + 1000)
  assert.deepEqual([await pair.count('sessions'), await pair.count('logins')], [1, 1])
  await identityStore(pair.one).reap(NOW + 1001)
  assert.deepEqual([await pair.count('sessions'), await pair.count('logins')], [1, 0])
  await identityStore(pair.one).reap(NOW + 24 * HOUR + 1)
  assert.deepEqual([await pair.count('sessions'), await pair.count('users')], [0, 1])
})
