// The connectors id-jag and token-exchange at an authorization server that binds what it issues to a key (RFC 9449): the same
// way as accounts that people connect (connections-dpop.test.ts), and a key for each token.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify, type JWTPayload } from 'jose'
import type { User } from '../../src/identity/user.ts'
import type { IdentityProvider } from '../../src/identity/providers/provider.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import { CredentialRefused, SignInRequired, type Connector, type Credential } from '../../src/upstreams/connectors/connector.ts'
import { idJagConnector } from '../../src/upstreams/connectors/id-jag/connector.ts'
import type { IdJagSettings } from '../../src/upstreams/connectors/id-jag/settings.ts'
import { tokenExchangeConnector } from '../../src/upstreams/connectors/token-exchange/connector.ts'
import type { TokenExchangeSettings } from '../../src/upstreams/connectors/token-exchange/settings.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { CLUSTER_ISSUER, eachTickets, upstream, type Cluster } from '../support/connection-nodes.ts'
import { json, type Asked, type Emulator, type Reply } from '../support/upstream-emulator.ts'

type Usable = Exclude<Credential, 'connection_required'>
type Settings = IdJagSettings | TokenExchangeSettings

const CLIENT = { clientId: 'near', clientSecret: 'secret-of-near', dpop: true }
const KINDS: readonly Settings[] = [
  { type: 'id-jag', ...CLIENT, assertions: 'lanyard' },
  { type: 'token-exchange', ...CLIENT, subjectToken: 'id_token' },
]
const user = (id: string): User => ({ id, provider: 'corp', issuer: 'https://idp.example', subject: id, groups: [], disabled: false })
const PROVIDER: IdentityProvider = { id: 'corp', name: 'Corp', authorizationUrl: () => assert.fail(), finish: () => assert.fail() }

interface Scene {
  readonly upstream: Upstream
  readonly connector: Connector
  /** Bound or not: what the authorization server issues. */
  tokenType: string
  ask(userId?: string): Promise<Usable>
  /** The proofs of requests for a token, with the forms that they came with; undefined where there was none. */
  proofs(): Promise<readonly ({ readonly jkt: string; readonly claims: JWTPayload } | undefined)[]>
}

function scene(cluster: Cluster, tickets: Emulator, settings: Settings): Scene {
  const [node] = cluster.nodes
  const now = (): number => cluster.now
  const at = upstream('tickets', tickets.mcp, settings)
  const deps = {
    issuer: CLUSTER_ISSUER,
    outbound: cluster.outbound,
    sealer: cluster.sealer,
    store: node.store,
    users: { find: async (id: string) => user(id) },
    providers: new Map([['corp', PROVIDER]]),
    providerTokens: { current: async (id: string) => ({ provider: 'corp', issuer: 'https://idp.example', idToken: `id-token-of-${id}`, expiresAt: now() + 3600_000 }) },
    ownAssertion: ({ user: { id } }: { readonly user: User }) => ({ assertion: `assertion-about.${id}.signed` }),
    audit: auditLog(cluster.db, () => undefined, now),
    feed: node.feed,
    now,
  }
  const connector = settings.type === 'id-jag' ? idJagConnector(settings, deps) : tokenExchangeConnector(settings, deps)
  let count = 0
  const made: Scene = {
    upstream: at,
    connector,
    tokenType: 'DPoP',
    async ask(userId = 'usr_alice') {
      const credential = await connector.credential(userId, at)
      assert.ok(credential !== 'connection_required')
      return credential
    },
    proofs: () => Promise.all(tickets.at('/token').map(async ({ headers }) => {
      if (headers['dpop'] === undefined) return undefined
      const { payload, protectedHeader } = await jwtVerify(String(headers['dpop']), EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] })
      return { claims: payload, jkt: await calculateJwkThumbprint(protectedHeader.jwk ?? {}) }
    })),
  }
  tickets.metadata = { dpop_signing_alg_values_supported: ['ES256'] }
  tickets.on.set('/token', async (asked): Promise<Reply> => {
    const proof = (await made.proofs())[tickets.at('/token').indexOf(asked)]
    // RFC 9449 §8: nothing without a nonce that it gave.
    if (proof !== undefined && proof.claims['nonce'] !== 'n1') return { ...json({ error: 'use_dpop_nonce' }, 400), headers: { 'content-type': 'application/json', 'dpop-nonce': 'n1' } }
    return json({ access_token: `issued-${(count += 1)}`, token_type: made.tokenType, issued_token_type: 'urn:ietf:params:oauth:token-type:access_token', expires_in: 600, scope: 'a' })
  })
  return made
}

