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
