// Software statements (RFC 7591 §2.3): whose word makes of many registrations one verified application.
import assert from 'node:assert/strict'
import { UnsecuredJWT, SignJWT } from 'jose'
import { eachClientWorld, signer, type Answer, type ClientOptions, type ClientWorld, type Signer } from '../support/client-nodes.ts'

const ISSUER = 'https://software.example'
const KEYS = 'https://software.example/jwks'
const key = await signer('s1')
const other = await signer('s2')
const STATED = { software_id: 'agent-7', client_name: 'Agent', redirect_uris: ['http://127.0.0.1/callback', 'https://agent.example/cb'] }
const SAID = { client_name: 'Claude', redirect_uris: ['https://evil.example/cb'], token_endpoint_auth_method: 'none' }

const byKeys: ClientOptions = { statements: { issuers: [{ issuer: ISSUER, jwks: { keys: [key.jwk] } }], unknown: 'refuse' } }
const lenient: ClientOptions = { statements: { issuers: [{ issuer: ISSUER, jwks: { keys: [key.jwk] } }], unknown: 'unverified' } }
const byAddress: ClientOptions = { statements: { issuers: [{ issuer: ISSUER, jwksUri: KEYS }], unknown: 'refuse' } }

const stated = (claims: object = {}, by: Signer = key): Promise<string> => by.sign({ iss: ISSUER, ...STATED, ...claims })
const register = (world: ClientWorld, statement: unknown, more: object = {}): Promise<Answer> => world.nodes[0].register({ ...SAID, ...more, software_statement: statement })
const clientOf = (world: ClientWorld, answer: Answer, node = 1) => world.nodes[node === 1 ? 1 : 0].clients.find(String(answer.body['client_id']))
const applicationOf = (world: ClientWorld, answer: Answer) => world.nodes[1].clients.of(String(answer.body['client_id']))

eachClientWorld('RFC 7591 §2.3: what the statement says takes precedence, and all its registrations are one verified application', async (world) => {
  const statement = await stated()
  const [first, second] = [await register(world, statement), await register(world, statement)]
  assert.deepEqual([first.status, second.status], [201, 201], first.text)
  assert.notEqual(first.body['client_id'], second.body['client_id'])
  assert.deepEqual([first.body['client_name'], first.body['redirect_uris']], ['Agent', STATED.redirect_uris])
  // RFC 7591 §3.2.1: "its value MUST be returned unmodified in the response".
  assert.equal(first.body['software_statement'], statement)
  const expected = { id: 'software:https://software.example#agent-7', verified: true, by: 'issuer' }
  assert.deepEqual([await applicationOf(world, first), await applicationOf(world, second)], [expected, expected])
  const client = await clientOf(world, first)
  assert.deepEqual([client.name, client.redirectUris], ['Agent', STATED.redirect_uris])
  assert.deepEqual((await world.db.query<{ application: string }>('SELECT DISTINCT application FROM clients')).map((row) => row.application), [expected.id])
  const [event] = await world.events('client.registered')
  assert.deepEqual([event?.detail?.['verified'], event?.detail?.['application']], [true, expected.id])
}, byKeys)

eachClientWorld('without a statement, each registration stands for itself, unverified, whatever it calls its software', async (world) => {
  const [first, second] = [await world.nodes[0].register({ ...SAID, software_id: 'agent-7' }), await world.nodes[0].register({ ...SAID, software_id: 'agent-7' })]
  for (const answer of [first, second]) assert.deepEqual(await applicationOf(world, answer), { id: answer.body['client_id'], verified: false })
  const [event] = await world.events('client.registered')
  assert.equal(event?.detail?.['verified'], false)
}, byKeys)

