import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { policy, type PolicyInput, type Rule } from './policy.ts'

const alice = { subject: 'usr_1', groups: ['engineering'], clientId: 'c', upstream: 'notes' }

test('nothing is allowed until a rule says so, and a denial beats every allow', () => {
  assert.deepEqual(policy([]).decide({ ...alice, tool: 'read' }), { allow: false, effect: 'deny', rule: 'default' })
  const rules = policy([
    { id: 'all', effect: 'allow', groups: ['engineering'] },
    { id: 'no-deletes', effect: 'deny', tools: ['delete_*'], unless: { networks: ['203.0.113.0/24'] } },
  ])
  assert.deepEqual(rules.decide({ ...alice, tool: 'read' }), { allow: true, effect: 'allow', rule: 'all' })
  assert.deepEqual(rules.decide({ ...alice, tool: 'delete_note' }), { allow: false, effect: 'deny', rule: 'no-deletes' })
  assert.deepEqual(rules.decide({ ...alice, tool: 'delete_note', address: '203.0.113.7' }), { allow: true, effect: 'allow', rule: 'all' })
  assert.deepEqual(rules.decide({ ...alice, groups: ['sales'], tool: 'read' }), { allow: false, effect: 'deny', rule: 'default' })
})

test('the decision names the first rule of the list that matches, whatever it is filed under and however groups are ordered', () => {
  const rules = policy([
    { id: 'by-tool', effect: 'deny', tools: ['drop'] },
    { id: 'by-group', effect: 'deny', groups: ['b'] },
    { id: 'by-user', effect: 'deny', users: ['usr_1'] },
    { id: 'wild', effect: 'allow', tools: ['re*'] },
    { id: 'exact', effect: 'allow', tools: ['read'] },
  ])
  const decide = (input: Partial<PolicyInput>): string => rules.decide({ ...alice, subject: 'u', groups: [], tool: 'read', ...input }).rule
  assert.equal(decide({}), 'wild')
  assert.equal(decide({ groups: ['a', 'b'] }), 'by-group')
  assert.equal(decide({ groups: ['b', 'a'], subject: 'usr_1' }), 'by-group')
  assert.equal(decide({ subject: 'usr_1' }), 'by-user')
  assert.equal(decide({ groups: ['b'], subject: 'usr_1', tool: 'drop' }), 'by-tool')
})

test('rules of users, clients and upstreams are about those alone', () => {
  const rules = policy([
    { id: 'user', effect: 'allow', users: ['usr_1'], upstreams: ['notes'] },
    { id: 'document', effect: 'allow', clients: ['https://*.example.com/client'], upstreams: ['tickets'] },
  ])
  assert.equal(rules.decide({ ...alice, tool: 't' }).rule, 'user')
  assert.equal(rules.decide({ ...alice, tool: 't', subject: 'usr_10' }).allow, false)
  assert.equal(rules.decide({ ...alice, tool: 't', upstream: 'tickets' }).allow, false)
  assert.equal(rules.decide({ ...alice, tool: 't', upstream: 'tickets', clientId: 'https://app.example.com/client' }).rule, 'document')
  assert.equal(rules.decide({ ...alice, tool: 't', upstream: 'tickets', clientId: 'https://app.example.com/client/evil' }).allow, false)
})

