// Tokens of Entra ID in place of Lanyard's own, of people in more groups than a token holds: Graph is asked, and nobody is
// taken to be in the groups that were known before.
import assert from 'node:assert/strict'
import { hash } from '../../src/oauth/secret.ts'
import { GATEWAY, GATEWAY_SECRET, GRAPH, NOTES_API, entra, TENANT, type Entra, type Person } from '../support/entra/entra.ts'
import { entraSettings } from '../support/entra/nodes.ts'
import { jwt } from '../support/entra/state.ts'
import { call, eachMcpCluster, type Answer, type Cluster, type Node } from '../support/mcp-nodes.ts'
import { client, eachCluster, RESOURCE } from '../support/token-nodes.ts'

/** In one group more than a token holds; the last of them is the one that rules name. */
const MANY = [...Array.from({ length: 200 }, (_, index) => `9f000000-0000-4000-8000-${String(index).padStart(12, '0')}`), 'engineering']
const MEMBERS = /^\/v1\.0\/(?:me|users\/[\w-]+)\/getMemberObjects$/

interface House {
  readonly cluster: Cluster
  readonly nodes: readonly [Node, Node]
  readonly idp: Entra
  readonly alice: Person
  /** A token for an API, as an application gets it for its user. */
  token(api?: string): Promise<string>
  /** What Graph was asked about groups. */
  asked(): readonly string[]
}

async function emulator(now: () => number): Promise<Pick<House, 'idp' | 'alice' | 'token' | 'asked'>> {
  const idp = await entra()
  idp.now = now
  const alice = idp.tenants.get(TENANT)?.get('alice') ?? assert.fail('alice')
  alice.groups = [...MANY]
  return {
    idp,
    alice,
    async token(api = GATEWAY) {
      idp.refreshTokens.set('rt', { clientId: GATEWAY, person: alice, tid: TENANT, at: Math.floor(now() / 1000), contexts: new Set() })
      const scope = `api://${api}/${api === GATEWAY ? 'access' : 'notes.read'}`
      const answer = await fetch(`${idp.origin}/${TENANT}/oauth2/v2.0/token`, { method: 'POST', body: new URLSearchParams({ client_id: GATEWAY, client_secret: GATEWAY_SECRET, grant_type: 'refresh_token', refresh_token: 'rt', scope }) })
      return ((await answer.json()) as { access_token: string }).access_token
    },
    asked: () => idp.seen.flatMap(({ path }) => (MEMBERS.test(path) ? [path] : [])),
  }
}

function eachHouse(name: string, overage: 'delegated' | 'application', run: (house: House) => Promise<void>): void {
  eachMcpCluster(name, async (cluster) => {
    const made = await emulator(() => cluster.now)
    try {
      cluster.accept = { providers: [entraSettings(made.idp, { overage })], accepted: new Map([['entra', { audiences: [GATEWAY], idTokenClients: [] }]]) }
      await run({ ...made, cluster, nodes: await cluster.restart() })
    } finally {
      await made.idp.close()
    }
  })
}

/** Lets the app read memberships. */
function permit({ idp }: Pick<House, 'idp'>): void {
  idp.apps.get(GATEWAY)?.permissions.add('User.ReadBasic.All').add('GroupMember.Read.All')
}

async function send({ nodes }: House, token: string, node: Node = nodes[0]): Promise<Answer> {
  return node.send(call(token, 'read_note'))
}

/** Whose groups are known. */
async function groupsIn({ cluster }: { readonly cluster: Pick<Cluster, 'db'> }): Promise<readonly string[] | undefined> {
  const [row] = await cluster.db.query<{ groups: string }>('SELECT groups FROM users')
  return row === undefined ? undefined : (JSON.parse(row.groups) as string[])
}

async function reason({ cluster }: Pick<House, 'cluster'>): Promise<string | undefined> {
  return (await cluster.events('token.refused')).at(-1)?.reason
}

eachHouse('groups that the token leaves to Graph are asked for as the app, once a minute for each person, and count (J10)', 'application', async (house) => {
  const { cluster, alice, asked, nodes } = house
  permit(house)
  const token = await house.token()
  const [first] = await Promise.all([send(house, token), send(house, await house.token())])
  assert.equal(first.status, 200, first.text)
  assert.deepEqual(asked(), [`/v1.0/users/${alice.oid}/getMemberObjects`])
  assert.deepEqual(await groupsIn(house), MANY)
  // Whoever left the group is refused as soon as Graph is asked anew.
  alice.groups = MANY.toSpliced(-1, 1, 'other')
  cluster.now += 61_000
  assert.match((await send(house, await house.token())).text, /error/)
  assert.deepEqual([await groupsIn(house), asked().length], [alice.groups, 2])
  alice.groups = [...MANY]
  cluster.now += 61_000
  assert.equal((await send(house, await house.token(), nodes[1])).status, 200)
})

