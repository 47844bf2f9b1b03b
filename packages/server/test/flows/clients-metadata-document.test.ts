// Client ID metadata documents: what is fetched, believed, cached and used when nothing can be fetched.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { metadataDocuments } from '../../src/clients/metadata-document.ts'
import { OAuthError } from '../../src/oauth/error.ts'
import { OutboundError } from '../../src/http/outbound.ts'
import { eachClientWorld, type ClientWorld, type Page } from '../support/client-nodes.ts'

const ID = 'https://app.example/oauth/client.json'
const DOCUMENT = { client_id: ID, client_name: 'App', redirect_uris: ['https://app.example/cb', 'http://127.0.0.1/callback'] }
const CLAUDE = 'https://claude.ai/oauth/claude-code-client-metadata'
const CHATGPT = 'https://chatgpt.com/oauth/client.json'
const HOUR = 3600_000

const serve = (world: ClientWorld, page: Page, id = ID): unknown => world.web.pages.set(id, () => page)
const fail = (world: ClientWorld, error: Error, id = ID): unknown => world.web.pages.set(id, () => Promise.reject(error))
const find = (world: ClientWorld, id = ID) => world.nodes[0].clients.find(id)

async function refused(world: ClientWorld, id = ID, reason?: string): Promise<void> {
  await assert.rejects(find(world, id), (error) => error instanceof OAuthError && error.code === 'invalid_client' && (reason === undefined || error.reason.includes(reason)), id)
}

eachClientWorld('a client is who its document says, proven by its host (AS-9, AS-11, AS-20)', async (world) => {
  serve(world, { body: { ...DOCUMENT, logo_uri: 'https://app.example/logo.png', jwks_uri: 'https://app.example/jwks', policy_uri: 'x' } })
  const client = await find(world)
  assert.deepEqual([client.id, client.kind, client.name, client.verifiedHost], [ID, 'metadata-document', 'App', 'app.example'])
  assert.deepEqual([client.redirectUris, client.tokenEndpointAuthMethods, client.secretHashes], [DOCUMENT.redirect_uris, ['none'], []])
  // AS-15, AS-16: as a discovered address, 5 kB, 3 s in all; nothing that the document names is fetched.
  assert.deepEqual(world.web.requests, [ID])
  assert.deepEqual(world.web.options[0], { provenance: 'discovered', maxBytes: 5120, timeoutMs: 3000 })
})

eachClientWorld('an identifier that is no address of a document is refused before anything is fetched (F05, CIMD §3)', async (world) => {
  const wrong = [
    ['https://app.example', 'https://app.example/', 'https://app.example/a/../client.json', 'https://app.example/./client.json', 'https://app.example/%2e%2e/client.json', 'https://app.example/a/%2E/b'],
    ['https://app.example/client.json#f', 'https://app.example/client.json#', 'https://user@app.example/client.json', 'https://user:pw@app.example/client.json', 'https://@app.example/client.json'],
    ['https://APP.example/client.json', 'https://app.example:443/client.json', 'https://äpp.example/client.json', 'https://app.example\\client.json', 'https://app.example/a b', 'https:///client.json', 'https://'],
    ['http://app.example/client.json', 'HTTPS://app.example/client.json', 'ftp://app.example/client.json', ` ${ID}`, `${ID}\n`, `https://app.example/${'x'.repeat(600)}`],
  ].flat()
  for (const id of wrong) await refused(world, id)
  assert.deepEqual(world.web.requests, [])
  for (const id of [ID, 'https://app.example:8443/client', 'https://app.example/client?v=1', 'https://app.example/a/']) {
    serve(world, { body: { ...DOCUMENT, client_id: id } }, id)
    assert.equal((await find(world, id)).id, id)
  }
})

