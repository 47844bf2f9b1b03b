import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Sealed } from '../oauth/secret.ts'
import { SealError, sealer, stateSealer } from './seal.ts'

const k1 = { id: 'k1', key: randomBytes(32) }
const k2 = { id: 'k2', key: randomBytes(32) }
const ROW = ['connections', 'usr_1 notes', 'credential']
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** The text with one character replaced, at every place and by neighbours in the alphabet: also by unused bits alone. */
function tampered(text: string): string[] {
  return Array.from(text).flatMap((character, index) => {
    const at = ALPHABET.indexOf(character)
    const others = at === -1 ? ['A'] : [1, 2, 4, 8, 16, 32].map((bit) => ALPHABET[at ^ bit] ?? 'A')
    return others.map((other) => `${text.slice(0, index)}${other}${text.slice(index + 1)}`)
  })
}

test('a sealed value opens in its own row, whatever it is', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), fc.array(fc.string({ unit: 'grapheme' }), { minLength: 1, maxLength: 4 }), (text, row) => {
      const secrets = sealer([k1])
      assert.equal(secrets.open(secrets.seal(text, row), row), Buffer.from(text).toString())
    }),
  )
})

test('a sealed value opens in no other row: not with a part more, less, shifted or joined otherwise', () => {
  const secrets = sealer([k1])
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 6 }), { maxLength: 4 }), fc.array(fc.string({ maxLength: 6 }), { maxLength: 4 }), (row, other) => {
      fc.pre(JSON.stringify(row) !== JSON.stringify(other))
      assert.throws(() => secrets.open(secrets.seal('secret', row), other), SealError)
    }),
  )
  for (const other of [['connections', 'usr_2 notes', 'credential'], [...ROW, ''], ROW.slice(0, 2), ['connectionsusr_1 notes', 'credential'], ['connections', 'usr_1', 'notes', 'credential']]) {
    assert.throws(() => secrets.open(secrets.seal('secret', ROW), other), SealError, other.join())
  }
})

test('a sealed value whose any bit was changed, or that was cut or lengthened, does not open', () => {
  const secrets = sealer([k1])
  const sealed = secrets.seal('a secret', ROW)
  assert.equal(secrets.open(sealed, ROW), 'a secret')
  const cuts = Array.from({ length: sealed.length }, (_, length) => sealed.slice(0, length))
  const additions = ['A', '=', '.', ' ', '\n', '.A'].flatMap((more) => [`${sealed}${more}`, `${more}${sealed}`])
  const changed = [...tampered(sealed), ...cuts, ...additions].filter((text) => text !== sealed)
  assert.ok(changed.length > 800)
  for (const text of changed) {
    assert.throws(() => secrets.open(text as Sealed, ROW), (error) => error instanceof SealError && !error.message.includes('a secret'), text)
  }
})

test('parts of two sealed values of one row are no third', () => {
  const secrets = sealer([k1])
  const [a, b] = [secrets.seal('one', ROW).split('.'), secrets.seal('two', ROW).split('.')]
  assert.throws(() => secrets.open([a[0], a[1], a[2], b[3]].join('.') as Sealed, ROW), SealError)
})

test('keys: another key of the same name does not open, an old one still does', () => {
  const before = sealer([k1]).seal('secret', ROW)
  const after = sealer([k2, k1])
  assert.equal(after.open(before, ROW), 'secret')
  assert.match(after.seal('secret', ROW), /^v1\.k2\./, 'the first key is the current one')
  assert.throws(() => sealer([k2]).open(before, ROW), /not among the key-encryption keys/)
  assert.throws(() => sealer([{ id: 'k1', key: k2.key }]).open(before, ROW), SealError)
  // The name of the key is bound in: a value cannot be made to look as if another key had sealed it.
  assert.throws(() => sealer([k1, { id: 'k9', key: k1.key }]).open(before.replace('.k1.', '.k9.') as Sealed, ROW), SealError)
  assert.throws(() => sealer([]), SealError)
})

test('the same value is never sealed to the same text twice', () => {
  const secrets = sealer([k1])
  assert.equal(new Set(Array.from({ length: 100 }, () => secrets.seal('same', ROW))).size, 100)
})

const LATER = 2_000_000_000_000

test('state opens for its purpose and context, until it expires, as what it was', () => {
  const state = stateSealer([k1])
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.array(fc.string(), { maxLength: 3 }), (payload, context) => {
      const expected: unknown = JSON.parse(JSON.stringify(payload))
      assert.deepEqual(state.open('p', context, state.seal('p', context, payload, LATER), LATER - 1), expected)
    }),
  )
  const sealed = state.seal('login', ['flow'], { a: 1 }, 1000)
  assert.deepEqual(state.open('login', ['flow'], sealed, 999), { a: 1 })
  assert.equal(state.open('login', ['flow'], sealed, 1000), undefined, 'at its end it has ended')
  assert.equal(state.open('login', ['flow'], sealed, 1001), undefined)
})

test('state opens for no other purpose, context, key or kind of value', () => {
  const state = stateSealer([k1])
  const sealed = state.seal('login', ['flow', 'corp'], { a: 1 }, LATER)
  for (const [purpose, context] of [['logout', ['flow', 'corp']], ['login', ['flow', 'other']], ['login', ['flow']], ['login', ['flowcorp']], ['login', ['corp', 'flow']], ['login', []], ['', ['flow', 'corp']]] as const) {
    assert.equal(state.open(purpose, context, sealed, 0), undefined, `${purpose} ${context.join()}`)
  }
  assert.equal(stateSealer([k2]).open('login', ['flow', 'corp'], sealed, 0), undefined)
  assert.equal(stateSealer([{ id: 'k1', key: k2.key }]).open('login', ['flow', 'corp'], sealed, 0), undefined)
  assert.deepEqual(stateSealer([k2, k1]).open('login', ['flow', 'corp'], sealed, 0), { a: 1 })
  // A value at rest is no state, and state is no value at rest, though both are under one key.
  const atRest = sealer([k1])
  assert.equal(state.open('login', [], atRest.seal('x', []).replace('v1.', ''), 0), undefined)
  assert.throws(() => atRest.open(`v1.${sealed}` as Sealed, ['flow', 'corp']), SealError)
})

test('state whose any bit was changed does not open, and nothing throws at what a browser sends', () => {
  const state = stateSealer([k1])
  const sealed = state.seal('login', ['flow'], { a: 1 }, LATER)
  for (const text of tampered(sealed)) assert.equal(state.open('login', ['flow'], text, 0), undefined, text)
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => assert.equal(state.open('login', ['flow'], text, 0), undefined)))
  fc.assert(fc.property(fc.base64String(), (text) => assert.equal(state.open('login', ['flow'], `k1.${text}`, 0), undefined)))
})
