// Dynamic client registration (RFC 7591) and its management (RFC 7592), on two nodes.
import assert from 'node:assert/strict'
import { rateLimit } from '../../src/http/rate-limit.ts'
import { eachClientWorld, ISSUER, type Answer, type ClientWorld } from '../support/client-nodes.ts'

const NATIVE = {
  client_name: 'Agent',
  application_type: 'native',
  redirect_uris: ['http://127.0.0.1/callback', 'http://localhost:8787/callback'],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
  scope: 'mcp.read mcp.write',
  client_uri: 'https://agent.example/',
  software_id: 'agent',
}

function assertError(answer: Answer, code: string, status = 400): void {
  assert.equal(answer.status, status, answer.text)
  assert.equal(answer.body['error'], code)
  assert.equal(typeof answer.body['error_description'], 'string')
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
}

async function registered(world: ClientWorld, metadata: object = NATIVE): Promise<Answer['body']> {
  const answer = await world.nodes[0].register(metadata)
  assert.equal(answer.status, 201, answer.text)
  return answer.body
}

const manage = (world: ClientWorld, client: Answer['body'], method: string, body?: unknown, node = world.nodes[1]): Promise<Answer> =>
  node.ask(method, new URL(String(client['registration_client_uri'])).pathname, {
    headers: { authorization: `Bearer ${String(client['registration_access_token'])}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })

eachClientWorld('a registration is answered with everything that was registered (RFC 7591 §3.2.1, AS-6)', async (world) => {
  const answer = await world.nodes[0].register(NATIVE)
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const { client_id: id, client_id_issued_at: at, registration_access_token: token, registration_client_uri: uri, ...rest } = answer.body
  assert.deepEqual(rest, NATIVE)
  // AS-19, F11: never the form of a metadata document's address.
  assert.match(String(id), /^dyn_[\w-]{22}$/)
  assert.equal(at, Math.floor(world.now / 1000))
  assert.equal(uri, `${ISSUER}/register/${String(id)}`)
  const found = await world.nodes[1].clients.find(String(id))
  assert.deepEqual([found.kind, found.redirectUris, found.secretHashes], ['dynamic', NATIVE.redirect_uris, []])
  const [event] = await world.events('client.registered')
  assert.deepEqual([event?.clientId, event?.address, event?.detail?.['name']], [id, '192.0.2.1', 'Agent'])
  // Nothing but hashes is stored, and no secret is recorded.
  const rows = JSON.stringify([await world.db.query('SELECT * FROM clients'), await world.events()])
  assert.equal(rows.includes(String(token)), false)
})

eachClientWorld('a client that names no method gets a secret, which is its own (RFC 7591 §2, §3.2.1)', async (world) => {
  const { token_endpoint_auth_method: _omitted, ...metadata } = NATIVE
  const client = await registered(world, metadata)
  assert.equal(client['token_endpoint_auth_method'], 'client_secret_basic')
  assert.equal(client['client_secret_expires_at'], 0)
  const secret = String(client['client_secret'])
  assert.match(secret, /^lyd_cs_/)
  const basic = (value: string): string => `Basic ${Buffer.from(`${String(client['client_id'])}:${value}`).toString('base64')}`
  assert.equal((await world.nodes[1].prove({}, basic(secret))).status, 200)
  assertError(await world.nodes[1].prove({}, basic(`${secret}x`)), 'invalid_client', 401)
  assert.equal(JSON.stringify([await world.db.query('SELECT * FROM clients'), await world.events()]).includes(secret), false)
  const publicClient = await registered(world)
  assert.equal('client_secret' in publicClient || 'client_secret_expires_at' in publicClient, false)
})

eachClientWorld('what RFC 7591 §2 leaves out has its default; a name that shows nothing is none', async (world) => {
  const client = await registered(world, { redirect_uris: ['https://app.example/cb'], client_name: '\u200b \u202e' })
  assert.deepEqual([client['client_name'], client['grant_types'], client['response_types'], client['application_type']], ['app.example', ['authorization_code'], ['code'], 'web'])
  const scheme = await registered(world, { redirect_uris: ['com.example.app:/cb'] })
  assert.equal(scheme['client_name'], 'com.example.app:')
})

eachClientWorld('one redirect URI that nobody may use does not end the registration (Cursor)', async (world) => {
  const good = ['http://localhost:8787/callback', 'https://www.cursor.com/agents/mcp/oauth/callback', 'cursor://anysphere.cursor-mcp/oauth/callback']
  const bad = ['javascript:alert(1)', 'http://app.example/cb', 'https://app.example/cb#f', 'https://*.example/cb', 'not a uri', '', 7, null, `https://app.example/${'x'.repeat(3000)}`]
  // Cursor says web, and is native by its scheme.
  const client = await registered(world, { ...NATIVE, application_type: 'web', redirect_uris: [...bad, ...good, good[0]] })
  assert.deepEqual(client['redirect_uris'], good)
  for (const uri of bad) assertError(await world.nodes[0].register({ ...NATIVE, redirect_uris: [uri] }), 'invalid_redirect_uri')
  assertError(await world.nodes[0].register({ ...NATIVE, redirect_uris: [] }), 'invalid_redirect_uri')
  assertError(await world.nodes[0].register({ ...NATIVE, redirect_uris: 'https://app.example/cb' }), 'invalid_redirect_uri')
  assertError(await world.nodes[0].register({ ...NATIVE, redirect_uris: undefined }), 'invalid_redirect_uri')
  assert.equal(await world.count(), 1)
})

eachClientWorld('a hosted client has no loopback redirect URI, a native one has (redirect URI policy by class)', async (world) => {
  const both = ['https://app.example/cb', 'http://127.0.0.1/cb']
  assert.deepEqual((await registered(world, { ...NATIVE, application_type: 'web', redirect_uris: both }))['redirect_uris'], ['https://app.example/cb'])
  assertError(await world.nodes[0].register({ ...NATIVE, application_type: 'web', redirect_uris: ['http://127.0.0.1/cb'] }), 'invalid_redirect_uri')
  assert.deepEqual((await registered(world, { ...NATIVE, redirect_uris: both }))['redirect_uris'], both)
  const { application_type: _silent, ...silent } = NATIVE
  assert.deepEqual((await registered(world, { ...silent, redirect_uris: ['http://127.0.0.1/cb'] }))['redirect_uris'], ['http://127.0.0.1/cb'])
})

eachClientWorld(
  'a client gives itself no privilege: identifier, secret, trust, grants without a person (F03)',
  async (world) => {
    const asked = {
      ...NATIVE,
      client_id: 'admin',
      client_secret: 'chosen',
      skip_consent: true,
      trusted: true,
      verifiedHost: 'claude.ai',
      kind: 'pre-registered',
      registration_access_token: 'mine',
      grant_types: ['authorization_code', 'client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange', 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'password'],
    }
    const client = await registered(world, asked)
    assert.deepEqual(client['grant_types'], ['authorization_code'])
    assert.notEqual(client['client_id'], 'admin')
    for (const name of ['client_secret', 'skip_consent', 'trusted', 'verifiedHost', 'kind']) assert.equal(name in client, false, name)
    const found = await world.nodes[1].clients.find(String(client['client_id']))
    assert.deepEqual([found.kind, found.grantTypes, found.verifiedHost], ['dynamic', ['authorization_code'], undefined])
    await assert.rejects(world.nodes[1].clients.find('admin'), { code: 'invalid_client' })
    assertError(await world.nodes[0].register({ ...NATIVE, grant_types: ['client_credentials'] }), 'invalid_client_metadata')
    assertError(await world.nodes[0].register({ ...NATIVE, response_types: ['token'] }), 'invalid_client_metadata')
    const { status } = await manage(world, client, 'PUT', { ...NATIVE, client_id: client['client_id'], grant_types: ['authorization_code', 'client_credentials'] })
    assert.equal(status, 200)
    assert.deepEqual((await world.nodes[1].clients.find(String(client['client_id']))).grantTypes, ['authorization_code'])
  },
  { grantTypes: ['authorization_code', 'refresh_token', 'client_credentials', 'urn:ietf:params:oauth:grant-type:token-exchange', 'urn:ietf:params:oauth:grant-type:jwt-bearer'] },
)

eachClientWorld('what is no registration is told in JSON, adds nothing and is recorded (RFC 7591 §3.2.2)', async (world) => {
  const [node] = world.nodes
  const bodies: unknown[] = ['', '[]', 'null', '"x"', '{', '{"a":1}x', '['.repeat(30_000), `{"redirect_uris":["https://a.example/"],"x":"${'y'.repeat(70_000)}"}`]
  for (const body of bodies) assert.match(String((await node.register(body)).body['error']), /^invalid_client_metadata$/, String(body).slice(0, 40))
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', 'multipart/form-data; boundary=x']) assertError(await node.register(NATIVE, { 'content-type': type }), 'invalid_client_metadata')
  const wrong: readonly object[] = [
    { client_name: 7 },
    { client_name: 'x'.repeat(3000) },
    { grant_types: 'authorization_code' },
    { token_endpoint_auth_method: 'tls_client_auth' },
    { token_endpoint_auth_method: 'private_key_jwt' },
    { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [] } },
    { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ kty: 'EC', crv: 'P-256', x: 'a', y: 'b', d: 'secret' }] } },
    { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ kty: 'oct', k: 'secret' }] } },
    { token_endpoint_auth_method: 'private_key_jwt', jwks_uri: 'http://app.example/jwks' },
    { jwks: { keys: [] }, jwks_uri: 'https://app.example/jwks' },
  ]
  for (const fields of wrong) assertError(await node.register({ ...NATIVE, ...fields }), 'invalid_client_metadata')
  assert.equal(await world.count(), 0)
  const refused = await world.events('client.refused')
  assert.equal(refused.length, bodies.length + 4 + wrong.length)
  assert.ok(refused.every(({ outcome, reason, reference, address }) => outcome === 'failure' && reason !== undefined && reference !== undefined && address === '192.0.2.1'))
  assert.equal((await node.register(NATIVE, { 'content-type': 'Application/JSON; charset=utf-8' })).status, 201)
})

