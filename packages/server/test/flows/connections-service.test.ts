// The gateway's own account at an upstream: one token for everybody on all nodes, had by a secret, a key or what the
// gateway's platform says of it; and never a person's.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalJWKSet, exportJWK, jwtVerify } from 'jose'
import type { ClientCredentialsSettings } from '../../src/upstreams/connectors/client-credentials/settings.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { eachTickets, upstream, type Cluster, type Node } from '../support/connection-nodes.ts'
import { json, type Asked, type Emulator } from '../support/upstream-emulator.ts'

const SECRET = 'the secret: with ü, +, % and "'
const SETTINGS: ClientCredentialsSettings = { type: 'client-credentials', clientId: 'lanyard', tokenEndpointAuthMethod: 'client_secret_basic', clientSecret: SECRET, grantType: 'client_credentials' }

interface Scene {
  readonly cluster: Cluster
  readonly tickets: Emulator
  readonly own: Upstream
  /** The access token of a call, or why there is none. */
  token(node?: Node, userId?: string, of?: Upstream): Promise<string>
  asks(): Asked[]
  newest(): string
}

function each(name: string, run: (scene: Scene) => Promise<void>, settings: Partial<ClientCredentialsSettings> | ((tickets: Emulator) => Partial<ClientCredentialsSettings>) = {}): void {
  eachTickets(name, async (cluster, tickets) => {
    const own = upstream('tickets', tickets.mcp, { ...SETTINGS, ...(typeof settings === 'function' ? settings(tickets) : settings) })
    cluster.upstreams = [own]
    tickets.metadata = { token_endpoint_auth_methods_supported: ['client_secret_basic'], grant_types_supported: ['client_credentials'] }
    let count = 0
    tickets.on.set('/token', () => {
      count += 1
      tickets.secrets.push(`service-${count}`)
      return json({ access_token: `service-${count}`, token_type: 'Bearer', expires_in: tickets.lifetime })
    })
    await run({
      cluster,
      tickets,
      own,
      async token(node = cluster.nodes[0], userId = 'usr_alice', of = own) {
        const credential = await node.connector(of).credential(userId, of)
        return credential === 'connection_required' ? credential : (credential.headers['authorization'] ?? '').replace('Bearer ', '')
      },
      asks: () => tickets.at('/token'),
      newest: () => tickets.secrets.at(-1) ?? '',
    })
  })
}

each('one token is for everybody, on every node, and is sealed (RFC 6749 §4.4, C-7, C-8)', async ({ cluster, tickets, token, asks, own }) => {
  assert.equal(cluster.nodes[0].connector(own).perUser, false)
  assert.equal(await token(), 'service-1')
  assert.equal(await token(cluster.nodes[0], 'usr_bob'), 'service-1')
  assert.equal(await token(cluster.nodes[1], 'machine:report'), 'service-1')
  assert.equal(asks().length, 1)
  const [asked] = asks()
  assert.deepEqual(Object.fromEntries(asked?.form ?? []), { grant_type: 'client_credentials', resource: tickets.mcp })
  const [id, secret] = Buffer.from((asked?.headers.authorization ?? '').replace('Basic ', ''), 'base64').toString().split(':')
  assert.deepEqual([decodeURIComponent(id ?? ''), decodeURIComponent((secret ?? '').replaceAll('+', ' '))], ['lanyard', SECRET])
  const dump = await cluster.dump()
  for (const value of ['service-1', SECRET]) assert.equal(dump.includes(value), false)
  const [event] = await cluster.events('connection.created')
  assert.deepEqual([event?.outcome, event?.upstream, event?.detail?.['service'], event?.detail?.['client']], ['success', 'tickets', true, 'lanyard'])
})

