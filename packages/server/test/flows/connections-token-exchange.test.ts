// The connector `token-exchange` at a realm of Keycloak's shape: what is asked for, how often, and what a refusal becomes.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { decodeJwt } from 'jose'
import type { Change } from '../../src/audit/change.ts'
import type { AuditEvent } from '../../src/audit/event.ts'
import { outbound, type Outbound } from '../../src/http/outbound.ts'
import type { HeldTokens } from '../../src/identity/provider-tokens.ts'
import { identityProviders, type ProviderSettings } from '../../src/identity/providers/index.ts'
import { ProviderUnavailable } from '../../src/identity/providers/provider.ts'
import type { User } from '../../src/identity/user.ts'
import { sealer } from '../../src/keys/seal.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector, type Credential } from '../../src/upstreams/connectors/connector.ts'
import { tokenExchangeConnector } from '../../src/upstreams/connectors/token-exchange/connector.ts'
import type { TokenExchangeSettings } from '../../src/upstreams/connectors/token-exchange/settings.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { keycloakRealm, REALM_SECRET, type Realm } from '../support/keycloak-exchange.ts'

const SETTINGS: TokenExchangeSettings = { type: 'token-exchange', subjectToken: 'access_token', audience: 'tickets-api', scopes: ['tickets.read'] }
const UPSTREAM: Upstream = { id: 'tickets', name: 'Tickets', url: 'http://127.0.0.1:9/mcp', connector: SETTINGS, readOnlyTools: [], timeoutMs: 1000 }
const ALICE: User = { id: 'usr_alice', provider: 'corp', issuer: 'https://idp.example', subject: 'alice', groups: [], disabled: false }

let realm: Realm
let client: Outbound
let now = Date.now()
let users: Map<string, User>
let held: (userId: string) => Promise<HeldTokens | undefined>
let events: AuditEvent[]
const listeners: ((change: Change) => void)[] = []

before(async () => {
  realm = await keycloakRealm(() => now)
  client = outbound({ allow: ['127.0.0.0/8'], discoveredLoopback: true })
})
after(async () => {
  await client.close()
  await realm.close()
})
beforeEach(() => {
  realm.asked.length = 0
  realm.behave = (status, body) => [status, body]
  realm.hold = () => Promise.resolve()
  users = new Map([[ALICE.id, ALICE], ['usr_bob', { ...ALICE, id: 'usr_bob', subject: 'bob' }]])
  held = async (userId) => ({ provider: 'corp', issuer: realm.issuer, accessToken: await realm.subjectToken({ sub: users.get(userId)?.subject }), expiresAt: now + 300_000 })
  events = []
  listeners.length = 0
})

function connector(more: Partial<TokenExchangeSettings> = {}): Connector {
  const settings: ProviderSettings = { type: 'oidc', id: 'corp', name: 'Corp', issuer: realm.issuer, clientId: 'lanyard', clientSecret: REALM_SECRET, scopes: ['openid'], groupsClaim: 'groups', offlineAccess: 'off' }
  return tokenExchangeConnector({ ...SETTINGS, ...more }, {
    outbound: client,
    sealer: sealer([{ id: 'k1', key: Buffer.alloc(32, 1) }]),
    store: { findClient: () => assert.fail('not asked'), addClient: () => assert.fail('not asked') } as never,
    users: { find: async (id) => users.get(id) },
    providers: identityProviders([settings], { outbound: client, now: () => now }),
    providerTokens: { current: (userId) => held(userId) },
    audit: { record: async (...recorded) => void events.push(...recorded), begin: () => () => Promise.resolve() },
    feed: { fresh: true, subscribe: (listener) => void listeners.push(listener) },
    now: () => now,
  })
}

async function tokenOf(made: Connector, userId = ALICE.id): Promise<string> {
  const credential: Credential = await made.credential(userId, UPSTREAM)
  assert.notEqual(credential, 'connection_required')
  return typeof credential === 'string' ? '' : (credential.headers['authorization'] ?? '').replace('Bearer ', '')
}

test('the access token of the sign-in is exchanged for one of the upstream, as Keycloak wants it (RFC 8693 §2.1, §2.2.1)', async () => {
  const token = await tokenOf(connector())
  assert.deepEqual([decodeJwt(token).aud, decodeJwt(token).sub, decodeJwt(token)['scope']], ['tickets-api', 'alice', 'tickets.read'])
  const [form] = realm.asked
  assert.deepEqual(
    Object.fromEntries([...(form ?? [])].filter(([name]) => name !== 'subject_token')),
    {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      audience: 'tickets-api',
      scope: 'tickets.read',
    },
  )
  assert.deepEqual(events.map(({ action, subject, upstream, detail }) => [action, subject, upstream, detail]), [['connection.refreshed', 'usr_alice', 'tickets', { connector: 'token-exchange', scope: 'tickets.read' }]])
  assert.equal(JSON.stringify(events).includes(token), false)
})

test('a token is asked for once by all who wait, for each person, and again shortly before it ends', async () => {
  const made = connector()
  const all = await Promise.all(Array.from({ length: 20 }, () => tokenOf(made)))
  assert.deepEqual([new Set(all).size, realm.asked.length], [1, 1])
  const bob = await tokenOf(made, 'usr_bob')
  assert.deepEqual([decodeJwt(bob).sub, realm.asked.length], ['bob', 2])
  now += 260_000
  assert.equal(await tokenOf(made), all[0])
  now += 15_000
  assert.notEqual(await tokenOf(made), all[0])
  assert.equal(realm.asked.length, 3)
})