eachHouse('Graph is asked about nobody whose token is refused anyway: for another API, expired, or of another key', 'application', async (house) => {
  const { cluster, idp, asked } = house
  permit(house)
  Object.assign(idp.apps.get(NOTES_API) ?? {}, { groupClaims: true })
  const [good, expired] = [await house.token(), await house.token()]
  assert.equal((await send(house, await house.token(NOTES_API))).status, 401)
  assert.match((await reason(house)) ?? '', /for somebody else/)
  const [head, body, signature = ''] = good.split('.')
  assert.equal((await send(house, `${head}.${body}.${signature.split('').toReversed().join('')}`)).status, 401)
  assert.deepEqual([asked(), await groupsIn(house)], [[], undefined])
  assert.equal((await send(house, good)).status, 200)
  cluster.now += 90 * 60_000
  assert.equal((await send(house, expired)).status, 401)
  assert.equal(asked().length, 1)
})

eachHouse('what Graph does not tell is not "no groups", nor those of before: the token is refused, or nobody knows at present', 'application', async (house) => {
  const { cluster, idp, alice, asked } = house
  alice.groups = ['engineering']
  assert.equal((await send(house, await house.token())).status, 200)
  assert.deepEqual([asked(), await groupsIn(house)], [[], ['engineering']])
  alice.groups = [...MANY]
  cluster.now += 1000
  const refused = await send(house, await house.token())
  assert.equal(refused.status, 401)
  assert.equal(await reason(house), 'provider: Graph says nothing of the groups: 403 Authorization_RequestDenied')
  permit(house)
  idp.throttled = true
  assert.equal((await send(house, await house.token())).status, 503)
  assert.deepEqual(await groupsIn(house), ['engineering'])
  idp.throttled = false
  assert.equal((await send(house, await house.token())).status, 200)
})

eachHouse('with groupOverage: delegated Graph is asked on behalf of the person, by the token that is for Lanyard itself (J10)', 'delegated', async (house) => {
  const { cluster, idp, alice, asked } = house
  const token = await house.token()
  assert.equal((await send(house, token)).status, 200)
  assert.equal((await send(house, await house.token())).status, 200)
  assert.deepEqual([asked(), await groupsIn(house)], [['/v1.0/me/getMemberObjects'], MANY])
  const [exchange, ...others] = idp.seen.filter(({ form }) => form.get('requested_token_use') === 'on_behalf_of')
  assert.deepEqual([exchange?.form.get('scope'), exchange?.path, others.length], [`${idp.origin}/User.Read`, `/${TENANT}/oauth2/v2.0/token`, 0])
  assert.equal(JSON.stringify(await cluster.events()).includes(token), false)
  // Whose sessions were revoked there is nobody's to ask for.
  cluster.now += 61_000
  const later = await house.token()
  alice.revokedAt = Math.floor(cluster.now / 1000)
  assert.equal((await send(house, later)).status, 401)
  assert.match((await reason(house)) ?? '', /AADSTS50173/)
})

eachHouse('where nobody can be asked the token is refused, and the audit trail says what to do: for another API, by a policy', 'delegated', async (house) => {
  const { cluster, idp, alice, asked } = house
  Object.assign(idp.apps.get(NOTES_API) ?? {}, { groupClaims: true })
  cluster.accept = { providers: [entraSettings(idp)], accepted: new Map([['entra', { audiences: [GATEWAY, NOTES_API], idTokenClients: [] }]]) }
  const [node] = await cluster.restart()
  const before = cluster.notes.asked.length
  const answer = await send(house, await house.token(NOTES_API), node)
  assert.equal(answer.status, 401)
  assert.match(answer.headers['www-authenticate'] ?? '', /error="invalid_token"/)
  assert.match((await reason(house)) ?? '', /^provider: the person is in more groups than the token holds, and Graph cannot be asked on their behalf \(provider: invalid_grant \(AADSTS500131\)\): set groupOverage to application/)
  idp.policies.set(GRAPH, { context: 'c1', code: 50076 })
  assert.equal((await send(house, await house.token(), node)).status, 401)
  assert.match((await reason(house)) ?? '', /interaction_required \(AADSTS50076\)/)
  assert.deepEqual([asked(), await groupsIn(house), cluster.notes.asked.length], [[], undefined, before])
  idp.policies.clear()
  assert.equal((await send(house, await house.token(), node)).status, 200)
  assert.deepEqual(await groupsIn(house), MANY)
  // With fewer groups nobody is asked.
  alice.groups = MANY.slice(-200)
  cluster.now += 61_000
  assert.equal((await send(house, await house.token(NOTES_API), node)).status, 200)
  assert.deepEqual([asked().length, (await groupsIn(house))?.length], [1, 200])
})