test('a star in the host of a metadata document stands for no other host (CIMD §6)', () => {
  const rules = policy([{ id: 'ours', effect: 'allow', clients: ['https://*.example.com/client'] }, { id: 'theirs', effect: 'deny', clients: ['https://*.evil.example/*'] }])
  const decide = (clientId: string): string => rules.decide({ ...alice, tool: 't', clientId }).rule
  for (const ours of ['https://app.example.com/client', 'https://a.b.example.com/client']) assert.equal(decide(ours), 'ours', ours)
  const others = ['https://evil.test/.example.com/client', 'https://evil.test/a.example.com/client', 'https://evil.test/?.example.com/client', 'https://.example.com', 'http://app.example.com/client', 'app.example.com/client']
  for (const other of others) assert.equal(decide(other), 'default', other)
  for (const theirs of ['https://a.evil.example/', 'https://a.evil.example/x/y.example.com/client']) assert.equal(decide(theirs), 'theirs', theirs)
  // Who forgot the path names no application, and above all not those that have the host in their path.
  for (const short of ['https://*.example.com', 'https://*.example.*', 'https://app.*.com']) {
    const forgotten = policy([{ id: 'r', effect: 'allow', clients: [short] }])
    for (const other of ['https://evil.test/.example.com', 'https://evil.test/a.example.com', 'https://evil.test/.example.com/client', 'https://app.evil.test/x.com']) {
      assert.equal(forgotten.decide({ ...alice, tool: 't', clientId: other }).allow, false, `${short} ${other}`)
    }
  }
  assert.equal(policy([{ id: 'r', effect: 'allow', clients: ['https://*.example.*'] }]).decide({ ...alice, tool: 't', clientId: 'https://app.example.com/client' }).allow, true)
  // At the end of an address, and in a path, a star is any text.
  for (const wide of ['https://*', 'https://app.*', 'https://app.example/*', '*/client']) {
    assert.equal(policy([{ id: 'r', effect: 'deny', clients: [wide] }, { id: 'all', effect: 'allow' }]).decide({ ...alice, tool: 't', clientId: 'https://app.example/a/b/client' }).rule, 'r', wide)
  }
})

test('names of tools, users and groups are data: what a rule is filed under cannot be reached from another list', () => {
  const rules = policy([{ id: 'group', effect: 'allow', groups: ['admins'] }])
  assert.equal(rules.decide({ ...alice, groups: ['admins'], tool: 't' }).allow, true)
  for (const trick of [{ tool: 'group admins' }, { subject: 'group admins' }, { clientId: 'admins' }, { groups: ['__proto__', 'constructor', ''] }, { groups: ['Admins'] }, { groups: ['admins '] }]) {
    assert.equal(rules.decide({ ...alice, tool: 't', ...trick }).allow, false, JSON.stringify(trick))
  }
})

test('what is no tool call needs a rule for every tool, and only a denial of every tool denies it', () => {
  const rules = policy([{ id: 'some', effect: 'allow', tools: ['read_*'] }])
  assert.equal(rules.decide({ ...alice, tool: 'read_note' }).allow, true)
  assert.equal(rules.decide(alice).allow, false)
  assert.equal(rules.mayReach(alice), true)
  for (const every of ['*', '**']) {
    assert.equal(policy([{ id: 'all', effect: 'allow', tools: [every] }]).decide(alice).allow, true)
    assert.equal(policy([{ id: 'all', effect: 'allow' }, { id: 'none', effect: 'deny', tools: [every] }]).decide(alice).allow, false)
  }
  assert.equal(policy([{ id: 'all', effect: 'allow' }, { id: 'one', effect: 'deny', tools: ['delete'] }]).decide(alice).allow, true)
})

test('every group, `*`, is also somebody of whom no group is known', () => {
  assert.equal(policy([{ id: 'all', effect: 'allow', groups: ['*'] }]).decide({ ...alice, groups: [], tool: 't' }).allow, true)
  assert.equal(policy([{ id: 'some', effect: 'allow', groups: ['eng*'] }]).decide({ ...alice, groups: [], tool: 't' }).allow, false)
  assert.equal(policy([{ id: 'some', effect: 'allow', groups: ['eng*'] }]).decide({ ...alice, tool: 't' }).allow, true)
})