test('a token that the upstream refused is replaced once; one that somebody replaced meanwhile stays', async () => {
  const made = connector()
  const first = await made.credential(ALICE.id, UPSTREAM)
  assert.ok(typeof first !== 'string')
  await made.refused(ALICE.id, UPSTREAM, first.version)
  const second = await made.credential(ALICE.id, UPSTREAM)
  assert.ok(typeof second !== 'string')
  assert.notEqual(second.version, first.version)
  await made.refused(ALICE.id, UPSTREAM, first.version)
  assert.deepEqual(await made.credential(ALICE.id, UPSTREAM), second)
  // An upstream that refuses everything has no token made for each call.
  await made.refused(ALICE.id, UPSTREAM, second.version)
  assert.deepEqual([await made.credential(ALICE.id, UPSTREAM), realm.asked.length], [second, 2])
})

test('what a person had ends with their access, also what was under way then', async () => {
  const made = connector()
  await tokenOf(made)
  for (const listener of listeners) listener({ kind: 'subject', key: ALICE.id, at: now })
  users.set(ALICE.id, { ...ALICE, disabled: true })
  await assert.rejects(made.credential(ALICE.id, UPSTREAM), CredentialRefused)
  users.set(ALICE.id, ALICE)
  now += 10_000
  realm.hold = async () => {
    for (const listener of listeners) listener({ kind: 'subject', key: ALICE.id, at: now })
  }
  await tokenOf(made)
  realm.hold = () => Promise.resolve()
  const before = realm.asked.length
  await tokenOf(made)
  assert.equal(realm.asked.length, before + 1, 'what came then was not kept')
})

test('what the realm refuses, or answers with something else, is told in words and recorded (RFC 8693 §2.2.1, §2.2.2)', async () => {
  realm.audiences.delete('tickets-api')
  await assert.rejects(connector().credential(ALICE.id, UPSTREAM), (error) => error instanceof CredentialRefused && error.reason === 'token exchange: provider: invalid_request')
  realm.audiences.add('tickets-api')
  assert.deepEqual(events.map(({ action, outcome, reason }) => [action, outcome, reason]), [['connection.failed', 'failure', 'token exchange: provider: invalid_request']])
  held = async () => ({ provider: 'corp', issuer: realm.issuer, accessToken: await realm.subjectToken({ azp: 'other' }), expiresAt: now + 300_000 })
  await assert.rejects(connector().credential(ALICE.id, UPSTREAM), (error) => error instanceof CredentialRefused && error.reason.endsWith('access_denied'))
  held = async () => ({ provider: 'corp', issuer: realm.issuer, accessToken: await realm.subjectToken(), expiresAt: now + 300_000 })
  const answers: readonly [Partial<Record<string, unknown>>, number, new (...args: never[]) => Error][] = [
    [{ issued_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }, 200, CredentialRefused],
    [{ issued_token_type: undefined }, 200, CredentialRefused],
    [{ token_type: 'DPoP' }, 200, CredentialRefused],
    [{ token_type: 'N_A' }, 200, CredentialRefused],
    [{ access_token: 'a b' }, 200, CredentialRefused],
    [{ error: 'invalid_grant' }, 400, SignInRequired],
    [{ error: 'server_error' }, 500, UpstreamUnavailable],
  ]
  for (const [change, status, kind] of answers) {
    realm.behave = (_status, body) => [status, JSON.parse(JSON.stringify(status === 200 ? { ...body, ...change } : change)) as Record<string, unknown>]
    await assert.rejects(connector().credential(ALICE.id, UPSTREAM), (error) => error instanceof kind, JSON.stringify(change))
  }
  realm.behave = (status, body) => [status, body]
  assert.notEqual(await tokenOf(connector()), '')
})

test('who has no token of the sign-in signs in again; who signed in elsewhere, or is no person, has none', async () => {
  held = () => Promise.resolve(undefined)
  await assert.rejects(connector().credential(ALICE.id, UPSTREAM), (error) => error instanceof SignInRequired && error.signIn.maxAge === 300)
  held = () => Promise.reject(new ProviderUnavailable('down'))
  await assert.rejects(connector().credential(ALICE.id, UPSTREAM), UpstreamUnavailable)
  held = async () => ({ provider: 'corp', issuer: realm.issuer, idToken: 'x', expiresAt: now + 300_000 })
  await assert.rejects(connector().credential(ALICE.id, UPSTREAM), SignInRequired)
  await assert.rejects(connector({ identityProvider: 'other' }).credential(ALICE.id, UPSTREAM), CredentialRefused)
  users.set('machine:agent', { ...ALICE, id: 'machine:agent', kind: 'machine' })
  await assert.rejects(connector().credential('machine:agent', UPSTREAM), CredentialRefused)
  users.set(ALICE.id, { ...ALICE, provider: 'removed' })
  await assert.rejects(connector().credential(ALICE.id, UPSTREAM), CredentialRefused)
  assert.equal(realm.asked.length, 0)
})
