// What tokens for upstreams of Entra ID are made of, how often, and what a refusal means. Against the emulator whose
// answers Microsoft's own library accepts; the person has signed in at a node of the gateway.
import assert from 'node:assert/strict'
import type { Change } from '../../src/audit/change.ts'
import type { AuditEvent, Recorder } from '../../src/audit/event.ts'
import { outbound } from '../../src/http/outbound.ts'
import type { User } from '../../src/identity/user.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector, type Credential } from '../../src/upstreams/connectors/connector.ts'
import { entraObo } from '../../src/upstreams/connectors/entra-obo/connector.ts'
import type { EntraOboSettings } from '../../src/upstreams/connectors/entra-obo/settings.ts'
import { upstream } from '../support/connection-nodes.ts'
import { GATEWAY, GRAPH, MIDDLE, NOTES_API, TENANT } from '../support/entra/entra.ts'
import { eachEntra, signedIn, type World } from '../support/entra/nodes.ts'
import type { IdentityNode } from '../support/identity-nodes.ts'

const NOTES = upstream('notes', 'https://notes.example/mcp')
const SCOPES = [`api://${NOTES_API}/notes.read`]

interface House {
  readonly world: World
  readonly node: IdentityNode
  readonly userId: string
  readonly connector: Connector
  readonly events: AuditEvent[]
  /** Tells the connector that something changed. */
  announce(change: Change): void
  /** The tokens that were asked for since the sign-in. */
  tokens(): readonly URLSearchParams[]
}

function eachHouse(name: string, given: Partial<EntraOboSettings>, run: (house: House) => Promise<void>): void {
  eachEntra(name, async (world) => {
    const client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
    try {
      const node = await world.start()
      const { user } = await signedIn(node)
      const events: AuditEvent[] = []
      const listeners: ((change: Change) => void)[] = []
      const audit: Recorder = { begin: (...made) => (events.push(...made), () => Promise.resolve()), record: async (...made) => void events.push(...made) }
      const settings: EntraOboSettings = { type: 'entra-obo', provider: { id: 'entra', authority: world.idp.origin }, scopes: SCOPES, ...given }
      const feed = { subscribe: (listener: (change: Change) => void) => (listeners.push(listener), () => undefined) }
      const users = { find: async (id: string): Promise<User | undefined> => (id === 'machine:job' ? { id, kind: 'machine', provider: 'entra', issuer: '', subject: id, groups: [], disabled: false } : node.store.findUser(id)) }
      const connector = entraObo(settings, { outbound: client, users, providerTokens: node.providerTokens, audit, feed, now: world.cluster.now })
      const path = `/${TENANT}/oauth2/v2.0/token`
      const before = world.idp.at(path).length
      await run({ world, node, userId: user.id, connector, events, announce: (change) => listeners.forEach((listener) => listener(change)), tokens: () => world.idp.at(path).slice(before).map(({ form }) => form) })
    } finally {
      await client.close()
    }
  })
}

type Usable = Exclude<Credential, 'connection_required'>

async function credential({ connector, userId }: House): Promise<Usable> {
  const made = await connector.credential(userId, NOTES)
  assert.notEqual(made, 'connection_required')
  return made as Usable
}

/** What was refused is not asked for again before this has passed. */
const REFUSED_MS = 10_000
const challenge = (claims: string): string => `Bearer realm="", error="insufficient_claims", claims="${claims}"`
const base64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64')
const C1 = { access_token: { acrs: { essential: true, value: 'c1' } } }

eachHouse('of 20 calls at once one asks for the token; it is used until shortly before its end, and nothing secret is recorded', {}, async (house) => {
  const { world, connector, userId, events } = house
  const all = await Promise.all(Array.from({ length: 20 }, () => credential(house)))
  assert.equal(new Set(all.map(({ version }) => version)).size, 1)
  assert.equal(house.tokens().length, 1)
  assert.deepEqual(JSON.parse(house.tokens()[0]?.get('claims') ?? ''), { access_token: { xms_cc: { values: ['cp1'] } } })
  assert.equal(house.tokens()[0]?.get('scope'), SCOPES[0])
  world.cluster.ahead += 23 * 3600_000
  assert.equal((await credential(house)).version, all[0]?.version, 'tokens of a client that can be told no live for a day')
  world.cluster.ahead += 3600_000
  assert.notEqual((await credential(house)).version, all[0]?.version)
  assert.deepEqual(events.map(({ action, subject, upstream: on, detail }) => [action, subject, on, detail?.['scope']]), [['connection.refreshed', userId, 'notes', SCOPES], ['connection.refreshed', userId, 'notes', SCOPES]])
  assert.ok(![...world.idp.access.keys(), ...world.idp.refreshTokens.keys()].some((secret) => JSON.stringify(events).includes(secret)))
  await connector.refused(userId, NOTES, 'another version')
  assert.equal(house.tokens().length, 2, 'what was refused before is another one')
})

