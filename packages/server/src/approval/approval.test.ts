import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { assess, judge, needsOf, settledBy, type Need, type Standing, type StandingDecision } from './approval.ts'

const decision = (upstream: string, access: Need['access'], effect: StandingDecision['effect'], more: Partial<StandingDecision> = {}): StandingDecision => ({ upstream, access, effect, digest: 'd1', ...more })
const standing = (more: Partial<Standing> = {}): Standing => ({ application: { id: 'https://app.example/c', verified: true, by: 'host' }, required: true, holdChanged: false, decisions: [], digest: 'd1', ...more })
const READ: Need = { upstream: 'notes', access: 'read' }
const UNVERIFIED = { id: 'dyn_1', verified: false }

test('what nobody decided waits where approval is required, and not of an administrator’s own application', () => {
  assert.equal(judge(standing(), READ, []).kind, 'unknown')
  assert.equal(judge(standing({ required: false }), READ, []).kind, 'approved')
  assert.equal(judge(standing({ application: { id: 'a', verified: true, by: 'administrator' } }), READ, []).kind, 'approved')
})

test('the decision about an upstream goes before that about all of them, and a refusal holds whatever the application became', () => {
  const refusedButOne = [decision('*', 'read', 'refuse', { reason: 'No' }), decision('notes', 'read', 'approve')]
  assert.equal(judge(standing({ decisions: refusedButOne }), READ, []).kind, 'approved')
  assert.deepEqual(judge(standing({ decisions: refusedButOne }), { ...READ, upstream: 'tickets' }, []), { kind: 'refused', reason: 'No' })
  const approvedButOne = [decision('*', 'read', 'approve'), decision('notes', 'read', 'refuse')]
  assert.equal(judge(standing({ decisions: approvedButOne, digest: 'd2', holdChanged: true }), READ, []).kind, 'refused')
  assert.equal(judge(standing({ decisions: approvedButOne }), { ...READ, upstream: 'tickets' }, []).kind, 'approved')
})

test('a change holds back what nobody vouches for, and the others where the settings say so, pins too', () => {
  const decisions = [decision('notes', 'read', 'approve')]
  assert.equal(judge(standing({ decisions, digest: 'd2' }), READ, []).kind, 'approved')
  assert.equal(judge(standing({ decisions, digest: 'd2', holdChanged: true }), READ, []).kind, 'unknown')
  assert.equal(judge(standing({ decisions, digest: 'd2', application: UNVERIFIED }), READ, []).kind, 'unknown')
  assert.equal(judge(standing({ required: false, pin: 'd1', digest: 'd2', holdChanged: true }), READ, []).kind, 'unknown')
  assert.equal(judge(standing({ required: false, pin: 'd1', digest: 'd2' }), READ, []).kind, 'approved')
  assert.equal(judge(standing({ required: false, pin: 'd2', digest: 'd2', holdChanged: true }), READ, []).kind, 'approved')
})

test('what is for groups is for their members', () => {
  const decisions = [decision('notes', 'read', 'approve', { groups: ['finance'] })]
  assert.equal(judge(standing({ decisions }), READ, ['finance', 'staff']).kind, 'approved')
  assert.equal(judge(standing({ decisions }), READ, ['staff']).kind, 'refused')
})

test('of a request, upstreams that may not be read are left out as long as there are others', () => {
  const needs = needsOf(['mcp.read'], ['notes', 'tickets'])
  const closed = [decision('notes', 'read', 'refuse', { reason: 'No notes' })]
  assert.deepEqual(assess(standing({ decisions: closed }), needs, []), { kind: 'unknown', needs: [{ upstream: 'tickets', access: 'read' }] })
  assert.deepEqual(assess(standing({ decisions: [...closed, decision('tickets', 'read', 'approve')] }), needs, []), { kind: 'approved' })
  assert.deepEqual(assess(standing({ decisions: [...closed, decision('tickets', 'read', 'refuse')] }), needs, []), { kind: 'refused', reason: 'No notes' })
  assert.equal(assess(standing({ decisions: [decision('*', 'write', 'refuse')] }), [], []).kind, 'refused')
  assert.equal(assess(standing(), [], []).kind, 'approved')
})

test('what a scope needs: write includes read, and one for all upstreams is for each', () => {
  assert.deepEqual(needsOf(['mcp.notes.write'], ['notes', 'tickets']), [{ upstream: 'notes', access: 'read' }, { upstream: 'notes', access: 'write' }])
  assert.deepEqual(needsOf(['mcp.read', 'mcp.tickets.write'], ['notes', 'tickets']), [READ, { upstream: 'tickets', access: 'read' }, { upstream: 'tickets', access: 'write' }])
})

test('whatever was decided before: after an approval to write both are approved, after a refusal to read neither is', () => {
  const step = fc.record({ access: fc.constantFrom('read' as const, 'write' as const), effect: fc.constantFrom('approve' as const, 'refuse' as const) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
      const decided = new Map<string, StandingDecision>()
      for (const { access, effect } of steps) for (const need of settledBy({ upstream: 'notes', access }, effect)) decided.set(need.access, decision('notes', need.access, effect))
      const kinds = (['read', 'write'] as const).map((access) => judge(standing({ decisions: [...decided.values()] }), { upstream: 'notes', access }, []).kind)
      // Nobody may write what they may not read.
      assert.ok(!(kinds[1] === 'approved' && kinds[0] !== 'approved'))
      const last = steps.at(-1)
      if (last !== undefined) assert.equal(kinds[last.access === 'read' ? 0 : 1], last.effect === 'approve' ? 'approved' : 'refused')
    }),
  )
})
