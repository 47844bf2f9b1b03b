// Decisions against the plainest reading of docs/policy.md, over random rules and questions.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { policy, type Decision, type PolicyInput, type Rule } from './policy.ts'
import type { Claims, Conditions, SignInRequirement } from './rule.ts'

type Truth = boolean | undefined

const names = fc.constantFrom('a', 'ab', 'abc', 'b', 'ba', '*', 'a*', '*b', 'a*c')
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const list = maybe(fc.array(names, { minLength: 1, maxLength: 3 }))
const acrs = fc.subarray(['pwd', 'mfa', 'phr'], { minLength: 1 })
const claims: fc.Arbitrary<Claims> = fc.record({ device: fc.constantFrom([true], ['managed', 'owned']) })
const conditions: fc.Arbitrary<Conditions> = fc.record(
  {
    networks: fc.constantFrom(['10.0.0.0/8'], ['192.0.2.0/24', '10.1.0.0/16']),
    time: fc.constantFrom({ timeZone: 'UTC', days: ['mon', 'tue'] as const, from: '08:00', to: '18:00' }, { timeZone: 'UTC', from: '22:00', to: '06:00' }),
    authentication: fc.record({ acr: acrs, amr: fc.subarray(['otp', 'hwk'], { minLength: 1 }), maxAge: fc.constantFrom(60, 3600) }, { requiredKeys: [] }),
    claims,
    application: fc.constantFrom('verified', 'unverified'),
    tool: fc.record({ readOnly: fc.boolean(), destructive: fc.boolean() }, { requiredKeys: [] }),
    dataClasses: fc.subarray(['personal', 'secret'], { minLength: 1 }),
  },
  { requiredKeys: [] },
)
const requirement: fc.Arbitrary<SignInRequirement> = fc.record({ acrValues: acrs, maxAge: fc.constantFrom(60, 3600), claims }, { requiredKeys: [] }).filter((one) => Object.keys(one).length > 0)
const lists = { groups: list, users: list, clients: list, upstreams: list, tools: list, when: maybe(conditions), unless: maybe(conditions) }
const rule = fc.oneof(
  { weight: 3, arbitrary: fc.record({ effect: fc.constantFrom('allow' as const, 'deny' as const, 'approval' as const), ...lists }) },
  { weight: 1, arbitrary: fc.record({ effect: fc.constant('step-up' as const), ...lists, require: requirement }) },
)
const value = fc.constantFrom('a', 'ab', 'abc', 'b', 'ba')
/** Monday to Wednesday, at all hours. */
const MONDAY = Date.UTC(2026, 10, 23)
const input: fc.Arbitrary<PolicyInput> = fc.record(
  {
    subject: value,
    groups: fc.array(value, { maxLength: 3 }),
    clientId: value,
    upstream: value,
    tool: value,
    toolFacts: fc.record({ annotations: maybe(fc.record({ readOnly: fc.boolean(), destructive: fc.boolean(), openWorld: fc.boolean(), idempotent: fc.boolean() })), dataClasses: fc.subarray(['personal', 'secret']) }),
    address: fc.constantFrom('10.0.0.1', '10.1.0.1', '192.0.2.1', 'unknown'),
    at: fc.integer({ min: MONDAY, max: MONDAY + 3 * 86_400_000 }),
    authentication: fc.record(
      { acr: fc.constantFrom('pwd', 'mfa', 'phr'), amr: fc.subarray(['otp', 'hwk', 'pin']), authTime: fc.integer({ min: MONDAY / 1000 - 7200, max: MONDAY / 1000 + 86_400 }), claims: fc.record({ device: fc.constantFrom<unknown>(true, 'managed', 'stolen', ['owned'], []) }, { requiredKeys: [] }) },
      { requiredKeys: [] },
    ),
    application: fc.record({ id: value, verified: fc.boolean() }, { requiredKeys: ['verified'] }),
    approvals: fc.subarray(['0', '1', '2', '3', '4', '5']),
  },
  { requiredKeys: ['subject', 'groups', 'clientId', 'upstream'] },
)

