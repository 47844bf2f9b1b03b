// Proof of possession at the token endpoint (RFC 9449 §5): what a proof must say, what is bound to its key, and that each
// is good once on all nodes.
import assert from 'node:assert/strict'
import { decodeJwt } from 'jose'
import { proofKey, type ProofKey } from '../support/dpop.ts'
import { client, eachCluster, ISSUER, RESOURCE, type Answer, type Cluster, type Node } from '../support/token-nodes.ts'
import { hash } from '../../src/oauth/secret.ts'
import { proofStore } from '../../src/store/proofs.ts'

const TARGET = { htm: 'POST', htu: `${ISSUER}/token` }

async function redeem(cluster: Cluster, proof: string | undefined, options: { readonly node?: Node; readonly clientId?: string } = {}): Promise<Answer> {
  const { form } = await cluster.approve({ clientId: options.clientId ?? 'app' })
  return (options.node ?? cluster.nodes[0]).post('/token', form, proof === undefined ? {} : { dpop: proof })
}

function refresh(cluster: Cluster, token: unknown, proof: string | undefined, node = cluster.nodes[0]): Promise<Answer> {
  return node.post('/token', { grant_type: 'refresh_token', client_id: 'app', refresh_token: String(token) }, proof === undefined ? {} : { dpop: proof })
}

async function live(cluster: Cluster): Promise<number> {
  return (await cluster.db.query('SELECT id FROM grants WHERE revoked_at IS NULL')).length
}

const signed = (key: ProofKey, claims: Readonly<Record<string, unknown>> = {}) => key.prove({ ...TARGET, ...claims })

eachCluster('RFC 9449 §5, §6.1: an access token is bound to the key that was proven, and says so; without a proof it is a bearer token', async (cluster) => {
  const key = await proofKey()
  const answer = await redeem(cluster, await signed(key))
  assert.deepEqual([answer.status, answer.body['token_type']], [200, 'DPoP'])
  assert.deepEqual(decodeJwt(String(answer.body['access_token']))['cnf'], { jkt: key.jkt })
  const plain = await redeem(cluster, undefined)
  assert.deepEqual([plain.status, plain.body['token_type'], decodeJwt(String(plain.body['access_token']))['cnf']], [200, 'Bearer', undefined])
  cluster.introspectors.set('rs', [RESOURCE])
  cluster.clients.set('rs', client('rs', { tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('secret')] }))
  const introspected = await cluster.nodes[1].post('/introspect', { client_id: 'rs', client_secret: 'secret', token: String(answer.body['access_token']) })
  assert.deepEqual([introspected.body['token_type'], introspected.body['cnf']], ['DPoP', { jkt: key.jkt }])
})

eachCluster('RFC 9449 §4.3: every algorithm that the metadata names is accepted', async (cluster) => {
  const metadata = await cluster.nodes[0].get('/.well-known/oauth-authorization-server')
  const algorithms = metadata.body['dpop_signing_alg_values_supported'] as string[]
  assert.ok(algorithms.includes('ES256') && algorithms.length > 3)
  for (const algorithm of algorithms) assert.equal((await redeem(cluster, await signed(await proofKey(algorithm)))).status, 200, algorithm)
})

