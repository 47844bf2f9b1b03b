// Proves the shape of the house: who may import whom, how large things may grow, what no file may contain.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { test } from 'node:test'

const ROOT = resolve(import.meta.dirname, '../../..')
const SRC = resolve(import.meta.dirname, '../src')

/** From left to right: a file imports its own room or one further left. Files beside the rooms wire them. */
const ROOMS = ['oauth', 'http', 'audit', 'keys', 'notices', 'policy', 'clients', 'approval', 'identity', 'vault', 'upstreams', 'authorize', 'token', 'gateway', 'admin', 'config', 'store', 'wiring', 'cli']
const WIRING = new Set(['app.ts', 'main.ts'])
const BANNED_NAMES = /(?:^|-)(?:manager|helper|utils?|service|impl|base|abstract)s?(?:\.test)?\.ts$/

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && statSync(join(SRC, file)).isFile())
  .map((file) => file.split(sep).join('/'))
const sources = files.filter((file) => !file.endsWith('.test.ts'))

/** The local files that a file imports, relative to `src/`. */
function imports(file: string): string[] {
  const text = readFileSync(join(SRC, file), 'utf8')
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) => relative(SRC, resolve(SRC, dirname(file), match[1] ?? '')).split(sep).join('/'))
}

function room(file: string): number {
  const name = file.split('/')[0] ?? ''
  return WIRING.has(file) ? ROOMS.indexOf('cli') - 0.5 : ROOMS.indexOf(name)
}

test('every source file lives in a room', () => {
  assert.ok(sources.length > 50)
  for (const file of sources) assert.notEqual(room(file), -1, `${file} is in no room`)
})

test('imports point one way: a room knows itself and the rooms further left', () => {
  for (const file of sources) {
    for (const target of imports(file)) {
      assert.ok(room(target) <= room(file), `${file} may not import ${target}`)
    }
  }
})

test('the test of import direction can fail', () => {
  assert.ok(room('oauth/error.ts') < room('token/issue.ts'))
  assert.ok(room('app.ts') > room('store/database.ts') && room('cli/serve.ts') > room('app.ts'))
})

test('no file stands in a cycle of imports', () => {
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    assert.ok(!path.includes(file), `cycle: ${[...path, file].join(' -> ')}`)
    if (done.has(file)) return
    for (const target of imports(file)) visit(target, [...path, file])
    done.add(file)
  }
  for (const file of sources) visit(file, [])
})

test('no domain knows SQL or the store', () => {
  for (const file of sources.filter((name) => room(name) < ROOMS.indexOf('config'))) {
    assert.doesNotMatch(readFileSync(join(SRC, file), 'utf8'), /\b(SELECT|INSERT INTO|DELETE FROM)\b|UPDATE \w+ SET/, `${file} contains SQL`)
  }
})

test('one client makes every request that leaves', () => {
  for (const file of sources.filter((name) => !name.startsWith('http/'))) {
    const text = readFileSync(join(SRC, file), 'utf8')
    assert.doesNotMatch(text, /(?<![.\w])fetch\(|globalThis\.fetch|\b(?:http|https)\.request\(|from 'node:https'/, `${file} makes requests of its own`)
    if (!file.startsWith('gateway/')) assert.doesNotMatch(text, /from 'undici'/, `${file} imports undici`)
  }
})

test('names say what a thing is', () => {
  for (const file of files) assert.doesNotMatch(file.split('/').at(-1) ?? '', BANNED_NAMES)
  for (const file of sources) {
    assert.doesNotMatch(readFileSync(join(SRC, file), 'utf8'), /\b(?:class|interface|type|function|const) \w*(?:Manager|Helper|Utils?|Impl|Abstract\w+|Service)\b/, file)
  }
})

test('files have at most 400 lines, functions at most 60; no any, no default export, no cycle', () => {
  const rules = ['max-lines', 'max-lines-per-function', 'typescript/no-explicit-any', 'import/no-default-export', 'import/no-cycle', 'typescript/ban-ts-comment']
  const configured: unknown = JSON.parse(readFileSync(join(ROOT, '.oxlintrc.json'), 'utf8'))
  for (const rule of rules) assert.match(JSON.stringify(configured), new RegExp(`"${rule}":(?:"error"|\\["error")`), `${rule} is not enforced`)
  const lint = spawnSync(process.execPath, [join(ROOT, 'node_modules/oxlint/bin/oxlint'), '--format=unix', 'packages/server/src'], { cwd: ROOT, encoding: 'utf8' })
  const findings = lint.stdout.split('\n').filter((line) => rules.some((rule) => line.includes(rule.split('/').at(-1) ?? rule)))
  assert.deepEqual(findings, [])
  assert.ok(lint.status === 0 || lint.status === 1, lint.stderr)
})
