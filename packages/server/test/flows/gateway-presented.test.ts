// Tokens of the identity provider at an MCP endpoint: refused unless an administrator listed whom they are made for, and
// then worth what Lanyard's own are worth, no longer and no more.
import assert from 'node:assert/strict'
import { scopeMapping } from '../../src/identity/scope-mapping.ts'
import type { Acceptance } from '../../src/token/presented.ts'
import { ath, proofKey } from '../support/dpop.ts'
import { call, eachMcpCluster, errorOf, ISSUER, type Answer, type Cluster, type Node, type World } from '../support/mcp-nodes.ts'
import { tokenIssuer, type TokenIssuer } from '../support/token-issuer.ts'

const ACCESS = { sub: 'alice', aud: 'api://lanyard', client_id: 'portal', scope: 'openid', groups: ['engineering'], name: 'Alice' }
const ID = { sub: 'alice', aud: 'portal', nonce: 'n', groups: ['engineering'] }
const ALL: Acceptance = { audiences: ['api://lanyard'], idTokenClients: ['portal'] }

interface House {
  readonly cluster: Cluster
  readonly nodes: readonly [Node, Node]
  readonly idp: TokenIssuer
}

function eachHouse(name: string, acceptance: Acceptance | undefined, run: (house: House) => Promise<void>, more: Partial<NonNullable<World['accept']>> = {}): void {
  eachMcpCluster(name, async (cluster) => {
    const idp = await tokenIssuer(() => cluster.now)
    try {
      cluster.accept = { providers: [idp.settings], accepted: new Map(acceptance === undefined ? [] : [['corp', acceptance]]), ...more }
      await run({ cluster, nodes: await cluster.restart(), idp })
    } finally {
      await idp.close()
    }
  })
}

async function allowed({ cluster, nodes }: House, token: string, node: Node = nodes[0]): Promise<void> {
  const before = cluster.notes.calls().length
  const answer = await node.send(call(token, 'read_note'))
  assert.equal(answer.status, 200, answer.text)
  assert.equal(errorOf(answer.body).code, undefined, answer.text)
  assert.equal(cluster.notes.calls().length, before + 1)
  // The upstream never sees it.
  assert.equal(JSON.stringify(cluster.notes.asked).includes(token), false)
}

async function refused({ cluster, nodes }: House, token: string, reason: RegExp, node: Node = nodes[0]): Promise<Answer> {
  const asked = cluster.notes.asked.length
  const answer = await node.send(call(token, 'read_note'))
  assert.equal(answer.status, 401, answer.text)
  assert.match(answer.headers['www-authenticate'] ?? '', /^Bearer error="invalid_token", error_description="[^"]+", resource_metadata="/)
  assert.equal(cluster.notes.asked.length, asked, 'nothing goes upstream')
  const event = (await cluster.events('token.refused')).at(-1)
  assert.match(event?.reason ?? '', reason)
  assert.equal(JSON.stringify(await cluster.events()).includes(token), false)
  return answer
}

const users = (house: House): Promise<Record<string, unknown>[]> => house.cluster.db.query('SELECT id, provider, issuer, subject FROM users', [])

eachHouse('G06: tokens of the identity provider are refused where nobody switched them on, and the 401 says where to get one (RFC 6750 §3.1, RFC 9728 §5.1, RS-1)', undefined, async (house) => {
  for (const claims of [ACCESS, ID]) {
    const answer = await refused(house, await house.idp.sign(claims), /^foreign$/)
    assert.match(answer.headers['www-authenticate'] ?? '', /a token of the identity provider is not accepted here: get one from the authorization server that resource_metadata names/)
  }
  assert.equal(house.idp.fetches(), 0)
  assert.deepEqual(await users(house), [])
  await allowed(house, house.cluster.token())
})

eachHouse('an access token for a listed audience is verified once, and its person is found by provider, issuer and subject (RFC 9068 §4)', ALL, async (house) => {
  const token = await house.idp.sign(ACCESS, { typ: 'at+jwt' })
  await allowed(house, token)
  await allowed(house, token)
  await allowed(house, token, house.nodes[1])
  const known = await users(house)
  assert.deepEqual(known.map(({ provider, issuer, subject }) => [provider, issuer, subject]), [['corp', house.idp.issuer, 'alice']])
  assert.equal(house.idp.fetches(), 2, 'each node fetched the keys once')
  const event = (await house.cluster.events('call.allowed')).at(-1)
  assert.deepEqual([event?.subject, event?.clientId], [known[0]?.['id'], 'provider:corp:portal'])
  // No request of the hot path asks the provider for anything.
  house.idp.fail()
  await allowed(house, token)
})

