// The connector id-jag at an upstream whose authorization server takes the word of who signed the person in: what is asked
// of whom, what is kept, and what every refusal means for the person. Identity provider and upstream answer what the test says.
import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { HeldTokens, ProviderTokens } from '../../src/identity/provider-tokens.ts'
import { oidcProvider } from '../../src/identity/providers/oidc.ts'
import type { User } from '../../src/identity/user.ts'
import { hash } from '../../src/oauth/secret.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector } from '../../src/upstreams/connectors/connector.ts'
import { idJagConnector } from '../../src/upstreams/connectors/id-jag/connector.ts'
import type { IdJagSettings } from '../../src/upstreams/connectors/id-jag/settings.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import { CLUSTER_ISSUER, eachConnectionCluster, upstream, type Cluster } from '../support/connection-nodes.ts'

const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag'
const ALICE: User = { id: 'usr_alice', provider: 'corp', issuer: 'https://idp.example', subject: 'alice', email: 'alice@acme.example', groups: [], disabled: false }
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const ASSERTION = `${part({ alg: 'ES256', typ: 'oauth-id-jag+jwt' })}.${part({ aud: 'https://as.example' })}.signature`
const ID_TOKEN = `${part({ alg: 'ES256' })}.${part({ aud: 'lanyard' })}.signature`

/** What was refused is not asked for again before this has passed. */
const REFUSED_MS = 10_000

/** Nobody registered Lanyard at the authorization server. */
const UNREGISTERED: Partial<IdJagSettings> = {}

type Answer = readonly [status: number, body: unknown]

interface Seen {
  readonly path: string
  readonly form: URLSearchParams
  readonly authorization: string | undefined
}

interface Scene {
  readonly url: string
  readonly seen: Seen[]
  readonly users: Map<string, User>
  /** What the identity provider answers to an exchange, and the authorization server to an assertion. */
  provider: () => Answer
  server: () => Answer
  /** Whether the authorization server knows metadata documents. */
  documents: boolean
  held: HeldTokens | undefined
  /** The upstream with the settings that a connector was made with last. */
  upstream: Upstream
  make(settings?: Partial<IdJagSettings>): Connector
  /** Requests at the token endpoint of either. */
  asked(path: '/idp/token' | '/token'): number
}

