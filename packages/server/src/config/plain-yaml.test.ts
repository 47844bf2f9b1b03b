// The plain reader against the parser of the whole language: it says the same, or nothing.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseDocument, stringify } from 'yaml'
import { readPlainYaml } from './plain-yaml.ts'

/** @returns whether it was read */
function agrees(text: string): boolean {
  const plain = readPlainYaml(text)
  if (plain === undefined) return false
  const document = parseDocument(text)
  assert.deepEqual([document.errors, document.warnings], [[], []], `read what is none: ${JSON.stringify(text)}`)
  assert.deepEqual(plain, document.toJS(), JSON.stringify(text))
  return true
}

const words = fc.constantFrom('a', 'notes', 'delete_*', '*', 'https://a.example/x?y=1#z', 'sqlite:./x.db', 'true', 'False', 'NULL', 'null', '~', 'yes', 'no', '0', '-1', '12', '007', '0x1f', '0o7', '1.5', '1e3', '.5', '.inf', '-.INF', '.nan', '2026-01-01', '12:30', '203.0.113.0/24', '1.2.3', '127.0.0.1:8080', '3d', '1_000', '0b1', '1.', '1e', '12e03', '-abc', '-1a', '-', '+1', '0.0.0.0:0', '2001:db8::/32', '${env:A}', '"q"', "it's", 'a: b', 'a #b', 'a#b', '#', '- a', '-', '--- x', '...', '? x', '!tag', '&anchor', '*alias', '|', '>', '%', '@', '`', '[x', '{x', 'x]', 'a, b', '', ' ', 'two words', 'Überstunden', 'a\tb', 'a\nb', './data', '/x', '$x', '__proto__', 'constructor')
const scalars = fc.oneof(words, fc.string({ maxLength: 6 }), fc.integer(), fc.boolean(), fc.constant(null), fc.double({ noNaN: true }))
const keys = fc.oneof(fc.constantFrom('id', 'groups', 'rules', 'a-b', 'true', 'null', '__proto__', 'constructor', 'x y', '1', '<<'), fc.stringMatching(/^[a-z]{1,3}$/))
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, scalars, fc.array(tie('value'), { maxLength: 4 }), fc.dictionary(keys, tie('value'), { maxKeys: 4, noNullPrototype: true })),
}))

test('whatever is written as YAML is read as it was written, or not at all', () => {
  let read = 0
  fc.assert(
    fc.property(fc.dictionary(keys, value, { minKeys: 1, maxKeys: 4, noNullPrototype: true }), fc.constantFrom(2, 4), fc.boolean(), fc.boolean(), (written, indent, indentSeq, flow) => {
      read += Number(agrees(stringify(written, { indent, indentSeq, ...(flow ? { collectionStyle: 'flow' as const, lineWidth: 0 } : {}) })))
    }),
    { numRuns: 4000 },
  )
  assert.ok(read > 200, `${read} were read`)
})

test('whatever becomes of a configuration when something in it is changed', () => {
  const page = readFileSync(new URL('../../../../docs/configuration.md', import.meta.url), 'utf8')
  const examples = [...page.matchAll(/```yaml\n(.*?)```/gs)].map((match) => match[1] ?? '')
  const snippets = fc.constantFrom(' ', '  ', '\n', '\n  ', ':', ': ', '#', ' #', '-', '- ', ',', '[', ']', '{', '}', '"', "'", '|', '>', '&a', '*a', '!', '%', '---\n', '...\n', '0', '.', '~', '\\', '\t', 'x', 'x: y', '? ', '<<: ')
  const pieces = fc.constantFrom(...examples, 'rules:\n  - id: a\n    groups:\n    - x\n    - "y"\n    unless: { networks: [10.0.0.0/8] }\n  - id: b # c\nnext:\n', 'a: { b: [c, d], e: 1 }\nf:\n- g: h\n  i: j\n-\n  k: l\n')
  let read = 0
  fc.assert(
    fc.property(pieces, fc.array(fc.tuple(fc.nat(), snippets, fc.nat({ max: 3 })), { maxLength: 3 }), (text, changes) => {
      let changed = text
      for (const [at, snippet, removed] of changes) {
        const place = at % (changed.length + 1)
        changed = changed.slice(0, place) + snippet + changed.slice(place + removed)
      }
      read += Number(agrees(changed))
    }),
    { numRuns: 10_000 },
  )
  assert.ok(read > 500, `${read} were read`)
})

test('what a company writes down is read by it: rules, comments, references and lists of both kinds', () => {
  const text = `# Everything
issuer: https://lanyard.example.com
dataDir: ./data
listen: 127.0.0.1:8080
keyEncryption: file:./data/kek
clientSecret: \${env:SECRET}
rules:
  - id: engineering   # a comment
    effect: allow
    groups: [engineering, "it's"]
    tools: ["*", read_note]
    when: { authentication: { maxAge: 300 }, networks: [203.0.113.0/24] }
  - id: other
    effect: deny
    groups:
      - sales
empty:
`
  assert.equal(agrees(text), true)
})

test('what is not plain is left to the other parser', () => {
  const others = ['', 'a', '- a', ' a: b', '--- \na: b', 'a: b\na: c', 'a: &x b', 'a: *x', 'a: !t b', 'a: |\n  b', 'a: b\n  c', 'a: [b\n  , c]', 'a:\tb', 'a: "\\n"', "a: 'it''s'", 'a: ~', 'a: True', 'a: 1.5', 'a: 0x1f', 'a: 010', 'a: 1_000', 'a: 1e3', 'a: +1', '__proto__: b', 'true: b', 'a: {b}', 'a: [b,]', 'a: b: c', '%YAML 1.2\n---\na: b', 'a: b\r\n', '\ufeffa: b', 'a: \u2028', '"a": b', '? a\n: b', '<<: { a: b }', 'a: - b']
  for (const text of others) assert.equal(readPlainYaml(text), undefined, JSON.stringify(text))
})