test('the index decides as reading every rule in turn does, and explains what it decided', () => {
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 12 }), input, (drafts, asked) => {
      const rules = drafts.map((draft, index): Rule => ({ id: String(index), ...draft }))
      const compiled = policy(rules)
      const { allow, effect, rule: decidedBy, challenge } = compiled.decide(asked)
      assert.deepEqual({ allow, effect, rule: decidedBy }, naive(rules, asked))
      assert.equal(challenge !== undefined, effect === 'step-up')
      assertExplained(compiled.explain(asked), rules, asked)
      const every = asked.tool === undefined ? [] : ['a', 'ab', 'abc', 'b', 'ba', 'abbc', 'zzz'].map((tool) => naive(rules, { ...asked, tool }).effect)
      if (every.some((one) => one !== 'deny')) assert.equal(compiled.mayReach(asked), true, 'one tool is allowed, so a token is to be had')
      if (compiled.mayReach(asked)) assert.equal(compiled.mayConnect({ subject: asked.subject, groups: asked.groups, upstream: asked.upstream }), true, 'who gets a token may connect')
    }),
    { numRuns: 5000 },
  )
})

test('who lacks what a step-up asks for gets through with all that its challenge names', () => {
  fc.assert(
    fc.property(fc.array(requirement, { minLength: 1, maxLength: 1 }), input, (requirements, asked) => {
      const rules = policy([{ id: 'all', effect: 'allow' }, ...requirements.map((require, index): Rule => ({ id: String(index), effect: 'step-up', require }))])
      const at = MONDAY
      const { challenge } = rules.decide({ ...asked, at })
      if (challenge === undefined) return
      const [device] = challenge.claims?.['device'] ?? []
      const authentication = { authTime: at / 1000, acr: challenge.acrValues?.[0], claims: device === undefined ? {} : { device } }
      assert.equal(rules.decide({ ...asked, at, authentication }).effect, 'allow')
    }),
    { numRuns: 500 },
  )
})

function assertExplained({ decision, rules: explained }: ReturnType<ReturnType<typeof policy>['explain']>, rules: readonly Rule[], asked: PolicyInput): void {
  assert.deepEqual(explained.map(({ id }) => id), rules.map(({ id }) => id))
  for (const [index, one] of explained.entries()) {
    assert.equal(one.matched, matches(rules[index], asked), one.id)
    // What is said of the conditions says the same as what is said of the rule.
    const held = (below: string): readonly (boolean | 'unknown')[] => one.conditions.filter(({ name }) => name.startsWith(below)).map(({ holds }) => holds)
    if (one.conditions.some(({ name, holds }) => !name.includes('.') && holds === false) || held('when.').includes(false)) assert.equal(one.matched, false)
    if (held('unless.').length > 0 && held('unless.').every((holds) => holds === true)) assert.equal(one.matched, false)
  }
  const first = (effect: Rule['effect'], lacking = false) => explained.find((one) => one.effect === effect && one.matched && !(lacking && one.satisfied === true))?.id
  const expected = first('deny') ?? (first('allow') === undefined ? 'default' : (first('step-up', true) ?? first('approval', true) ?? first('allow')))
  assert.equal(decision.rule, expected)
}

/** The first denial that matches; without an allow, denial; then what is lacking; then the allow. */
function naive(rules: readonly Rule[], asked: PolicyInput): Omit<Decision, 'challenge'> {
  const matching = rules.filter((one) => matches(one, asked))
  const denial = matching.find(({ effect }) => effect === 'deny')
  const allow = matching.find(({ effect }) => effect === 'allow')
  if (denial !== undefined || allow === undefined) return { allow: false, effect: 'deny', rule: denial?.id ?? 'default' }
  const stepUp = matching.find(({ effect, require }) => effect === 'step-up' && require !== undefined && and(needed(require), asked) !== true)
  const approval = matching.find(({ effect, id }) => effect === 'approval' && asked.approvals?.includes(id) !== true)
  const lacking = stepUp ?? approval
  return lacking === undefined ? { allow: true, effect: 'allow', rule: allow.id } : { allow: false, effect: lacking.effect, rule: lacking.id }
}

