// How clients prove who they are: none, a secret by header or body, a signed assertion; on two nodes.
import assert from 'node:assert/strict'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { basicAuthorization } from '../../src/oauth/basic.ts'
import { ASSERTION_TYPE, eachClientWorld, ISSUER, signer, type Answer, type ClientNode, type ClientOptions, type ClientWorld, type Signer } from '../support/client-nodes.ts'

const SECRET = 'a secret: with ü, +, % and ":"'
const [KEY, SECOND, OTHER, RSA, ED] = await Promise.all([signer('k1'), signer('k2'), signer('k1'), signer('r1', 'PS256'), signer('e1', 'Ed25519')])
const base = { name: 'x', redirectUris: [], grantTypes: ['client_credentials'] } as const
const OPTIONS: ClientOptions = {
  preRegistered: [
    { ...base, id: 'basic id', tokenEndpointAuthMethod: 'client_secret_basic', clientSecret: SECRET },
    { ...base, id: 'post', tokenEndpointAuthMethod: 'client_secret_post', clientSecret: SECRET },
    { ...base, id: 'public', tokenEndpointAuthMethod: 'none' },
    { ...base, id: 'signed', tokenEndpointAuthMethod: 'private_key_jwt', jwks: { keys: [KEY.jwk, RSA.jwk, ED.jwk] } },
    { ...base, id: 'other', tokenEndpointAuthMethod: 'private_key_jwt', jwks: { keys: [OTHER.jwk] } },
    { ...base, id: 'hosted', tokenEndpointAuthMethod: 'private_key_jwt', jwksUri: 'https://app.example/jwks' },
  ],
}

async function refused(world: ClientWorld, answer: Answer, reason: string, clientId?: string): Promise<void> {
  assert.equal(answer.status, 401, answer.text)
  // The client learns that it was not authenticated, not why.
  assert.deepEqual(answer.body, { error: 'invalid_client', error_description: 'the client could not be authenticated' })
  assert.match(answer.headers.get('www-authenticate') ?? '', /^Basic /)
  const event = (await world.events('client.refused')).at(-1)
  assert.deepEqual([event?.reason, event?.outcome, event?.clientId], [reason, 'failure', clientId])
}

async function noSecretRecorded(world: ClientWorld, ...secrets: readonly string[]): Promise<void> {
  const recorded = JSON.stringify(await world.events())
  for (const secret of secrets) assert.equal(recorded.includes(secret), false)
}

const claims = (world: ClientWorld, more: Readonly<Record<string, unknown>> = {}) => {
  const now = Math.floor(world.now / 1000)
  return { iss: 'signed', sub: 'signed', aud: ISSUER, jti: randomBytes(12).toString('hex'), iat: now, exp: now + 60, ...more }
}

const present = (node: ClientNode, assertion: string, more: Readonly<Record<string, string>> = {}): Promise<Answer> =>
  node.prove({ client_assertion_type: ASSERTION_TYPE, client_assertion: assertion, ...more })

eachClientWorld('a secret in the header is form-decoded before it is compared (RFC 6749 §2.3.1)', async (world) => {
  const [node] = world.nodes
  const right = basicAuthorization('basic id', SECRET)
  assert.equal((await node.prove({}, right)).status, 200)
  assert.equal((await node.prove({}, right.replace('Basic', 'basic'))).status, 200)
  assert.equal((await node.prove({ client_id: 'basic id' }, right)).status, 200)
  await refused(world, await node.prove({}, basicAuthorization('basic id', `${SECRET} `)), 'wrong secret', 'basic id')
  await refused(world, await node.prove({}, basicAuthorization('basic id', '')), 'wrong secret', 'basic id')
  await refused(world, await node.prove({}, basicAuthorization('nobody', SECRET)), 'unknown client', 'nobody')
  await refused(world, await node.prove({ client_id: 'post' }, right), 'malformed credentials', 'basic id')
  await noSecretRecorded(world, SECRET, encodeURIComponent(SECRET))
}, OPTIONS)

eachClientWorld('malformed credentials are nobody\'s (C09)', async (world) => {
  const [node] = world.nodes
  const encode = (text: string): string => `Basic ${Buffer.from(text, 'latin1').toString('base64')}`
  const malformed = ['Basic', 'Basic ', 'Basic !!!', encode('no colon'), encode(':secret'), encode('%zz:secret'), encode('a:%'), encode('a\0b:x'), encode('a%00b:x'), encode('%C3%A4:x'), 'Bearer abc', 'Digest x', 'Basic a b']
  for (const authorization of malformed) await refused(world, await node.prove({}, authorization), 'malformed credentials')
  assert.equal((await node.prove({}, basicAuthorization('basic id', SECRET))).status, 200)
}, OPTIONS)

