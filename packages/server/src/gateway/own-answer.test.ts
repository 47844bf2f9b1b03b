import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { NotTheAnswer, watchFor } from './own-answer.ts'

/** Whether a body passes, in pieces that are cut at these places. */
function passes(kind: 'json' | 'events', id: string | number, body: string | Buffer, cuts: readonly number[] = []): boolean {
  const bytes = Buffer.from(body)
  const watch = watchFor(kind, id)
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b)
  try {
    let at = 0
    for (const place of [...places, bytes.length]) {
      watch.push(bytes.subarray(at, place))
      at = place
    }
    watch.end()
    return true
  } catch (error) {
    if (error instanceof NotTheAnswer) return false
    throw error
  }
}

function event(text: string): string {
  return `data: ${text}\n\n`
}

const ANSWER = '{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"a \\"quoted\\" {]} text"}],"id":8}}'
const LIST = '{"jsonrpc":"2.0","id":8,"result":{"tools":[]}}'

test('H07, H20: what answers another request than the one that was made does not pass, in one piece or byte by byte', () => {
  const everywhere = Array.from({ length: 300 }, (_, index) => index)
  const others = [
    LIST, `[${ANSWER}]`, `${ANSWER}${LIST}`, `${ANSWER}\n${LIST}`, 'null', '', '{}', '{"jsonrpc":"2.0","id":7}', ANSWER.slice(0, -1),
    '{"jsonrpc":"2.0","id":7,"result":{},"id":8}', '{"jsonrpc":"2.0","id":8,"result":{},"id":7}',
    `{"jsonrpc":"2.0","id":7,"result":{},${' '.repeat(200)}"id":8}`, '{"jsonrpc":"2.0","id":7,"result":{},"i\\u0064":8}', '{"jsonrpc":"2.0","id":7,"result":{},"ID":8}',
    '{"jsonrpc":"2.0","id":"7","result":{}}', '{"jsonrpc":"2.0","id":[7],"result":{}}', '{"jsonrpc":"2.0","id":77,"result":{}}', '{"jsonrpc":"2.0","result":{}}', '{"jsonrpc":"2.0","id":null,"result":{}}',
    '{"jsonrpc":"2.0","id":8,"method":"roots/list","result":{}}', '{"jsonrpc":"2.0","id":7,"result":{},"Result":{}}', '{"jsonrpc":"2.0","id":8,"error":{"code":1,"message":""}}',
  ]
  const own = [ANSWER, ` \r\n${ANSWER}\t`, `\ufeff${ANSWER}`, '{"result":{},"id":7.0,"jsonrpc":"2.0"}', '{ "jsonrpc" : "2.0" , "i\\u0064" : 7 , "result" : {} }', '{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}', '{"jsonrpc":"2.0","error":{"code":-32700,"message":"?"}}']
  for (const cuts of [[], everywhere]) {
    for (const body of others) assert.equal(passes('json', 7, body, cuts), false, body)
    for (const body of own) assert.equal(passes('json', 7, body, cuts), true, body)
    for (const body of others.filter((text) => text !== '')) assert.equal(passes('events', 7, event(body.replaceAll('\n', ' ')), cuts), false, body)
    for (const body of own) assert.equal(passes('events', 7, event(body.replaceAll(/[\r\n]/g, ' ')), cuts), true, body)
  }
})

test('a stream may say what is no answer, in any form of line (WHATWG HTML §9.2.6), and nothing is hidden in its forms', () => {
  const progress = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"id":8,"result":{}}}'
  const asking = '{"jsonrpc":"2.0","id":8,"method":"sampling/createMessage","params":{}}'
  const everywhere = Array.from({ length: 600 }, (_, index) => index)
  for (const line of ['\n', '\r', '\r\n']) {
    const stream = ['\ufeffid: 1', 'retry: 10', 'data:', '', ': comment', `data:${progress}`, '', 'event: message', `data: ${asking}`, '', `data: ${ANSWER}`, '', 'data: {"half', ''].join(line)
    const hidden = [`data: ${progress}${line}`, `: x${line}data: {"jsonrpc":"2.0",${line}data: "id":8,${line}data: "result":{}}${line}${line}`].join(line)
    for (const cuts of [[], everywhere]) {
      assert.equal(passes('events', 7, stream, cuts), true, JSON.stringify(line))
      assert.equal(passes('events', 7, hidden, cuts), false, JSON.stringify(line))
      assert.equal(passes('events', 7, `\ufeffdata: ${LIST}${line}${line}`, cuts), false)
      // Neither is the data of an event.
      assert.equal(passes('events', 7, `datax: ${LIST}${line}dat: ${LIST}${line} data: ${LIST}${line}data${line}${line}`, cuts), true)
    }
  }
})

test('whatever the message and however it is cut: it passes if it is the answer, and if a client would take it for another it does not', () => {
  const name = fc.oneof(fc.constantFrom('id', 'result', 'error', 'method', 'jsonrpc', 'ID', 'Result', 'x'), fc.string({ maxLength: 5 }))
  const value = fc.oneof(fc.constantFrom(7, 8, null, '7', 'a"b\\'), fc.json({ maxDepth: 2 }).map((text) => JSON.parse(text) as unknown))
  const blank = fc.constantFrom('', ' ', '\n\t', ' '.repeat(70))
  const printed = (escape: boolean, text: string): string => (escape ? `"${Array.from({ length: text.length }, (_, index) => `\\u${text.charCodeAt(index).toString(16).padStart(4, '0')}`).join('')}"` : JSON.stringify(text))
  const member = fc.record({ name, value, blank, escape: fc.boolean() })
  const telling = new Set(['id', 'result', 'error', 'method', 'jsonrpc'])
  fc.assert(
    fc.property(fc.array(member, { maxLength: 5 }), fc.constantFrom<string | number>(7, '7', 'a"b\\'), fc.array(fc.nat(), { maxLength: 6 }), (members, id, cuts) => {
      const text = `{${members.map(({ name: key, value: what, blank: space, escape }) => `${space}${printed(escape, key)}${space}:${space}${JSON.stringify(what)}${space}`).join(',')}}`
      const names = members.map((each) => each.name)
      const known = names.filter((each) => telling.has(each.toUpperCase().toLowerCase()))
      const clear = known.every((each) => telling.has(each)) && new Set(known).size === known.length
      const read = JSON.parse(text) as Record<string, unknown>
      const answers = 'result' in read || 'error' in read
      const own = read['id'] === id || ((read['id'] ?? null) === null && 'error' in read)
      assert.equal(passes('json', id, text, cuts), clear && answers && !('method' in read) && own, text)
      assert.equal(passes('events', id, event(text.replaceAll('\n', '\ndata: ')), cuts), clear && answers !== 'method' in read && (own || !answers), text)
    }),
    { numRuns: 3000 },
  )
})
