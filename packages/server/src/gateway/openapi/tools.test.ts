import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadTools, type ToolSet } from './catalogue.ts'
import { DocumentError, readApiDocument } from './document.ts'
import { toolName } from './operation.ts'
import { ArgumentError, requestOf, type ApiCall } from './request.ts'

type Doc = Record<string, unknown>

const ok = { 200: { description: 'fine' } }
const doc = (paths: Doc, more: Doc = {}, openapi = '3.1.0'): Doc => ({ openapi, info: { title: 'An API', version: '1' }, paths, ...more })

/** The tools of a document at an address. */
function load(document: unknown, settings: { include?: string[]; exclude?: string[] } = {}): Promise<ToolSet> {
  const body = typeof document === 'string' ? document : JSON.stringify(document)
  return loadTools({ request: () => Promise.resolve({ status: 200, headers: new Headers(), body }) }, { document: 'https://docs.example/openapi.json', ...settings })
}

async function only(paths: Doc, more: Doc = {}, openapi = '3.1.0') {
  const { tools, files } = await load(doc(paths, more, openapi))
  assert.equal(tools.length, 1)
  const tool = tools[0]!
  return { ...tool, definition: tool.definition as Doc & { inputSchema: Doc; annotations: Doc }, write: (given: Doc): ApiCall => requestOf(tool.operation, given, files.get(tool.operation.name)!) }
}

test('an operation becomes a tool: its name, words, arguments and what its method promises', async () => {
  const { definition } = await only({
    '/repos/{owner}': {
      parameters: [{ name: 'owner', in: 'path', required: true, schema: { type: 'string' }, description: 'Whose' }],
      get: { operationId: 'repos/list', summary: 'Lists', description: 'Lists re\u200bpositories\r\nof one\u0007', parameters: [{ name: 'page', in: 'query', schema: { type: 'integer' } }], responses: ok },
    },
  })
  assert.deepEqual(definition, {
    name: 'repos_list',
    title: 'Lists',
    description: 'Lists\n\nLists repositories\nof one',
    inputSchema: { type: 'object', properties: { owner: { type: 'string', description: 'Whose' }, page: { type: 'integer' } }, required: ['owner'], additionalProperties: false },
    annotations: { readOnlyHint: true, idempotentHint: true, openWorldHint: true },
  })
  const { tools } = await load(doc({ '/a': { post: { responses: ok }, put: { responses: ok }, patch: { responses: ok }, delete: { responses: ok }, head: { responses: ok }, options: { responses: ok }, trace: { responses: ok } } }))
  assert.deepEqual(tools.map(({ definition: { name, annotations } }) => [name, annotations]), [
    ['head_a', { readOnlyHint: true, idempotentHint: true, openWorldHint: true }],
    ['post_a', { readOnlyHint: false, idempotentHint: false, openWorldHint: true }],
    ['put_a', { readOnlyHint: false, idempotentHint: true, openWorldHint: true }],
    ['patch_a', { readOnlyHint: false, idempotentHint: false, openWorldHint: true }],
    ['delete_a', { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: true }],
  ])
})

test('names are valid, unambiguous, and the same whatever else is in the document', async () => {
  const operation = (operationId?: string): Doc => ({ ...(operationId === undefined ? {} : { operationId }), responses: ok })
  const paths = { '/a': { get: operation('list things') }, '/b': { get: operation('list_things') }, '/c': { get: operation('List.Things') }, '/d/{id}': { get: { ...operation(), parameters: [{ name: 'id', in: 'path', required: true, schema: {} }] } }, '/e': { get: operation('connect_account') }, [`/${'long/'.repeat(30)}`]: { get: operation() } }
  const names = async (chosen: Doc): Promise<string[]> => (await load(doc(chosen))).tools.map(({ operation: { name } }) => name)
  const all = await names(paths)
  assert.equal(new Set(all.map((name) => name.toLowerCase())).size, 6)
  for (const name of all) assert.match(name, /^[A-Za-z0-9_-]{1,64}$/)
  assert.equal(all[3], 'get_d_id')
  assert.notEqual(all[4], 'connect_account')
  assert.deepEqual(await names(Object.fromEntries(Object.entries(paths).toReversed())), all.toReversed())
  assert.equal(toolName('x'.repeat(80)).length, 64)
  assert.notEqual(toolName(`${'x'.repeat(80)}a`), toolName(`${'x'.repeat(80)}b`))
})