eachClientWorld('a secret in the body, and none for a public client', async (world) => {
  const [node] = world.nodes
  assert.equal((await node.prove({ client_id: 'post', client_secret: SECRET })).status, 200)
  assert.equal((await node.prove({ client_id: 'public' })).status, 200)
  await refused(world, await node.prove({ client_id: 'post', client_secret: 'wrong' }), 'wrong secret', 'post')
  await refused(world, await node.prove({ client_secret: SECRET }), 'no client identifier')
  await refused(world, await node.prove({}), 'no client identifier')
  await refused(world, await node.prove({ client_id: 'nobody' }), 'unknown client', 'nobody')
  await refused(world, await node.prove({ client_id: 'https://nobody.example/client' }), 'unknown client', 'https://nobody.example/client')
  // What cannot be an identifier reaches no database and no trail (RFC 6749 appendix A.1).
  await refused(world, await node.prove({ client_id: 'x\u202ey' }), 'malformed credentials')
  assert.equal((await node.prove({ client_id: 'x\0y' })).status, 400)
  await noSecretRecorded(world, SECRET)
}, OPTIONS)

eachClientWorld('a client uses the method that it is registered for, and one at a time (C09, RFC 6749 §2.3)', async (world) => {
  const [node] = world.nodes
  const basic = basicAuthorization('basic id', SECRET)
  const assertion = { client_assertion_type: ASSERTION_TYPE, client_assertion: await KEY.sign(claims(world)) }
  await refused(world, await node.prove({ client_id: 'basic id' }), 'method not registered', 'basic id')
  await refused(world, await node.prove({ client_id: 'basic id', client_secret: SECRET }), 'method not registered', 'basic id')
  await refused(world, await node.prove({}, basicAuthorization('post', SECRET)), 'method not registered', 'post')
  await refused(world, await node.prove({ client_id: 'signed' }), 'method not registered', 'signed')
  await refused(world, await node.prove({ client_id: 'signed', client_secret: SECRET }), 'method not registered', 'signed')
  await refused(world, await node.prove({ client_id: 'public', client_secret: 'x' }), 'method not registered', 'public')
  await refused(world, await present(node, await KEY.sign(claims(world, { iss: 'public', sub: 'public' }))), 'method not registered', 'public')
  const doubled: readonly (readonly [Readonly<Record<string, string>>, string | undefined])[] = [
    [{ client_id: 'post', client_secret: SECRET }, basic],
    [assertion, basic],
    [{ client_id: 'post', client_secret: SECRET, ...assertion }, undefined],
    [{ client_assertion_type: ASSERTION_TYPE }, basic],
  ]
  for (const [form, authorization] of doubled) {
    const answer = await node.prove(form, authorization)
    assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_request'])
    assert.equal((await world.events('client.refused')).at(-1)?.reason, 'two methods at once')
  }
  await noSecretRecorded(world, SECRET, assertion.client_assertion)
  // The assertion that came together with a secret was not used up by it.
  assert.equal((await node.prove(assertion)).status, 200)
}, OPTIONS)

eachClientWorld('a signed assertion is who signed it: issuer or token endpoint as its sole audience (RFC 7523 §3)', async (world) => {
  const [node] = world.nodes
  for (const key of [KEY, RSA, ED]) assert.equal((await present(node, await key.sign(claims(world)))).status, 200, key.kid)
  assert.equal((await present(node, await KEY.sign(claims(world, { aud: `${ISSUER}/token` })))).status, 200)
  assert.equal((await present(node, await KEY.sign(claims(world)), { client_id: 'signed' })).status, 200)
  assert.deepEqual(await world.events('client.refused'), [])
}, OPTIONS)

