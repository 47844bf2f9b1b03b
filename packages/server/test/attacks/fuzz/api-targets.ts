// What others send to HTTP APIs, and what their documents say, each with what must hold whatever comes in (H23).
import assert from 'node:assert/strict'
import { readOperations, type Operation } from '../../../src/gateway/openapi/operation.ts'
import { DocumentError } from '../../../src/gateway/openapi/document.ts'
import { ArgumentError, requestOf } from '../../../src/gateway/openapi/request.ts'
import { toolOf } from '../../../src/gateway/openapi/tool.ts'
import { below, operationName, pathProblem, readTarget } from '../../../src/http/api-path.ts'
import { toolMatcher } from '../../../src/policy/tool-pattern.ts'
import type { Target } from './fuzz.ts'

const BASE = new URL('https://api.example/v1/')
const DENIED = toolMatcher(['* /admin/*'], true)
const ALLOWED = toolMatcher(['GET /open/*'], false)

const apiPath: Target = {
  name: 'api-path',
  seeds: ['/http/api/repos/a?x=1', '/http/api/admin/x', '/http/api/open/a%20b', '/http/api/a/%C3%A9/', "/http/api/users('a')"],
  words: ['..', '.', '/', '//', '%2e', '%2E%2E', '%2F', '%252F', '%5C', '\\', ';', '%3B', '@', '?', '#', '%00', '%61', 'ADMIN', '/admin/', '/open/', '%C0%AE', '\u00e9', ' '],
  run(input) {
    const target = readTarget(input.toString('latin1'))
    if (target === undefined || pathProblem(target, { encodedSlashes: false }) !== undefined) return
    const sent = below(BASE, target.path)
    const seen = new URL(`${BASE.origin}${sent}${target.query}`)
    // A URL parser finds nothing to tidy, and stays where it was sent.
    assert.equal(`${seen.origin}${seen.pathname}`, `${BASE.origin}${sent}`)
    assert.ok(sent === '/v1/' || sent.startsWith('/v1/'))
    const name = operationName('GET', target.path)
    // The most tolerant of readers: decodes, tidies, and does not tell letters apart.
    const tolerant = new URL(decodeURIComponent(target.path).replaceAll('\\', '/').replaceAll(/[?#%]/g, 'x'), 'https://x/').pathname.toLowerCase()
    if (tolerant.startsWith('/admin/') && tolerant.length > '/admin/'.length) assert.ok(DENIED(name), `${tolerant} ${name}`)
    if (ALLOWED(name)) assert.ok(target.path.startsWith('/open/'), name)
  },
}

const OPERATION: Operation = {
  name: 'x',
  method: 'POST',
  template: '/files/{a}/parts/{b}',
  parameters: (['a', 'b', 'c', 'd', 'e'] as const).map((name, index) => ({
    name: index === 3 ? 'd[x]' : name,
    argument: name,
    in: index < 2 ? 'path' : index === 4 ? 'header' : 'query',
    required: index < 2,
    style: index < 2 ? 'simple' : index === 2 ? 'form' : index === 3 ? 'deepObject' : 'simple',
    explode: index === 2 || index === 3,
    allowReserved: index === 2,
    asJson: false,
    description: undefined,
    schema: {},
  })),
  body: { argument: 'body', kind: 'form', mediaType: 'application/x-www-form-urlencoded', required: false, description: undefined, schema: {} },
  source: {},
}

const apiArguments: Target = {
  name: 'api-arguments',
  seeds: ['{"a":"x","b":"y"}', '{"a":"../z","b":["1","2"],"c":"q&r","d":{"k":"v"},"e":"h","body":{"f":["1"]}}', '{"a":{"k":"v"},"b":1.5,"c":null}'],
  words: ['".."', '"."', '""', '"../"', '"%2e%2e"', '"//h"', '"\\u0000"', '"\\r\\nx: y"', '"&z=1#"', '["..",".."]', '{"..":".."}', '"\\ud800"', '"a":', '"b":', '"c":', '"d":', '"e":', '"body":'],
  run(input) {
    let given: unknown
    try {
      given = JSON.parse(input.toString('utf8'))
    } catch {
      return
    }
    if (typeof given !== 'object' || given === null || Array.isArray(given)) return
    let made: ReturnType<typeof requestOf>
    try {
      made = requestOf(OPERATION, given as Record<string, unknown>, new Set())
    } catch (error) {
      if (error instanceof ArgumentError) return
      throw error
    }
    const [, files, first, parts, second, ...more] = made.path.split('/')
    assert.deepEqual([files, parts, more], ['files', 'parts', []])
    const { a, b } = given as { a: unknown; b: unknown }
    if (typeof a === 'string') assert.equal(decodeURIComponent(first ?? ''), a)
    if (typeof b === 'string') assert.equal(decodeURIComponent(second ?? ''), b)
    const seen = new URL(`https://api.example${made.path}${made.query}`)
    assert.deepEqual([seen.host, seen.pathname, seen.hash], ['api.example', made.path, ''])
    for (const name of seen.searchParams.keys()) assert.ok(name === 'c' || name.startsWith('d[x]') || isMemberOf((given as { c?: unknown }).c, name), name)
    for (const value of Object.values(made.headers)) assert.match(value, /^[\t\x20-\x7e]*$/)
  },
}

/** An object is written as parameters of its members' names. */
function isMemberOf(value: unknown, name: string): boolean {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
}

const DOCUMENT = JSON.stringify({
  openapi: '3.0.3',
  paths: { '/a/{id}': { parameters: [{ name: 'id', in: 'path', required: true, schema: { $ref: '#/components/schemas/N' } }], post: { operationId: 'x', requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/N' } } } }, responses: { 200: { content: { 'application/json': { schema: { $ref: '#/components/schemas/N' } } } } } } } },
  components: { schemas: { N: { type: 'object', nullable: true, properties: { n: { $ref: '#/components/schemas/N' } } } } },
})

const apiDocument: Target = {
  name: 'api-document',
  seeds: [DOCUMENT, DOCUMENT.replaceAll('application/json', 'multipart/form-data'), DOCUMENT.replace('3.0.3', '3.1.0')],
  words: ['"$ref":"#/components/schemas/N"', '"$ref":"https://evil.example/x"', '"$ref":"#"', '"$ref":"#/paths"', 'null', '[]', '{}', '"in":"cookie"', '"in":"header"', '"name":"__proto__"', '"style":"deepObject"', '"x-a":1', '"\\u200b"', '"/../"', '"type":"array"', '"items":', 'true'],
  run(input) {
    let root: unknown
    try {
      root = JSON.parse(input.toString('utf8'))
    } catch {
      return
    }
    if (typeof root !== 'object' || root === null || Array.isArray(root)) return
    const document = { root: root as Record<string, unknown>, is30: (root as { openapi?: unknown }).openapi === '3.0.3' }
    const { operations } = readOperations(document, () => true)
    assert.equal(new Set(operations.map(({ name }) => name.toLowerCase())).size, operations.length)
    for (const operation of operations) {
      assert.match(operation.name, /^[A-Za-z0-9_-]{1,64}$/)
      let definition: unknown
      try {
        ;({ definition } = toolOf(document, operation))
      } catch (error) {
        if (error instanceof DocumentError) continue
        throw error
      }
      // RS-44: nothing in it leads out of it.
      for (const [, reference = ''] of JSON.stringify(definition).matchAll(/"\$ref":"((?:[^"\\]|\\.)*)"/g)) assert.ok(reference.startsWith('#/$defs/'), reference)
    }
  },
}

export const API_TARGETS: readonly Target[] = [apiPath, apiArguments, apiDocument]