each('it is had anew a minute before it ends, once for all callers of all nodes', async ({ cluster, token, asks }) => {
  await token()
  await token(cluster.nodes[1])
  cluster.now += 541_000
  const tokens = await Promise.all(Array.from({ length: 40 }, (_, index) => token(cluster.nodes[index % 2 === 0 ? 0 : 1])))
  // Until the new one is there, the old one is good.
  for (const each of tokens) assert.match(each, /^service-[12]$/)
  assert.deepEqual([await token(), await token(cluster.nodes[1])], ['service-2', 'service-2'])
  assert.equal(asks().length, 2)
  cluster.now += 601_000
  const late = await Promise.all(Array.from({ length: 40 }, (_, index) => token(cluster.nodes[index % 2 === 0 ? 0 : 1])))
  assert.deepEqual(new Set(late), new Set(['service-3']))
  assert.equal(asks().length, 3)
  assert.equal((await cluster.events('connection.refreshed')).length, 3)
})

each('one that the upstream refused is replaced, once for all who were refused', async ({ cluster, own, token, asks }) => {
  const credentials = await Promise.all(cluster.nodes.map((node) => node.connector(own).credential('usr_alice', own)))
  await Promise.all(cluster.nodes.flatMap((node, index) => [1, 2, 3].map((user) => {
    const credential = credentials[index]
    assert.ok(credential !== undefined && credential !== 'connection_required')
    return node.connector(own).refused(`usr_${user}`, own, credential.version)
  })))
  assert.deepEqual([await token(), await token(cluster.nodes[1])], ['service-2', 'service-2'])
  assert.equal(asks().length, 2)
})

each('nodes that begin at once get one token, and one whose key is gone is replaced', async ({ cluster, token, asks, own }) => {
  const first = await Promise.all(Array.from({ length: 20 }, (_, index) => token(cluster.nodes[index % 2 === 0 ? 0 : 1])))
  assert.deepEqual([new Set(first), asks().length, (await cluster.events('connection.created')).length], [new Set(['service-1']), 1, 1])
  await cluster.db.query("UPDATE connections SET credential = 'v1.gone.AAAA.AAAA'")
  const credential = await cluster.nodes[0].connector(own).credential('usr_alice', own)
  assert.ok(credential !== 'connection_required')
  await cluster.nodes[0].connector(own).refused('usr_alice', own, credential.version).catch(() => undefined)
  assert.equal(await token(), 'service-2')
})

each('with other settings it is another account: what the one before was given is not used', async ({ cluster, own, token, asks }) => {
  assert.equal(await token(), 'service-1')
  const other = { ...own, id: 'tickets', connector: { ...SETTINGS, clientId: 'another', issuer: new URL(own.url).origin } } satisfies Upstream
  // As after a restart: a node knows an upstream by its settings.
  const [, second] = cluster.nodes
  assert.equal(await token(second, 'usr_alice', other), 'service-2')
  assert.equal(asks().length, 2)
})

each('a refusal says that the gateway\'s settings are wrong, is asked once for a while, and mends itself (RFC 6749 §5.2)', async ({ cluster, tickets, token, asks }) => {
  const behaves = tickets.on.get('/token')
  tickets.on.set('/token', () => json({ error: 'invalid_client', error_description: SECRET }, 401))
  const failures = await Promise.allSettled(Array.from({ length: 5 }, () => token()))
  for (const failure of failures) assert.equal(failure.status === 'rejected' && (failure.reason as Error).name, 'CredentialRefused')
  await assert.rejects(token(), /administrator/)
  assert.equal(asks().length, 1)
  const [event] = await cluster.events('connection.failed')
  assert.deepEqual([event?.reason, event?.upstream], ['server: invalid_client', 'tickets'])
  assert.equal(JSON.stringify(await cluster.events()).includes('the secret'), false)
  if (behaves !== undefined) tickets.on.set('/token', behaves)
  cluster.now += 10_001
  assert.equal(await token(), 'service-1')
})

each('a server that does not answer is no refusal: what is still good is used, and then nothing', async ({ cluster, tickets, token }) => {
  assert.equal(await token(), 'service-1')
  const behaves = tickets.on.get('/token')
  tickets.on.set('/token', () => ({ status: 503 }))
  cluster.now += 541_000
  assert.equal(await token(), 'service-1')
  cluster.now += 60_000
  await assert.rejects(token(), { name: 'UpstreamUnavailable' })
  if (behaves !== undefined) tickets.on.set('/token', behaves)
  assert.equal(await token(), 'service-2')
})