eachHouse('ID tokens are accepted of the clients that are listed for them, and are no access tokens (OpenID Connect Core §3.1.3.7)', { audiences: ['api://lanyard'], idTokenClients: ['portal'] }, async (house) => {
  await allowed(house, await house.idp.sign(ID))
  await refused(house, await house.idp.sign({ ...ID, aud: 'api://lanyard' }), /^provider: this id_token is for somebody else/)
  await refused(house, await house.idp.sign({ ...ID, aud: ['portal', 'other'], azp: 'portal' }), /somebody else/)
  await refused(house, await house.idp.sign({ ...ACCESS, aud: 'portal' }), /this access_token is for somebody else/)
})

eachHouse('G06: without a list of their own, ID tokens are refused where access tokens are accepted', { audiences: ['api://lanyard', 'portal'], idTokenClients: [] }, async (house) => {
  await refused(house, await house.idp.sign(ID), /this id_token is for somebody else/)
  await allowed(house, await house.idp.sign(ACCESS))
})

eachHouse('G02, G03, G05, G07: whatever else is wrong with one (RFC 8725 §3.8, §3.11, RFC 7519 §4.1)', ALL, async (house) => {
  const at = Math.floor(house.cluster.now / 1000)
  const stranger = await tokenIssuer(() => house.cluster.now)
  try {
    const good = await house.idp.sign(ACCESS)
    for (const [token, reason] of [
      [await house.idp.sign({ ...ACCESS, aud: 'api://other' }), /somebody else/],
      [await house.idp.sign({ ...ACCESS, aud: ['api://lanyard', 'api://other'] }), /somebody else/],
      [await house.idp.sign({ ...ACCESS, aud: undefined }), /somebody else/],
      [await house.idp.sign({ ...ACCESS, client_id: undefined }), /which client/],
      [await house.idp.sign({ ...ACCESS, exp: at }), /expired/],
      [await house.idp.sign({ ...ACCESS, nbf: at + 120 }), /not valid yet/],
      [await house.idp.sign({ ...ACCESS, sub: 'portal' }), /of an application/],
      [await house.idp.sign({ ...ACCESS, act: { sub: 'bot' } }), /must be exchanged/],
      [await house.idp.sign({ ...ACCESS, cnf: { 'x5t#S256': 'x' } }), /bound to a key/],
      [await house.idp.sign(ACCESS, { typ: 'oauth-id-jag+jwt' }), /neither/],
      [await house.idp.sign({ ...ACCESS, events: {} }), /neither/],
      [await stranger.sign({ ...ACCESS, iss: house.idp.issuer }), /signature/],
      [`${good.slice(0, -2)}${good.endsWith('AA') ? 'BB' : 'AA'}`, /signature|canonical|JWS/],
      // Not one of any provider that is known: it is refused as any token is.
      [await stranger.sign(ACCESS), /^typ$/],
      [await house.idp.sign({ ...ACCESS, iss: `${house.idp.issuer}/` }), /^typ$/],
    ] as const) await refused(house, token, reason)
    assert.deepEqual(await users(house), [])
    await allowed(house, good)
  } finally {
    await stranger.close()
  }
})

eachHouse('what was revoked is revoked for them too: by user on every node, by disabling, by the end of the token (G10, C12)', ALL, async (house) => {
  const { cluster, nodes } = house
  const token = await house.idp.sign(ACCESS)
  await allowed(house, token)
  await allowed(house, token, nodes[1])
  const userId = String((await users(house))[0]?.['id'])
  cluster.now += 2000
  await cluster.revoke({ kind: 'subject', key: userId })
  for (const node of nodes) await refused(house, token, /^cut$/, node)
  cluster.now += 2000
  const later = await house.idp.sign(ACCESS)
  await allowed(house, later)
  await cluster.db.query('UPDATE users SET disabled = 1 WHERE id = $1', [userId])
  await cluster.revoke({ kind: 'user', key: userId })
  for (const node of nodes) await refused(house, later, /^disabled$/, node)
  await cluster.db.query('UPDATE users SET disabled = 0 WHERE id = $1', [userId])
  await cluster.revoke({ kind: 'user', key: userId })
  await allowed(house, later)
  cluster.now += 301_000
  await refused(house, later, /expired/)
})

