// What the store of approvals promises: one request for one thing, one decision for each, and nothing by halves.
import assert from 'node:assert/strict'
import type { ApplicationRecord, ApprovalRequest, RequestContent } from '../../src/approval/approval-store.ts'
import type { NewNotice } from '../../src/notices/notice.ts'
import { approvalStore } from '../../src/store/applications.ts'
import { eachPair, EVENT, race, rollsBack, type StorePair } from '../support/store-pair.ts'

const NOW = 1_795_000_000_000
const DAY = 86_400_000
const LIMITS = { since: NOW, max: 3 }
const ACT = { by: 'usr_dana', at: NOW }
const EDITOR: ApplicationRecord = { id: 'editor', clientId: 'editor', name: 'Editor', verified: true, voucher: 'verified: app.example', digest: 'd1' }
const CONTENT: RequestContent = { ...EDITOR, redirectUris: ['https://app.example/cb'], resource: 'https://lanyard.example/mcp/notes', needs: [{ upstream: 'notes', access: 'write' }], person: 'alice' }

const request = (id: string, more: Partial<ApprovalRequest> = {}): ApprovalRequest => ({ id, key: id, kind: 'application', userId: 'usr_alice', content: CONTENT, reference: 'ref', createdAt: NOW, ...more })
const notice = (id: string): NewNotice => ({ id, target: 't', body: '{}', createdAt: NOW })
const stores = (pair: StorePair) => [approvalStore(pair.one), approvalStore(pair.two)] as const

async function addUser(pair: StorePair, id: string): Promise<void> {
  await pair.db.query(`INSERT INTO users (id, provider, issuer, subject, groups, disabled, checked_at, created_at) VALUES ($1, 'corp', 'https://idp.example', $1, '[]', 0, 1, 1)`, [id])
}

async function addGrant(pair: StorePair, id: string, clientId: string): Promise<void> {
  await pair.db.query(`INSERT INTO grants (id, user_id, client_id, resource, scope, created_at, last_used_at) VALUES ($1, 'usr_1', $2, 'r', 's', 1, 1)`, [id, clientId])
  await pair.db.query(`INSERT INTO consents (user_id, client_id, redirect_host, resource, scope, client_digest, granted_at, reach) VALUES ($1, $2, 'h', 'r', 's', 'd', 1, '')`, [id, clientId])
}

eachPair('a request is read back as it was asked, with its notices and its record', async (pair) => {
  const [store, other] = stores(pair)
  assert.deepEqual(await store.ask(request('apr_1'), LIMITS, [notice('n1')], EVENT), { kind: 'waiting', request: { ...request('apr_1'), state: 'pending' } })
  assert.deepEqual(await other.findRequest('apr_1'), { ...request('apr_1'), state: 'pending' })
  assert.deepEqual(await other.requests('pending', 10), [{ ...request('apr_1'), state: 'pending' }])
  assert.deepEqual([await pair.count('notices'), await pair.actions()], [1, ['logout']])
  assert.equal(await other.findRequest('apr_2'), undefined)
})

eachPair('of 20 equal requests at once, of one person or of many, one waits, with one notice', async (pair) => {
  const answers = await race(pair, (parts, index) => approvalStore(parts).ask(request(`apr_${index}`, { key: 'same', userId: index < 10 ? 'usr_alice' : `usr_${index}` }), LIMITS, [notice(`n${index}`)], EVENT))
  const [waiting] = await approvalStore(pair.one).requests('pending', 100)
  for (const answer of answers) assert.equal(answer.kind === 'waiting' && answer.request.id, waiting?.id)
  assert.deepEqual([await pair.count('approval_requests'), await pair.count('notices'), await pair.count('audit')], [1, 1, 1])
})

eachPair('F01: of 20 requests of one person at once, as many as may wait do; those of others are others', async (pair) => {
  await addUser(pair, 'usr_alice')
  const answers = await race(pair, (parts, index) => approvalStore(parts).ask(request(`apr_${index}`), LIMITS, [], EVENT))
  assert.deepEqual([answers.filter(({ kind }) => kind === 'waiting').length, answers.filter(({ kind }) => kind === 'too many').length], [3, 17])
  assert.equal(await pair.count('approval_requests'), 3)
  assert.equal((await approvalStore(pair.one).ask(request('apr_bob', { userId: 'usr_bob' }), LIMITS, [], EVENT)).kind, 'waiting')
})