each('the secret goes to the first server that was found, and to no other that the upstream names later (C-9, C-10)', async ({ cluster, tickets, token, asks, own }) => {
  assert.equal(await token(), 'service-1')
  const evil = { ...tickets.metadata, issuer: `${tickets.issuer}/evil`, authorization_endpoint: `${tickets.issuer}/authorize`, token_endpoint: `${tickets.issuer}/evil/token`, code_challenge_methods_supported: ['S256'] }
  tickets.resource = { authorization_servers: [`${tickets.issuer}/evil`] }
  tickets.on.set('/.well-known/oauth-authorization-server/evil', () => json(evil))
  tickets.on.set('/evil/token', () => json({ access_token: 'evil', token_type: 'Bearer' }))
  cluster.now += 3600_000
  await assert.rejects(token(), { name: 'CredentialRefused' })
  assert.equal(tickets.at('/evil/token').length, 0)
  assert.match((await cluster.events('connection.failed')).at(-1)?.reason ?? '', /another authorization server/)
  // Where the operator says whose client it is, what the upstream says is compared with it.
  const named = { ...own, connector: { ...SETTINGS, issuer: tickets.issuer } }
  await assert.rejects(token(cluster.nodes[1], 'usr_alice', named), { name: 'CredentialRefused' })
  tickets.resource = {}
  cluster.now += 3600_000
  assert.equal(await token(), 'service-2')
  assert.equal(asks().length, 2)
})

each('a server without an authorization endpoint, and without PKCE, is one for machines (RFC 8414 §2)', async ({ tickets, token }) => {
  tickets.metadata = { authorization_endpoint: undefined, code_challenge_methods_supported: undefined, grant_types_supported: ['client_credentials'] }
  assert.equal(await token(), 'service-1')
})

each('scopes are the configured ones, else those that the upstream asks for (C-16)', async ({ cluster, tickets, own, token, asks }) => {
  tickets.resource = { scopes_supported: ['tickets:read', 'tickets:write'] }
  await token()
  const configured = { ...own, connector: { ...SETTINGS, scopes: ['tickets:read'], audience: 'urn:tickets' } }
  await token(cluster.nodes[1], 'usr_alice', configured)
  assert.deepEqual(asks().map(({ form }) => [form.get('scope'), form.get('audience')]), [['tickets:read tickets:write', null], ['tickets:read', 'urn:tickets']])
})

each('a fixed endpoint is asked without looking at the upstream, and for no resource but the one that is named', async ({ tickets, own, cluster, token, asks }) => {
  await token()
  assert.deepEqual(tickets.asked.map(({ path }) => path), ['/token'])
  const form = asks()[0]?.form
  assert.deepEqual(Object.fromEntries(form ?? []), { grant_type: 'client_credentials', client_id: 'lanyard', client_secret: SECRET })
  const named = { ...own, connector: { ...own.connector, resource: 'api://tickets' } } as Upstream
  await token(cluster.nodes[1], 'usr_alice', named)
  assert.equal(asks()[1]?.form.get('resource'), 'api://tickets')
}, (tickets) => ({ tokenEndpoint: `${tickets.issuer}/token`, tokenEndpointAuthMethod: 'client_secret_post' }))

