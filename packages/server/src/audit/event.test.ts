import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { ownFields, type AuditEvent } from './event.ts'

const SRC = resolve(import.meta.dirname, '..')
const FIELDS = new Set(['action', 'outcome', 'subject', 'owner', 'clientId', 'application', 'verified', 'grantId', 'resource', 'upstream', 'credential', 'tool', 'rule', 'reason', 'reference', 'address', 'detail'])
const SECRET = /token|secret|password|code|verifier|assertion|credential|cookie|authorization|argument|body|state$|nonce|private|session(?!Id)/i
const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && file !== join('audit', 'event.ts'))
  .map((file) => ({ file, text: readFileSync(join(SRC, file), 'utf8') }))

/** The object literal around a position. */
function literalAround(text: string, position: number): string {
  let depth = 0
  let start = position
  while (start > 0 && !(text[start] === '{' && depth === 0)) {
    if (text[start] === '}') depth += 1
    else if (text[start] === '{') depth -= 1
    start -= 1
  }
  return balanced(text, start)
}

function balanced(text: string, start: number): string {
  let depth = 0
  for (let at = start; at < text.length; at += 1) {
    if (text[at] === '{') depth += 1
    else if (text[at] === '}') depth -= 1
    if (depth === 0) return text.slice(start, at + 1)
  }
  return text.slice(start)
}

/** The names that a literal gives its own properties: `name: …`, `name,` and `name }`, not those of literals inside. */
function names(literal: string): string[] {
  let flat = literal.slice(1, -1).replaceAll(/'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`/g, "''")
  for (let before = ''; before !== flat; ) {
    before = flat
    flat = flat.replaceAll(/\{[^{}]*\}|\([^()]*\)|\[[^[\]]*\]/g, ' ')
  }
  return flat.split(',').flatMap((part) => /^\s*(\w+)\s*(?::|$)/.exec(part)?.[1] ?? [])
}

function literals(): { file: string; literal: string }[] {
  return sources.flatMap(({ file, text }) => [...text.matchAll(/\baction: '[a-z]+(?:\.[a-z_]+)?'/g)].map((match) => ({ file, literal: literalAround(text, match.index) })))
}

test('every event that the code writes has fields of the schema alone', () => {
  const found = literals()
  assert.ok(found.length > 20, `${found.length} events found`)
  for (const { file, literal } of found) {
    for (const name of names(literal)) assert.ok(FIELDS.has(name), `${file}: ${name} in ${literal}`)
  }
})

test('no detail of an event is named like a secret', () => {
  const details = sources.flatMap(({ file, text }) => [...text.matchAll(/\bdetail: \{/g)].map((match) => ({ file, literal: balanced(text, match.index + 'detail: '.length) })))
  assert.ok(details.length > 3, `${details.length} details found`)
  for (const { file, literal } of details) {
    for (const name of names(literal)) assert.ok(!SECRET.test(name), `${file}: detail.${name} sounds like a secret: ${literal}`)
  }
})

test('the two tests above can fail', () => {
  assert.deepEqual(names(`{ action: 'a.b', token, detail: { code: 'x', y }, reason: f({ z: 1 }), ...(a ? { b: 1 } : {}) }`), ['action', 'token', 'detail', 'reason'])
  assert.deepEqual(names('{ kid: a.kid, refreshToken: b }').filter((name) => SECRET.test(name)), ['refreshToken'])
  assert.equal(literalAround(`x({ a: { b: 1 }, action: 'k.l', c: { d: 2 } })`, 20), `{ a: { b: 1 }, action: 'k.l', c: { d: 2 } }`)
})

test('what a spread object carries along is not recorded', () => {
  const carried = { subject: 'usr_1', refreshToken: 'lyd_rt_secret', tokens: ['secret'] }
  const event: AuditEvent = { action: 'token.issued', outcome: 'success', ...carried, detail: { kid: 'k' } }
  assert.deepEqual(ownFields(event), { action: 'token.issued', outcome: 'success', subject: 'usr_1', detail: { kid: 'k' } })
  const full: Required<AuditEvent> = {
    action: 'logout', outcome: 'success', subject: 's', owner: 'o', clientId: 'c', application: 'p', verified: true, grantId: 'g', resource: 'r', upstream: 'u', credential: 'shared', tool: 't', rule: 'l', reason: 'x', reference: 'f', address: 'a', detail: {},
  }
  assert.deepEqual(ownFields(full), full)
})