eachHouse('the token of an application is no person’s, whether the API asked for idtyp or not, and of whichever version (RFC 9068 §5)', 'application', async (house) => {
  const { cluster, idp, alice } = house
  alice.groups = ['engineering']
  cluster.accept = { providers: [entraSettings(idp)], accepted: new Map([['entra', { audiences: [GATEWAY, `api://${GATEWAY}`], idTokenClients: [GATEWAY] }]]) }
  const [node] = await cluster.restart()
  idp.apps.get(GATEWAY)?.permissions.add('mcp.read')
  for (const tokenVersion of [1, 2] as const) {
    Object.assign(idp.apps.get(GATEWAY) ?? {}, { tokenVersion })
    const answer = await fetch(`${idp.origin}/${TENANT}/oauth2/v2.0/token`, { method: 'POST', body: new URLSearchParams({ client_id: GATEWAY, client_secret: GATEWAY_SECRET, grant_type: 'client_credentials', scope: `api://${GATEWAY}/.default` }) })
    const { access_token: token } = (await answer.json()) as { access_token: string }
    assert.equal((await send(house, token, node)).status, 401)
    assert.equal(await reason(house), 'provider: it is of an application, not of a person')
    assert.equal(await groupsIn(house), undefined)
  }
  for (const tokenVersion of [1, 2] as const) {
    Object.assign(idp.apps.get(GATEWAY) ?? {}, { tokenVersion })
    assert.equal((await send(house, await house.token(), node)).status, 200)
  }
})

eachHouse('a token that says in few words that there are more groups is no token without groups (hasgroups)', 'application', async (house) => {
  const { idp, alice, cluster, asked } = house
  const at = Math.floor(cluster.now / 1000)
  const claims = { aud: GATEWAY, iss: `${idp.origin}/${TENANT}/v2.0`, oid: alice.oid, sub: 'pairwise', tid: TENANT, azp: 'portal', scp: 'access', ver: '2.0', iat: at, nbf: at, exp: at + 3600 }
  assert.equal((await send(house, await jwt({ ...claims, groups: ['engineering'] }, idp.key))).status, 200)
  assert.equal((await send(house, await jwt({ ...claims, hasgroups: true }, idp.key))).status, 401)
  assert.match((await reason(house)) ?? '', /Graph says nothing/)
  permit(house)
  assert.equal((await send(house, await jwt({ ...claims, hasgroups: true, uti: '2' }, idp.key))).status, 200)
  assert.deepEqual([asked().length, (await groupsIn(house))?.length], [2, 201])
})

eachCluster('a token exchange asks Graph too, after a rule let the token be exchanged (RFC 8693 §2.1)', async (cluster) => {
  const made = await emulator(() => cluster.now)
  const { idp, alice, token, asked } = made
  try {
    const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
    cluster.clients.set('agent', client('agent', { kind: 'pre-registered', tokenEndpointAuthMethods: ['client_secret_post'], secretHashes: [hash('s'.repeat(32))], grantTypes: [exchange] }))
    cluster.exchange = [{ id: 'entra', clients: ['agent'], identityProvider: 'entra', tokenTypes: ['access_token'], audiences: [GATEWAY], issuedTo: [GATEWAY], targets: [RESOURCE] }]
    cluster.providers = [entraSettings(idp, { overage: 'application' })]
    const [node] = await cluster.restart()
    const ask = async (subject: string) => node.post('/token', { grant_type: exchange, client_id: 'agent', client_secret: 's'.repeat(32), subject_token: subject, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource: RESOURCE })
    assert.equal((await ask(await token(NOTES_API))).body['error'], 'invalid_request')
    assert.deepEqual(asked(), [])
    const denied = await ask(await token())
    assert.deepEqual([denied.status, denied.body['error']], [400, 'invalid_request'])
    assert.equal((await cluster.events('token.refused')).at(-1)?.reason, 'token exchange: the subject token is refused: Graph says nothing of the groups: 403 Authorization_RequestDenied')
    permit(made)
    idp.throttled = true
    const busy = await ask(await token())
    assert.deepEqual([busy.status, busy.body['error']], [503, 'temporarily_unavailable'])
    assert.deepEqual([await groupsIn({ cluster }), (await cluster.db.query('SELECT id FROM grants')).length], [undefined, 0])
    idp.throttled = false
    const answer = await ask(await token())
    assert.equal(answer.status, 200, answer.text)
    assert.deepEqual([(await groupsIn({ cluster }))?.length, alice.groups.length], [201, 201])
  } finally {
    await idp.close()
  }
})