test('unless.networks: inside, outside, IPv6, IPv4 inside IPv6, and what is no address', () => {
  const deny = policy([{ id: 'all', effect: 'allow' }, { id: 'away', effect: 'deny', unless: { networks: ['203.0.113.0/24', '2001:db8::/32'] } }])
  const allow = policy([{ id: 'not-guests', effect: 'allow', unless: { networks: ['10.9.0.0/16'] } }])
  const decide = (rules: typeof deny, address: string | undefined): boolean => rules.decide({ ...alice, tool: 't', ...(address === undefined ? {} : { address }) }).allow
  for (const inside of ['203.0.113.255', '::ffff:203.0.113.7', '2001:db8:1::1']) assert.equal(decide(deny, inside), true, inside)
  for (const outside of ['203.0.114.0', '2001:db9::1', '::1', '198.51.100.1']) assert.equal(decide(deny, outside), false, outside)
  assert.equal(decide(allow, '10.8.0.1'), true)
  assert.equal(decide(allow, '10.9.0.1'), false)
  assert.equal(decide(allow, '::ffff:10.9.0.1'), false)
  // The worst is assumed of an address that is not known: a denial holds, an allow does not.
  for (const unknown of [undefined, '', 'unix:', '203.0.113.7, 10.8.0.1']) {
    assert.equal(decide(deny, unknown), false, `${unknown}`)
    assert.equal(decide(allow, unknown), false, `${unknown}`)
  }
})

test('mayReach: a token is to be had while one tool may be allowed, and not when all are denied', () => {
  const everything: Rule = { id: 'all', effect: 'allow' }
  assert.equal(policy([]).mayReach(alice), false)
  assert.equal(policy([everything]).mayReach(alice), true)
  assert.equal(policy([everything, { id: 'd', effect: 'deny', tools: ['delete_*'] }]).mayReach(alice), true)
  assert.equal(policy([everything, { id: 'd', effect: 'deny', groups: ['engineering'] }]).mayReach(alice), false)
  assert.equal(policy([everything, { id: 'd', effect: 'deny', groups: ['sales'] }]).mayReach(alice), true)
  assert.equal(policy([everything, { id: 'd', effect: 'deny', clients: ['c'] }]).mayReach(alice), false)
  const office = policy([everything, { id: 'd', effect: 'deny', unless: { networks: ['203.0.113.0/24'] } }])
  assert.equal(office.mayReach({ ...alice, address: '203.0.113.7' }), true)
  assert.equal(office.mayReach({ ...alice, address: '198.51.100.7' }), false)
})

test('mayConnect asks for no client, mayReach does; a denial counts there when it is for every client', () => {
  const rules = policy([{ id: 'one', effect: 'allow', clients: ['other'] }])
  assert.equal(rules.mayReach(alice), false)
  assert.equal(rules.mayConnect(alice), true)
  assert.equal(rules.mayReach({ ...alice, clientId: 'other' }), true)
  const all: Rule = { id: 'all', effect: 'allow' }
  assert.equal(policy([all, { id: 'd', effect: 'deny', clients: ['c'] }]).mayConnect(alice), true)
  assert.equal(policy([all, { id: 'd', effect: 'deny', tools: ['delete_*'] }]).mayConnect(alice), true)
  assert.equal(policy([all, { id: 'd', effect: 'deny', groups: ['engineering'] }]).mayConnect(alice), false)
  assert.equal(policy([all, { id: 'd', effect: 'deny', groups: ['sales'] }]).mayConnect(alice), true)
  const away: Rule = { id: 'd', effect: 'deny', unless: { networks: ['203.0.113.0/24'] } }
  assert.equal(policy([all, away]).mayConnect(alice), true, 'from the office it is allowed')
  assert.equal(policy([all, away]).mayConnect({ ...alice, address: '203.0.113.7' }), true)
  assert.equal(policy([all, away]).mayConnect({ ...alice, address: '198.51.100.7' }), false)
  assert.equal(policy([{ ...away, effect: 'allow' }]).mayConnect(alice), true)
})

test('a doubled identifier or a bad network is refused when rules are compiled', () => {
  assert.throws(() => policy([{ id: 'a', effect: 'allow' }, { id: 'a', effect: 'deny' }]))
  assert.throws(() => policy([{ id: 'a', effect: 'deny', unless: { networks: ['10.0.0.0/99'] } }]))
})