eachClientWorld('a document that is wrong is refused, and never kept (AS-10, AS-11, AS-13, AS-17, F05)', async (world) => {
  const wrong: readonly unknown[] = [
    [{ ...DOCUMENT, client_id: `${ID}/` }, { ...DOCUMENT, client_id: 'https://app.example:443/oauth/client.json' }, { ...DOCUMENT, client_id: [ID] }, { ...DOCUMENT, client_id: undefined }],
    [{ ...DOCUMENT, client_name: undefined }, { ...DOCUMENT, client_name: 7 }, { ...DOCUMENT, redirect_uris: undefined }, { ...DOCUMENT, redirect_uris: [] }],
    [{ ...DOCUMENT, redirect_uris: ['javascript:1'] }, { ...DOCUMENT, redirect_uris: ['http://app.example/cb'] }],
    [{ ...DOCUMENT, client_secret: 'x' }, { ...DOCUMENT, client_secret: null }, { ...DOCUMENT, client_secret_expires_at: 0 }],
    ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'tls_client_auth'].map((method) => ({ ...DOCUMENT, token_endpoint_auth_method: method })),
    [{ ...DOCUMENT, token_endpoint_auth_methods_supported: ['client_secret_basic'] }, { ...DOCUMENT, token_endpoint_auth_method: 'private_key_jwt' }],
    [{ ...DOCUMENT, token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ kty: 'EC', crv: 'P-256', x: 'a', y: 'b', d: 'c' }] } }],
    [[DOCUMENT], null, '"x"', 'not json', '', '{"client_id":'],
  ].flat()
  for (const [index, body] of wrong.entries()) {
    serve(world, { body })
    await refused(world, ID, 'document:')
    assert.equal(world.web.requests.length, index + 1)
  }
  serve(world, { body: DOCUMENT })
  assert.equal((await find(world)).name, 'App')
})

eachClientWorld('anything but 200 and JSON is an error, redirects included, and errors are not kept (AS-13, AS-14)', async (world) => {
  const pages: readonly Page[] = [
    [301, 302, 307, 308].map((status) => ({ status, headers: { location: 'https://app.example/other.json' }, body: DOCUMENT })),
    [201, 203, 204, 206, 304, 400, 401, 403, 404, 410, 429, 500, 503].map((status) => ({ status, body: DOCUMENT })),
    ['text/html', 'text/plain', 'application/javascript', 'application/jsonp', ''].map((type) => ({ headers: { 'content-type': type }, body: DOCUMENT })),
  ].flat()
  for (const [index, page] of pages.entries()) {
    serve(world, page)
    await refused(world)
    assert.equal(world.web.requests.length, index + 1, JSON.stringify(page))
  }
  assert.equal(new Set(world.web.requests).size, 1)
  for (const type of ['application/json; charset=utf-8', 'application/oauth-client-id-metadata+json']) {
    serve(world, { headers: { 'content-type': type }, body: DOCUMENT })
    world.now += 48 * HOUR
    assert.equal((await find(world)).name, 'App')
  }
})

eachClientWorld('a host that is not reached, too slow, too large or of special use is no client (F06, I08, AS-15)', async (world) => {
  for (const reason of ['refused_address', 'timeout', 'too_large', 'unreachable', 'protocol'] as const) {
    fail(world, new OutboundError(reason))
    await refused(world)
    // I08: the answer tells no reason apart from another.
    await assert.rejects(find(world), { message: 'the metadata document cannot be fetched' })
  }
  serve(world, { body: DOCUMENT })
  assert.equal((await find(world)).name, 'App')
})

eachClientWorld('a document is kept as long as it says, within five minutes and a day (AS-13, F08)', async (world) => {
  const cases: readonly (readonly [string | undefined, number])[] = [
    [undefined, 300],
    ['no-store', 300],
    ['max-age=0', 300],
    ['max-age=10', 300],
    ['public, max-age=3600', 3600],
    ['s-maxage=7200', 300],
    ['max-age=99999999', 86_400],
    ['max-age=nonsense', 300],
  ]
  for (const [control, seconds] of cases) {
    const id = `https://app.example/${encodeURIComponent(control ?? 'none')}`
    serve(world, { headers: control === undefined ? {} : { 'cache-control': control }, body: { ...DOCUMENT, client_id: id } }, id)
    await find(world, id)
    const before = world.web.requests.length
    world.now += seconds * 1000 - 1
    await find(world, id)
    assert.equal(world.web.requests.length, before, `${String(control)} is kept`)
    world.now += 1
    await find(world, id)
    assert.equal(world.web.requests.length, before + 1, `${String(control)} ends`)
  }
})