eachClientWorld('of keys, what verifies signatures is kept; unknown types are left out (RFC 7517 §5)', async (world) => {
  const key = { kty: 'EC', crv: 'P-256', x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU', y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0', kid: '1' }
  let deep: unknown = 'x'
  for (let level = 0; level < 5000; level += 1) deep = [deep]
  const client = await registered(world, { ...NATIVE, token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [{ ...key, ext: deep }, { kty: 'AKP', pub: 'x' }] } })
  assert.deepEqual(client['jwks'], { keys: [key] })
})

eachClientWorld('a client reads its registration with the token of the registration (RFC 7592 §2.1, §3)', async (world) => {
  const client = await registered(world)
  const read = await manage(world, client, 'GET')
  assert.equal(read.status, 200)
  assert.deepEqual(read.body, client)
  assert.equal(read.headers.get('cache-control'), 'no-store')
})

eachClientWorld('a wrong token, no token and an unknown client answer alike, whatever is asked (RFC 7592 §2)', async (world) => {
  const client = await registered(world)
  const other = await registered(world, { ...NATIVE, client_name: 'Other' })
  const id = String(client['client_id'])
  const cases: readonly (readonly [string, string, string])[] = [
    [id, `Bearer ${String(other['registration_access_token'])}`, 'wrong registration access token'],
    [id, `Bearer ${String(client['registration_access_token'])}x`, 'wrong registration access token'],
    [id, `Bearer ${String(client['registration_access_token']).toUpperCase()}`, 'wrong registration access token'],
    [id, '', 'no registration access token'],
    [id, `Basic ${Buffer.from(`${id}:x`).toString('base64')}`, 'no registration access token'],
    [`dyn_${'x'.repeat(22)}`, `Bearer ${String(client['registration_access_token'])}`, 'unknown client'],
    ['nobody', `Bearer ${String(client['registration_access_token'])}`, 'unknown client'],
  ]
  const texts = new Set<string>()
  for (const [path, authorization, reason] of cases) {
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const answer = await world.nodes[1].ask(method, `/register/${path}`, { headers: { authorization, 'content-type': 'application/json' }, ...(method === 'PUT' ? { body: JSON.stringify({ ...NATIVE, client_id: id }) } : {}) })
      assertError(answer, 'invalid_token', 401)
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer realm="lanyard", error="invalid_token"')
      texts.add(answer.text)
      assert.equal((await world.events('client.refused')).at(-1)?.reason, reason)
    }
  }
  assert.equal(texts.size, 1)
  // No database is asked for what cannot be an identifier: PostgreSQL refuses a NUL with an error.
  assert.equal((await world.nodes[1].ask('GET', '/register/dyn_%00', { headers: { authorization: 'Bearer x' } })).status, 404)
  assert.equal((await manage(world, client, 'GET')).status, 200)
  assert.equal(JSON.stringify(await world.events()).includes('lyd_rat_'), false)
})