for (const kind of KINDS) {
  const each = (name: string, run: (cluster: Cluster, tickets: Emulator, at: Scene) => Promise<void>): void => eachTickets(`${kind.type}: ${name}`, (cluster, tickets) => run(cluster, tickets, scene(cluster, tickets, kind)))

  each('the request proves a key, anew with the nonce that the server wants, and each call proves the same one (RFC 9449 §5, §7.1, §8)', async (cluster, tickets, at) => {
    const [one, ...others] = await Promise.all(Array.from({ length: 5 }, () => at.ask()))
    assert.ok(one !== undefined && others.every((other) => other === one), 'of calls at once one asks, and all have the key that goes with the token')
    assert.equal(one.headers['authorization'], 'DPoP issued-1')
    const [first, second, ...more] = await at.proofs()
    assert.ok(first !== undefined && second !== undefined && more.length === 0)
    assert.deepEqual([first.claims['nonce'], second.claims['nonce'], first.jkt === second.jkt], [undefined, 'n1', true])
    assert.deepEqual([second.claims['htm'], second.claims['htu'], second.claims['ath']], ['POST', `${tickets.issuer}/token`, undefined])
    assert.notEqual(first.claims['jti'], second.claims['jti'])
    const forms: readonly Asked[] = tickets.at('/token')
    assert.deepEqual(Object.fromEntries(forms[0]?.form ?? []), Object.fromEntries(forms[1]?.form ?? []))
    const call = async (): Promise<JWTPayload> => {
      const { payload, protectedHeader } = await jwtVerify(one.possession?.prove('POST', `${tickets.mcp}?a=b`, cluster.now) ?? '', EmbeddedJWK, { typ: 'dpop+jwt', currentDate: new Date(cluster.now) })
      assert.equal(await calculateJwkThumbprint(protectedHeader.jwk ?? {}), second.jkt)
      assert.deepEqual([payload['htm'], payload['htu'], payload['ath']], ['POST', tickets.mcp, createHash('sha256').update('issued-1').digest('base64url')])
      return payload
    }
    const before = await call()
    // RFC 9449 §9: the upstream has nonces of its own.
    assert.equal(one.possession?.learn(401, { 'dpop-nonce': 'r1', 'www-authenticate': 'DPoP error="use_dpop_nonce"' }), true)
    assert.deepEqual([(await call())['nonce'], before['nonce']], ['r1', undefined])
    assert.deepEqual((await cluster.events('connection.refreshed')).map(({ detail }) => detail?.['bound']), [true])
    const everything = await cluster.dump()
    for (const secret of ['issued-1', '"d":', 'proofKey']) assert.equal(everything.includes(secret), false, secret)
  })

  each('each person’s token has a key of its own, and each token of theirs', async (cluster, _tickets, at) => {
    await at.ask()
    await at.ask('usr_bob')
    cluster.now += 590_000
    const renewed = await at.ask()
    assert.equal(renewed.headers['authorization'], 'DPoP issued-3')
    await at.connector.refused('usr_alice', at.upstream, renewed.version)
    const again = await at.ask()
    assert.deepEqual([again.headers['authorization'], again.version === renewed.version], ['DPoP issued-4', false])
    await cluster.db.transaction((tx) => recordChange(tx, { kind: 'subject', key: 'usr_alice', at: cluster.now }, (change) => cluster.nodes[0].feed.deliver(change)))
    await at.ask()
    const keys = (await at.proofs()).filter((proof) => proof?.claims['nonce'] === 'n1').map((proof) => proof?.jkt)
    assert.deepEqual([keys.length, new Set(keys).size], [5, 5])
  })

  each('a server that binds nothing, whatever was proven, is believed; one that binds what nobody proved is not (RFC 9449 §5)', async (cluster, tickets, at) => {
    at.tokenType = 'Bearer'
    const plain = await at.ask()
    assert.deepEqual([plain.headers['authorization'], plain.possession], ['Bearer issued-1', undefined])
    const unproven = scene(cluster, tickets, { ...kind, dpop: false })
    await assert.rejects(unproven.ask(), (error) => error instanceof CredentialRefused && /dpop/.test(error.reason))
    unproven.tokenType = 'Bearer'
    cluster.now += 10_000
    assert.equal((await unproven.ask()).headers['authorization'], 'Bearer issued-2')
    assert.deepEqual((await unproven.proofs()).slice(2), [undefined, undefined], 'and no key was shown')
    assert.deepEqual((await cluster.events('connection.refreshed')).map(({ detail }) => detail?.['bound']), [undefined, undefined], 'and what is not bound is not said to be')
  })

  each('a server that does not say that it knows proofs is shown none', async (_cluster, tickets, at) => {
    tickets.metadata = { dpop_signing_alg_values_supported: ['RS256'] }
    at.tokenType = 'Bearer'
    assert.equal((await at.ask()).headers['authorization'], 'Bearer issued-1')
    assert.deepEqual(await at.proofs(), [undefined])
  })

  each('the sign-in that the server finds too weak is asked for as it says (RFC 9470 §3), and what it refuses is recorded once', async (cluster, tickets, at) => {
    const good = tickets.on.get('/token')
    tickets.on.set('/token', () => json({ error: 'insufficient_user_authentication', error_description: 'not for the trail', acr_values: 'phr phrh', max_age: 60 }, 400))
    await assert.rejects(at.ask(), (error) => error instanceof SignInRequired && assert.deepEqual(error.signIn, { acrValues: ['phr', 'phrh'], maxAge: 60 }) === undefined)
    tickets.on.set('/token', () => json({ error: 'invalid_dpop_proof' }, 400))
    await assert.rejects(at.ask(), CredentialRefused)
    const events = await cluster.events('connection.failed')
    assert.deepEqual(events.map(({ subject, upstream: on, reason }) => [subject, on, /server: (\w+)$/.exec(reason ?? '')?.[1]]), [['usr_alice', 'tickets', 'insufficient_user_authentication'], ['usr_alice', 'tickets', 'invalid_dpop_proof']])
    assert.ok(!JSON.stringify(events).includes('not for the trail'))
    assert.ok(good)
    tickets.on.set('/token', good)
    cluster.now += 10_000
    assert.match((await at.ask()).headers['authorization'] ?? '', /^DPoP issued-/)
    assert.equal((await cluster.events('connection.refreshed')).length, 1)
  })
}