eachClientWorld('a changed document is another digest, so that a consent to the old one does not hold (AS-24, F08)', async (world) => {
  serve(world, { body: DOCUMENT })
  const digests = [(await find(world)).digest]
  const key = { kty: 'EC', crv: 'P-256', x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU', y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0' }
  const changes = [{ client_name: 'Other' }, { redirect_uris: ['https://app.example/cb', 'https://evil.example/cb'] }, { jwks: { keys: [key] } }, { jwks_uri: 'https://app.example/jwks' }]
  for (const change of changes) {
    serve(world, { body: { ...DOCUMENT, ...change } })
    world.now += HOUR
    digests.push((await find(world)).digest)
  }
  assert.equal(new Set(digests).size, changes.length + 1)
  serve(world, { body: { ...DOCUMENT, redirect_uris: DOCUMENT.redirect_uris.toReversed(), logo_uri: 'https://app.example/new.png' } })
  world.now += HOUR
  assert.equal((await find(world)).digest, digests[0])
})

eachClientWorld('while its host does not answer, the last good document stands for a day, and the host is not asked at each request', async (world) => {
  serve(world, { body: DOCUMENT })
  await find(world)
  fail(world, new OutboundError('timeout'))
  world.now += HOUR
  assert.equal((await find(world)).name, 'App')
  assert.equal((await find(world)).name, 'App')
  assert.equal(world.web.requests.length, 2)
  world.now += 61_000
  serve(world, { status: 503, body: 'later' })
  assert.equal((await find(world)).name, 'App')
  assert.equal(world.web.requests.length, 3)
  world.now += 24 * HOUR
  await refused(world)
  serve(world, { body: { ...DOCUMENT, client_name: 'App 2' } })
  assert.equal((await find(world)).name, 'App 2')
})

eachClientWorld('a document that was withdrawn or went wrong ends at once, also when its host then falls silent', async (world) => {
  for (const page of [{ status: 404, body: '' }, { status: 410, body: '' }, { body: { ...DOCUMENT, client_id: 'https://evil.example/c' } }]) {
    serve(world, { body: DOCUMENT })
    await find(world)
    world.now += HOUR
    serve(world, page)
    await refused(world, ID, 'document:')
    fail(world, new OutboundError('unreachable'))
    await refused(world)
  }
})

eachClientWorld('the built-in directory stands in for its exact addresses while they cannot be fetched', async (world) => {
  for (const fault of [{ status: 403, headers: { 'content-type': 'text/html' }, body: '<title>Just a moment...</title>' }, { headers: { 'content-type': 'text/html' }, body: '<html>' }]) {
    serve(world, fault, CLAUDE)
    const client = await find(world, CLAUDE)
    assert.deepEqual([client.name, client.redirectUris, client.verifiedHost], ['Claude Code', ['http://localhost/callback', 'http://127.0.0.1/callback'], 'claude.ai'])
    world.now += HOUR
  }
  const before = world.web.requests.length
  await find(world, CLAUDE)
  await find(world, CLAUDE)
  assert.equal(world.web.requests.length, before + 1)
  // One host serves several applications: trust is in the exact address (mcp.md 9.3).
  for (const id of ['https://claude.ai/oauth/other', `${CLAUDE}?x=1`, `${CLAUDE}/`, 'https://claude.ai/__proto__', 'https://claude.ai/constructor']) await refused(world, id)
})

