// Runs every test whose title carries the identifier of an attack, on SQLite and on two nodes over PostgreSQL, and writes
// docs/attacks.md: attack, tests, result. Fails when an attack that concerns this version has no test, or one that failed.
import { spawnSync } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { group, list, readLines, type Groups } from '../specs/results.ts'
import { GROUPS, type AttackCase } from './cases.ts'

const ROOT = new URL('../../../../', import.meta.url).pathname
const REPORTER = new URL('../specs/reporter.ts', import.meta.url).pathname
const IDENTIFIER = /\b[A-ILMXZ]\d\d\b/g
const PLACES = ['src/**/*.test.ts', 'test/store/**/*.test.ts', 'test/flows/**/*.test.ts', 'test/attacks/**/*.test.ts']

const cases = GROUPS.flatMap(([, members]) => members)
const tests = runTests()
const problems = cases.flatMap((attack) => problemOf(attack, tests))
writeFileSync(join(ROOT, 'docs/attacks.md'), document(tests))
for (const problem of problems) console.error(problem)
const ran = [...new Set([...tests.values()].flat())]
const failed = ran.filter(({ result }) => result === 'failed').length
const refused = cases.filter(({ id }) => tests.has(id)).length
console.log(`${refused} attacks refused in ${ran.length} tests, ${cases.length - refused} concern what does not exist yet`)
console.log(`${refused - new Set(problems.map((problem) => problem.slice(0, 3))).size} passed, ${problems.length} failed`)
if (problems.length + failed > 0) process.exitCode = 1

/** Only files that name an attack are started, and of them only the tests that do. */
function runTests(): Groups {
  const named = PLACES.flatMap((place) => globSync(place, { cwd: join(ROOT, 'packages/server') }))
    .map((file) => join('packages/server', file))
    .filter((file) => readFileSync(join(ROOT, file), 'utf8').match(IDENTIFIER) !== null)
  const directory = mkdtempSync(join(tmpdir(), 'lanyard-attacks-'))
  const results = join(directory, 'results.jsonl')
  const flags = ['--test', '--test-concurrency=2', `--test-name-pattern=/${IDENTIFIER.source}/`, '--test-reporter=dot', '--test-reporter-destination=stdout', `--test-reporter=${REPORTER}`, `--test-reporter-destination=${results}`]
  const { status } = spawnSync(process.execPath, [...flags, ...named], { cwd: ROOT, stdio: 'inherit', env: { LANYARD_TEST_STORE: 'both', ...process.env } })
  // A file that ends early fails without any test of it.
  if (status !== 0) process.exitCode = 1
  const lines = readLines(results)
  rmSync(directory, { recursive: true })
  return group(lines, (title) => title.match(IDENTIFIER) ?? [])
}

function problemOf({ id, text, beyond }: AttackCase, tests: Groups): string[] {
  const found = tests.get(id)
  if (found === undefined) return beyond === undefined ? [`${id} has no test: ${text}`] : []
  if (found.every(({ result }) => result === 'skipped')) return [`${id} was skipped: ${text}`]
  return found.some(({ result }) => result === 'failed') ? [`${id} has a test that failed: ${text}`] : []
}

function document(tests: Groups): string {
  const chapters = GROUPS.map(([title, members]) => `## ${title}\n\n| | attack | tests | result |\n|---|---|---|---|\n${members.map((attack) => row(attack, tests)).join('\n')}\n`)
  return `# Attacks, and the tests that refuse them

Made by \`npm run attacks\` from the titles of the tests that ran, on SQLite and on two nodes over PostgreSQL. Every refusal stands beside the legitimate request that succeeds, and looks at rows, upstream requests and events as well as at the answer.

${chapters.join('\n')}`
}

function row(attack: AttackCase, tests: Groups): string {
  const found = tests.get(attack.id)
  if (found === undefined) return `| ${attack.id} | ${attack.text} | | ${attack.beyond ?? 'no test'} |`
  return `| ${attack.id} | ${attack.text} | ${list(found)} | ${problemOf(attack, tests).length === 0 ? 'refused' : 'FAILED'} |`
}