eachClientWorld('a replacement is whole, names its client, and chooses no secret (RFC 7592 §2.2)', async (world) => {
  const client = await registered(world, { ...NATIVE, token_endpoint_auth_method: 'client_secret_post' })
  const id = String(client['client_id'])
  const [before] = [await world.nodes[0].clients.find(id)]
  const next = { client_id: id, client_name: 'Agent 2', redirect_uris: ['http://127.0.0.1/other'], token_endpoint_auth_method: 'client_secret_post' }
  assertError(await manage(world, client, 'PUT', { ...next, client_id: 'other' }), 'invalid_client_metadata')
  assertError(await manage(world, client, 'PUT', { ...next, client_id: undefined }), 'invalid_client_metadata')
  assertError(await manage(world, client, 'PUT', { ...next, client_secret: 'chosen' }), 'invalid_client_metadata')
  assertError(await manage(world, client, 'PUT', { ...next, redirect_uris: ['javascript:1'] }), 'invalid_redirect_uri')
  assert.equal((await world.nodes[0].clients.find(id)).digest, before?.digest)
  const replaced = await manage(world, client, 'PUT', { ...next, client_secret: client['client_secret'] })
  assert.equal(replaced.status, 200, replaced.text)
  assert.deepEqual([replaced.body['client_name'], replaced.body['redirect_uris'], replaced.body['scope'], replaced.body['client_uri']], ['Agent 2', ['http://127.0.0.1/other'], undefined, undefined])
  assert.equal(replaced.body['registration_access_token'], client['registration_access_token'])
  const after = await world.nodes[0].clients.find(id)
  // AS-24, F08: a remembered consent was for the digest before.
  assert.notEqual(after.digest, before?.digest)
  assert.equal((await world.nodes[0].prove({ client_id: id, client_secret: String(client['client_secret']) })).status, 200)
  assert.equal((await world.events('client.updated')).length, 1)
})

