// Attacks every parser for a while each: node run.ts [SECONDS] [NAME]. What is found goes among the seeds of its target.
import { startCoverage } from './coverage.ts'
import { fuzz } from './fuzz.ts'
import { TARGETS } from './targets.ts'

const [seconds = '20', only] = process.argv.slice(2)
const seed = Number(process.env['LANYARD_FUZZ_SEED'] ?? Date.now() % 2 ** 31)
const coverage = startCoverage('/packages/server/src/')
const targets = TARGETS.filter(({ name }) => only === undefined || name === only)
let failed = 0
for (const target of targets) {
  const end = Date.now() + Number(seconds) * 1000
  const { runs, kept, blocks, finding } = fuzz(target, { seed, coverage, goOn: () => Date.now() < end })
  console.log(`${finding === undefined ? 'ok     ' : 'FINDING'} ${target.name}: ${runs} inputs, ${kept} kept, ${blocks} blocks`)
  if (finding === undefined) continue
  failed += 1
  console.log(finding.error, `\n  input (base64): ${finding.input.toString('base64')}\n  as text: ${JSON.stringify(finding.input.toString('utf8').slice(0, 500))}`)
}
coverage.close()
console.log(`seed ${seed}: ${targets.length - failed} passed, ${failed} failed`)
if (failed > 0) process.exitCode = 1