eachCluster('RFC 9449 §4.3: a proof that is wrong in one place is refused, and costs neither the code nor a grant', async (cluster) => {
  const [key, other] = [await proofKey(), await proofKey()]
  const seconds = Math.floor(cluster.now / 1000)
  const good = await signed(key)
  const wrong: Readonly<Record<string, string>> = {
    'another method': await signed(key, { htm: 'GET' }),
    'another address': await signed(key, { htu: `${ISSUER}/revoke` }),
    'another host': await signed(key, { htu: 'https://evil.example/token' }),
    'no htu': await signed(key, { htu: undefined }),
    'no jti': await signed(key, { jti: undefined }),
    'an empty jti': await signed(key, { jti: '' }),
    'no iat': await signed(key, { iat: undefined }),
    'too old': await signed(key, { iat: seconds - 400 }),
    'of the future': await signed(key, { iat: seconds + 400 }),
    'another type': await key.prove(TARGET, { typ: 'JWT' }),
    'the key of somebody else': await key.prove(TARGET, { jwk: other.publicJwk }),
    'a private key in it': await key.prove(TARGET, { jwk: key.privateJwk }),
    'no key': await key.prove(TARGET, { jwk: undefined }),
    'no signature': `${good.split('.').slice(0, 2).join('.')}.`,
    'two proofs': `${good}, ${good}`,
    'a symmetric algorithm': `${Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'dpop+jwt', jwk: { kty: 'oct', k: 'AAAA' } })).toString('base64url')}.e30.AAAA`,
    'no algorithm': `${Buffer.from(JSON.stringify({ alg: 'none', typ: 'dpop+jwt', jwk: key.publicJwk })).toString('base64url')}.e30.`,
    'no token at all': 'x',
    'too long': `${good}${'a'.repeat(9000)}`,
  }
  const { form } = await cluster.approve()
  for (const [what, proof] of Object.entries(wrong)) {
    const answer = await cluster.nodes[0].post('/token', form, { dpop: proof })
    assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_dpop_proof'], what)
  }
  assert.equal((await cluster.events('token.issued')).length, 0)
  assert.equal((await cluster.db.query('SELECT hash FROM dpop_proofs')).length, 0)
  assert.equal((await cluster.events('token.refused')).length, Object.keys(wrong).length)
  assert.equal((await cluster.nodes[0].post('/token', form, { dpop: good })).status, 200)
  // RFC 9449 §4.3: a query and a fragment, and the spelling of the address, are no difference.
  assert.equal((await redeem(cluster, await signed(key, { htu: `${ISSUER.replace('lanyard', 'LANYARD')}:443/token?a=b#c` }))).status, 200)
})

eachCluster('G13: a proof is good once on all nodes; of 20 at once one is; another key may use the same jti', async (cluster) => {
  const key = await proofKey()
  const proof = await signed(key, { jti: 'same' })
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => redeem(cluster, proof, { node: cluster.nodes[index % 2] as Node })))
  assert.equal(answers.filter(({ status }) => status === 200).length, 1)
  assert.equal(answers.filter(({ body }) => body['error'] === 'invalid_dpop_proof').length, 19)
  assert.equal((await redeem(cluster, await signed(await proofKey(), { jti: 'same' }))).status, 200)
  cluster.now += 299_000
  assert.equal((await redeem(cluster, proof, { node: cluster.nodes[1] })).status, 400)
  // X06: what a node whose clock is ahead takes for over is good for the others, and known.
  await proofStore({ db: cluster.db }).reap(cluster.now + 60_000)
  const late = await redeem(cluster, proof, { node: cluster.nodes[1] })
  assert.deepEqual([late.status, (await cluster.events('token.refused')).at(-1)?.reason], [400, 'dpop: it was used before'])
  await proofStore({ db: cluster.db }).reap(cluster.now + 130_000)
  assert.deepEqual(await cluster.db.query('SELECT hash FROM dpop_proofs'), [])
})

eachCluster('RFC 7519 §2: a time with a fraction of a second is a time, and such a proof is good once too', async (cluster) => {
  const key = await proofKey()
  const proof = await signed(key, { iat: cluster.now / 1000 + 0.123456789 })
  const answers = [await redeem(cluster, proof), await redeem(cluster, proof, { node: cluster.nodes[1] })]
  assert.deepEqual(answers.map(({ status, body }) => [status, body['error']]), [[200, undefined], [400, 'invalid_dpop_proof']])
})

