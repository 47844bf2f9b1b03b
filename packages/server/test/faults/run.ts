// Runs the faults: `npm run faults [-- --write]`. Whole processes first, then those that need one process alone, by the
// titles of their tests. With --write, docs/faults.md is written anew from what was observed.
import { glob, readFile, writeFile } from 'node:fs/promises'
import { basename, relative, resolve } from 'node:path'
import { run } from 'node:test'
import type { TestEvent } from 'node:test/reporters'
import { inspect } from 'node:util'
import { matrix, type Observed } from './matrix.ts'

const ROOT = resolve(import.meta.dirname, '../../../..')
const SERVER = resolve(ROOT, 'packages/server')
const ID = /\bX\d\d\b/
const startedAt = Date.now()
const observed: Observed[] = []
let passed = 0
let failed = 0

async function files(...patterns: readonly string[]): Promise<string[]> {
  const found: string[] = []
  for (const pattern of patterns) for await (const file of glob(pattern, { cwd: SERVER })) found.push(resolve(SERVER, file))
  return found.toSorted()
}

/** Tests of other folders that name a fault in their title. */
async function inProcess(): Promise<string[]> {
  const found: string[] = []
  for (const file of await files('src/**/*.test.ts', 'test/store/**/*.test.ts', 'test/flows/**/*.test.ts')) {
    if (/(?:test|each\w*)\([^\n]*\n?[^\n]*\bX\d\d\b/.test(await readFile(file, 'utf8'))) found.push(file)
  }
  return found
}

/** Where the run began: a test that a support file declares is a test of whoever called that. */
function entryFile(data: { readonly file?: string | undefined; readonly entryFile?: unknown }): string {
  return typeof data.entryFile === 'string' ? data.entryFile : (data.file ?? '')
}

function tell(event: TestEvent): void {
  if (event.type === 'test:diagnostic' && event.data.message.startsWith('{"id"')) {
    const fault = JSON.parse(event.data.message) as Omit<Observed, 'test'>
    observed.push({ ...fault, test: relative(ROOT, entryFile(event.data)) })
    console.log(`     ${fault.id}: ${fault.observed}`)
    return
  }
  if (event.type !== 'test:pass' && event.type !== 'test:fail') return
  const { name, skip, details } = event.data
  const file = entryFile(event.data)
  // A file that fails as a whole, and suites, are told by their tests.
  if (details.type === 'suite' || skip !== undefined || (event.type === 'test:pass' && name === file)) return
  const ok = event.type === 'test:pass'
  if (ok) passed += 1
  else failed += 1
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${name} [${basename(file)}, ${(details.duration_ms / 1000).toFixed(1)} s]`)
  if (event.type === 'test:fail') console.log(`     ${inspect(event.data.details.error.cause ?? event.data.details.error).replaceAll('\n', '\n     ')}`)
  else if (ID.test(name) && !file.includes('/faults/')) observed.push({ id: [...name.matchAll(/\bX\d\d\b/g)].join(', '), injected: name.replace(/ \([^()]*\)$/, ''), expected: '', observed: 'as the test says', test: relative(ROOT, file) })
}

async function runTests(selected: readonly string[], concurrency: number, testNamePatterns: readonly RegExp[] = []): Promise<void> {
  const stream = run({ files: [...selected], concurrency, ...(testNamePatterns.length === 0 ? {} : { testNamePatterns: [...testNamePatterns] }) })
  for await (const event of stream) tell(event as TestEvent)
}

await runTests(await files('test/faults/*.test.ts'), 3)
await runTests(await inProcess(), 2, [ID])
if (process.argv.includes('--write') && failed === 0) await writeFile(resolve(ROOT, 'docs/faults.md'), matrix(observed))
console.log(`${passed} passed, ${failed} failed (${((Date.now() - startedAt) / 1000).toFixed(0)} s)`)
process.exitCode = failed === 0 && passed > 0 ? 0 : 1