test('references inside of the document become schemas that stand alone, recursive ones too', async () => {
  const Node = { type: 'object', properties: { id: { type: 'string', readOnly: true }, next: { $ref: '#/components/schemas/Node' }, other: { $ref: '#/components/schemas/Other' } }, required: ['id', 'next'], 'x-vendor': 1, discriminator: { propertyName: 'id' } }
  const requestBodies = { N: { required: true, content: { 'application/json': { schema: { $ref: '#/components/schemas/Node' } } } } }
  const { definition: { inputSchema } } = await only({ '/n': { post: { requestBody: { $ref: '#/components/requestBodies/N' }, responses: ok } } }, { components: { schemas: { Node, Other: { type: 'string', enum: ['a'] } }, requestBodies } }, '3.0.3')
  assert.deepEqual((inputSchema['properties'] as Doc)['body'], { $ref: '#/$defs/Node' })
  const { Node: node = {} } = inputSchema['$defs'] as Record<string, Doc>
  assert.deepEqual(node['required'], ['next'], 'the server writes the identifier')
  assert.deepEqual(node['properties'], { next: { $ref: '#/$defs/Node' }, other: { $ref: '#/$defs/Other' } })
  assert.ok(!JSON.stringify(inputSchema).includes('#/components'))
  assert.ok(!JSON.stringify(inputSchema).includes('x-vendor') && !JSON.stringify(inputSchema).includes('discriminator'))
})

test('schemas of OpenAPI 3.0 are said in JSON Schema 2020-12', async () => {
  const { definition } = await only({ '/a': { get: { parameters: [{ name: 'n', in: 'query', schema: { type: 'integer', nullable: true, minimum: 1, exclusiveMinimum: true, maximum: 9, exclusiveMaximum: false, example: 3 } }, { name: 'e', in: 'query', schema: { type: 'string', nullable: true, enum: ['a'] } }], responses: ok } } }, {}, '3.0.3')
  assert.deepEqual(definition.inputSchema['properties'], { n: { type: ['integer', 'null'], exclusiveMinimum: 1, maximum: 9 }, e: { type: ['string', 'null'], enum: ['a', null] } })
})

test('what cannot be called here is left out, with the reason, and the rest stays', async () => {
  const outside = { $ref: 'https://other.example/schema.json' }
  const { tools, leftOut } = await load(
    doc({
      '/good': { get: { operationId: 'good', responses: ok } },
      '/cookie': { get: { parameters: [{ name: 'sid', in: 'cookie', required: true, schema: {} }], responses: ok } },
      '/identity': { get: { parameters: [{ name: 'X-Forwarded-User', in: 'header', required: true, schema: {} }], responses: ok } },
      '/optional': { get: { operationId: 'optional', parameters: [{ name: 'sid', in: 'cookie', schema: {} }, { name: 'Authorization', in: 'header', required: true, schema: {} }], responses: ok } },
      '/outside': { get: { parameters: [{ name: 'q', in: 'query', schema: outside }], responses: ok } },
      '/a/../b': { get: { responses: ok } },
      '/odd': { post: { requestBody: { required: true, content: { 'application/x-odd': {} } }, responses: ok } },
    }),
  )
  assert.deepEqual(tools.map(({ operation: { name } }) => name), ['good', 'optional'])
  assert.deepEqual(tools[1]?.definition['inputSchema'], { type: 'object', properties: {}, additionalProperties: false })
  assert.deepEqual(leftOut.map(({ operation }) => operation).sort(), ['GET /a/../b', 'GET /cookie', 'GET /identity', 'GET /outside', 'POST /odd'])
})

test('operations are chosen by identifier, tool or address', async () => {
  const paths = { '/pets': { get: { operationId: 'listPets', responses: ok }, post: { operationId: 'addPet', responses: ok } }, '/admin': { get: { operationId: 'admin', responses: ok }, delete: { responses: ok } } }
  const names = async (settings: { include?: string[]; exclude?: string[] }): Promise<string[]> => (await load(doc(paths), settings)).tools.map(({ operation: { name } }) => name)
  assert.deepEqual(await names({ include: ['GET /*'] }), ['listPets', 'admin'])
  assert.deepEqual(await names({ include: ['*Pet*'], exclude: ['POST *'] }), ['listPets'])
  assert.deepEqual(await names({ exclude: ['* /admin', 'delete_admin'] }), ['listPets', 'addPet'])
  assert.equal((await names({})).length, 4)
})

