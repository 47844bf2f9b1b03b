// Token exchange of identity providers' tokens: which may be presented by whom, and whose person they are.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { decodeJwt } from 'jose'
import { hash } from '../../src/oauth/secret.ts'
import type { ExchangeRule } from '../../src/token/exchange/rules.ts'
import { client, eachCluster, ISSUER, RESOURCE, type Answer, type Cluster, type Node } from '../support/token-nodes.ts'
import { CLIENT_SECRET, openIdProvider, type OpenIdProvider } from '../support/openid-provider.ts'
import { tokenIssuer, type TokenIssuer } from '../support/token-issuer.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token'
const SECRET = 's'.repeat(32)
const RULES: readonly ExchangeRule[] = [
  { id: 'api', clients: ['agent'], identityProvider: 'corp', tokenTypes: ['access_token'], audiences: ['api://lanyard'], issuedTo: ['portal'], targets: [RESOURCE] },
  { id: 'ids', clients: ['web'], identityProvider: 'corp', tokenTypes: ['id_token'], audiences: ['web-at-corp'], targets: [RESOURCE] },
]
const ACCESS = { sub: 'alice', aud: 'api://lanyard', client_id: 'portal', scope: 'openid whatever', groups: ['engineering'], name: 'Alice' }
const ID = { sub: 'alice', aud: 'web-at-corp', nonce: 'n', groups: ['engineering'] }

type Form = Readonly<Record<string, string>>

interface House extends Cluster {
  readonly idp: TokenIssuer
}

function eachProvider(name: string, run: (house: House) => Promise<void>): void {
  eachCluster(name, async (cluster) => {
    const idp = await tokenIssuer(() => cluster.now)
    const other = await tokenIssuer(() => cluster.now, 'other')
    try {
      const confidential = { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)], grantTypes: [EXCHANGE] } as const
      for (const id of ['agent', 'web']) cluster.clients.set(id, client(id, confidential))
      cluster.exchange = RULES
      cluster.providers = [idp.settings, other.settings]
      const nodes = await cluster.restart()
      await run({ ...cluster, get now() { return cluster.now }, set now(value) { cluster.now = value }, nodes, idp })
    } finally {
      await Promise.all([idp.close(), other.close()])
    }
  })
}

function exchange(house: House, token: string, form: Form = {}, node: Node = house.nodes[0]): Promise<Answer> {
  return node.post('/token', { grant_type: EXCHANGE, client_id: 'agent', client_secret: SECRET, subject_token: token, subject_token_type: ACCESS_TOKEN, resource: RESOURCE, ...form })
}

const asId: Form = { client_id: 'web', subject_token_type: ID_TOKEN }
const users = (house: House): Promise<Record<string, unknown>[]> => house.db.query('SELECT provider, issuer, subject, groups FROM users ORDER BY subject')

async function refused(house: House, token: string, form: Form = {}): Promise<string> {
  const before = await users(house)
  const answer = await exchange(house, token, form)
  assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_request'], answer.text)
  assert.deepEqual(await users(house), before)
  assert.deepEqual(await house.db.query('SELECT id FROM grants'), [])
  const event = (await house.events('token.refused')).at(-1)
  assert.equal(event?.outcome, 'failure')
  assert.equal(JSON.stringify(await house.events()).includes(token), false)
  return event?.reason ?? ''
}

eachProvider("an access token of the identity provider becomes one of Lanyard's, for the person that it names (RFC 8693 §2.1, §2.2.1)", async (house) => {
  const token = await house.idp.sign({ ...ACCESS, auth_time: Math.floor(house.now / 1000) - 60, acr: 'strong', exp: Math.floor(house.now / 1000) + 120 })
  const answer = await exchange(house, token)
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual([answer.body['issued_token_type'], answer.body['expires_in'], answer.body['scope']], [ACCESS_TOKEN, 120, 'mcp.read mcp.write'])
  const caller = await house.nodes[1].tokens.verifier.verify(String(answer.body['access_token']), RESOURCE)
  assert.deepEqual([caller.user.provider, caller.user.issuer, caller.user.subject, caller.user.groups, caller.user.name, caller.clientId, caller.authentication.acr], ['corp', house.idp.issuer, 'alice', ['engineering'], 'Alice', 'agent', 'strong'])
  assert.equal((await users(house)).length, 1)
  // The same person again, whichever token tells of them.
  const again = await exchange(house, await house.idp.sign(ID), asId)
  assert.equal(decodeJwt(String(again.body['access_token'])).sub, caller.user.id)
  assert.equal((await users(house)).length, 1)
  const event = (await house.events('token.issued'))[0]
  assert.deepEqual([event?.subject, event?.clientId, event?.detail?.['subject_kind'], event?.detail?.['exchange_rule']], [caller.user.id, 'agent', 'corp access_token', ['api']])
  assert.equal(JSON.stringify(await house.events()).includes(token), false)
})