test('wildcards match as the same regular expression does', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 8 })
  const names = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 10 })
  fc.assert(
    fc.property(letters.filter((pattern) => pattern !== ''), names, (pattern, tool) => {
      const expected = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`, 's').test(tool)
      assert.equal(policy([{ id: 'r', effect: 'allow', tools: [pattern] }]).decide({ ...alice, tool }).allow, expected, `${pattern} ${tool}`)
    }),
    { numRuns: 2000 },
  )
})

test('everything is allowed at once exactly when no tool would be denied or need more', () => {
  const tools = ['read', 'write', 'delete_note']
  const rule = fc.record({
    effect: fc.constantFrom<Rule['effect']>('allow', 'deny'),
    groups: fc.option(fc.subarray(['engineering', 'sales'], { minLength: 1 }), { nil: undefined }),
    tools: fc.option(fc.subarray([...tools, '*', 'delete_*'], { minLength: 1 }), { nil: undefined }),
    unless: fc.option(fc.constant({ networks: ['203.0.113.0/24'] }), { nil: undefined }),
  })
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 6 }), fc.constantFrom(undefined, '203.0.113.7', '192.0.2.1'), (given, address) => {
      const rules = policy(given.map((each, index) => ({ ...each, id: `r${index}` })))
      const input = { ...alice, ...(address === undefined ? {} : { address }) }
      const all = rules.decideAll(input)
      // A name that no rule speaks of stands for those that nobody thought of.
      const each = [...tools, 'another'].map((tool) => rules.decide({ ...input, tool }))
      if (all.allow) assert.ok(each.every(({ allow }) => allow), JSON.stringify(given))
      else if (each.every(({ allow }) => allow)) assert.equal(given.some(({ effect, tools: named }) => effect === 'allow' && (named === undefined || named.includes('*'))) && !given.some(({ effect }) => effect === 'deny'), false)
      assert.ok(all.rule === 'default' || all.rule.startsWith('r'))
    }),
    { numRuns: 1000 },
  )
  const stepUp: Rule = { id: 'fresh', effect: 'step-up', tools: ['delete_*'], require: { maxAge: 300 } }
  const both = policy([{ id: 'all', effect: 'allow' }, stepUp])
  // A sign-in that meets every step-up there is opens everything: for whom a rule allows it, and with nothing else in the way.
  assert.deepEqual(both.decideAll(alice), { allow: false, effect: 'step-up', rule: 'fresh', challenge: { maxAge: 300 } })
  const strong: Rule = { id: 'strong', effect: 'step-up', tools: ['pay'], require: { acrValues: ['mfa'] } }
  const three = policy([{ id: 'all', effect: 'allow' }, stepUp, strong])
  assert.deepEqual(three.decideAll(alice).challenge, { acrValues: ['mfa'], maxAge: 300 })
  assert.deepEqual(three.decideAll({ ...alice, at: 1_800_000_000_000, authentication: { acr: 'mfa', authTime: 1_800_000_000 - 10 } }), { allow: true, effect: 'allow', rule: 'all' })
  assert.deepEqual(policy([{ id: 'all', effect: 'allow' }, stepUp, { id: 'no', effect: 'deny', tools: ['x'] }]).decideAll(alice), { allow: false, effect: 'deny', rule: 'no' })
  assert.deepEqual(policy([{ id: 'some', effect: 'allow', tools: ['read'] }, stepUp]).decideAll(alice), { allow: false, effect: 'deny', rule: 'default' })
  assert.equal(both.decide({ ...alice, tool: 'read' }).allow, true)
})

test('a pattern of many stars is decided at once, however long the name', () => {
  const rules = policy([{ id: 'r', effect: 'deny', tools: [`${'a*'.repeat(50)}b`] }, { id: 'all', effect: 'allow' }])
  assert.equal(rules.decide({ ...alice, tool: 'a'.repeat(100_000) }).rule, 'all')
  assert.equal(rules.decide({ ...alice, tool: `${'a'.repeat(100_000)}b` }).rule, 'r')
})