test('arguments are written where they belong; a name in two places makes two arguments', async () => {
  const { definition, write } = await only({
    '/a/{id}/b': {
      post: {
        operationId: 'x',
        parameters: [
          { name: 'id', in: 'path', required: true, schema: { type: 'string' } },
          { name: 'id', in: 'query', schema: { type: 'string' } },
          { name: 'filter[state]', in: 'query', schema: { type: 'string' } },
          { name: '$top', in: 'query', schema: { type: 'integer' } },
          { name: 'where', in: 'query', style: 'deepObject', schema: { type: 'object' } },
          { name: 'X-Trace', in: 'header', schema: { type: 'string' } },
        ],
        requestBody: { content: { 'application/json': { schema: { type: 'object' } } } },
        responses: ok,
      },
    },
  })
  assert.deepEqual(Object.keys(definition.inputSchema['properties'] as Doc), ['path_id', 'query_id', 'filter_state', 'top', 'where', 'X-Trace', 'body'])
  const made = write({ path_id: 'a b/c', query_id: '&admin=1', filter_state: 'open', top: 3, where: { a: 'x' }, 'X-Trace': 't', body: { n: JSON.rawJSON('12345678901234567890') } })
  assert.deepEqual([made.method, made.path, made.query], ['POST', '/a/a%20b%2Fc/b', '?id=%26admin%3D1&filter%5Bstate%5D=open&%24top=3&where%5Ba%5D=x'])
  assert.deepEqual([made.headers['x-trace'], made.headers['content-type'], made.body], ['t', 'application/json', '{"n":12345678901234567890}'])
  assert.deepEqual(write({ path_id: 'a', top: null }).query, '')
})

test('no argument leads elsewhere: what no encoding makes safe is refused (H23)', async () => {
  const { write } = await only({ '/files/{name}': { get: { parameters: [{ name: 'name', in: 'path', required: true, schema: { type: 'string' } }, { name: 'X-H', in: 'header', schema: {} }, { name: '_method', in: 'query', schema: {} }], responses: ok } } })
  const encoded = { '..admin/a': '..admin%2Fa', '%2e%2e': '%252e%252e', '%2e%2e/x': '%252e%252e%2Fx', '//evil.example/x': '%2F%2Fevil.example%2Fx', '..x\\y': '..x%5Cy', 'a?b#c': 'a%3Fb%23c', '.;x': '.%3Bx', '...': '...' }
  for (const [value, segment] of Object.entries(encoded)) {
    const { path } = write({ name: value })
    assert.equal(path, `/files/${segment}`)
    assert.equal(new URL(`https://api.example${path}`).pathname, path)
  }
  for (const name of ['.', '..', '', '../admin', 'a/../b', 'a/..', './a', '..\\x', 'a\\..']) assert.throws(() => write({ name }), ArgumentError, name)
  for (const bad of [{}, { name: 'a', other: 1 }, { name: 'a', 'X-H': 'a\r\nb: c' }, { name: '\ud800' }, { name: 'a', method: 'DELETE' }]) assert.throws(() => write(bad), ArgumentError)
  assert.equal(write({ name: 'a', 'X-H': 'b' }).headers['x-h'], 'b')
})

test('bodies are written as their media types say', async () => {
  const withBody = (mediaType: string, schema: Doc) => only({ '/b': { post: { requestBody: { required: true, content: { [mediaType]: { schema } } }, responses: ok } } })
  const form = await withBody('application/x-www-form-urlencoded', { type: 'object' })
  assert.equal(form.write({ body: { a: 'x&y', list: [1, 2], deep: { k: 'v' } } }).body, 'a=x%26y&list=1&list=2&deep=%7B%22k%22%3A%22v%22%7D')
  const text = await withBody('text/plain', { type: 'string' })
  assert.equal(text.write({ body: 'words' }).body, 'words')
  const parts = await withBody('multipart/form-data', { type: 'object', properties: { file: { type: 'string', format: 'binary' }, note: { type: 'string' } } })
  assert.deepEqual(((parts.definition.inputSchema['properties'] as Doc)['body'] as Doc)['properties'], { file: { type: 'string', contentEncoding: 'base64' }, note: { type: 'string' } })
  const sent = parts.write({ body: { file: Buffer.from('bytes').toString('base64'), note: 'n"\r\n' } })
  const read = await new Response(sent.body as Buffer<ArrayBuffer>, { headers: { 'content-type': sent.headers['content-type'] ?? '' } }).formData()
  assert.deepEqual([await (read.get('file') as File).text(), read.get('note')], ['bytes', 'n"\r\n'])
  assert.throws(() => parts.write({ body: { file: 'not base64!' } }), ArgumentError)
  assert.throws(() => parts.write({}), ArgumentError)
})