eachClientWorld('a client that becomes public loses its secret, and gets a new one when it comes back', async (world) => {
  const client = await registered(world, { ...NATIVE, token_endpoint_auth_method: 'client_secret_post' })
  const id = String(client['client_id'])
  const old = { client_id: id, client_secret: String(client['client_secret']) }
  assert.equal((await world.nodes[0].prove(old)).status, 200)
  assert.equal((await manage(world, client, 'PUT', { ...NATIVE, client_id: id })).status, 200)
  assertError(await world.nodes[0].prove(old), 'invalid_client', 401)
  assert.equal((await world.nodes[0].prove({ client_id: id })).status, 200)
  const back = await manage(world, client, 'PUT', { ...NATIVE, client_id: id, token_endpoint_auth_method: 'client_secret_post' })
  assertError(await world.nodes[0].prove(old), 'invalid_client', 401)
  assert.equal((await world.nodes[0].prove({ client_id: id, client_secret: String(back.body['client_secret']) })).status, 200)
})

eachClientWorld('a deleted client is unknown on all nodes, and its grants are over (RFC 7592 §2.3)', async (world) => {
  const client = await registered(world)
  const id = String(client['client_id'])
  await world.grant(id)
  const deleted = await manage(world, client, 'DELETE')
  assert.deepEqual([deleted.status, deleted.text], [204, ''])
  for (const node of world.nodes) await assert.rejects(node.clients.find(id), { code: 'invalid_client' })
  assertError(await manage(world, client, 'GET'), 'invalid_token', 401)
  assertError(await manage(world, client, 'DELETE'), 'invalid_token', 401)
  const grants = await world.db.query<{ id: string; revoked_at: number | null }>('SELECT id, revoked_at FROM grants')
  assert.deepEqual(grants.filter((grant) => grant.revoked_at === null), [])
  // Its grant is told of too: what another client had in exchange for its tokens ends with it.
  assert.deepEqual(world.changes.map(({ kind, key }) => [kind, key]), [...grants.map((grant) => ['grant', grant.id]), ['client', id]])
  assert.equal((await world.events('client.deleted')).length, 1)
})