eachHouse('an upstream that refuses everything gets one other token in half a minute; a challenge that nothing changes is no loop either', {}, async (house) => {
  const { connector, userId, world } = house
  const first = await credential(house)
  await connector.refused(userId, NOTES, first.version)
  const second = await credential(house)
  assert.notEqual(second.version, first.version)
  await connector.refused(userId, NOTES, second.version)
  assert.equal((await credential(house)).version, second.version)
  world.cluster.ahead += 31_000
  await connector.refused(userId, NOTES, second.version)
  const third = await credential(house)
  assert.notEqual(third.version, second.version)
  // Something else is demanded: that is news.
  const nbf = challenge(base64({ access_token: { nbf: { essential: true, value: '1' } } }))
  await connector.refused(userId, NOTES, third.version, nbf)
  const fourth = await credential(house)
  assert.notEqual(fourth.version, third.version)
  assert.deepEqual(JSON.parse(house.tokens().at(-1)?.get('claims') ?? '').access_token, { nbf: { essential: true, value: '1' }, xms_cc: { values: ['cp1'] } })
  await connector.refused(userId, NOTES, fourth.version, nbf)
  assert.equal((await credential(house)).version, fourth.version)
})

for (const [title, claims] of [
  ['no base64', '%%%'],
  ['no JSON', Buffer.from('acrs').toString('base64')],
  ['a list', base64([])],
  ['members that are none', base64({ access_token: 'c1' })],
  ['what is said of other tokens alone', base64({ id_token: { acrs: { value: 'c1' } } })],
  ['very much', base64({ access_token: { acrs: { value: 'x'.repeat(2000) } } })],
] as const) {
  eachHouse(`a challenge of ${title} is an ordinary 401: nothing of it reaches Entra ID`, {}, async (house) => {
    const { connector, userId } = house
    const first = await credential(house)
    await connector.refused(userId, NOTES, first.version, challenge(claims))
    assert.notEqual((await credential(house)).version, first.version)
    assert.deepEqual(JSON.parse(house.tokens().at(-1)?.get('claims') ?? ''), { access_token: { xms_cc: { values: ['cp1'] } } })
  })
}

eachHouse('what a challenge demands, the next sign-in is asked for, and no other one after it (RFC 9470)', {}, async (house) => {
  const { connector, userId, announce, events } = house
  const first = await credential(house)
  await connector.refused(userId, NOTES, first.version, challenge(base64({ ...C1, id_token: { oid: { value: 'somebody else' } } })))
  await assert.rejects(credential(house), (error) => error instanceof SignInRequired && JSON.stringify(error.signIn) === JSON.stringify({ acrValues: ['c1'], demanded: JSON.stringify(C1) }))
  assert.equal(events.at(-1)?.reason, 'entra-obo: provider: interaction_required (AADSTS50076)')
  // Still so for the next call.
  await assert.rejects(credential(house), SignInRequired)
  announce({ kind: 'user', key: userId, at: 0 })
  assert.notEqual((await credential(house)).version, first.version)
  assert.deepEqual(JSON.parse(house.tokens().at(-1)?.get('claims') ?? ''), { access_token: { xms_cc: { values: ['cp1'] } } })
})

eachHouse('what Entra ID alone can read (capolids) is passed on as it is, and named to nobody', {}, async (house) => {
  house.world.idp.policies.set(NOTES_API, { context: '5f000000-0000-4000-8000-000000000009', code: 50079, isPolicy: true })
  const demanded = JSON.stringify({ access_token: { capolids: { essential: true, values: ['5f000000-0000-4000-8000-000000000009'] } } })
  await assert.rejects(credential(house), (error) => error instanceof SignInRequired && JSON.stringify(error.signIn) === JSON.stringify({ demanded }))
  house.world.cluster.options = { demanded }
  await signedIn(house.node)
  await credential(house)
  const asked = house.world.idp.at(`/${TENANT}/oauth2/v2.0/authorize`).at(-1)?.query.get('claims') ?? ''
  assert.deepEqual(JSON.parse(asked), { access_token: { capolids: { essential: true, values: ['5f000000-0000-4000-8000-000000000009'] }, xms_cc: { values: ['cp1'] } } })
})

eachHouse('a missing consent is the administrator’s to give: nobody is sent to sign in for it (AADSTS65001)', {}, async (house) => {
  const consented = house.world.idp.apps.get(GATEWAY)?.consented ?? assert.fail()
  consented.delete(`${NOTES_API}/notes.read`)
  await assert.rejects(credential(house), (error) => error instanceof CredentialRefused && error.reason === 'entra-obo: provider: invalid_grant (AADSTS65001)')
  assert.deepEqual(house.events.map(({ action, outcome }) => [action, outcome]), [['connection.failed', 'failure']])
  assert.equal((await house.world.cluster.rows('sessions')).length, 1, 'and ends nobody’s access')
  consented.add(`${NOTES_API}/notes.read`)
  house.world.cluster.ahead += REFUSED_MS
  await credential(house)
})

