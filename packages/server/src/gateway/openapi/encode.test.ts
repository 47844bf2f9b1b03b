import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodePart, inHeader, inPath, inQuery, type Style, type Writing } from './encode.ts'

const writing = (style: Style, explode: boolean, more: Partial<Writing> = {}): Writing => ({ name: 'color', style, explode, allowReserved: false, asJson: false, ...more })
const LIST = ['blue', 'black', 'brown']
const OBJECT = { R: 100, G: 200, B: 150 }

test('each style writes values as the table of OpenAPI 3.1 §4.8.12.3 says', () => {
  const path = (style: Style, explode: boolean): string[] => ['', 'blue', LIST, OBJECT].map((value) => inPath(value, writing(style, explode)))
  assert.deepEqual(path('matrix', false), [';color', ';color=blue', ';color=blue,black,brown', ';color=R,100,G,200,B,150'])
  assert.deepEqual(path('matrix', true), [';color', ';color=blue', ';color=blue;color=black;color=brown', ';R=100;G=200;B=150'])
  assert.deepEqual(path('label', false), ['.', '.blue', '.blue,black,brown', '.R,100,G,200,B,150'])
  assert.deepEqual(path('label', true), ['.', '.blue', '.blue.black.brown', '.R=100.G=200.B=150'])
  assert.deepEqual(path('simple', false), ['', 'blue', 'blue,black,brown', 'R,100,G,200,B,150'])
  assert.deepEqual(path('simple', true), ['', 'blue', 'blue,black,brown', 'R=100,G=200,B=150'])
  const query = (style: Style, explode: boolean): string[] => ['', 'blue', LIST, OBJECT].map((value) => inQuery(value, writing(style, explode)).join('&'))
  assert.deepEqual(query('form', false), ['color=', 'color=blue', 'color=blue,black,brown', 'color=R,100,G,200,B,150'])
  assert.deepEqual(query('form', true), ['color=', 'color=blue', 'color=blue&color=black&color=brown', 'R=100&G=200&B=150'])
  assert.equal(query('spaceDelimited', false)[2], 'color=blue%20black%20brown')
  assert.equal(query('pipeDelimited', false)[2], 'color=blue%7Cblack%7Cbrown')
  assert.equal(query('deepObject', true)[3], 'color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150')
  assert.equal(inHeader(LIST, writing('simple', false)), 'blue,black,brown')
  assert.equal(inHeader('a\r\nx-admin: 1', writing('simple', false)), undefined)
  assert.deepEqual(inQuery({ a: [1, 2] }, writing('form', true, { asJson: true })), ['color=%7B%22a%22%3A%5B1%2C2%5D%7D'])
  assert.deepEqual(inQuery({ a: { b: 1, c: [2, 3] } }, writing('deepObject', true)), ['color%5Ba%5D%5Bb%5D=1', 'color%5Ba%5D%5Bc%5D=2', 'color%5Ba%5D%5Bc%5D=3'])
})

test('reserved characters stand for themselves where it is allowed, but end nothing', () => {
  assert.deepEqual(inQuery('a/b?c:d&e=f#g+h%', writing('form', true, { allowReserved: true })), ['color=a/b?c:d%26e%3Df%23g%2Bh%25'])
})

const text = fc.string({ unit: 'binary', maxLength: 20 }).filter((value) => value.isWellFormed())

test('whatever a value holds, it comes out of the query as it went in (H23)', () => {
  fc.assert(
    fc.property(text, text, fc.boolean(), (name, value, allowReserved) => {
      const made = new URL(`https://api.example/v1/x?${inQuery(value, writing('form', true, { name, allowReserved })).join('&')}`)
      assert.deepEqual([...made.searchParams], [[name, value]])
      assert.deepEqual([made.host, made.pathname, made.hash], ['api.example', '/v1/x', ''])
    }),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(fc.array(text, { minLength: 1 }), fc.dictionary(text.filter((key) => key !== '__proto__'), text), (list, object) => {
      assert.deepEqual(new URLSearchParams(inQuery(list, writing('form', true)).join('&')).getAll('color'), list)
      assert.deepEqual([...new URLSearchParams(inQuery(object, writing('form', true)).join('&'))], Object.entries(object))
      assert.deepEqual([...new URLSearchParams(inQuery(object, writing('deepObject', true)).join('&'))], Object.entries(object).map(([key, value]) => [`color[${key}]`, value]))
    }),
  )
})

test('a value in a path stays in its segment, and comes out as it went in (H23)', () => {
  const hostile = fc.oneof(text, fc.constantFrom('../admin', '..%2fadmin', '%2e%2e', '%2E%2E/x', '//host', 'a/../../b', '\\..\\', ';x', '?a=b', '#f', '@host', 'http://evil.example'))
  fc.assert(
    fc.property(hostile, (value) => {
      const segment = inPath(value, writing('simple', false))
      assert.match(segment, /^(?:[A-Za-z0-9\-._~]|%[0-9A-F]{2})*$/)
      assert.equal(decodeURIComponent(segment), value)
    }),
    { numRuns: 2000 },
  )
  fc.assert(fc.property(fc.array(text.filter((item) => item !== ''), { minLength: 2 }), (list) => assert.deepEqual(inPath(list, writing('simple', false)).split(',').map(decodeURIComponent), list)))
})

test('half a surrogate pair is no text', () => {
  assert.throws(() => encodePart('\ud800'), URIError)
})