async function within(cluster: Cluster, run: (scene: Scene) => Promise<void>): Promise<void> {
  const http = createServer((request, response) => void respond(scene, request, response))
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`
  const now = (): number => cluster.now
  const [node] = cluster.nodes
  const provider = oidcProvider({ id: 'corp', name: 'Corp', issuer: `${url}/idp`, clientId: 'lanyard', clientSecret: 'idp-secret', scopes: ['openid'], groupsClaim: 'groups', offlineAccess: 'off' }, { outbound: cluster.outbound, now })
  const tokens: ProviderTokens = { current: async () => scene.held, redeem: async () => undefined }
  let count = 0
  const scene: Scene = {
    url,
    seen: [],
    users: new Map([[ALICE.id, ALICE]]),
    provider: () => [200, { access_token: ASSERTION, issued_token_type: ID_JAG, token_type: 'N_A', expires_in: 300 }],
    server: () => [200, { access_token: `at-${(count += 1)}`, token_type: 'Bearer', expires_in: 900, scope: 'chat.read' }],
    documents: false,
    held: { provider: 'corp', issuer: `${url}/idp`, idToken: ID_TOKEN, expiresAt: cluster.now + 3600_000 },
    upstream: upstream('chat', url),
    make(more = {}) {
      const registered = more === UNREGISTERED ? {} : { clientId: 'lanyard-there', clientSecret: 'secret-there' }
      const settings: IdJagSettings = { type: 'id-jag', ...registered, scopes: ['chat.read'], assertions: 'identity-provider', ...more }
      scene.upstream = upstream('chat', `${url}/mcp`, settings)
      return idJagConnector(settings, {
        issuer: CLUSTER_ISSUER,
        outbound: cluster.outbound,
        sealer: cluster.sealer,
        store: node.store,
        users: { find: async (id) => scene.users.get(id) },
        providers: new Map([['corp', provider]]),
        providerTokens: tokens,
        ownAssertion: (request) => ({ assertion: `${part({ alg: 'ES256' })}.${part({ ...request, user: request.user.id })}.signature` }),
        audit: auditLog(cluster.db, () => undefined, now),
        feed: node.feed,
        now,
      })
    },
    asked: (path) => scene.seen.filter((each) => each.path === path).length,
  }
  try {
    await run(scene)
  } finally {
    http.close()
    http.closeAllConnections()
  }
}

async function respond(scene: Scene, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const path = request.url ?? ''
  scene.seen.push({ path, form: new URLSearchParams(Buffer.concat(chunks).toString()), authorization: request.headers.authorization })
  const { url } = scene
  const documents: Readonly<Record<string, () => Answer>> = {
    '/.well-known/oauth-protected-resource/mcp': () => [200, { resource: `${url}/mcp`, authorization_servers: [url], scopes_supported: ['chat.read', 'chat.write'] }],
    // Of a server that a browser never goes to.
    '/.well-known/oauth-authorization-server': () => [200, { issuer: url, token_endpoint: `${url}/token`, token_endpoint_auth_methods_supported: ['client_secret_basic'], grant_types_supported: ['urn:ietf:params:oauth:grant-type:jwt-bearer'], client_id_metadata_document_supported: scene.documents }],
    '/idp/.well-known/openid-configuration': () => [200, { issuer: `${url}/idp`, authorization_endpoint: `${url}/idp/authorize`, token_endpoint: `${url}/idp/token`, jwks_uri: `${url}/idp/jwks` }],
    '/idp/token': scene.provider,
    '/token': scene.server,
    '/mcp': () => [401, {}],
  }
  const [status, body] = documents[path]?.() ?? [404, {}]
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function each(name: string, run: (cluster: Cluster, scene: Scene) => Promise<void>): void {
  eachConnectionCluster(name, (cluster) => within(cluster, (scene) => run(cluster, scene)))
}

async function bearer(connector: Connector, { upstream: at }: Scene, userId = ALICE.id): Promise<string> {
  const credential = await connector.credential(userId, at)
  assert.ok(credential !== 'connection_required')
  return credential.headers['authorization'] ?? ''
}

each('the identity provider makes the assertion, the authorization server takes it, and both are asked as they want to be (EMA §4, §5, RFC 8693 §2.1, RFC 7523 §2.1)', async (cluster, scene) => {
  const connector = scene.make()
  assert.equal(await bearer(connector, scene), 'Bearer at-1')
  const exchange = scene.seen.find(({ path }) => path === '/idp/token')
  assert.deepEqual(Object.fromEntries(exchange?.form ?? []), {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    requested_token_type: ID_JAG,
    subject_token: ID_TOKEN,
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    audience: scene.url,
    resource: `${scene.url}/mcp`,
    scope: 'chat.read',
  })
  assert.equal(exchange?.authorization, `Basic ${Buffer.from('lanyard:idp-secret').toString('base64')}`)
  const grant = scene.seen.find(({ path }) => path === '/token')
  assert.deepEqual(Object.fromEntries(grant?.form ?? []), { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion: ASSERTION, resource: `${scene.url}/mcp`, scope: 'chat.read' })
  assert.equal(grant?.authorization, `Basic ${Buffer.from('lanyard-there:secret-there').toString('base64')}`)
  const [event] = await cluster.events('connection.refreshed')
  assert.deepEqual([event?.subject, event?.upstream, event?.detail?.['connector'], event?.detail?.['issuer']], [ALICE.id, 'chat', 'id-jag', scene.url])
  const everything = await cluster.dump()
  for (const secret of [ASSERTION, ID_TOKEN, 'at-1', 'secret-there']) assert.equal(everything.includes(secret), false, 'nothing of it is kept')
})

each('a token is used until shortly before it ends, by all calls at once, and by nobody else', async (cluster, scene) => {
  const connector = scene.make()
  const answers = await Promise.all(Array.from({ length: 10 }, () => bearer(connector, scene)))
  assert.deepEqual([new Set(answers).size, scene.asked('/token'), scene.asked('/idp/token')], [1, 1, 1])
  cluster.now += 860_000
  assert.equal(await bearer(connector, scene), 'Bearer at-1')
  cluster.now += 20_000
  assert.equal(await bearer(connector, scene), 'Bearer at-2')
  scene.users.set('usr_bob', { ...ALICE, id: 'usr_bob', subject: 'bob' })
  assert.equal(await bearer(connector, scene, 'usr_bob'), 'Bearer at-3')
  // Whoever ends all that a person had ends this too.
  await cluster.db.transaction((tx) => recordChange(tx, { kind: 'subject', key: ALICE.id, at: cluster.now }, (change) => cluster.nodes[0].feed.deliver(change)))
  assert.equal(await bearer(connector, scene), 'Bearer at-4')
  assert.equal(await bearer(connector, scene, 'usr_bob'), 'Bearer at-3')
})

each('a token that the upstream refused is replaced once, however often it refuses', async (cluster, scene) => {
  const connector = scene.make()
  const first = await bearer(connector, scene)
  await connector.refused(ALICE.id, scene.upstream, hash('another'))
  assert.equal(await bearer(connector, scene), first, 'another version was refused')
  await connector.refused(ALICE.id, scene.upstream, hash('at-1'))
  assert.equal(await bearer(connector, scene), 'Bearer at-2')
  await connector.refused(ALICE.id, scene.upstream, hash('at-2'))
  assert.equal(await bearer(connector, scene), 'Bearer at-2')
  cluster.now += 31_000
  await connector.refused(ALICE.id, scene.upstream, hash('at-2'))
  assert.equal(await bearer(connector, scene), 'Bearer at-3')
})

each('Lanyard vouches itself where an administrator said so, and asks no identity provider', async (_cluster, scene) => {
  const connector = scene.make({ assertions: 'lanyard', tenant: 'acme' })
  assert.equal(await bearer(connector, scene), 'Bearer at-1')
  assert.equal(scene.asked('/idp/token'), 0)
  const assertion = scene.seen.find(({ path }) => path === '/token')?.form.get('assertion') ?? ''
  assert.deepEqual(JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString()), { user: ALICE.id, audience: scene.url, resource: `${scene.url}/mcp`, scope: ['chat.read'], clientId: 'lanyard-there', tenant: 'acme' })
})

each('a stronger or newer sign-in that either of them wants is what the person is asked for (RFC 9470 §3, ID-JAG §7.2)', async (cluster, scene) => {
  const connector = scene.make()
  const cases: readonly (readonly [Answer, object])[] = [
    [[400, { error: 'insufficient_user_authentication', acr_values: 'phr phrh', max_age: 60 }], { acrValues: ['phr', 'phrh'], maxAge: 60 }],
    [[400, { error: 'insufficient_user_authentication' }], { maxAge: 300 }],
    [[400, { error: 'insufficient_user_authentication', acr_values: 7, max_age: 'soon' }], { maxAge: 300 }],
  ]
  const good = [scene.provider, scene.server] as const
  for (const [answer, signIn] of cases) {
    scene.provider = () => answer
    await assert.rejects(bearer(connector, scene), (error: unknown) => error instanceof SignInRequired && assert.deepEqual(error.signIn, signIn) === undefined)
    scene.provider = good[0]
    scene.server = () => answer
    await assert.rejects(bearer(connector, scene), (error: unknown) => error instanceof SignInRequired && assert.deepEqual(error.signIn, signIn) === undefined)
    scene.server = good[1]
  }
  for (const code of ['login_required', 'invalid_grant', 'interaction_required']) {
    scene.provider = () => [400, { error: code }]
    await assert.rejects(bearer(connector, scene), SignInRequired, code)
  }
  scene.provider = good[0]
  scene.held = undefined
  await assert.rejects(bearer(connector, scene), SignInRequired, 'no ID token any more')
  assert.ok((await cluster.events('connection.failed')).every(({ subject, reason }) => subject === ALICE.id && reason !== undefined))
  scene.held = { provider: 'corp', issuer: '', idToken: ID_TOKEN, expiresAt: cluster.now + 1 }
  assert.match(await bearer(connector, scene), /^Bearer at-/)
})

each('what no sign-in helps with is told as such, and what is only down as that', async (cluster, scene) => {
  const connector = scene.make()
  const good = [scene.provider, scene.server] as const
  const refused = (message: RegExp, reason: RegExp) => (error: unknown): boolean => error instanceof CredentialRefused && message.test(error.message) && reason.test(error.reason)
  scene.provider = () => [400, { error: 'interaction_required', interaction_uri: 'https://idp.example/link?x=1' }]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), refused(/it says more at https:\/\/idp\.example\/link\?x=1/, /interaction_required/))
  scene.provider = () => [400, { error: 'interaction_required', interaction_uri: 'javascript:alert(1)' }]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), (error: unknown) => error instanceof SignInRequired)
  scene.provider = () => [400, { error: 'invalid_target', error_description: 'secret text' }]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), refused(/does not let you/, /^id-jag: provider: invalid_target$/))
  // An access token of the provider's own must never reach the upstream's side.
  for (const body of [{ access_token: 'own', token_type: 'Bearer', issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' }, { access_token: ASSERTION, token_type: 'Bearer' }, { access_token: 'opaque', token_type: 'N_A', issued_token_type: ID_JAG }]) {
    const before = scene.asked('/token')
    scene.provider = () => [200, body]
    cluster.now += REFUSED_MS
    await assert.rejects(bearer(connector, scene), CredentialRefused)
    assert.equal(scene.asked('/token'), before, JSON.stringify(body))
  }
  scene.provider = () => [503, {}]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), UpstreamUnavailable)
  scene.provider = good[0]
  scene.server = () => [503, {}]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), UpstreamUnavailable)
  scene.server = () => [400, { error: 'invalid_grant' }]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), refused(/does not take the word/, /invalid_grant/))
  scene.server = () => [401, { error: 'invalid_client' }]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), refused(/does not take the word/, /invalid_client/))
  scene.server = () => [200, { access_token: 'at', token_type: 'mac' }]
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene), CredentialRefused)
  scene.server = good[1]
  cluster.now += REFUSED_MS
  assert.match(await bearer(connector, scene), /^Bearer at-/)
  assert.equal(JSON.stringify(await cluster.events()).includes('secret text'), false)
})

each('it acts for people who signed in, and for nobody else', async (cluster, scene) => {
  const connector = scene.make()
  for (const user of [{ ...ALICE, disabled: true }, { ...ALICE, kind: 'machine' as const }, { ...ALICE, provider: 'elsewhere' }]) {
    scene.users.set(ALICE.id, user)
    cluster.now += REFUSED_MS
    await assert.rejects(bearer(connector, scene), CredentialRefused)
  }
  cluster.now += REFUSED_MS
  await assert.rejects(bearer(connector, scene, 'usr_nobody'), CredentialRefused)
  assert.equal(scene.asked('/token'), 0)
  scene.users.set(ALICE.id, ALICE)
  cluster.now += REFUSED_MS
  assert.equal(await bearer(connector, scene), 'Bearer at-1')
})

each('secret and assertion go to the authorization server that is configured, or to the first one, and no other (C-10)', async (_cluster, scene) => {
  await assert.rejects(bearer(scene.make({ issuer: 'https://as.example' }), scene), CredentialRefused)
  assert.deepEqual([scene.asked('/token'), scene.asked('/idp/token')], [0, 0])
  assert.equal(await bearer(scene.make({ issuer: scene.url }), scene), 'Bearer at-1')
  assert.equal(await bearer(scene.make(), scene), 'Bearer at-2', 'it is the first from now on')
})

each('where nobody registered Lanyard, it is known by the document that it hosts, to servers that know such (EMA §5, CIMD)', async (cluster, scene) => {
  const connector = scene.make(UNREGISTERED)
  await assert.rejects(bearer(connector, scene), CredentialRefused)
  assert.equal(scene.asked('/idp/token'), 0)
  scene.documents = true
  const again = scene.make(UNREGISTERED)
  assert.equal(await bearer(again, scene), 'Bearer at-1')
  const grant = scene.seen.find(({ path }) => path === '/token')
  assert.deepEqual([grant?.form.get('client_id'), grant?.authorization], [`${CLUSTER_ISSUER}/connections/chat/client.json`, undefined])
  cluster.upstreams = [scene.upstream]
  const document = await cluster.nodes[0].get('/connections/chat/client.json')
  assert.deepEqual([document.status, (JSON.parse(document.text) as Record<string, unknown>)['grant_types']], [200, ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:jwt-bearer']])
  assert.equal((await cluster.nodes[0].get('/connections/chat')).status, 404, 'there is nothing to connect')
})

each('a refusal stands for ten seconds, however often somebody calls, or until the person signed in again; it is recorded once', async (cluster, scene) => {
  const connector = scene.make()
  const good = scene.provider
  scene.provider = () => [400, { error: 'invalid_target' }]
  await Promise.all(Array.from({ length: 5 }, () => assert.rejects(bearer(connector, scene), CredentialRefused)))
  for (let call = 0; call < 5; call += 1) await assert.rejects(bearer(connector, scene), CredentialRefused)
  assert.deepEqual([scene.asked('/idp/token'), (await cluster.events('connection.failed')).length], [1, 1])
  scene.users.set('usr_bob', { ...ALICE, id: 'usr_bob', subject: 'bob' })
  await assert.rejects(bearer(connector, scene, 'usr_bob'), CredentialRefused)
  assert.equal(scene.asked('/idp/token'), 2, 'and stands for nobody else')
  scene.provider = good
  await assert.rejects(bearer(connector, scene), CredentialRefused)
  await cluster.db.transaction((tx) => recordChange(tx, { kind: 'user', key: ALICE.id, at: cluster.now }, (change) => cluster.nodes[0].feed.deliver(change)))
  assert.equal(await bearer(connector, scene), 'Bearer at-1')
  await assert.rejects(bearer(connector, scene, 'usr_bob'), CredentialRefused)
  cluster.now += REFUSED_MS
  assert.equal(await bearer(connector, scene, 'usr_bob'), 'Bearer at-2')
})

each('an upstream that wants another sign-in gets a token of the newest one first; then the person is asked, as it says, and until they signed in (RFC 9470 §3)', async (cluster, scene) => {
  const connector = scene.make()
  const refusedWith = async (challenge: string): Promise<unknown> => {
    const credential = await connector.credential(ALICE.id, scene.upstream)
    if (credential === 'connection_required') return assert.fail()
    return connector.refused(ALICE.id, scene.upstream, credential.version, challenge).then(() => undefined, (error: unknown) => error)
  }
  const cases: readonly (readonly [string, object])[] = [
    ['Bearer error="insufficient_user_authentication", acr_values="phr phrh", max_age="60"', { acrValues: ['phr', 'phrh'], maxAge: 60 }],
    ['DPoP error="insufficient_user_authentication", max_age=0', { maxAge: 0 }],
    ['Bearer error="insufficient_user_authentication"', { maxAge: 300 }],
    [`Bearer error="insufficient_user_authentication", acr_values="${'x'.repeat(600)}", max_age="soon"`, { maxAge: 300 }],
  ]
  for (const [challenge, signIn] of cases) {
    assert.equal(await refusedWith(challenge), undefined)
    const error = await refusedWith(challenge)
    assert.ok(error instanceof SignInRequired, challenge)
    assert.deepEqual(error.signIn, signIn)
    // Other calls go on with the token that there is.
    assert.match(await bearer(connector, scene), /^Bearer at-/)
    const before = scene.asked('/token')
    assert.ok((await refusedWith(challenge)) instanceof SignInRequired)
    assert.equal(scene.asked('/token'), before)
    await cluster.db.transaction((tx) => recordChange(tx, { kind: 'user', key: ALICE.id, at: cluster.now }, (change) => cluster.nodes[0].feed.deliver(change)))
    assert.equal(await refusedWith(challenge), undefined)
    assert.match(await bearer(connector, scene), /^Bearer at-/)
    assert.equal(scene.asked('/token'), before + 1, 'a token of the sign-in that came')
    cluster.now += 31_000
  }
  // Of calls at once each brings the refusal of the same token: the next one is tried before anybody is asked for anything.
  const [challenge] = cases[0] ?? assert.fail()
  const credential = await connector.credential(ALICE.id, scene.upstream)
  assert.ok(credential !== 'connection_required')
  const made = scene.asked('/token')
  await Promise.all(Array.from({ length: 3 }, () => connector.refused(ALICE.id, scene.upstream, credential.version, challenge)))
  await Promise.all(Array.from({ length: 3 }, () => bearer(connector, scene)))
  assert.equal(scene.asked('/token'), made + 1)
  cluster.now += 31_000
  // Any other refusal is of the token, and asks nobody for anything.
  for (const challenge of ['Bearer error="invalid_token"', 'Bearer realm="error=insufficient_user_authentication"', '']) {
    for (let call = 0; call < 3; call += 1) assert.equal(await refusedWith(challenge), undefined)
    cluster.now += 31_000
  }
  assert.equal((await cluster.events('connection.failed')).filter(({ subject, reason }) => subject === ALICE.id && reason === 'id-jag: upstream: insufficient_user_authentication').length, 2 * cases.length)
})

each('what a server says is kept and recorded while it is what it should be: no scope without an end (RFC 6749 §3.3), no token that fits no header (RFC 6750 §2.1)', async (cluster, scene) => {
  const connector = scene.make()
  const scopes = async (): Promise<readonly unknown[]> => (await cluster.events('connection.refreshed')).map(({ detail }) => detail?.['scope'])
  const renew = async (answer: object): Promise<string> => {
    cluster.now += 900_000
    scene.held = { provider: 'corp', issuer: '', idToken: ID_TOKEN, expiresAt: cluster.now + 3600_000 }
    scene.server = () => [200, { access_token: 'at', token_type: 'Bearer', expires_in: 900, ...answer }]
    return bearer(connector, scene)
  }
  for (const scope of ['x'.repeat(100_000), 'chat.read\n"forged"', 'chat.read chat.write']) assert.equal(await renew({ scope }), 'Bearer at')
  assert.deepEqual(await scopes(), [undefined, undefined, 'chat.read chat.write'])
  assert.equal((await renew({ access_token: 'x'.repeat(12_000) })).length, 'Bearer '.length + 12_000)
  for (const token of ['x'.repeat(20_000), 'a b', 'a\nb']) await assert.rejects(renew({ access_token: token }), (error) => error instanceof CredentialRefused && /fits no header/.test(error.reason))
})