eachProvider('G06, G08: a token that is not for whom the administrator listed, or not of this client, is refused (RFC 8693 §2.1, OpenID Connect Core §3.1.3.7)', async (house) => {
  const cases: Readonly<Record<string, readonly [claims: Record<string, unknown>, form?: Form]>> = {
    'another audience': [{ ...ACCESS, aud: 'api://other' }],
    'one audience more': [{ ...ACCESS, aud: ['api://lanyard', 'api://other'] }],
    'no audience': [{ ...ACCESS, aud: undefined }],
    'issued to another client': [{ ...ACCESS, client_id: 'stranger' }],
    'issued to nobody': [{ ...ACCESS, client_id: undefined, scope: 'x' }],
    'of an application': [{ ...ACCESS, sub: 'portal' }],
    'of an application of Entra ID': [{ ...ACCESS, idtyp: 'app' }],
    'bound to a key': [{ ...ACCESS, cnf: { jkt: 'x' } }],
    'presented by another client': [ACCESS, { client_id: 'web' }],
    'an ID token of another client': [{ ...ID, aud: 'api://lanyard' }, asId],
    'an ID token whose azp is another': [{ ...ID, aud: ['web-at-corp'], azp: 'portal' }, asId],
    'an ID token by who may present none': [{ ...ID, aud: 'api://lanyard' }, { subject_token_type: ID_TOKEN }],
  }
  for (const [name, [claims, form]] of Object.entries(cases)) assert.match(await refused(house, await house.idp.sign(claims), form), /token exchange/, name)
  assert.equal((await exchange(house, await house.idp.sign(ACCESS))).status, 200)
  assert.equal((await exchange(house, await house.idp.sign(ID), asId)).status, 200)
})