eachPair('of 20 administrators at once one decides, and what they decided is what stands', async (pair) => {
  const [store] = stores(pair)
  await store.ask(request('apr_1'), LIMITS, [], EVENT)
  const results = await race(pair, (parts, index) =>
    approvalStore(parts).decide('apr_1', index % 2 === 0 ? { effect: 'approve', groups: [`g${index}`] } : { effect: 'refuse', reason: `r${index}` }, { by: `usr_${index}`, at: NOW + index }, () => EVENT),
  )
  assert.equal(results.filter((result) => result === 'decided').length, 1)
  assert.equal(results.filter((result) => result === 'already decided').length, 19)
  const winner = results.indexOf('decided')
  const decided = await store.findRequest('apr_1')
  assert.deepEqual([decided?.decidedBy, decided?.decidedAt, decided?.state], [`usr_${winner}`, NOW + winner, winner % 2 === 0 ? 'approved' : 'refused'])
  const { decisions } = await store.facts('editor')
  const stands = decisions.find(({ upstream, access }) => upstream === 'notes' && access === 'write')
  assert.deepEqual([stands?.groups, stands?.reason], winner % 2 === 0 ? [[`g${winner}`], undefined] : [undefined, `r${winner}`])
  assert.deepEqual(pair.changes.map(({ kind, key }) => [kind, key]), [['application', 'editor']])
  assert.equal(await store.decide('apr_9', { effect: 'approve' }, ACT, () => EVENT), 'unknown')
})

eachPair('who may write may read, who may not read may not write, and who may not write may still read', async (pair) => {
  const [store] = stores(pair)
  const decide = async (id: string, access: 'read' | 'write', effect: 'approve' | 'refuse'): Promise<readonly string[]> => {
    await store.ask(request(id, { content: { ...CONTENT, needs: [{ upstream: 'notes', access }] } }), { ...LIMITS, max: 100 }, [], EVENT)
    await store.decide(id, { effect }, ACT, () => EVENT)
    return (await store.facts('editor')).decisions.map((each) => `${each.access} ${each.effect}`).sort()
  }
  assert.deepEqual(await decide('a', 'write', 'approve'), ['read approve', 'write approve'])
  assert.deepEqual(await decide('b', 'write', 'refuse'), ['read approve', 'write refuse'])
  assert.deepEqual(await decide('c', 'read', 'refuse'), ['read refuse', 'write refuse'])
  assert.deepEqual(await decide('d', 'read', 'approve'), ['read approve', 'write refuse'])
})

eachPair('what was decided while somebody asked is not asked again, and later it is', async (pair) => {
  const [store] = stores(pair)
  await store.ask(request('apr_1', { key: 'k' }), LIMITS, [], EVENT)
  await store.decide('apr_1', { effect: 'approve' }, { ...ACT, at: NOW + 5 }, () => EVENT)
  assert.equal((await store.ask(request('apr_2', { key: 'k' }), { since: NOW + 5, max: 3 }, [], EVENT)).kind, 'decided')
  assert.equal((await store.ask(request('apr_3', { key: 'k' }), { since: NOW + 6, max: 3 }, [], EVENT)).kind, 'waiting')
})

eachPair('of nodes that see one change, one reports it, and only where somebody approved or pinned', async (pair) => {
  const [store] = stores(pair)
  const report = { events: [EVENT], notices: [notice('n')] }
  const see = (digest: string, id: string): Promise<unknown> => race(pair, (parts) => approvalStore(parts).sawApplication({ ...EDITOR, digest }, NOW, { ...report, notices: [notice(id)] }))
  await see('d2', 'n1')
  assert.equal(await pair.count('applications'), 0, 'what nobody uses is not known')
  await store.addApplication(EDITOR, NOW)
  await see('d2', 'n2')
  assert.deepEqual([await pair.count('audit'), (await store.facts('editor')).known?.digest], [0, 'd2'])
  await store.pin('editor', 'd2', ACT, EVENT)
  await see('d3', 'n3')
  assert.deepEqual([await pair.count('audit'), await pair.count('notices')], [2, 1])
  await see('d2', 'n4')
  assert.deepEqual([await pair.count('audit'), await pair.count('notices')], [2, 1], 'that it is again what it should be is no news')
})

eachPair('a pin is what was looked at, or nothing', async (pair) => {
  const [store, other] = stores(pair)
  await store.addApplication(EDITOR, NOW)
  assert.deepEqual([await store.pin('editor', 'd0', ACT, EVENT), await store.pin('nobody', 'd1', ACT, EVENT)], [false, false])
  assert.equal((await other.facts('editor')).known?.pin, undefined)
  assert.equal(await store.pin('editor', 'd1', ACT, EVENT), true)
  assert.equal((await other.facts('editor')).known?.pin, 'd1')
  assert.equal(await store.pin('editor', undefined, ACT, EVENT), true)
  assert.equal((await other.facts('editor')).known?.pin, undefined)
})

