import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OutboundError, type OutboundRequest } from '../http/outbound.ts'
import { externalPolicy, type Question } from './external.ts'

const question: Question = { subject: 'usr_1', groups: ['a'], clientId: 'c', upstream: 'notes', tool: 'read', address: '203.0.113.7', authentication: { acr: 'mfa', authTime: 1000 }, toolFacts: { dataClasses: ['personal'] } }

function world(cacheMs = 5000) {
  const state = { now: 1_000_000, sent: [] as OutboundRequest[], answer: (): Promise<{ status: number; body: string }> => Promise.resolve({ status: 200, body: '{"decision":true}' }) }
  const outbound = {
    request: async (_url: string | URL, request: OutboundRequest) => {
      state.sent.push(request)
      return { headers: new Headers(), ...(await state.answer()) }
    },
  }
  return Object.assign(state, { point: externalPolicy({ url: 'https://pdp.example/x', timeoutMs: 2000, cacheMs }, { outbound, now: () => state.now }) })
}

test('an answer is believed from when it was asked, and no longer than it may be', async () => {
  const state = world()
  state.answer = async () => {
    state.now += 1500
    return { status: 200, body: '{"decision":true}' }
  }
  assert.equal(await state.point.ask(question), 'allow')
  state.now += 3499
  assert.equal(await state.point.ask(question), 'allow')
  assert.equal(state.sent.length, 1)
  state.now += 1
  await state.point.ask(question)
  assert.equal(state.sent.length, 2)
  const none = world(0)
  await none.point.ask(question)
  await none.point.ask(question)
  assert.equal(none.sent.length, 2)
})

test('who asks the same at once shares one question; whoever differs in anything asks their own', async () => {
  const state = world()
  const answers = await Promise.all(Array.from({ length: 20 }, () => state.point.ask(question)))
  assert.deepEqual([...new Set(answers), state.sent.length], ['allow', 1])
  const others: readonly Partial<Question>[] = [{ subject: 'usr_2' }, { groups: [] }, { clientId: 'd' }, { upstream: 'other' }, { tool: 'write' }, { address: '198.51.100.1' }, { authentication: { acr: 'pwd', authTime: 1000 } }, { authentication: { acr: 'mfa', authTime: 1001 } }, { toolFacts: { dataClasses: [] } }, { application: { id: 'c', verified: false } }]
  for (const other of others) await state.point.ask({ ...question, ...other })
  assert.equal(state.sent.length, 1 + others.length)
  assert.equal(state.sent[0]?.timeoutMs, 2000)
})

test('what is no clear answer is none, and is asked again at once', async () => {
  const state = world()
  const unclear = [{ status: 200, body: '' }, { status: 200, body: 'null' }, { status: 200, body: '{"decision":"true"}' }, { status: 204, body: '{"decision":true}' }, { status: 401, body: '{"decision":true}' }]
  for (const answer of unclear) {
    state.answer = () => Promise.resolve(answer)
    assert.equal(await state.point.ask(question), 'unavailable', JSON.stringify(answer))
  }
  state.answer = () => Promise.reject(new OutboundError('timeout'))
  assert.equal(await state.point.ask(question), 'unavailable')
  assert.equal(state.sent.length, unclear.length + 1)
  state.answer = () => Promise.resolve({ status: 200, body: '{"decision":false,"context":{}}' })
  assert.equal(await state.point.ask(question), 'deny')
  assert.equal(await state.point.ask(question), 'deny')
  assert.equal(state.sent.length, unclear.length + 2)
})
