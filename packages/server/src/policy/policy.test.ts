import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { policy, type PolicyInput, type Rule } from './policy.ts'

const alice = { subject: 'usr_1', groups: ['engineering'], clientId: 'c', upstream: 'notes' }

test('nothing is allowed until a rule says so, and a denial beats every allow', () => {
  assert.deepEqual(policy([]).decide({ ...alice, tool: 'read' }), { allow: false, rule: 'default' })
  const rules = policy([
    { id: 'all', effect: 'allow', groups: ['engineering'] },
    { id: 'no-deletes', effect: 'deny', tools: ['delete_*'], unless: { networks: ['203.0.113.0/24'] } },
  ])
  assert.deepEqual(rules.decide({ ...alice, tool: 'read' }), { allow: true, rule: 'all' })
  assert.deepEqual(rules.decide({ ...alice, tool: 'delete_note' }), { allow: false, rule: 'no-deletes' })
  assert.deepEqual(rules.decide({ ...alice, tool: 'delete_note', address: '203.0.113.7' }), { allow: true, rule: 'all' })
  assert.deepEqual(rules.decide({ ...alice, groups: ['sales'], tool: 'read' }), { allow: false, rule: 'default' })
})

test('what is no tool call needs a rule for every tool', () => {
  const rules = policy([{ id: 'some', effect: 'allow', tools: ['read_*'] }])
  assert.equal(rules.decide({ ...alice, tool: 'read_note' }).allow, true)
  assert.equal(rules.decide(alice).allow, false)
  assert.equal(rules.mayReach(alice), true)
  assert.equal(policy([{ id: 'all', effect: 'allow', tools: ['*'] }]).decide(alice).allow, true)
})

test('mayConnect asks for no client, mayReach does', () => {
  const rules = policy([{ id: 'one', effect: 'allow', clients: ['other'] }])
  assert.equal(rules.mayReach(alice), false)
  assert.equal(rules.mayConnect(alice), true)
  assert.equal(rules.mayReach({ ...alice, clientId: 'other' }), true)
})

test('a doubled identifier or a bad network is refused when rules are compiled', () => {
  assert.throws(() => policy([{ id: 'a', effect: 'allow' }, { id: 'a', effect: 'deny' }]))
  assert.throws(() => policy([{ id: 'a', effect: 'deny', unless: { networks: ['10.0.0.0/99'] } }]))
})

test('the index decides as reading every rule in turn does', () => {
  const names = fc.constantFrom('a', 'ab', 'abc', 'b', 'ba', '*', 'a*', '*b', 'a*c')
  const list = fc.option(fc.array(names, { minLength: 1, maxLength: 3 }), { nil: undefined })
  const rule = fc.record({ effect: fc.constantFrom('allow' as const, 'deny' as const), groups: list, clients: list, upstreams: list, tools: list })
  const value = fc.constantFrom('a', 'ab', 'abc', 'b', 'ba')
  const input = fc.record({ subject: fc.constant('u'), groups: fc.array(value, { maxLength: 3 }), clientId: value, upstream: value, tool: value })
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 12 }), input, (drafts, asked) => {
      const rules = drafts.map((draft, index): Rule => ({ id: String(index), ...draft }))
      assert.equal(policy(rules).decide(asked).allow, naive(rules, asked))
    }),
    { numRuns: 500 },
  )
})

function naive(rules: readonly Rule[], input: Required<Omit<PolicyInput, 'address'>>): boolean {
  const fits = (patterns: readonly string[] | undefined, values: readonly string[]): boolean =>
    patterns === undefined || patterns.includes('*') || values.some((value) => patterns.some((pattern) => new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(value)))
  const matching = rules.filter(
    (rule) => fits(rule.groups, input.groups) && fits(rule.clients, [input.clientId]) && fits(rule.upstreams, [input.upstream]) && fits(rule.tools, [input.tool]),
  )
  return !matching.some((rule) => rule.effect === 'deny') && matching.some((rule) => rule.effect === 'allow')
}
