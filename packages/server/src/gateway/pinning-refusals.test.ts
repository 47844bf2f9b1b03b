import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { refusalOf, shownName } from './pinning-refusals.ts'

const TOOL = { name: 'read', description: 'Reads', inputSchema: { type: 'object', properties: { path: { type: 'string', description: 'Where' } } } }

function refused(change: Readonly<Record<string, unknown>>): string | undefined {
  return refusalOf({ ...TOOL, ...change }, 100)
}

function withParameter(schema: unknown): Readonly<Record<string, unknown>> {
  return { inputSchema: { type: 'object', properties: { region: schema } } }
}

test('an ordinary tool is not refused, whatever language and layout it is written in', () => {
  assert.equal(refused({}), undefined)
  const fine = ['two\nlines\r\n\tand a tab', 'Über größere Dinge', '読む', 'يقرأ', 'नमस्ते', '⚠️ careful ✅', '👩‍💻 and 👨🏽‍🚀', 'press 1️⃣', '\u{1f1e9}\u{1f1ea}', '']
  for (const description of fine) assert.equal(refused({ description, title: description }), undefined, description)
  for (const name of ['a', 'a.b/c-d_e', 'Werkzeug für alles', '工具']) assert.equal(refused({ name }), undefined, name)
})

test('a control, zero-width or bidirectional character is refused in names and descriptions (H20)', () => {
  const hidden = ['\u0000', '\u0007', '\u001b', '\u007f', '\u0085', '\u00ad', '\u034f', '\u061c', '\u115f', '\u180e', '\u200b', '\u200c', '\u200d', '\u200e', '\u200f', '\u2028', '\u2029', '\u202a', '\u202e', '\u2060', '\u2066', '\u2069', '\u3164', '\ufe00', '\ufe0f', '\ufeff', '\uffa0', '\ufff9', '\u{e0041}', '\u{e0100}', '\ud800', '\udc00']
  for (const character of hidden) {
    const shown = character.codePointAt(0)?.toString(16) ?? ''
    const text = `ign${character}ore`
    assert.match(refused({ name: text }) ?? '', /in the name$/, shown)
    assert.match(refused({ title: text }) ?? '', /in the title$/, shown)
    assert.match(refused({ description: text }) ?? '', /in the description$/, shown)
    assert.match(refused({ annotations: { title: text } }) ?? '', /in annotations.title$/, shown)
    assert.match(refused({ inputSchema: { properties: { [text]: {} } } }) ?? '', /in a name in inputSchema$/, shown)
    assert.match(refused({ inputSchema: { properties: { a: { items: { anyOf: [{ description: text }] } } } } }) ?? '', /in a description in inputSchema$/, shown)
    assert.match(refused({ outputSchema: { $defs: { a: { title: text } } } }) ?? '', /in a title in outputSchema$/, shown)
    assert.doesNotMatch(shownName(text), new RegExp(character, 'u'))
  }
  // What makes lines of a text makes no name.
  for (const name of ['a\nb', 'a\tb', 'a\r\nb', '']) assert.ok(refused({ name }), JSON.stringify(name))
  assert.ok(refused({ name: 'n'.repeat(257) }))
  assert.equal(refused({ name: 'n'.repeat(256) }), undefined)
  assert.match(refusalOf(TOOL, 300_000) ?? '', /larger than 256 KiB/)
})

test('text hidden as tags or variation selectors is refused wherever it is put (H20)', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 20 }), fc.nat(20), fc.boolean(), (secret, at, tags) => {
      const smuggled = [...Buffer.from(secret)].map((byte) => String.fromCodePoint(tags ? 0xe0000 + (byte % 128) : byte < 16 ? 0xfe00 + (byte % 14) : 0xe0100 + (byte % 240))).join('')
      const description = `${'Reads a file from a disk'.slice(0, at)}${smuggled}${'Reads a file from a disk'.slice(at)}`
      assert.match(refused({ description }) ?? '', /in the description$/)
    }),
  )
})

test('a value is no name: a default or an enumeration may hold what it likes', () => {
  assert.equal(refused(withParameter({ type: 'string', enum: ['\t', '\u200b', ','], default: '\u200b', examples: ['\u0000'], const: { $ref: 'https://example.com' } })), undefined)
  // A parameter may be called like a keyword, and is a schema all the same.
  assert.ok(refused({ inputSchema: { properties: { default: { $ref: 'https://evil.example/x' } } } }))
  assert.equal(refused({ inputSchema: { properties: { $ref: { type: 'string' }, description: { type: 'string' }, 'x-mcp-header': { type: 'string' } } } }), undefined)
})

test('a reference that leads to another document is refused, one inside is not (RS-44)', () => {
  for (const $ref of ['#', '#/$defs/a', '#anchor']) assert.equal(refused(withParameter({ $ref })), undefined, $ref)
  for (const $ref of ['https://evil.example/schema.json', 'http://169.254.169.254/#/a', 'file:///etc/passwd', 'other.json', '//evil.example', 'urn:x', '', ' #/a']) {
    for (const keyword of ['$ref', '$dynamicRef', '$recursiveRef']) {
      assert.match(refused(withParameter({ [keyword]: $ref })) ?? '', /leads outside of inputSchema$/, $ref)
      assert.match(refused({ outputSchema: { anyOf: [{ not: { items: [{ [keyword]: $ref }] } }] } }) ?? '', /leads outside of outputSchema$/)
      assert.ok(refused({ inputSchema: { $defs: { a: { unknownKeyword: { deep: { [keyword]: $ref } } } } } }))
    }
  }
})

test('x-mcp-header is a token, once, on a string, integer or boolean that properties lead to (C-21)', () => {
  for (const type of ['string', 'integer', 'boolean']) assert.equal(refused(withParameter({ type, 'x-mcp-header': 'Region' })), undefined, type)
  assert.equal(refused(withParameter({ type: 'object', properties: { deep: { type: 'string', 'x-mcp-header': "A!#$%&'*+-.^_`|~1" } } })), undefined)
  for (const name of ['', 'My Region', 'Region:Primary', 'R\u00e9gion', 'Region\t1', 'Region\r\nX-Evil: 1', 7, null, ['Region'], {}]) {
    assert.match(refused(withParameter({ type: 'string', 'x-mcp-header': name })) ?? '', /is no name of a header$/, JSON.stringify(name))
  }
  for (const type of ['number', 'object', 'array', 'null', undefined, ['string']]) {
    assert.match(refused(withParameter({ type, 'x-mcp-header': 'Region' })) ?? '', /no string, integer or boolean$/, String(type))
  }
  for (const again of ['Region', 'region', 'REGION']) {
    const schema = { type: 'object', properties: { a: { type: 'string', 'x-mcp-header': 'Region' }, b: { type: 'object', properties: { c: { type: 'string', 'x-mcp-header': again } } } } }
    assert.match(refused({ inputSchema: schema }) ?? '', /names a header twice$/)
  }
  const header = { type: 'string', 'x-mcp-header': 'Region' }
  const elsewhere = [header, { items: header }, { additionalProperties: header }, { anyOf: [header] }, { $defs: { a: header } }, { properties: { a: { items: { properties: { b: header } } } } }, { patternProperties: { a: header } }, { if: { properties: { a: header } } }, { unheardOf: header }]
  for (const inputSchema of elsewhere) assert.match(refused({ inputSchema }) ?? '', /where no value can be mirrored from$/, JSON.stringify(inputSchema))
})