for (const [kind, options] of [['ec', { namedCurve: 'P-256' }], ['rsa', { modulusLength: 2048 }], ['ed25519', {}]] as const) {
  const { privateKey, publicKey } = generateKeyPairSync(kind as 'ec', options as { namedCurve: string })
  const pem = privateKey.export({ format: 'pem', type: 'pkcs8' })
  each(`a key of ${kind} signs an assertion for the issuer alone, a new one each time (RFC 7523 §3)`, async ({ cluster, tickets, token, asks }) => {
    await token()
    cluster.now += 541_000
    await token()
    const keys = createLocalJWKSet({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] })
    const seen = await Promise.all(asks().map(({ form }) => jwtVerify(form.get('client_assertion') ?? '', keys, { issuer: 'lanyard', subject: 'lanyard', audience: tickets.issuer, requiredClaims: ['exp', 'jti'] })))
    assert.equal(new Set(seen.map(({ payload }) => payload.jti)).size, 2)
    for (const { payload, protectedHeader } of seen) {
      assert.equal(payload.aud, tickets.issuer)
      assert.equal(protectedHeader.kid, 'k1')
      assert.ok(Number(payload.exp) - Number(payload.iat) <= 300)
    }
    for (const { form } of asks()) assert.equal(form.get('client_assertion_type'), 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
    assert.equal((await cluster.dump()).includes('PRIVATE KEY'), false)
  }, { tokenEndpointAuthMethod: 'private_key_jwt', privateKey: pem, keyId: 'k1' })
}

const jwt = (name: string): string => ['{"alg":"none"}', JSON.stringify({ sub: name }), 'signature'].map((part) => Buffer.from(part).toString('base64url')).join('.')

/** With the file that a platform would keep fresh. */
function eachWorkload(name: string, grantType: ClientCredentialsSettings['grantType'], run: (scene: Scene, write: (text: string) => Promise<void>) => Promise<void>): void {
  eachTickets(name, async (cluster, tickets) => {
    const directory = await mkdtemp(join(tmpdir(), 'lanyard-platform-'))
    const tokenFile = join(directory, 'token')
    const own = upstream('tickets', tickets.mcp, { type: 'client-credentials', clientId: 'lanyard', tokenEndpointAuthMethod: 'workload_identity', tokenFile, grantType })
    cluster.upstreams = [own]
    tickets.on.set('/token', () => json({ access_token: `service-${tickets.at('/token').length}`, token_type: 'Bearer', expires_in: tickets.lifetime }))
    const token: Scene['token'] = async (node = cluster.nodes[0], userId = 'usr_alice', of = own) => {
      const credential = await node.connector(of).credential(userId, of)
      return credential === 'connection_required' ? credential : (credential.headers['authorization'] ?? '').replace('Bearer ', '')
    }
    try {
      await run({ cluster, tickets, own, token, asks: () => tickets.at('/token'), newest: () => '' }, (text) => writeFile(tokenFile, text))
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

eachWorkload('the gateway is a workload of its own platform: its newest token is the authorization grant (RFC 7523 §2.1)', JWT_BEARER, async ({ cluster, tickets, token, asks }, write) => {
  await assert.rejects(token(), { name: 'CredentialRefused' })
  assert.equal(asks().length, 0)
  cluster.now += 10_001
  await write('this is no token')
  await assert.rejects(token(), { name: 'CredentialRefused' })
  cluster.now += 10_001
  await write(`${jwt('first')}\n`)
  assert.equal(await token(), 'service-1')
  await write(jwt('second'))
  cluster.now += 541_000
  assert.equal(await token(cluster.nodes[1]), 'service-2')
  assert.deepEqual(asks().map(({ form }) => Object.fromEntries(form)), ['first', 'second'].map((name) => ({ grant_type: JWT_BEARER, client_id: 'lanyard', assertion: jwt(name), resource: tickets.mcp })))
  assert.deepEqual((await cluster.events('connection.failed')).map(({ reason }) => reason), ['the file with the token of the platform cannot be read', 'the file of the platform holds no JWT'])
  assert.equal((await cluster.dump()).includes(jwt('first')), false)
})

eachWorkload('or it is what the client authenticates with (RFC 7523 §2.2)', 'client_credentials', async ({ tickets, token, asks }, write) => {
  await write(jwt('first'))
  assert.equal(await token(), 'service-1')
  assert.deepEqual(Object.fromEntries(asks()[0]?.form ?? []), { grant_type: 'client_credentials', client_id: 'lanyard', client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer', client_assertion: jwt('first'), resource: tickets.mcp })
})
