// Accounts at an upstream whose tokens are bound to a key of this gateway's (RFC 9449): another gateway is the upstream, and
// accepts nothing without a proof that holds its nonce.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { calculateJwkThumbprint, decodeJwt, EmbeddedJWK, jwtVerify, type JWTPayload } from 'jose'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { eachTickets, upstream } from '../support/connection-nodes.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { json, type Asked } from '../support/upstream-emulator.ts'
import { variants } from '../support/variants.ts'

for (const variant of variants()) {
  describe(`bound tokens at an upstream, on ${variant.name}`, () => {
    let far: RunningGateway
    let near: RunningGateway
    before(async () => {
      far = await startGateway({ ...variant, nodes: 1, host: '127.0.0.2', config: { dpop: { required: true, requireNonce: true }, tokens: { accessTokenSeconds: 60 } } })
      const remote = (id: string, dpop: boolean) => ({ id, url: `${far.issuer}/mcp/notes`, connector: { type: 'oauth', dpop } })
      near = await startGateway({ ...variant, config: { upstreams: [remote('bound', true), remote('plain', false)], rules: [{ id: 'all', effect: 'allow', groups: ['engineering'] }] } })
    })
    after(async () => {
      await near.close()
      await far.close()
    })

    for (const era of ['modern', 'legacy'] as const) {
      test(`${era}: the account is connected, and each call proves the key (RFC 9449 §5, §7, §8, §9)`, async () => {
        const provider = memoryProvider()
        const client = await connectV2(`${near.issuer}/mcp/bound`, provider, era)
        assert.match(await client.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
        assert.ok((await client.tools()).includes('write_note'))
        await client.close()
      })
    }

    test('the upstream saw proofs and issued nothing that is not bound', async () => {
      await recorded(far, ({ action }) => action === 'call.allowed')
      const issued = far.events.filter(({ action }) => action === 'token.issued')
      assert.ok(issued.length > 0)
      assert.equal(far.events.filter(({ action, reason }) => action === 'token.refused' && reason?.startsWith('dpop: ') === true && !reason.includes('nonce')).length, 0)
    })

    test('an upstream that demands bound tokens gives none to a connector that proves no key', async () => {
      await assert.rejects(connectV2(`${near.issuer}/mcp/plain`, memoryProvider(), 'modern'), /unconnected=plain&why=failed/)
      await recorded(far, ({ action, reason }) => action === 'token.refused' && reason === 'no DPoP proof')
      await recorded(near, ({ action, reason, upstream }) => action === 'connection.failed' && upstream === 'plain' && reason === 'server: invalid_dpop_proof')
    })
  })
}

interface Proof {
  readonly jkt: string
  readonly claims: JWTPayload
}

async function proofOf({ headers }: Asked): Promise<Proof> {
  const proof = String(headers['dpop'])
  const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] })
  return { claims: payload, jkt: await calculateJwkThumbprint(protectedHeader.jwk ?? {}) }
}

eachTickets('RFC 9449 §5: a refresh proves the same key, with the nonce that the server gave; no other account has that key, and the database not in the clear', async (cluster, tickets) => {
  const bound: Upstream = { ...upstream('tickets', tickets.mcp), connector: { type: 'oauth', dpop: true } }
  cluster.upstreams[0] = bound
  tickets.metadata = { dpop_signing_alg_values_supported: ['ES256'] }
  const behave = tickets.behave
  tickets.on.set('/token', async (asked) => {
    const { claims } = await proofOf(asked)
    if (claims['nonce'] !== 'n1') return { ...json({ error: 'use_dpop_nonce' }, 400), headers: { 'content-type': 'application/json', 'dpop-nonce': 'n1' } }
    const reply = behave(asked)
    return { ...reply, body: (reply.body ?? '').replace('"Bearer"', '"DPoP"') }
  })
  await cluster.connected('tickets')
  await cluster.connected('tickets', 'bob')
  assert.deepEqual((await cluster.events('connection.created')).map(({ detail }) => detail?.['bound']), [true, true])
  const node = cluster.nodes[0].connector(bound)
  const first = await node.credential('usr_alice', bound)
  cluster.now += 600_000
  const second = await cluster.nodes[1].connector(bound).credential('usr_alice', bound)
  assert.ok(first !== 'connection_required' && second !== 'connection_required')
  assert.match(second.headers['authorization'] ?? '', /^DPoP access-/)
  assert.notEqual(second.version, first.version)
  const asked = tickets.at('/token')
  const proofs = await Promise.all(asked.map(proofOf))
  const keys = (type: string, good: boolean) => proofs.filter(({ claims }, index) => asked[index]?.form.get('grant_type') === type && (claims['nonce'] === 'n1') === good).map(({ jkt }) => jkt)
  const [alice, bob] = keys('authorization_code', true)
  assert.ok(alice !== undefined && bob !== undefined && alice !== bob)
  assert.deepEqual(keys('refresh_token', true), [alice])
  const proof = decodeJwt(second.possession?.prove('POST', `${tickets.mcp}?a=b`, cluster.now) ?? '')
  assert.deepEqual([proof['htm'], proof['htu'], proof['ath']], ['POST', tickets.mcp, createHash('sha256').update(second.headers['authorization']?.slice(5) ?? '').digest('base64url')])
  const rows = JSON.stringify(await cluster.db.query('SELECT * FROM connections'))
  assert.ok(!rows.includes('proofKey'))
})