eachCluster('RFC 9449 §8: where nonces are required a proof without one gets one, that any node accepts, for five minutes', async (cluster) => {
  cluster.requireNonce = true
  const key = await proofKey()
  const first = await redeem(cluster, await signed(key))
  assert.deepEqual([first.status, first.body['error']], [400, 'use_dpop_nonce'])
  const nonce = first.headers.get('dpop-nonce')
  assert.match(nonce ?? '', /^[\x21\x23-\x5b\x5d-\x7e]+$/)
  assert.equal((await redeem(cluster, await signed(key, { nonce }), { node: cluster.nodes[1] })).status, 200)
  const forged = await redeem(cluster, await signed(key, { nonce: nonce?.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')) }))
  assert.equal(forged.body['error'], 'use_dpop_nonce')
  // That it asked without one decided nothing.
  assert.deepEqual(await cluster.events('token.refused'), [])
  cluster.now += 301_000
  const late = await redeem(cluster, await signed(key, { nonce, iat: Math.floor(cluster.now / 1000) }))
  assert.equal(late.body['error'], 'use_dpop_nonce')
  assert.equal((await redeem(cluster, await signed(key, { nonce: late.headers.get('dpop-nonce'), iat: Math.floor(cluster.now / 1000) }))).status, 200)
})

eachCluster('RFC 9449 §5: the refresh token of a public client is bound to the key; a confidential client may take another one', async (cluster) => {
  const [key, other] = [await proofKey(), await proofKey()]
  const first = await redeem(cluster, await signed(key))
  for (const proof of [undefined, await signed(other)]) {
    const refused = await refresh(cluster, first.body['refresh_token'], proof)
    assert.deepEqual([refused.status, refused.body['error']], [400, 'invalid_grant'])
  }
  assert.equal(await live(cluster), 1)
  const next = await refresh(cluster, first.body['refresh_token'], await signed(key), cluster.nodes[1])
  assert.deepEqual([next.status, next.body['token_type']], [200, 'DPoP'])
  cluster.clients.set('secret', client('secret', { tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('s')] }))
  const { form } = await cluster.approve({ clientId: 'secret' })
  const confidential = await cluster.nodes[0].post('/token', { ...form, client_secret: 's' }, { dpop: await signed(key) })
  const renewed = await cluster.nodes[0].post('/token', { grant_type: 'refresh_token', client_id: 'secret', client_secret: 's', refresh_token: String(confidential.body['refresh_token']) }, { dpop: await signed(other) })
  assert.deepEqual([renewed.status, decodeJwt(String(renewed.body['access_token']))['cnf']], [200, { jkt: other.jkt }])
})

eachCluster('C04: a used refresh token without its key ends the grant, within the window that forgives its own client', async (cluster) => {
  const [key, other] = [await proofKey(), await proofKey()]
  const first = await redeem(cluster, await signed(key))
  const next = await refresh(cluster, first.body['refresh_token'], await signed(key))
  // Its own client, whose answer was lost: the same again.
  const again = await refresh(cluster, first.body['refresh_token'], await signed(key), cluster.nodes[1])
  assert.deepEqual([again.status, again.body], [200, { ...next.body, expires_in: again.body['expires_in'] }])
  const stolen = await refresh(cluster, first.body['refresh_token'], await signed(other))
  assert.equal(stolen.body['error'], 'invalid_grant')
  assert.equal(await live(cluster), 0)
  assert.equal((await cluster.events('token.reuse_detected')).length, 1)
})

eachCluster('RFC 9449 §10: a code is bound to the key that dpop_jkt named', async (cluster) => {
  const [key, other] = [await proofKey(), await proofKey()]
  const { form, grantId } = await cluster.approve()
  await cluster.db.query('UPDATE grants SET jkt = $1 WHERE id = $2', [key.jkt, grantId])
  for (const proof of [undefined, await signed(other)]) {
    const refused = await cluster.nodes[0].post('/token', form, proof === undefined ? {} : { dpop: proof })
    assert.deepEqual([refused.status, refused.body['error']], [400, 'invalid_grant'])
  }
  assert.equal((await cluster.nodes[0].post('/token', form, { dpop: await signed(key) })).status, 200)
})

eachCluster('RFC 9449 §5.2: a client that registered dpop_bound_access_tokens gets no bearer token', async (cluster) => {
  cluster.clients.set('app', client('app', { dpopBoundAccessTokens: true }))
  const refused = await redeem(cluster, undefined)
  assert.deepEqual([refused.status, refused.body['error']], [400, 'invalid_dpop_proof'])
  assert.equal((await redeem(cluster, await signed(await proofKey()))).status, 200)
})