eachClientWorld('an assertion is good once, whichever node it is shown to (C10)', async (world) => {
  const assertion = await KEY.sign(claims(world))
  assert.equal((await present(world.nodes[0], assertion)).status, 200)
  for (const node of world.nodes) await refused(world, await present(node, assertion), 'assertion: replayed', 'signed')
  const race = await KEY.sign(claims(world))
  const answers = await Promise.all(Array.from({ length: 30 }, (_, index) => present(world.nodes[index % 2 === 0 ? 0 : 1], race)))
  assert.equal(answers.filter(({ status }) => status === 200).length, 1)
  assert.equal(answers.filter(({ status }) => status === 401).length, 29)
  // What is forgotten has expired: until then a replay is known, also after a clean-up.
  world.now += 80_000
  await world.nodes[0].store.reap({ used: 0, never: 0 }, world.now)
  await refused(world, await present(world.nodes[1], assertion), 'assertion: replayed', 'signed')
  // X06: also after that of a node whose clock is ahead of this one's.
  await world.nodes[0].store.reap({ used: 0, never: 0 }, world.now + 60_000)
  await refused(world, await present(world.nodes[1], assertion), 'assertion: replayed', 'signed')
  world.now += 131_000
  await world.nodes[0].store.reap({ used: 0, never: 0 }, world.now)
  assert.equal((await world.db.query('SELECT * FROM client_assertions')).length, 0)
  await refused(world, await present(world.nodes[1], assertion), 'assertion: lifetime', 'signed')
  await noSecretRecorded(world, assertion, race)
}, OPTIONS)

eachClientWorld('an identifier that another client used is still good for this one (C10)', async (world) => {
  const jti = 'the same'
  assert.equal((await present(world.nodes[0], await KEY.sign(claims(world, { jti })))).status, 200)
  assert.equal((await present(world.nodes[0], await OTHER.sign(claims(world, { iss: 'other', sub: 'other', jti })))).status, 200)
}, OPTIONS)

eachClientWorld('claims that do not fit are refused, and use nothing up (C10)', async (world) => {
  const [node] = world.nodes
  const now = Math.floor(world.now / 1000)
  const wrong: readonly (readonly [string, Readonly<Record<string, unknown>>, string?])[] = [
    ['audience', { aud: 'https://other.example' }],
    ['audience', { aud: `${ISSUER}/` }],
    ['audience', { aud: [ISSUER, 'https://other.example'] }],
    ['audience', { aud: [ISSUER] }],
    ['audience', { aud: undefined }],
    ['audience', { aud: `${ISSUER}/register` }],
    ['claims', { iss: 'other' }],
    ['claims', { iss: undefined }],
    ['claims', { jti: undefined }],
    ['claims', { jti: '' }],
    ['claims', { jti: 7 }],
    ['lifetime', { exp: undefined }],
    ['lifetime', { exp: now - 31 }],
    ['lifetime', { exp: now + 331 }],
    ['lifetime', { exp: now + 86_400 * 365 }],
    ['signature', { nbf: now + 3600 }],
    ['signature', { exp: 'soon' }],
  ]
  for (const [failure, change] of wrong) await refused(world, await present(node, await KEY.sign(claims(world, change))), `assertion: ${failure}`, 'signed')
  await refused(world, await present(node, await KEY.sign(claims(world, { sub: 'other' })), { client_id: 'signed' }), 'assertion: claims', 'signed')
  assert.equal((await world.db.query('SELECT * FROM client_assertions')).length, 0)
  for (const exp of [now - 29, now + 329, now + 60.5]) assert.equal((await present(node, await KEY.sign(claims(world, { exp })))).status, 200, String(exp - now))
}, OPTIONS)

eachClientWorld('another key, another algorithm and no signature at all are refused (C10, G02)', async (world) => {
  const [node] = world.nodes
  const payload = claims(world)
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const good = await KEY.sign(payload)
  const [head = '', body = '', signature = ''] = good.split('.')
  const hmac = (secret: string | Buffer): string => {
    const input = `${part({ alg: 'HS256', kid: 'k1' })}.${part(payload)}`
    return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
  }
  const forged: readonly (readonly [string, string])[] = [
    ['signature', `${part({ alg: 'none' })}.${part(payload)}.`],
    ['signature', `${part({ alg: 'none', kid: 'k1' })}.${part(payload)}.${signature}`],
    ['signature', hmac(JSON.stringify(KEY.jwk))],
    ['signature', hmac(Buffer.from(String(KEY.jwk.x), 'base64url'))],
    ['signature', await OTHER.sign(payload)],
    ['signature', await SECOND.sign(payload)],
    ['signature', await SECOND.sign(payload, { jwk: SECOND.jwk })],
    ['signature', await SECOND.sign(payload, { kid: 'k1', jku: 'https://evil.example/jwks', x5u: 'https://evil.example/x5u' })],
    ['signature', await KEY.sign(payload, { kid: "k1' OR 1=1 --" })],
    ['signature', `${head}.${part({ ...payload, exp: payload.exp + 1 })}.${signature}`],
    ['signature', `${head}.${body}.${signature.slice(0, -8)}`],
    ['signature', `${head}.${body}.`],
    ['malformed', `!.${body}.${signature}`],
  ]
  for (const [failure, assertion] of forged) await refused(world, await present(node, assertion), `assertion: ${failure}`, 'signed')
  assert.deepEqual(world.web.requests, [])
  assert.equal((await present(node, good)).status, 200)
}, OPTIONS)