function matches(one: Rule | undefined, asked: PolicyInput): boolean {
  if (one === undefined) return false
  const fits = (patterns: readonly string[] | undefined, values: readonly (string | undefined)[]): boolean =>
    patterns === undefined || patterns.includes('*') || values.some((given) => given !== undefined && patterns.some((pattern) => new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(given)))
  const ofTool = [one.when, one.unless].some((each) => each?.dataClasses !== undefined || Object.keys(each?.tool ?? {}).length > 0)
  const forTool = asked.tool === undefined ? !ofTool && (one.tools === undefined || one.tools.includes('*')) : fits(one.tools, [asked.tool])
  if (!(fits(one.groups, asked.groups) && fits(one.users, [asked.subject]) && fits(one.clients, [asked.clientId, asked.application?.id]) && fits(one.upstreams, [asked.upstream]) && forTool)) return false
  const excepted = one.unless === undefined ? false : and(one.unless, asked)
  const truth = kleene([one.when === undefined ? true : and(one.when, asked), excepted === undefined ? undefined : !excepted])
  return truth ?? one.effect !== 'allow'
}

function kleene(truths: readonly Truth[]): Truth {
  return truths.includes(false) ? false : truths.includes(undefined) ? undefined : true
}

function needed({ acrValues, maxAge, claims: wanted }: SignInRequirement): Conditions {
  return { authentication: { acr: acrValues, maxAge }, claims: wanted }
}

function and({ networks, time, authentication: { acr, amr, maxAge } = {}, claims: wanted, application, tool, dataClasses }: Conditions, asked: PolicyInput): Truth {
  const { authentication: by, toolFacts, at, address } = asked
  const prefixes: Readonly<Record<string, string>> = { '10.0.0.0/8': '10.', '10.1.0.0/16': '10.1.', '192.0.2.0/24': '192.0.2.' }
  const device = by?.claims?.['device']
  return kleene([
    networks === undefined ? true : address === undefined || address === 'unknown' ? undefined : networks.some((network) => address.startsWith(prefixes[network] ?? '-')),
    time === undefined ? true : at === undefined ? undefined : inTime(time.from ?? '', new Date(at)),
    acr === undefined ? true : by?.acr === undefined ? undefined : acr.includes(by.acr),
    amr === undefined ? true : by?.amr === undefined ? undefined : amr.some((method) => by.amr?.includes(method)),
    maxAge === undefined ? true : at === undefined || by?.authTime === undefined ? undefined : at - by.authTime * 1000 <= maxAge * 1000,
    wanted?.['device'] === undefined ? true : device === undefined ? undefined : [device].flat().some((given) => wanted['device']?.some((each) => each === given)),
    application === undefined ? true : asked.application === undefined ? undefined : asked.application.verified === (application === 'verified'),
    ...(['readOnly', 'destructive'] as const).map((name) => (tool?.[name] === undefined ? true : toolFacts?.annotations === undefined ? undefined : toolFacts.annotations[name] === tool[name])),
    dataClasses === undefined ? true : toolFacts === undefined ? undefined : dataClasses.some((each) => toolFacts.dataClasses.includes(each)),
  ])
}

/** The two windows that are tried: by day on Monday and Tuesday, and by night on every day. */
function inTime(from: string, at: Date): boolean {
  const hour = at.getUTCHours()
  return from === '08:00' ? at.getUTCDate() < 25 && hour >= 8 && hour < 18 : hour >= 22 || hour < 6
}
