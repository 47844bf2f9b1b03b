import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse } from 'yaml'
import { policy } from './policy.ts'
import { ruleSchema } from './rule-schema.ts'

test('the rules of docs/policy.md are rules, and compile', () => {
  const page = readFileSync(new URL('../../../../docs/policy.md', import.meta.url), 'utf8')
  const [, text = ''] = /```yaml\n(.*?)```/s.exec(page) ?? []
  const { rules } = parse(text) as { rules: unknown[] }
  assert.equal(rules.length, 4)
  policy(rules.map((rule) => ruleSchema.parse(rule)))
})

test('what a rule cannot mean is refused, each at its place', () => {
  const refused: readonly (readonly [object, string])[] = [
    [{ effect: 'audit' }, 'effect'],
    [{ id: '' }, 'id'],
    [{ id: 'external' }, 'id'],
    [{ groups: [] }, 'groups'],
    [{ when: {} }, 'when'],
    [{ when: { networks: [] } }, 'when.networks'],
    [{ unless: { networks: ['10.0.0.1'] } }, 'unless.networks.0'],
    [{ when: { time: { timeZone: 'UTC', from: '08:00' } } }, 'when.time'],
    [{ when: { time: { timeZone: 'UTC', from: '08:00', to: '08:00' } } }, 'when.time'],
    [{ when: { time: { timeZone: 'UTC', from: '8:00', to: '18:00' } } }, 'when.time.from'],
    [{ when: { time: { timeZone: '+01:00' } } }, 'when.time.timeZone'],
    [{ when: { time: { from: '08:00', to: '18:00' } } }, 'when.time.timeZone'],
    [{ when: { time: { timeZone: 'UTC', days: ['monday'] } } }, 'when.time.days.0'],
    [{ when: { authentication: {} } }, 'when.authentication'],
    [{ when: { authentication: { maxAge: -1 } } }, 'when.authentication.maxAge'],
    [{ when: { claims: {} } }, 'when.claims'],
    [{ when: { claims: { device: [] } } }, 'when.claims.device'],
    [{ when: { claims: { device: [{}] } } }, 'when.claims.device.0'],
    [{ when: { application: 'known' } }, 'when.application'],
    [{ when: { tool: { safe: true } } }, 'when.tool'],
    [{ when: { groups: ['a'] } }, 'when'],
    [{ effect: 'step-up' }, 'require'],
    [{ effect: 'step-up', require: {} }, 'require'],
    [{ effect: 'step-up', require: { acrValues: ['a b'] } }, 'require.acrValues.0'],
    [{ effect: 'step-up', require: { acrValues: ['a"'] } }, 'require.acrValues.0'],
    [{ require: { maxAge: 60 } }, 'require'],
    [{ priority: 1 }, ''],
  ]
  for (const [change, path] of refused) {
    const { error } = ruleSchema.safeParse({ id: 'r', effect: 'deny', ...change })
    assert.deepEqual([...new Set(error?.issues.map((issue) => issue.path.join('.')))], [path], JSON.stringify(change))
  }
  assert.ok(ruleSchema.safeParse({ id: 'r', effect: 'step-up', require: { acrValues: ['urn:x:mfa'] }, when: { tool: { readOnly: false }, time: { timeZone: 'UTC', from: '22:00', to: '06:00' } } }).success)
})