eachClientWorld('what is no assertion, or says that it is something else, is malformed', async (world) => {
  const [node] = world.nodes
  const good = await KEY.sign(claims(world))
  await refused(world, await node.prove({ client_assertion: good }), 'malformed credentials', 'signed')
  await refused(world, await node.prove({ client_assertion: good, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer' }), 'malformed credentials', 'signed')
  await refused(world, await node.prove({ client_assertion_type: ASSERTION_TYPE, client_id: 'signed' }), 'malformed credentials', 'signed')
  for (const nonsense of ['x', 'a.b.c', '...', '{}', `x.${Buffer.from('null').toString('base64url')}.x`]) await refused(world, await present(node, nonsense), 'no client identifier')
  const nul = `x.${Buffer.from('{"sub":"a\\u0000b"}').toString('base64url')}.x`
  await refused(world, await present(node, nul), 'malformed credentials')
  assert.equal((await present(node, good)).status, 200)
}, OPTIONS)

const hosted = (world: ClientWorld, key: Signer, header?: Readonly<Record<string, unknown>>): Promise<string> => key.sign(claims(world, { iss: 'hosted', sub: 'hosted' }), header)
const publish = (world: ClientWorld, ...keys: readonly unknown[]): unknown => world.web.pages.set('https://app.example/jwks', () => ({ body: { keys } }))

eachClientWorld('keys of a jwks_uri are fetched once, and again for a new key, not at each unknown one (X04, J12)', async (world) => {
  const [node] = world.nodes
  publish(world, KEY.jwk)
  for (let call = 0; call < 3; call += 1) assert.equal((await present(node, await hosted(world, KEY))).status, 200)
  assert.deepEqual(world.web.requests, ['https://app.example/jwks'])
  assert.equal(world.web.options[0]?.provenance, 'configured')
  // A flood of unknown keys fetches nothing more for a while, and then once.
  for (let call = 0; call < 5; call += 1) await refused(world, await present(node, await hosted(world, SECOND, { kid: `new ${call}` })), 'assertion: signature', 'hosted')
  assert.equal(world.web.requests.length, 1)
  publish(world, KEY.jwk, SECOND.jwk)
  world.now += 31_000
  assert.equal((await present(node, await hosted(world, SECOND))).status, 200)
  assert.equal(world.web.requests.length, 2)
  // A key that was taken back ends with the freshness of the set.
  publish(world, SECOND.jwk)
  world.now += 301_000
  await refused(world, await present(node, await hosted(world, KEY)), 'assertion: signature', 'hosted')
  assert.equal((await present(node, await hosted(world, SECOND))).status, 200)
}, OPTIONS)

eachClientWorld('many assertions at once fetch the keys once', async (world) => {
  const held = Promise.withResolvers<{ body: unknown }>()
  world.web.pages.set('https://app.example/jwks', () => held.promise)
  const assertions = await Promise.all(Array.from({ length: 10 }, () => hosted(world, KEY)))
  const answers = assertions.map((assertion) => present(world.nodes[0], assertion))
  await new Promise((resolve) => setImmediate(resolve))
  held.resolve({ body: { keys: [KEY.jwk] } })
  assert.deepEqual(new Set((await Promise.all(answers)).map(({ status }) => status)), new Set([200]))
  assert.equal(world.web.requests.length, 1)
}, OPTIONS)

eachClientWorld('while the keys cannot be fetched the last ones stand, for six hours (X04)', async (world) => {
  const [node] = world.nodes
  const down = (): unknown => world.web.pages.delete('https://app.example/jwks')
  await refused(world, await present(node, await hosted(world, KEY)), 'assertion: keys cannot be fetched', 'hosted')
  publish(world, KEY.jwk)
  assert.equal((await present(node, await hosted(world, KEY))).status, 200)
  down()
  world.now += 3600_000
  const before = world.web.requests.length
  for (let call = 0; call < 3; call += 1) assert.equal((await present(node, await hosted(world, KEY))).status, 200)
  assert.equal(world.web.requests.length, before + 1)
  world.now += 6 * 3600_000
  await refused(world, await present(node, await hosted(world, KEY)), 'assertion: keys cannot be fetched', 'hosted')
  for (const body of ['not json', { keys: 'x' }, { keys: [null] }, [], null, { keys: ['x'] }]) {
    world.now += 31_000
    world.web.pages.set('https://app.example/jwks', () => ({ body }))
    await refused(world, await present(node, await hosted(world, KEY)), 'assertion: keys cannot be fetched', 'hosted')
  }
  world.now += 31_000
  publish(world, KEY.jwk)
  assert.equal((await present(node, await hosted(world, KEY))).status, 200)
}, OPTIONS)

eachClientWorld('keys that are none, or of the wrong kind, verify nothing and break nothing', async (world) => {
  const [node] = world.nodes
  const secret = createHash('sha256').update('x').digest('base64url')
  for (const keys of [[], [{}], [{ kty: 'oct', k: secret, kid: 'k1' }], [{ kty: 'EC', crv: 'P-256', x: 'a', y: 'b', kid: 'k1' }], [{ ...KEY.jwk, x: OTHER.jwk.x }], [{ ...KEY.jwk, use: 'enc' }]]) {
    publish(world, ...keys)
    world.now += 301_000
    await refused(world, await present(node, await hosted(world, KEY)), 'assertion: signature', 'hosted')
  }
  publish(world, KEY.jwk)
  world.now += 301_000
  assert.equal((await present(node, await hosted(world, KEY))).status, 200)
}, OPTIONS)

eachClientWorld('a client of a metadata document signs with the keys that the document names (AS-18, ChatGPT)', async (world) => {
  const [node] = world.nodes
  const id = 'https://app.example/client.json'
  const document = { client_id: id, client_name: 'App', redirect_uris: ['https://app.example/cb'], jwks_uri: 'https://app.example/jwks' }
  world.web.pages.set(id, () => ({ body: { ...document, token_endpoint_auth_method: 'private_key_jwt' } }))
  publish(world, KEY.jwk)
  const sign = (key: Signer): Promise<string> => key.sign(claims(world, { iss: id, sub: id }))
  // An operator named the same address for another client: this one's keys are fetched as its own claim all the same.
  assert.equal((await present(node, await hosted(world, KEY))).status, 200)
  assert.equal((await present(node, await sign(KEY))).status, 200)
  assert.deepEqual(world.web.options.map(({ provenance }) => provenance), ['configured', 'discovered', 'discovered'])
  await refused(world, await present(node, await sign(OTHER)), 'assertion: signature', id)
  // AS-18: what declares private_key_jwt alone is not let in without.
  await refused(world, await node.prove({ client_id: id }), 'method not registered', id)
  await refused(world, await node.prove({ client_id: id, client_secret: 'x' }), 'method not registered', id)
  world.web.pages.set(id, () => ({ body: { ...document, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'] } }))
  world.now += 3600_000
  assert.equal((await node.prove({ client_id: id })).status, 200)
  assert.equal((await present(node, await sign(KEY))).status, 200)
}, OPTIONS)

eachClientWorld('a client that registered its own keys signs with them, and with no other method', async (world) => {
  const metadata = { redirect_uris: ['http://127.0.0.1/cb'], token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [KEY.jwk] } }
  const registered = await world.nodes[0].register(metadata)
  const id = String(registered.body['client_id'])
  assert.deepEqual([registered.status, registered.body['client_secret'], registered.body['jwks']], [201, undefined, { keys: [KEY.jwk] }])
  assert.equal((await present(world.nodes[1], await KEY.sign(claims(world, { iss: id, sub: id })))).status, 200)
  await refused(world, await present(world.nodes[1], await SECOND.sign(claims(world, { iss: id, sub: id }))), 'assertion: signature', id)
  await refused(world, await world.nodes[1].prove({ client_id: id }), 'method not registered', id)
  // Nobody else's assertion is this client's.
  await refused(world, await present(world.nodes[1], await KEY.sign(claims(world)), { client_id: id }), 'assertion: claims', id)
}, OPTIONS)
