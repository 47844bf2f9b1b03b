// Writes docs/specs.md from what the tests reported: requirement -> test -> result. With --check it writes nothing, and
// fails when a requirement that concerns this version has no test, or one that failed.
import { writeFileSync } from 'node:fs'
import { CHAPTERS, type Requirement } from './requirements.ts'
import { group, list, readLines } from './results.ts'

const TARGET = new URL('../../../../docs/specs.md', import.meta.url)
const SECTION = /\b(RFC \d{4}|OAuth 2\.1|OpenID Connect (?:Core|Discovery)|OIDC Core|ASVS|CIMD)(?: §| )(\d+(?:\.\d+)*)/g
const IDENTIFIER = /\b(?:AS|RS|C|P)-\d+\b/g

const [results = '', mode] = process.argv.slice(2)
const lines = readLines(results)
const byIdentifier = group(lines, (title) => title.match(IDENTIFIER) ?? [])
const bySection = group(lines, (title) => [...title.matchAll(SECTION)].map(([, name = '', section = '']) => `${name.replace('OIDC Core', 'OpenID Connect Core')} §${section}`))
const problems = CHAPTERS.flatMap(([, requirements]) => requirements).flatMap(problemOf)

for (const problem of problems) console.error(problem)
if (mode !== '--check') writeFileSync(TARGET, document())
const proven = CHAPTERS.flatMap(([, requirements]) => requirements).filter(({ id }) => byIdentifier.has(id)).length
console.log(`${proven} requirements and ${bySection.size} sections have tests; ${problems.length} lack one`)
if (problems.length > 0) process.exitCode = 1

function problemOf({ id, level, text, beyond }: Requirement): string[] {
  const tests = byIdentifier.get(id)
  if (tests === undefined) return level === 'MUST' && beyond === undefined ? [`${id} has no test: ${text}`] : []
  return tests.some(({ result }) => result === 'failed') ? [`${id} has a test that failed: ${text}`] : []
}

function document(): string {
  const chapters = CHAPTERS.map(([title, requirements]) => `## ${title}\n\n| | | requirement | tests |\n|---|---|---|---|\n${requirements.map(row).join('\n')}\n`)
  const sections = [...bySection].toSorted(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })).map(([section, tests]) => `| ${section} | ${list(tests)} |`)
  return `# What the specifications ask, and the test that proves it

Made by \`npm run specs\` from the titles of the tests that ran; the identifiers are our own, for the requirements of the Model Context Protocol, revision 2026-07-28 and those of 2025. Many requirements are also covered by the official suites (\`npm run conformance\`), which are not counted here.

${chapters.join('\n')}
## By section

| section | tests |
|---|---|
${sections.join('\n')}
`
}

function row({ id, level, text, beyond }: Requirement): string {
  const tests = byIdentifier.get(id)
  return `| ${id} | ${level} | ${text} | ${tests === undefined ? (beyond ?? 'no test of its own') : list(tests)} |`
}