eachClientWorld('a fetched document wins over the directory, and a difference is told once (drift)', async (world) => {
  const fetched = { client_id: CLAUDE, client_name: 'Claude Code', redirect_uris: ['http://localhost/callback', 'http://127.0.0.1/callback'] }
  const drift = async (): Promise<number> => (await world.events('client.updated')).length
  serve(world, { body: fetched }, CLAUDE)
  await find(world, CLAUDE)
  assert.equal(await drift(), 0)
  serve(world, { body: { ...fetched, redirect_uris: ['http://localhost/new'] } }, CLAUDE)
  for (let round = 0; round < 3; round += 1) {
    world.now += HOUR
    assert.deepEqual((await find(world, CLAUDE)).redirectUris, ['http://localhost/new'])
  }
  assert.equal(await drift(), 1)
  const [event] = await world.events('client.updated')
  assert.deepEqual([event?.clientId, event?.reason], [CLAUDE, 'the document differs from the built-in directory'])
  // A wrong document is no document that cannot be fetched.
  serve(world, { body: { ...fetched, client_id: 'https://evil.example/c' } }, CLAUDE)
  world.now += HOUR
  await refused(world, CLAUDE, 'document:')
  serve(world, { body: { ...DOCUMENT, client_name: 'X' } })
  await find(world)
  assert.equal(await drift(), 1)
})

eachClientWorld('every application of the directory is usable, and is what is known of it (mcp.md 9)', async (world) => {
  const known: Readonly<Record<string, readonly string[]>> = {
    [CLAUDE]: ['http://localhost/callback', 'http://127.0.0.1/callback'],
    'https://claude.ai/oauth/mcp-oauth-client-metadata': ['https://claude.ai/api/mcp/auth_callback', 'https://claude.com/api/mcp/auth_callback'],
    'https://chatgpt.com/oauth/codex/client.json': ['http://127.0.0.1/callback'],
    [CHATGPT]: ['https://chatgpt.com/connector_platform_oauth_redirect'],
    'https://vscode.dev/oauth/client-metadata.json': ['http://127.0.0.1:33418/', 'http://127.0.0.1:33418', 'https://vscode.dev/redirect'],
    'https://cursor.com/oauth/mcp-client.json': ['http://localhost:8787/callback', 'https://www.cursor.com/agents/mcp/oauth/callback', 'cursor://anysphere.cursor-mcp/oauth/callback'],
    'https://zed.dev/oauth/client-metadata.json': ['http://127.0.0.1/callback'],
    'https://v0.app/api/chat/integrations/oauth/client-metadata.json': ['https://api.v0.dev/v1/mcp-servers/oauth/callback'],
  }
  for (const [id, uris] of Object.entries(known)) {
    const client = await find(world, id)
    for (const uri of uris) assert.ok(client.redirectUris.includes(uri), `${id} ${uri}`)
    assert.equal(client.verifiedHost, new URL(id).host)
    assert.ok(client.tokenEndpointAuthMethods.includes('none') && client.grantTypes.includes('refresh_token'))
  }
  assert.deepEqual((await find(world, CHATGPT)).tokenEndpointAuthMethods, ['private_key_jwt', 'none'])
})