eachProvider('G08: an ID token is no access token, nor the other way round, nor is any other JWT of the provider either (RFC 8725 §3.11, RFC 9068 §2.1)', async (house) => {
  const both = { ...ACCESS, ...ID }
  for (const [claims, header, form] of [
    [ID, {}, {}],
    [{ ...ID, aud: 'api://lanyard' }, { typ: 'at+jwt' }, {}],
    [{ ...ACCESS, aud: 'web-at-corp' }, {}, asId],
    [{ ...ID }, { typ: 'at+jwt' }, asId],
    [{ ...ACCESS, typ: 'ID' }, {}, {}],
    [{ ...ID, typ: 'Bearer' }, {}, asId],
    [{ ...ID, typ: 'Refresh' }, {}, asId],
    [{ ...both, aud: 'api://lanyard' }, {}, {}],
    [{ sub: 'alice', aud: 'web-at-corp', events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, { typ: 'logout+jwt' }, asId],
    [{ sub: 'alice', aud: 'web-at-corp', events: {} }, {}, asId],
    [{ ...ID }, { typ: 'oauth-id-jag+jwt' }, asId],
    [{ ...ID }, { typ: 'secevent+jwt' }, asId],
  ] as const) {
    await refused(house, await house.idp.sign(claims, header), form)
  }
  assert.equal((await exchange(house, await house.idp.sign(ACCESS, { typ: 'at+jwt' }))).status, 200)
  assert.equal((await exchange(house, await house.idp.sign({ ...ACCESS, typ: 'Bearer' }, { typ: 'JWT' }))).status, 200)
  assert.equal((await exchange(house, await house.idp.sign({ ...ID, typ: 'ID', azp: 'web-at-corp' }, { typ: 'JWT' }), asId)).status, 200)
})

eachProvider('G02, G05, G07, G08: issuer, signature and times (RFC 7519 §4.1, RFC 8725 §3.8)', async (house) => {
  const at = Math.floor(house.now / 1000)
  const good = await house.idp.sign(ACCESS)
  const stranger = await tokenIssuer(() => house.now)
  try {
    const bad = {
      'an unknown issuer': await stranger.sign(ACCESS),
      'the issuer of another': await stranger.sign({ ...ACCESS, iss: house.idp.issuer }),
      'a slash more': await house.idp.sign({ ...ACCESS, iss: `${house.idp.issuer}/` }),
      'no issuer': await house.idp.sign({ ...ACCESS, iss: undefined }),
      expired: await house.idp.sign({ ...ACCESS, exp: at }),
      'without an end': await house.idp.sign({ ...ACCESS, exp: undefined }),
      'of the future': await house.idp.sign({ ...ACCESS, iat: at + 120 }),
      'not before': await house.idp.sign({ ...ACCESS, nbf: at + 120 }),
      'nobody’s': await house.idp.sign({ ...ACCESS, sub: undefined }),
      'a key of its own': await stranger.sign({ ...ACCESS, iss: house.idp.issuer }, { kid: 'corp-1', jku: `${stranger.issuer}/jwks` }),
      'no signature': `${good.split('.').slice(0, 2).join('.')}.`,
      'none': `${Buffer.from('{"alg":"none"}').toString('base64url')}.${good.split('.')[1] ?? ''}.`,
    }
    for (const [name, token] of Object.entries(bad)) assert.notEqual(await refused(house, token), '', name)
    assert.equal(stranger.fetches(), 0)
    assert.equal((await exchange(house, good)).status, 200)
  } finally {
    await stranger.close()
  }
})

eachProvider('G08: act of a verified token stays, bounded; may_act keeps everybody else out (RFC 8693 §4.1, §4.4)', async (house) => {
  const answer = await exchange(house, await house.idp.sign({ ...ACCESS, act: { sub: 'bot', admin: true, act: { sub: 'older', iss: 'https://x.example' } } }))
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(decodeJwt(String(answer.body['access_token']))['act'], { sub: 'bot', iss: house.idp.issuer, act: { sub: 'older', iss: 'https://x.example' } })
  await house.db.query('DELETE FROM grants', [])
  const deep = [1, 2, 3, 4, 5].reduce<object>((act, depth) => ({ sub: `a${depth}`, act }), { sub: 'a0' })
  for (const act of [deep, 'bot', { sub: 1 }, {}]) await refused(house, await house.idp.sign({ ...ACCESS, act }))
  for (const may of [{ sub: 'other' }, { sub: 'agent', iss: 'https://x.example' }, {}, 'agent', { client_id: 'other' }]) await refused(house, await house.idp.sign({ ...ACCESS, may_act: may }))
  for (const may of [{ sub: 'agent' }, { client_id: 'agent', iss: ISSUER }]) assert.equal((await exchange(house, await house.idp.sign({ ...ACCESS, may_act: may }))).status, 200)
})

eachProvider('G10: a token that is older than the end of all that the person had is part of what ended; a disabled person gets nothing', async (house) => {
  const before = await house.idp.sign(ACCESS)
  const first = await exchange(house, before)
  const userId = decodeJwt(String(first.body['access_token'])).sub ?? ''
  house.now += 2000
  await house.cut('subject', userId)
  await assert.rejects(house.nodes[1].tokens.verifier.verify(String(first.body['access_token']), RESOURCE), { reason: 'cut' })
  const late = await exchange(house, before)
  assert.deepEqual([late.status, late.body['error']], [400, 'invalid_request'])
  house.now += 2000
  assert.equal((await exchange(house, await house.idp.sign(ACCESS))).status, 200)
  await house.db.query('UPDATE users SET disabled = 1 WHERE id = $1', [userId])
  const refusal = await exchange(house, await house.idp.sign(ACCESS))
  assert.deepEqual([refusal.status, refusal.body['error']], [400, 'invalid_request'])
})

eachProvider('G08: scopes of Lanyard that the token names are the most that comes of it; one that names none says nothing of them (RFC 8693 §5)', async (house) => {
  const reading = await house.idp.sign({ ...ACCESS, scope: 'openid mcp.notes.read whatever' })
  const answer = await exchange(house, reading)
  assert.deepEqual([answer.status, answer.body['scope']], [200, 'mcp.notes.read'], answer.text)
  for (const scope of ['mcp.write', 'mcp.read', 'mcp.notes.write']) assert.equal((await exchange(house, reading, { scope })).body['error'], 'invalid_scope', scope)
  // As a list, as Okta and others have it.
  assert.equal((await exchange(house, await house.idp.sign({ ...ACCESS, scope: undefined, scp: ['mcp.read'] }), { scope: 'mcp.write' })).body['error'], 'invalid_scope')
  assert.equal((await exchange(house, await house.idp.sign(ACCESS), { scope: 'mcp.write' })).body['scope'], 'mcp.write')
})

eachProvider('H17: while the keys of the provider cannot be fetched, the client may come again', async (house) => {
  house.idp.fail()
  const answer = await exchange(house, await house.idp.sign(ACCESS))
  assert.deepEqual([answer.status, answer.body['error']], [503, 'temporarily_unavailable'])
  assert.notEqual(answer.headers.get('retry-after'), null)
})

/** Signs somebody in at the provider, with the client that Lanyard is there. @returns the refresh token */
async function refreshTokenOf(idp: OpenIdProvider): Promise<string> {
  const verifier = randomBytes(32).toString('base64url')
  const redirect = 'http://127.0.0.1:9/callback'
  const asked = { client_id: 'lanyard', redirect_uri: redirect, response_type: 'code', state: 's', nonce: 'n', scope: 'openid offline_access', code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256' }
  const answer = await fetch(`${idp.issuer}/authorize?${new URLSearchParams(asked).toString()}`, { redirect: 'manual' })
  const code = new URL(answer.headers.get('location') ?? '').searchParams.get('code') ?? ''
  const tokens = await fetch(`${idp.issuer}/token`, { method: 'POST', headers: { authorization: `Basic ${btoa(`lanyard:${CLIENT_SECRET}`)}` }, body: new URLSearchParams({ grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: redirect }) })
  return ((await tokens.json()) as { refresh_token: string }).refresh_token
}

const REFRESH_TOKEN = 'urn:ietf:params:oauth:token-type:refresh_token'

eachCluster('a refresh token of Lanyard’s client at the provider is redeemed there, and its successor goes back to the client (RFC 8693 §2.1, RFC 6749 §6)', async (cluster) => {
  const idp = await openIdProvider(() => cluster.now)
  try {
    for (const id of ['agent', 'other-agent']) cluster.clients.set(id, client(id, { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash(SECRET)], grantTypes: [EXCHANGE] }))
    cluster.exchange = [{ id: 'refresh', clients: ['agent'], identityProvider: 'corp', tokenTypes: ['refresh_token'], audiences: ['lanyard'], targets: [RESOURCE] }, { id: 'none', clients: ['other-agent'], identityProvider: 'corp', tokenTypes: ['access_token'], audiences: ['lanyard'], targets: [RESOURCE] }]
    cluster.providers = [{ type: 'oidc', id: 'corp', name: 'Corp', issuer: idp.issuer, clientId: 'lanyard', clientSecret: CLIENT_SECRET, scopes: ['openid'], groupsClaim: 'groups', offlineAccess: 'scope' }]
    const [node] = await cluster.restart()
    const ask = (token: string, clientId = 'agent', more: Form = {}): Promise<Answer> => node.post('/token', { grant_type: EXCHANGE, client_id: clientId, client_secret: SECRET, subject_token: token, subject_token_type: REFRESH_TOKEN, resource: RESOURCE, ...more })
    const first = await refreshTokenOf(idp)
    const answer = await ask(first)
    assert.equal(answer.status, 200, answer.text)
    const successor = String(answer.body['subject_token'])
    assert.deepEqual([answer.body['subject_token_type'], answer.body['refresh_token'], idp.refreshTokens.has(successor), idp.refreshTokens.has(first)], [REFRESH_TOKEN, undefined, true, false])
    const caller = await node.tokens.verifier.verify(String(answer.body['access_token']), RESOURCE)
    assert.deepEqual([caller.user.provider, caller.user.subject, caller.user.groups], ['corp', 'alice', ['engineering']])
    // A refusal after it was redeemed brings what is good in its place too: by the target, and by policy.
    const wider = await ask(successor, 'agent', { scope: 'mcp.other.write' })
    assert.deepEqual([wider.status, wider.body['error'], wider.body['subject_token_type'], wider.headers.get('cache-control')], [400, 'invalid_scope', REFRESH_TOKEN, 'no-store'])
    cluster.reachable = false
    const denied = await ask(String(wider.body['subject_token']))
    cluster.reachable = true
    assert.deepEqual([denied.body['error'], denied.body['subject_token_type']], ['invalid_target', REFRESH_TOKEN])
    const again = await ask(String(denied.body['subject_token']))
    assert.equal(again.status, 200, again.text)
    // What was used is gone at the provider; who has no rule for it, and a refresh token of Lanyard's own, are not sent there.
    const asked = idp.count('/token')
    const { refreshToken: own } = await cluster.signIn()
    for (const [token, clientId] of [[String(again.body['subject_token']), 'other-agent'], [own, 'agent']] as const) {
      const refusal = await ask(token, clientId)
      assert.deepEqual([refusal.status, refusal.body['error']], [400, 'invalid_request'])
    }
    assert.equal(idp.count('/token'), asked)
    const used = await ask(first)
    assert.deepEqual([used.status, used.body['error']], [400, 'invalid_request'])
    const recorded = JSON.stringify(await cluster.events())
    for (const secret of [first, successor, String(wider.body['subject_token']), String(denied.body['subject_token'])]) assert.equal(recorded.includes(secret), false)
  } finally {
    await idp.close()
  }
})
