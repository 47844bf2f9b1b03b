// What the authorization server says of itself: RFC 8414, OpenID Connect Discovery, JWKS.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { sealer } from '../../src/keys/seal.ts'
import { openKeyRing, type KeyRing } from '../../src/keys/signing.ts'
import { keyStore } from '../../src/store/keys.ts'
import type { StoreParts } from '../../src/store/parts.ts'
import { metadataRoutes } from '../../src/token/metadata.ts'
import { eachPair } from '../support/store-pair.ts'
import { eachCluster, ISSUER } from '../support/token-nodes.ts'

const DOCUMENTS = ['oauth-authorization-server', 'openid-configuration']
const INSERTED = ['', '/mcp', '/mcp/engineering'].flatMap((path) => DOCUMENTS.map((name) => `/.well-known/${name}${path}`))
const ADDRESSES = [...INSERTED, ...DOCUMENTS.map((name) => `/mcp/engineering/.well-known/${name}`)]

eachCluster('every address of the metadata names the one issuer and what exists (AS-2, AS-3, AS-4, AS-8, RFC 8414 §2)', async (cluster) => {
  for (const address of ADDRESSES) {
    const answer = await cluster.nodes[0].get(address)
    assert.equal(answer.status, 200, address)
    assert.equal(answer.headers.get('content-type'), 'application/json')
    assert.equal(answer.headers.get('access-control-allow-origin'), '*')
    assert.equal(answer.body['issuer'], ISSUER)
    assert.deepEqual(answer.body['code_challenge_methods_supported'], ['S256'])
    assert.deepEqual(answer.body['response_types_supported'], ['code'])
    assert.deepEqual(answer.body['grant_types_supported'], ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code', 'client_credentials', 'urn:ietf:params:oauth:grant-type:jwt-bearer'])
    assert.equal(answer.body['authorization_response_iss_parameter_supported'], true)
    assert.equal(answer.body['client_id_metadata_document_supported'], true)
    assert.equal(answer.body['registration_endpoint'], `${ISSUER}/register`)
    assert.equal(answer.body['pushed_authorization_request_endpoint'], `${ISSUER}/par`)
    assert.equal('require_pushed_authorization_requests' in answer.body, false)
    assert.deepEqual(answer.body['scopes_supported'], ['mcp.read', 'mcp.write'])
    assert.equal(answer.text.includes('offline_access'), false)
  }
})

eachCluster('OpenID discovery has what the specification requires, and promises no ID token (OpenID Connect Discovery §3)', async (cluster) => {
  const { body } = await cluster.nodes[0].get('/.well-known/openid-configuration')
  for (const member of ['authorization_endpoint', 'token_endpoint', 'jwks_uri']) assert.ok(URL.canParse(String(body[member])), member)
  assert.deepEqual(body['subject_types_supported'], ['public'])
  assert.deepEqual(body['id_token_signing_alg_values_supported'], ['ES256'])
  assert.equal(body['request_uri_parameter_supported'], false)
  assert.equal('userinfo_endpoint' in body, false)
  assert.equal((body['scopes_supported'] as string[]).includes('openid'), false)
})

eachCluster('the endpoints that the metadata names answer', async (cluster) => {
  const { body } = await cluster.nodes[0].get('/.well-known/oauth-authorization-server')
  for (const member of ['token_endpoint', 'revocation_endpoint', 'introspection_endpoint']) {
    const { status, body: error } = await cluster.nodes[0].post(String(body[member]).slice(ISSUER.length), { token: 'x', grant_type: 'x' })
    assert.equal(status, 401, member)
    assert.equal(error['error'], 'invalid_client')
  }
  assert.deepEqual(body['introspection_endpoint_auth_methods_supported'], ['client_secret_basic', 'client_secret_post', 'private_key_jwt'])
  assert.equal((await cluster.nodes[0].get(String(body['jwks_uri']).slice(ISSUER.length))).status, 200)
})

eachCluster('the key set is public, may be kept for minutes, and holds no private member (RFC 7517 §8.5.1)', async (cluster) => {
  const answer = await cluster.nodes[0].get('/jwks')
  assert.equal(answer.headers.get('content-type'), 'application/jwk-set+json')
  assert.equal(answer.headers.get('cache-control'), 'public, max-age=300')
  const { keys } = answer.body as { keys: Record<string, unknown>[] }
  assert.equal(keys.length, 2)
  for (const key of keys) assert.equal('d' in key, false)
  const etag = String(answer.headers.get('etag'))
  assert.equal((await cluster.nodes[0].get('/jwks', { 'if-none-match': etag })).status, 304)
  const [kid] = keys.map((key) => String(key['kid']))
  await cluster.nodes[0].keys.revoke(kid ?? '')
  const after = await cluster.nodes[0].get('/jwks', { 'if-none-match': etag })
  assert.equal(after.status, 200)
  assert.equal(after.text.includes(kid ?? ''), false)
})

eachPair('keys that are still being made are waited for, whichever node is asked: another one may sign by them already', async (pair) => {
  const secrets = sealer([{ id: 'k1', key: randomBytes(32) }])
  const open = (parts: StoreParts): Promise<KeyRing> => openKeyRing({ store: keyStore(parts, 'federation'), sealer: secrets, algorithm: 'RS256', rotateAfterMs: 1e12, overlapMs: 1000, now: Date.now })
  const [one, two] = await Promise.all([open(pair.one), open(pair.two)])
  const [asked, signed] = await Promise.all([
    ask(two, '/jwks'),
    one.begin().then(() => one.sign({ iss: ISSUER, sub: 'lanyard' }, 'JWT')),
  ])
  const { kid } = JSON.parse(Buffer.from(signed.split('.')[0] ?? '', 'base64url').toString()) as { kid: string }
  assert.deepEqual((asked['keys'] as { kid: string; alg: string }[]).filter((key) => key.kid === kid).map(({ alg }) => alg), ['RS256'])
  assert.deepEqual((await ask(one, '/.well-known/openid-configuration'))['id_token_signing_alg_values_supported'], ['RS256'])
})

async function ask(keys: KeyRing, path: string): Promise<Record<string, unknown>> {
  const facts = { issuer: ISSUER, authMethods: [], assertionAlgorithms: [], grantTypes: [], grantProfiles: [], requestedTokenTypes: [], dpopAlgorithms: [], registration: { dynamic: false, clientIdMetadataDocuments: false }, requirePushed: false, acrValues: [], baselineScope: [] }
  const route = metadataRoutes(facts, keys).find((each) => each.path === path) ?? assert.fail(path)
  const answer = await route.respond(new Request(`${ISSUER}${path}`), { address: '127.0.0.1', params: {}, reference: 'r' })
  return (await answer.json()) as Record<string, unknown>
}