eachClientWorld('the table does not grow when one client registers again and again; one in use stays (F01)', async (world) => {
  const used = await registered(world)
  await world.grant(String(used['client_id']))
  let most = 0
  for (let round = 0; round < 12; round += 1) {
    for (let attempt = 0; attempt < 5; attempt += 1) assert.equal((await world.nodes[attempt % 2 === 0 ? 0 : 1].register(NATIVE)).status, 201)
    most = Math.max(most, await world.count())
    world.now += 61 * 60_000
  }
  assert.ok(most <= 1 + 20 + 5 + 1, `${most} rows`)
  for (const node of world.nodes) assert.equal((await node.clients.find(String(used['client_id']))).name, 'Agent')
  // Other applications are not touched by it.
  const other = await registered(world, { ...NATIVE, software_id: 'other' })
  assert.equal((await manage(world, other, 'GET')).status, 200)
})

eachClientWorld('an application that registers too often without being used is told to wait, and only it (F01)', async (world) => {
  const clients = []
  for (let attempt = 0; attempt < 5; attempt += 1) clients.push(await registered(world))
  const refused = await world.nodes[1].register(NATIVE)
  assertError(refused, 'too_many_requests', 429)
  assert.equal(refused.headers.get('retry-after'), '3600')
  assert.equal(await world.count(), 5)
  assert.equal((await world.events('client.refused')).at(-1)?.reason, 'too many unused registrations of this application')
  // Another port is no other application; another application, or another network, is.
  assertError(await world.nodes[0].register({ ...NATIVE, redirect_uris: ['http://127.0.0.1:9/callback', 'http://127.0.0.1:10/callback'] }), 'too_many_requests', 429)
  await registered(world, { ...NATIVE, software_id: 'other' })
  world.address = '198.51.100.1'
  await registered(world)
  world.address = '192.0.2.1'
  // Whoever gets to a consent makes room for the next.
  await world.grant(String(clients[0]?.['client_id']))
  await registered(world)
  assertError(await world.nodes[0].register(NATIVE), 'too_many_requests', 429)
  world.now += 3_600_001
  await registered(world)
})

