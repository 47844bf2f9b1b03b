import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { definitionOf, PINNED } from './pinned-definition.ts'
import { sight, sightOf } from './pinning-sight.ts'

test('what is remembered of a text is what it would be without memory', () => {
  const member = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constant(undefined), fc.constantFrom(null, 0, '', [], [0], 'ign\u200bore'))
  const tools = fc.array(fc.record({ name: fc.constantFrom('a', 'b'), title: member, description: member, inputSchema: member, outputSchema: member, annotations: member }), { maxLength: 8 })
  const look = sight()
  fc.assert(
    fc.property(tools, (list) => {
      for (const tool of [...list, ...list]) {
        const seen = look(tool)
        assert.equal(seen?.hash, definitionOf(tool).hash)
        assert.equal(seen?.refusal, sight()(tool)?.refusal)
        assert.equal(seen?.value, tool)
      }
    }),
  )
})

test('every pinned member makes another definition, also for who saw the tool before', () => {
  const look = sight()
  const tool = { name: 'a', title: 'a', description: 'a', inputSchema: {}, outputSchema: { type: 'object' }, annotations: {} }
  const hashes = new Set([look(tool)?.hash])
  for (const member of PINNED) hashes.add(look({ ...tool, [member]: member === 'outputSchema' ? { type: 'object', title: 'b' } : 'b' })?.hash)
  assert.equal(hashes.size, PINNED.length + 1)
  for (const odd of [null, 'a', 7, [], { name: 7 }, {}, undefined]) assert.equal(look(odd), undefined)
})

test('of a refused tool no more is kept than may be shown', () => {
  const look = sight()
  const [hidden, huge, fine] = [{ name: 'a\u202eb', description: 'x' }, { name: 'big', description: 'x'.repeat(300_000) }, { name: 'fine', description: 'x' }].map(look)
  assert.ok(hidden !== undefined && huge !== undefined && fine !== undefined)
  assert.deepEqual([sightOf(hidden).tool, sightOf(hidden).refusal], ['a\ufffdb', 'a control or invisible character in the name'])
  assert.deepEqual([sightOf(huge).text, sightOf(huge).refusal], ['{"name":"big"}', 'the definition is larger than 256 KiB'])
  assert.deepEqual(sightOf(fine), { ...definitionOf({ name: 'fine', description: 'x' }), refusal: undefined })
})
