import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lookAlikesAmong, skeleton } from './look-alike.ts'

test('F13: names that an eye takes for one another have one skeleton, others have not', () => {
  for (const name of ['Claude', 'CLAUDE', 'Clаude', 'C1aude', 'CIaude', 'Ćlaude', 'Claude ', 'C-l-a-u-d-e', 'Ｃlaude']) assert.equal(skeleton(name), skeleton('Claude'), name)
  for (const name of ['Cloud', 'Cursor', 'Clyde', '', '克劳德']) assert.notEqual(skeleton(name), skeleton('Claude'), name)
})

test('F13: a name that adds to a known one is a look-alike too; the application itself is none; who is vouched for stands before a flood of others', () => {
  const known = [{ id: 'dyn_1', name: 'Claude' }, { id: 'https://claude.ai/c', name: 'Claude Code', voucher: 'verified: claude.ai' }, { id: 'https://zed.dev/c', name: 'Zed', voucher: 'verified: zed.dev' }]
  const found = (id: string, name: string): readonly string[] => lookAlikesAmong(known)({ id, name }).map((each) => each.id)
  assert.deepEqual(found('dyn_2', 'Claude Code (official)'), ['https://claude.ai/c', 'dyn_1'])
  assert.deepEqual(found('https://claude.ai/c', 'Claude Code'), ['dyn_1'])
  assert.deepEqual(found('dyn_2', 'Zebra'), [])
  assert.deepEqual(found('dyn_2', 'Z3d'), ['https://zed.dev/c'])
})