eachClientWorld('registrations at once on two nodes: no more than the limit get through', async (world) => {
  const answers = await Promise.all(Array.from({ length: 30 }, (_, index) => world.nodes[index % 2 === 0 ? 0 : 1].register(NATIVE)))
  const statuses = answers.map(({ status }) => status)
  assert.equal(statuses.filter((status) => status === 201).length, 5)
  assert.equal(statuses.filter((status) => status === 429).length, 25)
  assert.equal(await world.count(), 5)
  assert.equal(new Set(answers.flatMap(({ body }) => body['client_id'] ?? [])).size, 5)
  assert.equal((await world.events('client.registered')).length, 5)
})

eachClientWorld('replacing and deleting at once leave no client and no grant', async (world) => {
  for (let round = 0; round < 5; round += 1) {
    const client = await registered(world, { ...NATIVE, software_id: `round ${round}` })
    const id = String(client['client_id'])
    await world.grant(id)
    const [deleted, ...replaced] = await Promise.all([manage(world, client, 'DELETE', undefined, world.nodes[0]), ...world.nodes.map((node) => manage(world, client, 'PUT', { ...NATIVE, client_id: id }, node))])
    assert.equal(deleted.status, 204)
    for (const { status } of replaced) assert.ok(status === 200 || status === 401, String(status))
    await assert.rejects(world.nodes[1].clients.find(id), { code: 'invalid_client' })
  }
  assert.equal((await world.db.query('SELECT id FROM grants WHERE revoked_at IS NULL')).length, 0)
})

eachClientWorld('a flood from one network is refused before anything is read; others are served (F01)', async (world) => {
  world.flood = rateLimit({ limit: 3, windowMs: 60_000, now: () => world.now })
  world.address = '2001:db8:1:2::1'
  const client = await registered(world)
  world.address = '2001:db8:1:2::ffff'
  assertError(await world.nodes[0].register('{'), 'invalid_client_metadata')
  assert.equal((await manage(world, client, 'GET')).status, 200)
  const flooded = await world.nodes[1].register(NATIVE)
  assertError(flooded, 'too_many_requests', 429)
  assert.ok(Number(flooded.headers.get('retry-after')) >= 1)
  assertError(await manage(world, client, 'GET'), 'too_many_requests', 429)
  assert.equal(await world.count(), 1)
  world.address = '2001:db8:1:3::1'
  assert.equal((await world.nodes[1].register(NATIVE)).status, 201)
})

eachClientWorld('scripts of any origin register, and read why they cannot', async (world) => {
  for (const answer of [await world.nodes[0].register(NATIVE, { origin: 'https://app.example' }), await world.nodes[0].register({}, { origin: 'https://app.example' })]) {
    assert.equal(answer.headers.get('access-control-allow-origin'), '*')
  }
  assert.equal((await world.nodes[0].ask('OPTIONS', '/register', { headers: { origin: 'https://app.example' } })).status, 204)
  assert.equal((await world.nodes[0].ask('GET', '/register')).status, 405)
})

eachClientWorld('a client that is used stays known; what nobody used for long is forgotten', async (world) => {
  const kept = await registered(world)
  const idle = await registered(world, { ...NATIVE, software_id: 'idle' })
  const granted = await registered(world, { ...NATIVE, software_id: 'granted' })
  const looked = await registered(world, { ...NATIVE, software_id: 'looked up' })
  await world.grant(String(granted['client_id']))
  // Its first grant began and ended meanwhile.
  await world.nodes[0].store.touchClient(String(kept['client_id']), world.now)
  world.now += 80 * 86_400_000
  await world.nodes[0].clients.find(String(kept['client_id']))
  // Anybody may name a client: that is no use of it.
  await world.nodes[0].clients.find(String(looked['client_id']))
  world.now += 20 * 86_400_000
  await world.nodes[1].store.reap({ used: world.now - 90 * 86_400_000, never: world.now - 7 * 86_400_000 }, world.now)
  for (const client of [kept, granted]) assert.equal((await world.nodes[1].clients.find(String(client['client_id']))).kind, 'dynamic')
  for (const client of [idle, looked]) await assert.rejects(world.nodes[1].clients.find(String(client['client_id'])), { code: 'invalid_client' })
})
