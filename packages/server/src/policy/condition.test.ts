import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isTimeZone } from './clock.ts'
import { policy, type PolicyInput, type Rule } from './policy.ts'
import type { Conditions } from './rule.ts'

const alice: PolicyInput = { subject: 'usr_1', groups: ['engineering'], clientId: 'c', upstream: 'notes', tool: 't' }
const all: Rule = { id: 'all', effect: 'allow' }

/** Who gets through when only what the conditions say is allowed, and when only that is not denied. */
function passes(conditions: Conditions, asked: Partial<PolicyInput>): readonly [allowedWhen: boolean, allowedUnlessDenied: boolean] {
  const input = { ...alice, ...asked }
  return [policy([{ id: 'r', effect: 'allow', when: conditions }]).decide(input).allow, policy([all, { id: 'r', effect: 'deny', unless: conditions }]).decide(input).allow]
}

const both = (conditions: Conditions, asked: Partial<PolicyInput>, expected: boolean): void => assert.deepEqual(passes(conditions, asked), [expected, expected], JSON.stringify(asked))

test('time: weekday and hours by the clock of the zone, through the change of summer time', () => {
  const office: Conditions = { time: { timeZone: 'Europe/Berlin', days: ['mon', 'tue', 'wed', 'thu', 'fri'], from: '09:00', to: '17:30' } }
  const at = (iso: string) => ({ at: Date.parse(iso) })
  both(office, at('2026-11-25T08:00:00Z'), true)
  both(office, at('2026-11-25T07:59:59Z'), false)
  both(office, at('2026-11-25T16:29:59Z'), true)
  both(office, at('2026-11-25T16:30:00Z'), false)
  // In July the same clock is an hour earlier in UTC.
  both(office, at('2026-07-01T07:00:00Z'), true)
  both(office, at('2026-11-28T10:00:00Z'), false)
  // Sunday evening in UTC is Monday morning in Auckland.
  both({ time: { timeZone: 'Pacific/Auckland', days: ['mon'] } }, at('2026-11-22T12:00:00Z'), true)
  both(office, {}, false)
})

test('time: a window over midnight belongs to the day that it begins on', () => {
  const night: Conditions = { time: { timeZone: 'UTC', days: ['fri'], from: '22:00', to: '06:00' } }
  const at = (iso: string) => ({ at: Date.parse(iso) })
  both(night, at('2026-11-27T22:00:00Z'), true)
  both(night, at('2026-11-28T05:59:00Z'), true)
  both(night, at('2026-11-28T06:00:00Z'), false)
  both(night, at('2026-11-28T22:00:00Z'), false)
  both(night, at('2026-11-27T05:00:00Z'), false)
  both({ time: { timeZone: 'UTC', from: '00:00', to: '24:00' } }, at('2026-11-28T23:59:59Z'), true)
})

test('time zones are IANA names', () => {
  for (const zone of ['UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires']) assert.equal(isTimeZone(zone), true, zone)
  for (const zone of ['', 'Europe/Atlantis', 'local']) assert.equal(isTimeZone(zone), false, zone)
  assert.throws(() => policy([{ id: 'r', effect: 'deny', when: { time: { timeZone: 'Europe/Atlantis' } } }]))
})

test('authentication: context, methods and age; what the provider did not say lets nobody through (RFC 9470 §3)', () => {
  const at = Date.parse('2026-11-25T12:00:00Z')
  const strong: Conditions = { authentication: { acr: ['phr', 'phrh'], amr: ['hwk'], maxAge: 600 } }
  const good = { acr: 'phr', amr: ['pin', 'hwk'], authTime: at / 1000 - 600 }
  both(strong, { at, authentication: good }, true)
  both(strong, { at, authentication: { ...good, acr: 'pwd' } }, false)
  both(strong, { at, authentication: { ...good, amr: ['pwd'] } }, false)
  both(strong, { at, authentication: { ...good, authTime: good.authTime - 1 } }, false)
  for (const missing of ['acr', 'amr', 'authTime'] as const) both(strong, { at, authentication: { ...good, [missing]: undefined } }, false)
  both(strong, { authentication: good }, false)
  both(strong, { at }, false)
})

test('claims: a value, or one of a list; a claim that is missing, or inherited, is unknown', () => {
  const managed: Conditions = { claims: { 'https://example.com/device': ['managed', 7, true] } }
  const given = (value: unknown) => ({ authentication: { claims: { 'https://example.com/device': value } } })
  for (const value of ['managed', 7, true, ['other', 'managed']]) both(managed, given(value), true)
  for (const value of ['Managed', '7', false, 'true', [], ['true'], null, { managed: true }]) both(managed, given(value), false)
  both(managed, { authentication: { claims: {} } }, false)
  both(managed, {}, false)
  both({ claims: { constructor: ['x'] } }, { authentication: { claims: {} } }, false)
})

