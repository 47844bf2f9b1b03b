// Proof of possession at the gateway (RFC 9449 §7): a bound token is worth nothing without its key, and each proof is good
// once on all nodes.
import assert from 'node:assert/strict'
import { ath, proofKey, type ProofKey } from '../support/dpop.ts'
import { call, eachMcpCluster, ISSUER, type Answer, type Cluster, type Sent } from '../support/mcp-nodes.ts'

const URL_OF_NOTES = `${ISSUER}/mcp/notes`

function asked(token: string, proof: string | undefined, scheme = 'DPoP'): Sent {
  const sent = call(token, 'read_note')
  return { ...sent, headers: { ...sent.headers, authorization: `${scheme} ${token}`, ...(proof === undefined ? {} : { dpop: proof }) } }
}

function prove(key: ProofKey, token: string, claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
  return key.prove({ htm: 'POST', htu: URL_OF_NOTES, ath: ath(token), ...claims })
}

function challenge({ headers }: Answer): string {
  return headers['www-authenticate'] ?? ''
}

async function bound(cluster: Cluster): Promise<{ readonly key: ProofKey; readonly token: string }> {
  const key = await proofKey()
  return { key, token: cluster.token({ jkt: key.jkt }) }
}

eachMcpCluster('RFC 9449 §7.1: a bound token with a proof of its key is answered, each time with another proof', async (cluster) => {
  const { key, token } = await bound(cluster)
  for (const node of [...cluster.nodes, ...cluster.nodes]) assert.equal((await node.send(asked(token, await prove(key, token)))).status, 200)
  assert.equal(cluster.notes.calls().length, 4)
  assert.equal((await cluster.nodes[0].send(asked(token, await prove(key, token, { htu: `${URL_OF_NOTES}?a=b` }), 'dpop'))).status, 200)
  assert.ok(cluster.notes.asked.every(({ headers }) => headers['dpop'] === undefined && !String(headers.authorization).includes(token)), 'neither token nor proof goes upstream')
})

eachMcpCluster('RFC 9449 §7.2, G13: a bound token is no bearer token, and another is no DPoP token', async (cluster) => {
  const { key, token } = await bound(cluster)
  const plain = cluster.token()
  const refusals: [Sent, string][] = [
    [asked(token, undefined, 'Bearer'), 'bound'],
    [asked(token, await prove(key, token), 'Bearer'), 'bound'],
    [asked(plain, await prove(key, plain)), 'not_bound'],
  ]
  for (const [sent, reason] of refusals) {
    const answer = await cluster.nodes[0].send(sent)
    assert.equal(answer.status, 401)
    assert.match(challenge(answer), /error="invalid_token"/)
    assert.equal((await cluster.events('token.refused')).at(-1)?.reason, reason)
  }
  assert.equal(cluster.notes.asked.length, 0)
  assert.equal((await cluster.nodes[0].send(asked(token, await prove(key, token)))).status, 200)
  // Known now, and still no bearer token.
  assert.equal((await cluster.nodes[0].send(asked(token, undefined, 'Bearer'))).status, 401)
  assert.equal((await cluster.nodes[0].send(asked(plain, undefined, 'Bearer'))).status, 200)
})

eachMcpCluster('RFC 9449 §4.3, G13: a proof for something else is refused, whether the token is known or not', async (cluster) => {
  const { key, token } = await bound(cluster)
  const other = await proofKey()
  const seconds = Math.floor(cluster.now / 1000)
  const used = await prove(key, token)
  assert.equal((await cluster.nodes[0].send(asked(token, used))).status, 200)
  const wrong: Readonly<Record<string, string | undefined>> = {
    'there is none': undefined,
    'it was used before': used,
    'htm is another method': await prove(key, token, { htm: 'GET' }),
    'htu is another address': await prove(key, token, { htu: `${ISSUER}/mcp/tickets` }),
    'ath is of another token': await prove(key, cluster.token({ jkt: key.jkt })),
    'the token is bound to another key': await prove(other, token),
    'iat is not now': await prove(key, token, { iat: seconds + 400 }),
  }
  for (const node of [cluster.nodes[1], cluster.nodes[0]]) {
    for (const [reason, proof] of Object.entries(wrong)) {
      const answer = await node.send(asked(token, proof))
      assert.equal(answer.status, 401, reason)
      assert.match(challenge(answer), /^DPoP algs="ES256 [^"]+", error="invalid_dpop_proof", error_description="[^"]+", resource_metadata="/)
      assert.equal((await cluster.events('token.refused')).at(-1)?.reason, `dpop: ${reason}`)
    }
  }
  assert.equal(cluster.notes.calls().length, 1)
  assert.equal((await cluster.nodes[1].send(asked(token, await prove(key, token)))).status, 200)
})

eachMcpCluster('G13: of 20 requests with one proof on two nodes one is answered', async (cluster) => {
  const { key, token } = await bound(cluster)
  const proof = await prove(key, token)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? cluster.nodes[0] : cluster.nodes[1]).send(asked(token, proof))))
  assert.equal(answers.filter(({ status }) => status === 200).length, 1)
  assert.equal(answers.filter(({ status }) => status === 401).length, 19)
  assert.equal(cluster.notes.calls().length, 1)
})

eachMcpCluster('RFC 9449 §7.1: whoever asks for more than a bound token stands for is told in its own scheme; a revocation ends it at once', async (cluster) => {
  const key = await proofKey()
  const token = cluster.token({ jkt: key.jkt, scope: ['mcp.read'], grantId: 'grt_bound' })
  const sent = call(token, 'write_note')
  const answer = await cluster.nodes[0].send({ ...sent, headers: { ...sent.headers, authorization: `DPoP ${token}`, dpop: await prove(key, token) } })
  assert.equal(answer.status, 403)
  assert.match(challenge(answer), /^DPoP algs="[^"]+", error="insufficient_scope"/)
  assert.equal((await cluster.nodes[0].send(asked(token, await prove(key, token)))).status, 200)
  await cluster.revoke({ kind: 'grant', key: 'grt_bound' })
  const revoked = await cluster.nodes[0].send(asked(token, await prove(key, token)))
  assert.equal(revoked.status, 401)
  assert.match(challenge(revoked), /^DPoP algs="[^"]+", error="invalid_token"/)
})