eachHouse('policy decides by the groups that the token names, and scopes by groups and roles (AS-30)', ALL, async (house) => {
  const reader = await house.idp.sign({ ...ACCESS, sub: 'rita', groups: ['engineering', 'readers'] })
  await allowed(house, reader)
  const writing = await house.nodes[0].send(call(reader, 'write_note'))
  assert.equal(writing.status, 403, writing.text)
  const outsider = await house.nodes[0].send(call(await house.idp.sign({ ...ACCESS, sub: 'otto', groups: ['guests'] }), 'read_note'))
  assert.equal(outsider.status === 200 && errorOf(outsider.body).code === undefined, false, outsider.text)
  // A provider that names Lanyard's scopes narrows them.
  const narrowed = await house.nodes[0].send(call(await house.idp.sign({ ...ACCESS, sub: 'wanda', groups: ['engineering', 'writers'], scope: 'openid mcp.read' }), 'write_note'))
  assert.equal(narrowed.status, 403)
  const writer = await house.nodes[0].send(call(await house.idp.sign({ ...ACCESS, sub: 'wanda', groups: ['engineering', 'writers'] }), 'write_note'))
  assert.equal(writer.status, 200, writer.text)
}, { scopes: scopeMapping([{ scopes: ['mcp.read'], groups: ['readers', 'engineering'] }, { scopes: ['mcp.write'], groups: ['writers'] }]) })

eachHouse('an older token brings no group or role back that a newer one does not name, for nobody’s calls (AS-30)', ALL, async (house) => {
  const { cluster, nodes } = house
  const known = async (): Promise<readonly unknown[]> => (await cluster.db.query<{ groups: string; roles: string | null }>('SELECT groups, roles FROM users')).map(({ groups, roles }) => [JSON.parse(groups), roles === null ? [] : JSON.parse(roles)])
  const before = await house.idp.sign({ ...ACCESS, groups: ['engineering', 'owners'], roles: ['owner'] })
  await allowed(house, before)
  assert.deepEqual(await known(), [[['engineering', 'owners'], ['owner']]])
  cluster.now += 10_000
  const confirmed = await house.idp.sign({ ...ACCESS, groups: ['engineering'], roles: [] })
  cluster.now += 10_000
  const newest = await house.idp.sign({ ...ACCESS, groups: ['engineering'], roles: [] })
  for (const token of [newest, before]) for (const node of nodes) await allowed(house, token, node)
  assert.deepEqual(await known(), [[['engineering'], []]])
  // What says the same again is the newest word, too.
  const between = await house.idp.sign({ ...ACCESS, groups: ['sales'], roles: [], iat: Math.floor(cluster.now / 1000) - 5 })
  await allowed(house, confirmed)
  await allowed(house, between)
  assert.deepEqual(await known(), [[['engineering'], []]])
  cluster.now += 1000
  const demoted = await house.idp.sign({ ...ACCESS, groups: ['guests'], roles: [] })
  for (const token of [demoted, newest]) assert.notEqual(errorOf((await nodes[0].send(call(token, 'read_note'))).body).code, undefined)
  assert.deepEqual(await known(), [[['guests'], []]])
})

eachHouse('G13: one that is bound to a key needs the proof of it, as Lanyard’s own do (RFC 9449 §7.1, §7.2)', ALL, async (house) => {
  const key = await proofKey()
  const token = await house.idp.sign({ ...ACCESS, cnf: { jkt: key.jkt } })
  await refused(house, token, /^bound$/)
  const sent = call(token, 'read_note')
  const dpop = await key.prove({ htm: 'POST', htu: `${ISSUER}/mcp/notes`, ath: ath(token), iat: Math.floor(house.cluster.now / 1000) })
  const answer = await house.nodes[0].send({ ...sent, headers: { ...sent.headers, authorization: `DPoP ${token}`, dpop } })
  assert.equal(answer.status, 200, answer.text)
})

eachHouse('H17: while the keys of the provider cannot be fetched, nobody is told that the token is wrong', ALL, async (house) => {
  house.idp.fail()
  const answer = await house.nodes[0].send(call(await house.idp.sign(ACCESS), 'read_note'))
  assert.equal(answer.status, 503, answer.text)
  await allowed(house, house.cluster.token())
})