eachClientWorld('methods may be a list, of which shared secrets are none (RP Metadata Choices: ChatGPT)', async (world) => {
  const body = { ...DOCUMENT, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'], jwks_uri: 'https://app.example/jwks' }
  serve(world, { body })
  assert.deepEqual((await find(world)).tokenEndpointAuthMethods, ['private_key_jwt', 'none'])
  const second = 'https://app.example/second'
  serve(world, { body: { ...DOCUMENT, client_id: second, token_endpoint_auth_methods_supported: ['client_secret_basic', 'none'] } }, second)
  assert.deepEqual((await find(world, second)).tokenEndpointAuthMethods, ['none'])
})

eachClientWorld('grants that are not for documents are left out, not a reason to refuse (claude.ai)', async (world) => {
  serve(world, { body: { ...DOCUMENT, grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'client_credentials'] } })
  // An ID-JAG is for the client that its issuer named: a document may present one (EMA §5).
  assert.deepEqual((await find(world)).grantTypes, ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:jwt-bearer'])
})

eachClientWorld('many at once fetch once; many slow hosts do not pile up, nor keep known clients out (X21)', async (world) => {
  const held = Promise.withResolvers<Page>()
  world.web.pages.set(ID, () => held.promise)
  const same = Array.from({ length: 20 }, () => find(world))
  held.resolve({ body: DOCUMENT })
  assert.equal(new Set((await Promise.all(same)).map(({ digest }) => digest)).size, 1)
  assert.equal(world.web.requests.length, 1)
  const slow = Promise.withResolvers<Page>()
  const ids = Array.from({ length: 40 }, (_, index) => `https://host-${index}.example/client`)
  for (const id of ids) world.web.pages.set(id, () => slow.promise)
  const spray = ids.map(async (id) => find(world, id).then(() => 'found', (error: OAuthError) => error.code))
  assert.equal((await find(world)).name, 'App')
  assert.equal((await find(world, CLAUDE)).name, 'Claude Code')
  slow.resolve({ status: 500, body: '' })
  const codes = await Promise.all(spray)
  assert.equal(codes.filter((code) => code === 'temporarily_unavailable').length, 40 - 16)
  assert.equal(world.web.requests.length, 1 + 16)
})

eachClientWorld('of many documents those that are used are kept (X21)', async (world) => {
  const find2000 = async (from: number): Promise<void> => {
    for (let index = from; index < from + 2000; index += 1) {
      const id = `https://app.example/${index}`
      serve(world, { body: { ...DOCUMENT, client_id: id } }, id)
      await find(world, id)
      if (index % 1000 === 0) await find(world)
    }
  }
  serve(world, { body: DOCUMENT })
  await find2000(1)
  assert.equal(world.web.requests.filter((url) => url === ID).length, 1)
  await find2000(3001)
  assert.equal(world.web.requests.filter((url) => url === ID).length, 1)
  await find(world, 'https://app.example/1')
  assert.equal(world.web.requests.at(-1), 'https://app.example/1', 'what nobody used is not forgotten')
})

eachClientWorld(
  'the order of looking is fixed: configured, then documents, then registrations (F11, CIMD §6.9)',
  async (world) => {
    serve(world, { body: { ...DOCUMENT, client_name: 'By document' } })
    assert.equal((await find(world)).name, 'By configuration')
    assert.deepEqual(world.web.requests, [])
    const registered = await world.nodes[0].register({ client_id: ID, redirect_uris: ['https://evil.example/cb'] })
    assert.equal(registered.status, 201)
    assert.deepEqual((await find(world)).redirectUris, ['https://app.example/cb'])
    assert.equal((await find(world, String(registered.body['client_id']))).kind, 'dynamic')
  },
  { preRegistered: [{ id: ID, name: 'By configuration', redirectUris: ['https://app.example/cb'], grantTypes: ['authorization_code'], tokenEndpointAuthMethod: 'none' }] },
)

eachClientWorld(
  'switched off, no document is fetched and none is known (AS-5)',
  async (world) => {
    serve(world, { body: DOCUMENT })
    await refused(world)
    await refused(world, CLAUDE)
    assert.deepEqual(world.web.requests, [])
    assert.equal((await world.nodes[0].register({ redirect_uris: ['https://app.example/cb'] })).status, 201)
  },
  { documents: false },
)

test('what goes wrong here while a document is taken in says nothing of the document, nor of its client', async () => {
  let isDown = true
  const documents = metadataDocuments({
    outbound: { request: async () => ({ status: 200, headers: new Headers({ 'content-type': 'application/json' }), body: JSON.stringify(DOCUMENT) }) },
    audit: { record: async () => undefined, begin: () => async () => undefined },
    fetched: async () => {
      if (isDown) throw new Error('the store is gone')
    },
    now: Date.now,
  })
  await assert.rejects(documents.find(ID), { message: 'the store is gone' })
  isDown = false
  assert.equal((await documents.find(ID)).name, 'App')
})