test('application: whether anybody vouches for it', () => {
  both({ application: 'verified' }, { application: { verified: true } }, true)
  both({ application: 'verified' }, { application: { verified: false } }, false)
  both({ application: 'unverified' }, { application: { verified: false } }, true)
  both({ application: 'verified' }, {}, false)
  both({ application: 'unverified' }, {}, false)
})

test('rules name clients by what they are registrations of, too', () => {
  const rules = policy([{ id: 'r', effect: 'allow', clients: ['software:https://issuer.example#a'] }])
  assert.equal(rules.decide({ ...alice, application: { id: 'software:https://issuer.example#a', verified: true } }).allow, true)
  assert.equal(rules.decide({ ...alice, application: { id: 'software:https://issuer.example#b', verified: true } }).allow, false)
  assert.equal(rules.decide(alice).allow, false)
})

test('tool annotations and data classes; of a tool that was not seen yet the worst is assumed', () => {
  const facts = (readOnly: boolean, ...dataClasses: string[]) => ({ toolFacts: { annotations: { readOnly, destructive: !readOnly, openWorld: true, idempotent: false }, dataClasses } })
  both({ tool: { readOnly: true } }, facts(true), true)
  both({ tool: { readOnly: true, destructive: true } }, facts(true), false)
  both({ tool: { readOnly: true } }, facts(false), false)
  both({ tool: { readOnly: true } }, { toolFacts: { dataClasses: [] } }, false)
  both({ dataClasses: ['public'] }, { toolFacts: { dataClasses: ['public', 'personal'] } }, true)
  both({ dataClasses: ['public'] }, { toolFacts: { dataClasses: [] } }, false)
  both({ tool: { readOnly: true } }, {}, false)
})

test('a rule about kinds of tools says nothing of prompts and resources', () => {
  const { tool: _tool, ...nothing } = alice
  assert.equal(policy([all, { id: 'd', effect: 'deny', when: { tool: { destructive: true } } }]).decide(nothing).allow, true)
  assert.equal(policy([{ id: 'a', effect: 'allow', when: { tool: { readOnly: true } } }]).decide(nothing).allow, false)
  assert.equal(policy([all, { id: 'd', effect: 'deny', when: { tool: { destructive: true } } }]).mayReach(alice), true)
})

test('a step-up names all that is lacking at once, an approval waits behind it, and a denial asks nobody for anything', () => {
  const rules = policy([
    { id: 'all', effect: 'allow', groups: ['engineering'] },
    { id: 'strong', effect: 'step-up', tools: ['pay'], require: { acrValues: ['mfa', 'phr'] } },
    { id: 'fresh', effect: 'step-up', tools: ['p*'], require: { acrValues: ['phr'], maxAge: 300, claims: { device: ['managed'] } } },
    { id: 'ask', effect: 'approval', tools: ['pay'] },
  ])
  const at = Date.parse('2026-11-25T12:00:00Z')
  const pay = { ...alice, at, tool: 'pay' }
  assert.deepEqual(rules.decide(pay), { allow: false, effect: 'step-up', rule: 'strong', challenge: { acrValues: ['phr'], maxAge: 300, claims: { device: ['managed'] } } })
  const authentication = { acr: 'phr', authTime: at / 1000, claims: { device: 'managed' } }
  assert.deepEqual(rules.decide({ ...pay, authentication }), { allow: false, effect: 'approval', rule: 'ask' })
  assert.deepEqual(rules.decide({ ...pay, authentication, approvals: ['ask'] }), { allow: true, effect: 'allow', rule: 'all' })
  assert.deepEqual(rules.decide({ ...pay, groups: ['sales'] }), { allow: false, effect: 'deny', rule: 'default' })
  assert.equal(rules.decide({ ...pay, tool: 'read' }).effect, 'allow')
})

test('a token is to be had whatever the hour, and the call is decided when it is made', () => {
  const rules = policy([all, { id: 'closed', effect: 'deny', unless: { time: { timeZone: 'UTC', from: '08:00', to: '18:00' } } }, { id: 'weak', effect: 'deny', unless: { authentication: { acr: ['mfa'] } } }])
  const { tool: _tool, ...asked } = alice
  assert.equal(rules.mayReach(asked), true)
  assert.equal(rules.mayReach({ ...asked, authentication: { acr: 'pwd' } }), false)
  assert.equal(rules.decide({ ...alice, at: Date.parse('2026-11-25T20:00:00Z'), authentication: { acr: 'mfa' } }).rule, 'closed')
})