eachPair('the end of an application ends the grants of all its registrations, and of no other client', async (pair) => {
  const [store] = stores(pair)
  await pair.db.query(`INSERT INTO clients (id, application, fingerprint, metadata, registration_token_hash, address, created_at) VALUES ('dyn_1', 'software:x#1', 'f', '{}', 'h', 'a', 1), ('dyn_2', 'software:x#1', 'f', '{}', 'h', 'a', 1), ('dyn_3', 'dyn_3', 'f', '{}', 'h', 'a', 1)`)
  for (const client of ['dyn_1', 'dyn_2', 'dyn_3', 'editor']) await addGrant(pair, `grt_${client}`, client)
  assert.equal(await store.replaceDecisions('software:x#1', [], ACT, true, EVENT), 2)
  const revoked = (await pair.db.query<{ id: string }>('SELECT id FROM grants WHERE revoked_at IS NOT NULL ORDER BY id')).map(({ id }) => id)
  assert.deepEqual(revoked, ['grt_dyn_1', 'grt_dyn_2'])
  assert.deepEqual(pair.changes.map(({ kind, key }) => `${kind} ${key}`).sort(), ['application software:x#1', 'grant grt_dyn_1', 'grant grt_dyn_2'])
  assert.equal(await pair.count('consents'), 2)
  assert.equal(await store.replaceDecisions('editor', [], ACT, false, EVENT), 0)
  assert.equal((await pair.db.query('SELECT id FROM grants WHERE revoked_at IS NULL')).length, 2)
})

eachPair('what is decided about a whole application answers what waits for it, as far as it was about that', async (pair) => {
  const [store] = stores(pair)
  const all = { ...LIMITS, max: 100 }
  await store.ask(request('now'), all, [], EVENT)
  await store.ask(request('changed', { content: { ...CONTENT, digest: 'd2' } }), all, [], EVENT)
  await store.ask(request('call', { kind: 'call' }), all, [], EVENT)
  await store.ask(request('other', { content: { ...CONTENT, id: 'other' } }), all, [], EVENT)
  const states = async (): Promise<readonly string[]> => (await pair.db.query<{ id: string; state: string }>('SELECT id, state FROM approval_requests ORDER BY id')).map(({ id, state }) => `${id} ${state}`)
  await store.replaceDecisions('editor', [{ upstream: '*', access: 'write', effect: 'approve', digest: 'd1' }], ACT, false, EVENT)
  assert.deepEqual(await states(), ['call pending', 'changed pending', 'now approved', 'other pending'])
  await store.replaceDecisions('editor', [], ACT, true, EVENT)
  assert.deepEqual(await states(), ['call pending', 'changed pending', 'now approved', 'other pending'])
  await store.replaceDecisions('editor', [{ upstream: '*', access: 'read', effect: 'refuse', digest: 'd1', reason: 'No' }], ACT, true, EVENT)
  assert.deepEqual(await states(), ['call refused', 'changed refused', 'now approved', 'other pending'])
  assert.deepEqual((await store.findRequest('call'))?.decision, { effect: 'refuse', reason: 'No' })
})

eachPair('what nobody decided and what was decided long ago is forgotten, and unverified applications go with their registrations', async (pair) => {
  const [store] = stores(pair)
  await store.ask(request('old', { createdAt: NOW - 31 * DAY }), LIMITS, [], EVENT)
  await store.ask(request('new'), LIMITS, [], EVENT)
  await store.ask(request('decided'), { ...LIMITS, max: 9 }, [], EVENT)
  await store.decide('decided', { effect: 'approve' }, { ...ACT, at: NOW - 100 * DAY }, () => EVENT)
  await store.addApplication(EDITOR, NOW)
  await store.addApplication({ ...EDITOR, id: 'dyn_1', clientId: 'dyn_1', verified: false }, NOW)
  await store.replaceDecisions('dyn_1', [{ upstream: '*', access: 'read', effect: 'approve', digest: 'd' }], ACT, false, EVENT)
  await store.reap({ pending: NOW - 30 * DAY, decided: NOW - 90 * DAY })
  assert.deepEqual((await pair.db.query<{ id: string }>('SELECT id FROM approval_requests')).map(({ id }) => id), ['new'])
  assert.deepEqual((await pair.db.query<{ id: string }>('SELECT id FROM applications')).map(({ id }) => id), ['editor'])
  assert.deepEqual((await store.facts('dyn_1')).decisions, [])
  assert.equal((await store.facts('editor')).decisions.length, 2)
})

eachPair('what cannot be recorded is not done', async (pair) => {
  const [store] = stores(pair)
  await store.addApplication(EDITOR, NOW)
  await store.ask(request('apr_1'), LIMITS, [], EVENT)
  await addGrant(pair, 'grt_1', 'editor')
  await rollsBack(pair, (parts) => approvalStore(parts).ask(request('apr_2'), LIMITS, [notice('n')], EVENT))
  await rollsBack(pair, (parts) => approvalStore(parts).decide('apr_1', { effect: 'approve' }, ACT, () => EVENT))
  await rollsBack(pair, (parts) => approvalStore(parts).replaceDecisions('editor', [], ACT, true, EVENT))
  await rollsBack(pair, (parts) => approvalStore(parts).pin('editor', 'd1', ACT, EVENT))
  await store.pin('editor', 'd1', ACT, EVENT)
  await rollsBack(pair, (parts) => approvalStore(parts).sawApplication({ ...EDITOR, digest: 'd2' }, NOW, { events: [EVENT], notices: [notice('n')] }))
})