eachClientWorld('a statement that its issuer did not sign, or that is over, is refused, and nothing is stored', async (world) => {
  const unsigned = new UnsecuredJWT({ iss: ISSUER, ...STATED }).encode()
  const symmetric = await new SignJWT({ iss: ISSUER, ...STATED }).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(JSON.stringify(key.jwk)))
  const [header = '', , signature = ''] = (await stated()).split('.')
  const swapped = `${header}.${Buffer.from(JSON.stringify({ iss: ISSUER, ...STATED, client_name: 'Other' })).toString('base64url')}.${signature}`
  const seconds = Math.floor(world.now / 1000)
  const wrong: readonly unknown[] = [await stated({}, other), unsigned, symmetric, swapped, await stated({ exp: seconds - 120 }), await stated({ nbf: seconds + 120 }), await stated({ software_id: '\ud800' }), 'a.b.c', '', 7, null, { iss: ISSUER }, 'x'.repeat(17_000)]
  for (const statement of wrong) {
    const answer = await register(world, statement)
    assert.ok(['invalid_software_statement', 'invalid_client_metadata'].includes(String(answer.body['error'])), answer.text)
    assert.equal(answer.status, 400)
  }
  assert.equal(await world.count(), 0)
  assert.equal((await world.events('client.refused')).length, wrong.length)
  assert.equal((await register(world, await stated({ exp: seconds + 120, nbf: seconds - 120 }))).status, 201)
}, byKeys)

eachClientWorld('F13: a statement is no secret, so it must name what people recognize: no mask for redirect URIs of one’s own', async (world) => {
  for (const missing of ['software_id', 'client_name', 'redirect_uris']) {
    const answer = await register(world, await stated({ [missing]: undefined }))
    assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_software_statement'], missing)
  }
  assert.equal((await register(world, await stated({ redirect_uris: ['javascript:1'] }))).body['error'], 'invalid_redirect_uri')
  const good = await register(world, await stated(), { redirect_uris: ['https://evil.example/cb'], client_name: 'Other' })
  assert.equal(JSON.stringify(good.body).includes('evil.example'), false)
}, byKeys)

eachClientWorld('RFC 7591 §3.2.2: a statement of an unknown issuer is refused', async (world) => {
  const answer = await register(world, await other.sign({ iss: 'https://elsewhere.example', ...STATED }))
  assert.deepEqual([answer.status, answer.body['error']], [400, 'unapproved_software_statement'])
  assert.equal(await world.count(), 0)
}, byKeys)

eachClientWorld('or, by setting, it counts for nothing, and the registration is what it says itself; a bad one of a known issuer never does', async (world) => {
  const answer = await register(world, await other.sign({ iss: 'https://elsewhere.example', ...STATED }))
  assert.deepEqual([answer.status, answer.body['client_name'], answer.body['software_statement']], [201, 'Claude', undefined])
  assert.deepEqual(await applicationOf(world, answer), { id: answer.body['client_id'], verified: false })
  assert.equal((await register(world, await stated({}, other))).body['error'], 'invalid_software_statement')
  assert.equal((await applicationOf(world, await register(world, await stated()))).verified, true)
}, lenient)

eachClientWorld('the issuer’s keys come from its address; while they cannot be fetched, the client may try again', async (world) => {
  const away = await register(world, await stated())
  assert.deepEqual([away.status, away.headers.get('retry-after')], [503, '30'])
  world.web.pages.set(KEYS, () => ({ body: { keys: [key.jwk] } }))
  world.now += 60_000
  assert.equal((await register(world, await stated())).status, 201)
  // The operator named the address: it may be one of the company's own.
  assert.ok(world.web.options.every(({ provenance }) => provenance === 'configured'))
}, byAddress)

eachClientWorld('RFC 7592 §2.2: a registration that is replaced without its statement is nobody’s any more', async (world) => {
  const made = await register(world, await stated())
  const put = (body: object): Promise<Answer> =>
    world.nodes[0].ask('PUT', new URL(String(made.body['registration_client_uri'])).pathname, {
      headers: { authorization: `Bearer ${String(made.body['registration_access_token'])}`, 'content-type': 'application/json' },
      body: JSON.stringify({ client_id: made.body['client_id'], ...SAID, ...body }),
    })
  assert.equal((await applicationOf(world, made)).verified, true)
  assert.equal((await put({ software_statement: await stated({ client_name: 'Agent 2' }) })).status, 200)
  assert.deepEqual([(await applicationOf(world, made)).verified, (await clientOf(world, made)).name], [true, 'Agent 2'])
  assert.equal((await put({})).status, 200)
  assert.deepEqual(await applicationOf(world, made), { id: made.body['client_id'], verified: false })
  assert.deepEqual((await world.db.query<{ application: string }>('SELECT application FROM clients')).map((row) => row.application), [made.body['client_id']])
}, byKeys)
