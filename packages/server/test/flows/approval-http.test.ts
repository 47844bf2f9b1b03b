// Calls of HTTP APIs that a rule leaves to an administrator.
import assert from 'node:assert/strict'
import { decisions } from '../../src/approval/decisions.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { approvalStore } from '../../src/store/applications.ts'
import { API_RULES, eachApiHouse } from '../support/api-house.ts'

eachApiHouse('a call of an API that a rule leaves to an administrator asks for it once, and goes through when it is tried again', async (house) => {
  const store = approvalStore({ db: house.db, audit: auditLog(house.db, () => undefined), changed: async () => undefined })
  const post = () => house.ask('/http/api/payments', { method: 'POST', body: '{"a":1}', headers: { 'content-type': 'application/json', 'content-length': '7' } })
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const answer = await post()
    assert.equal(answer.status, 403)
    assert.match(answer.text, /must approve this first/)
  }
  assert.equal(house.api.requests.length, 0)
  const [request, ...others] = await store.requests('pending', 10)
  assert.deepEqual([request?.content.tool, request?.content.needs[0]?.upstream, others.length], ['POST /payments', 'api', 0])
  const admin = decisions(store, () => house.now)
  assert.equal(await admin.decide(request?.id ?? '', { effect: 'approve' }, { userId: 'usr_dana', reference: 'r', address: 'a' }), 'decided')
  const answer = await post()
  assert.deepEqual([answer.status, answer.body], [200, { method: 'POST', url: '/v1/payments', body: '{"a":1}' }])
  assert.equal((await house.events('call.allowed')).at(-1)?.rule, 'payments')
  // What no rule leaves to anybody goes on.
  assert.equal((await house.ask('/http/api/items')).status, 200)
}, { rules: [...API_RULES, { id: 'payments', effect: 'approval', tools: ['POST /payments'] }] })

eachApiHouse('an application that is approved for reading alone reads, and that it may not write is recorded (N03)', async (house) => {
  house.approval.required = true
  const store = approvalStore({ db: house.db, audit: auditLog(house.db, () => undefined), changed: async () => undefined })
  await store.addApplication({ id: 'app', clientId: 'app', name: 'App', verified: false, digest: '' }, house.now)
  await store.replaceDecisions('app', [{ upstream: '*', access: 'read', effect: 'approve', digest: '' }], { by: 'usr_dana', at: house.now }, false)
  assert.equal((await house.ask('/http/api/items')).status, 200)
  const answer = await house.ask('/http/api/items', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json', 'content-length': '2' } })
  assert.equal(answer.status, 403)
  assert.match(answer.text, /has not approved this application/)
  assert.deepEqual(house.api.requests.map(({ method }) => method), ['GET'])
  const [denied, ...others] = await house.events('call.denied')
  assert.equal(others.length, 0)
  assert.deepEqual([denied?.subject, denied?.clientId, denied?.upstream, denied?.tool], ['usr_alice', 'app', 'api', 'POST /items'])
  assert.match(denied?.reason ?? '', /has not approved this application/)
})