test('the output schema of a plain object is loosened; of anything else there is none', async () => {
  const answering = (schema: Doc): Doc => ({ '/a': { get: { responses: { 200: { description: 'd', content: { 'application/json': { schema } } } } } } })
  const { definition } = await only(answering({ type: 'object', required: ['id'], additionalProperties: false, properties: { id: { type: 'integer', minimum: 1 }, tags: { type: 'array', items: { type: 'string', enum: ['a'] } }, any: { oneOf: [{ type: 'string' }] }, secret: { type: 'string', writeOnly: true } } }))
  assert.deepEqual(definition['outputSchema'], { type: 'object', properties: { id: { type: ['number', 'null'] }, tags: { type: ['array', 'null'], items: { type: ['string', 'null'] } }, any: {} } })
  for (const schema of [{ type: 'array', items: {} }, { allOf: [{ type: 'object' }] }, { type: 'string' }, { type: 'object' }]) assert.equal((await only(answering(schema))).definition['outputSchema'], undefined)
})

test('a document that cannot be used says why, and leads nowhere else', async () => {
  const refused: [unknown, RegExp][] = [
    ['{', /cannot be read/],
    ['a: [', /cannot be read/],
    ['just words', /no OpenAPI document/],
    [{ swagger: '2.0', info: { title: 'a', version: '1' }, paths: {} }, /not OpenAPI 3/],
    [doc({}, {}, '3.2.0'), /not OpenAPI 3/],
    [doc({ '/a': { get: { responses: 5 } } }), /not valid/],
    [{ openapi: '3.0.3', paths: {} }, /not valid/],
    [doc({ '/a': { get: { parameters: [{ $ref: '#/components/parameters/Nowhere' }], responses: ok } } }), /not valid.*Nowhere/],
    [JSON.stringify(doc({})).replace('"paths":{}', `"paths":{"/a":${'{"x":'.repeat(200)}1${'}'.repeat(200)}}`), /nested too deeply/],
    [`${JSON.stringify(doc({})).slice(0, -1)},"x":"${'a'.repeat(11 * 1024 * 1024)}"}`, /larger/],
    [`openapi: 3.1.0\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n`, /cannot be read/],
  ]
  for (const [document, reason] of refused) await assert.rejects(load(document), (error: unknown) => error instanceof DocumentError && reason.test(error.message), String(reason))
  const yaml = 'openapi: 3.1.0\ninfo: { title: Y, version: "1" }\npaths:\n  /a:\n    get:\n      responses: { "200": { description: d } }\n'
  assert.equal((await load(yaml)).tools.length, 1)
})

test('a schema without end does not become a tool without end', async () => {
  const schemas: Doc = {}
  for (let count = 0; count < 400; count += 1) schemas[`S${count}`] = { type: 'object', description: 'x'.repeat(200), properties: { next: { $ref: `#/components/schemas/S${(count + 1) % 400}` } } }
  const { definition } = await only({ '/a': { post: { requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/S0' } } } }, responses: ok } } }, { components: { schemas } })
  assert.deepEqual(definition.inputSchema['properties'], { body: {} })
  await readApiDocument(JSON.stringify(doc({})))
})

test('no member of a form makes an API take the call for another method (H23)', async () => {
  for (const type of ['application/x-www-form-urlencoded', 'multipart/form-data']) {
    const { write } = await only({ '/notes': { post: { operationId: 'add', requestBody: { content: { [type]: { schema: { type: 'object' } } } }, responses: ok } } })
    for (const name of ['_method', '_METHOD', 'x-http-method-override']) assert.throws(() => write({ body: { [name]: 'DELETE' } }), ArgumentError, `${type} ${name}`)
    assert.ok(write({ body: { method: 'DELETE' } }).body)
  }
  const { write } = await only({ '/notes': { post: { operationId: 'add', requestBody: { content: { 'application/json': { schema: { type: 'object' } } } }, responses: ok } } })
  assert.equal(write({ body: { _method: 'DELETE' } }).body, '{"_method":"DELETE"}')
})