eachHouse('who is not assigned to the resource is refused there, and stays signed in; who is signed out there is so here (AADSTS50105, AADSTS50173)', {}, async (house) => {
  const { world, userId } = house
  const notes = world.idp.apps.get(NOTES_API) ?? assert.fail()
  notes.assigned = new Set()
  const refused = (error: unknown): boolean => error instanceof CredentialRefused && error.reason === 'entra-obo: provider: invalid_grant (AADSTS50105)'
  await assert.rejects(credential(house), refused)
  assert.equal((await world.cluster.rows('sessions')).length, 1)
  assert.deepEqual(await world.cluster.events('subject.revoked'), [])
  notes.assigned = new Set([world.person('alice').oid])
  world.cluster.ahead += REFUSED_MS
  await credential(house)
  world.person('alice').revokedAt = Math.floor(world.cluster.now() / 1000)
  house.announce({ kind: 'user', key: userId, at: 0 })
  world.cluster.ahead += 25 * 3600_000
  await assert.rejects(credential(house), SignInRequired)
  assert.deepEqual([(await world.cluster.rows('sessions')).length, (await world.cluster.events('subject.revoked')).map(({ subject }) => subject)], [0, [userId]])
})

eachHouse('for whom there is none: machines, strangers, people of another provider or without a sign-in', {}, async (house) => {
  const { connector, world, userId } = house
  for (const id of ['machine:job', 'usr_nobody']) await assert.rejects(connector.credential(id, NOTES), (error) => error instanceof CredentialRefused && error.reason === 'entra-obo: no person')
  await world.cluster.db.query("UPDATE users SET provider = 'corp' WHERE id = $1", [userId])
  await assert.rejects(credential(house), (error) => error instanceof CredentialRefused && error.reason === 'entra-obo: another identity provider')
  await world.cluster.db.query("UPDATE users SET provider = 'entra' WHERE id = $1", [userId])
  world.cluster.ahead += REFUSED_MS
  await credential(house)
  await world.cluster.db.query('UPDATE users SET tokens = NULL WHERE id = $1', [userId])
  house.announce({ kind: 'subject', key: userId, at: 0 })
  await assert.rejects(credential(house), (error) => error instanceof SignInRequired && error.signIn.maxAge === 300)
  assert.equal(house.tokens().length, 1)
})

eachHouse('the refresh token that came with a token is kept, under the lease that rechecks take too', {}, async (house) => {
  const { node, userId, world } = house
  const before = await node.store.findTokens(userId)
  world.cluster.ahead += 3600_000
  const [, state] = await Promise.all([credential(house), node.recheck.recheck(userId)])
  assert.equal(state, 'active')
  assert.notEqual(await node.store.findTokens(userId), before)
  const used = house.tokens().map((form) => form.get('refresh_token'))
  assert.equal(new Set(used).size, used.length, 'no refresh token was used by two at once')
})

const APP = { clientId: MIDDLE, credential: { type: 'secret', secret: 'Mid8Q~another-client-secret-of-40-characters' }, scope: `api://${MIDDLE}/access` } as const

eachHouse('on behalf of the person by another app: its own scope first, then the resource, at the endpoint of the tenant', { app: APP }, async (house) => {
  await credential(house)
  const [own, obo] = house.tokens()
  assert.deepEqual([own?.get('client_id'), own?.get('scope'), obo?.get('client_id'), obo?.get('scope'), obo?.get('grant_type'), obo?.get('requested_token_use')], [GATEWAY, APP.scope, MIDDLE, SCOPES[0], 'urn:ietf:params:oauth:grant-type:jwt-bearer', 'on_behalf_of'])
  assert.equal([...house.world.idp.access.values()].at(-1)?.resource, NOTES_API)
  // What is demanded is demanded of both.
  house.world.idp.policies.set(NOTES_API, { context: 'c1', code: 50076 })
  house.announce({ kind: 'subject', key: house.userId, at: 0 })
  await assert.rejects(credential(house), (error) => error instanceof SignInRequired && String(error.signIn.acrValues) === 'c1')
})

eachHouse('an assertion that is for another app is refused, and says so in the audit trail (AADSTS500131)', { app: { ...APP, scope: SCOPES[0] ?? '' } }, async (house) => {
  await assert.rejects(credential(house), (error) => error instanceof CredentialRefused && error.reason === 'entra-obo: provider: invalid_grant (AADSTS500131)')
})

eachHouse('a token for Graph is nobody’s assertion (AADSTS50013)', { app: { ...APP, scope: `${GRAPH}/User.Read` } }, async (house) => {
  await assert.rejects(credential(house), (error) => error instanceof CredentialRefused && error.reason === 'entra-obo: provider: invalid_grant (AADSTS50013)')
})

eachHouse('an Entra ID that does not answer is tried again later', { app: APP, provider: { id: 'entra', authority: 'http://127.0.0.1:9' } }, async (house) => {
  await assert.rejects(credential(house), UpstreamUnavailable)
})
