// What the store of authorization requests, consents and grants promises.
import assert from 'node:assert/strict'
import type { CodeRecord } from '../../src/authorize/authorization.ts'
import type { Consent, GrantSummary, PendingRequest } from '../../src/authorize/authorize-store.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import type { RedirectUri } from '../../src/oauth/redirect-uri.ts'
import type { Resource } from '../../src/oauth/resource.ts'
import { authorizeStore } from '../../src/store/authorize.ts'
import { tokenStore } from '../../src/store/tokens.ts'
import { identityStore } from '../../src/store/users.ts'
import { eachPair as eachEmptyPair, EVENT, hashed, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const RESOURCE = 'https://lanyard.example/mcp/notes' as Resource
const CALLBACK = 'https://app.example/cb' as RedirectUri

const SESSION = 'session of usr_1'

async function signIn(pair: StorePair, userId: string): Promise<void> {
  await pair.db.query(`INSERT INTO sessions (hash, id, user_id, provider, last_used_at, expires_at) VALUES ($1, $1, $2, 'corp', $3, $3)`, [`session of ${userId}`, userId, NOW])
}

/** Two people are signed in. */
function eachPair(name: string, run: (pair: StorePair) => Promise<void>): void {
  eachEmptyPair(name, async (pair) => {
    for (const userId of ['usr_1', 'usr_2']) await signIn(pair, userId)
    await run(pair)
  })
}

function pending(id: string, more: Partial<PendingRequest> = {}): PendingRequest {
  return {
    id,
    flowHash: hashed('flow'),
    request: { clientId: 'app', redirectUri: CALLBACK, state: 's', codeChallenge: 'c', resource: RESOURCE, scope: ['mcp.read'], prompt: ['consent'], maxAge: 60, acrValues: 'urn:mfa', loginHint: 'alice' },
    progress: {},
    reference: 'r',
    createdAt: NOW,
    expiresAt: NOW + 1000,
    ...more,
  }
}

function code(grantId: string, more: Partial<CodeRecord['authorization']> = {}): CodeRecord {
  return {
    hash: hashed(`code of ${grantId}`),
    authorization: { id: grantId, userId: 'usr_1', clientId: 'app', resource: RESOURCE, scope: ['mcp.read', 'mcp.write'], reach: ['notes', 'tickets read_*'], authTime: 5, acr: 'urn:mfa', amr: ['pwd'], ...more },
    redirectUri: CALLBACK,
    codeChallenge: 'c',
    expiresAt: NOW / 1000 + 60,
  }
}

const consent: Consent = { userId: 'usr_1', clientId: 'app', redirectHost: 'app.example', resource: RESOURCE, scope: ['mcp.read'], clientDigest: 'd1', reach: ['notes', 'tickets read_*'] }
const ended = (grant: GrantSummary): AuditEvent => ({ action: 'consent.revoked', outcome: 'success', grantId: grant.id })

async function granted(pair: StorePair, grantId: string, more: Partial<CodeRecord['authorization']> = {}): Promise<void> {
  const store = authorizeStore(pair.one)
  await store.addRequest(pending(`request of ${grantId}`), 100)
  assert.equal(await store.grantAuthorization(`request of ${grantId}`, `session of ${more.userId ?? 'usr_1'}`, code(grantId, more), NOW, EVENT), true)
}

eachPair('a request is read back as it was, with its progress, until it expires', async (pair) => {
  const [store, other] = [authorizeStore(pair.one), authorizeStore(pair.two)]
  await store.addRequest(pending('one'), 5, EVENT)
  assert.deepEqual(await other.findRequest('one', NOW + 999), pending('one'))
  assert.equal(await other.findRequest('one', NOW + 1000), undefined)
  assert.equal(await other.findRequest('two', NOW), undefined)
  const progress = { signInStartedAt: NOW, signInProof: hashed('proof'), signedInBy: 'ses_1', consentedBy: 'ses_1', skipped: ['tickets'], unconnected: { weather: 'failed' } as const }
  await other.updateProgress('one', progress)
  assert.deepEqual(await store.findRequest('one', NOW), pending('one', { progress }))
})

eachPair('of one browser\'s requests the newest stay, of 20 added at once as well; another browser loses none', async (pair) => {
  await authorizeStore(pair.one).addRequest(pending('other', { flowHash: hashed('other flow'), createdAt: NOW - 100 }), 5)
  await race(pair, (parts, index) => authorizeStore(parts).addRequest(pending(`r${index}`, { createdAt: NOW + index }), 5))
  await authorizeStore(pair.two).addRequest(pending('newest', { createdAt: NOW + 100 }), 5)
  const left = (await pair.db.query<{ id: string }>('SELECT id FROM authorization_requests ORDER BY created_at DESC')).map((row) => row.id)
  assert.deepEqual(left, ['newest', 'r19', 'r18', 'r17', 'r16', 'other'])
})

eachPair('a request ends without a code once, and is recorded once', async (pair) => {
  await authorizeStore(pair.one).addRequest(pending('one'), 5)
  const done = await race(pair, (parts) => authorizeStore(parts).endRequest('one', EVENT))
  assert.equal(done.filter(Boolean).length, 1)
  assert.equal((await pair.actions()).length, 1)
  assert.equal(await authorizeStore(pair.two).grantAuthorization('one', SESSION, code('g'), NOW, EVENT), false)
  assert.equal(await pair.count('grants'), 0)
})

eachPair('RFC 6749 §4.1.2: of 20 answers to one request one makes a grant with its code', async (pair) => {
  await authorizeStore(pair.one).addRequest(pending('one'), 5)
  const made = await race(pair, (parts, index) => authorizeStore(parts).grantAuthorization('one', SESSION, code(`g${index}`), NOW + 1999, EVENT))
  assert.equal(made.filter(Boolean).length, 1)
  assert.deepEqual([await pair.count('grants'), await pair.count('codes'), await pair.count('authorization_requests'), (await pair.actions()).length], [1, 1, 0, 1])
  const id = `g${made.indexOf(true)}`
  assert.deepEqual(await tokenStore(pair.two).findCode(hashed(`code of ${id}`)), { ...code(id), consumed: false, grantedAt: NOW / 1000 + 1 })
})

eachPair('a registration is one that is used from its first grant on', async (pair) => {
  const store = authorizeStore(pair.one)
  const lastUsed = async (): Promise<unknown> => (await pair.db.query('SELECT last_used_at FROM clients'))[0]?.['last_used_at']
  await pair.db.query(`INSERT INTO clients (id, application, fingerprint, metadata, registration_token_hash, address, created_at) VALUES ('app', 'app', 'f', '{}', 'h', 'a', $1)`, [NOW - 1000])
  await store.addRequest(pending('denied'), 5)
  await store.endRequest('denied', EVENT)
  assert.equal(await lastUsed(), null)
  await granted(pair, 'g1')
  assert.equal(await lastUsed(), NOW)
})

eachPair('denying and approving at once: one of them', async (pair) => {
  for (let round = 0; round < 6; round += 1) {
    await authorizeStore(pair.one).addRequest(pending(`r${round}`), 50)
    const answers = await Promise.all([authorizeStore(pair.one).endRequest(`r${round}`, EVENT), authorizeStore(pair.two).grantAuthorization(`r${round}`, SESSION, code(`g${round}`), NOW, EVENT)])
    assert.equal(answers.filter(Boolean).length, 1)
    assert.equal(await tokenStore(pair.one).findGrant(`g${round}`) !== undefined, answers[1])
  }
})

eachPair('a person’s access is ended and a code issued at once: whichever is first, nothing of it is left', async (pair) => {
  const answers = new Set<boolean>()
  for (let round = 0; round < 12; round += 1) {
    await authorizeStore(pair.one).addRequest(pending(`r${round}`), 50)
    const issue = () => authorizeStore(pair.one).grantAuthorization(`r${round}`, SESSION, code(`g${round}`), NOW, EVENT)
    const end = () => identityStore(pair.two).revokeSubject('usr_1', NOW - 5000, EVENT)
    const atOnce = round % 2 === 0
    const made = atOnce ? issue() : end().then(issue)
    if (atOnce) await end()
    answers.add(await made)
    assert.equal(await pair.count('grants WHERE revoked_at IS NULL'), 0)
    assert.equal(await tokenStore(pair.one).consumeCode({ hash: hashed(`code of g${round}`), grantId: `g${round}`, at: 1 }, []), 'ended')
    await signIn(pair, 'usr_1')
  }
  assert.ok(answers.has(false), 'without a session there is no code')
  // The request is still there for whoever signs in again; another person's session is not theirs.
  assert.equal(await authorizeStore(pair.two).grantAuthorization('r1', 'session of usr_2', code('g1'), NOW, EVENT), false)
  assert.equal(await authorizeStore(pair.two).grantAuthorization('r1', SESSION, code('g1'), NOW, EVENT), true)
})

eachPair('a consent is of one person, client, host and resource; the newest counts, with the progress of its request', async (pair) => {
  const store = authorizeStore(pair.one)
  await store.addRequest(pending('one'), 5)
  await store.addConsent(consent, 'one', { consentedBy: 'ses_1' }, NOW, EVENT)
  assert.deepEqual(await authorizeStore(pair.two).findConsent(consent), consent)
  assert.deepEqual((await store.findRequest('one', NOW))?.progress, { consentedBy: 'ses_1' })
  for (const other of [{ userId: 'usr_2' }, { clientId: 'x' }, { redirectHost: 'evil.example' }, { resource: `${RESOURCE}x` as Resource }]) {
    assert.equal(await store.findConsent({ ...consent, ...other }), undefined)
  }
  await race(pair, (parts, index) => authorizeStore(parts).addConsent({ ...consent, scope: ['mcp.read', 'mcp.write'], clientDigest: `d${index}` }, 'one', {}, NOW + index, EVENT))
  assert.equal(await pair.count('consents'), 1)
  assert.deepEqual((await store.findConsent(consent))?.scope, ['mcp.read', 'mcp.write'])
})

eachPair('a person sees their own live grants, those used last first', async (pair) => {
  await granted(pair, 'g1')
  await granted(pair, 'g2', { clientId: 'other', scope: ['mcp.read'] })
  await granted(pair, 'g3', { userId: 'usr_2' })
  await pair.db.query(`UPDATE grants SET last_used_at = last_used_at + 10 WHERE id = 'g2'`)
  const summary = { resource: RESOURCE }
  const expected = [
    { id: 'g2', clientId: 'other', scope: ['mcp.read'], lastUsedAt: NOW / 1000 + 10, ...summary },
    { id: 'g1', clientId: 'app', scope: ['mcp.read', 'mcp.write'], lastUsedAt: NOW / 1000, ...summary },
  ]
  assert.deepEqual(await authorizeStore(pair.two).grantsOf('usr_1', NOW), expected)
  assert.deepEqual(await authorizeStore(pair.two).grantsOf('nobody', NOW), [])
})

eachPair('a grant is seen while one of its tokens may be valid, and no longer', async (pair) => {
  const HOUR = 3600_000
  await granted(pair, 'access token alone')
  await granted(pair, 'refreshed')
  const refreshToken = { hash: hashed('rt'), family: hashed('family'), grantId: 'refreshed', generation: 0, issuedAt: NOW / 1000, expiresAt: (NOW + 48 * HOUR) / 1000 }
  await tokenStore(pair.one).consumeCode({ hash: hashed('code of refreshed'), grantId: 'refreshed', at: NOW / 1000, refreshToken }, [])
  const seen = async (at: number) => (await authorizeStore(pair.two).grantsOf('usr_1', at)).map(({ id }) => id)
  assert.deepEqual(await seen(NOW + HOUR - 1000), ['access token alone', 'refreshed'])
  assert.deepEqual(await seen(NOW + HOUR), ['refreshed'])
  assert.deepEqual(await seen(NOW + 48 * HOUR - 1000), ['refreshed'])
  assert.deepEqual(await seen(NOW + 48 * HOUR), [])
  assert.equal(await pair.count('grants WHERE revoked_at IS NULL'), 2)
})

eachPair('ending access ends every grant of that person, client and resource and its consents; and nothing of anybody else', async (pair) => {
  await granted(pair, 'g1')
  await granted(pair, 'g2')
  await granted(pair, 'other client', { clientId: 'other' })
  await granted(pair, 'other resource', { resource: `${RESOURCE}2` as Resource })
  await granted(pair, 'other person', { userId: 'usr_2' })
  const store = authorizeStore(pair.one)
  for (const each of [consent, { ...consent, redirectHost: 'second.example' }, { ...consent, clientId: 'other' }, { ...consent, userId: 'usr_2' }]) await store.addConsent(each, 'none', {}, NOW)
  assert.equal(await store.endAccess('g1', 'usr_2', NOW, ended), false, 'another person\'s grant is not there for them')
  const done = await race(pair, (parts) => authorizeStore(parts).endAccess('g1', 'usr_1', NOW, ended))
  assert.equal(done.filter(Boolean).length, 1, 'one of them ended it')
  const live = (await pair.db.query<{ id: string }>('SELECT id FROM grants WHERE revoked_at IS NULL ORDER BY id')).map((row) => row.id)
  assert.deepEqual(live, ['other client', 'other person', 'other resource'])
  assert.deepEqual(pair.changes.map(({ kind, key }) => `${kind} ${key}`).sort(), ['grant g1', 'grant g2'])
  assert.equal((await pair.actions()).filter((action) => action === 'consent.revoked').length, 2)
  assert.equal(await pair.count('consents'), 2)
  assert.equal(await store.findConsent(consent), undefined)
  assert.equal(await tokenStore(pair.two).consumeCode({ hash: hashed('code of g2'), grantId: 'g2', at: 1 }, [EVENT]), 'ended')
  assert.equal(await store.endAccess('g1', 'usr_1', NOW, ended), false)
})

eachPair('authorization: no change stays whose event cannot be written', async (pair) => {
  await rollsBack(pair, (parts) => authorizeStore(parts).addRequest(pending('one'), 5, EVENT))
  await authorizeStore(pair.one).addRequest(pending('one'), 5)
  await rollsBack(pair, (parts) => authorizeStore(parts).addRequest(pending('two', { createdAt: NOW + 1 }), 1, EVENT))
  await rollsBack(pair, (parts) => authorizeStore(parts).endRequest('one', EVENT))
  await rollsBack(pair, (parts) => authorizeStore(parts).addConsent(consent, 'one', { consentedBy: 's' }, NOW, EVENT))
  await rollsBack(pair, (parts) => authorizeStore(parts).grantAuthorization('one', SESSION, code('g'), NOW, EVENT))
  assert.equal(await authorizeStore(pair.two).grantAuthorization('one', SESSION, code('g'), NOW, EVENT), true)
  await rollsBack(pair, (parts) => authorizeStore(parts).endAccess('g', 'usr_1', NOW, ended))
})

eachPair('reap forgets requests that are over, and nothing else', async (pair) => {
  const store = authorizeStore(pair.one)
  await store.addRequest(pending('old'), 5)
  await store.addRequest(pending('live', { expiresAt: NOW + 5000 }), 5)
  await granted(pair, 'g')
  await store.reap(NOW + 1001)
  assert.deepEqual((await pair.db.query<{ id: string }>('SELECT id FROM authorization_requests')).map((row) => row.id), ['live'])
  assert.equal(await pair.count('grants'), 1)
})
