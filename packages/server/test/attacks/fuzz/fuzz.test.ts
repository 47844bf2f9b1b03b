// A short attack on every parser, the same each time; `npm run fuzz` goes on for longer, from another seed each time.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startCoverage } from './coverage.ts'
import { fuzz } from './fuzz.ts'
import { planted } from './planted.ts'
import { TARGETS } from './targets.ts'

const coverage = startCoverage('/packages/server/src/')
after(() => coverage.close())

for (const target of TARGETS) {
  test(`mutated input does nothing that none may do: ${target.name} (Z11, N09)`, () => {
    const { finding, blocks } = fuzz(target, { seed: 1, coverage, goOn: (runs) => runs < 3000 })
    assert.equal(finding, undefined, `${String(finding?.error)}\n${finding?.input.toString('base64')}`)
    assert.ok(blocks > 4, 'hardly anything was reached: the target is not attacked')
  })
}

test('a fault behind several conditions is found by what inputs reach, and not by chance', () => {
  const target = { name: 'planted', seeds: ['aaaa'], words: [], run: planted }
  const goOn = (runs: number): boolean => runs < 100_000
  const guided = startCoverage('/fuzz/planted.ts')
  const { finding, runs } = fuzz(target, { seed: 1, coverage: guided, goOn })
  guided.close()
  assert.equal((finding?.error as Error | undefined)?.message, 'found')
  const blind = fuzz(target, { seed: 1, coverage: { take: () => [], close: () => undefined }, goOn: (tried) => tried < runs })
  assert.equal(blind.finding, undefined)
})
