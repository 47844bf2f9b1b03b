// J4: clients that nobody sits in front of, by the libraries that they use: the official SDK, versions 1 and 2, and
// oauth4webapi; and what a CI job and a pod do without any.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Client, ClientCredentialsProvider, PrivateKeyJwtProvider, StaticPrivateKeyJwtProvider, StreamableHTTPClientTransport, type OAuthClientProvider } from '@modelcontextprotocol/client'
import { ClientCredentialsProvider as ClientCredentialsProviderV1, PrivateKeyJwtProvider as PrivateKeyJwtProviderV1 } from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { importPKCS8 } from 'jose'
import * as oauth from 'oauth4webapi'
import { asPerson, tokenOf, withToken } from '../../support/api-clients.ts'
import { makeHome } from '../../support/command-line.ts'
import { eventually } from '../../support/eventually.ts'
import { recorded, startGateway } from '../../support/gateway.ts'
import { ASSERTION_TYPE, JWT_BEARER, machineHouse, SECRET, type MachineHouse, type TokenAnswer } from '../../support/machine-house.ts'
import { variants } from '../../support/variants.ts'

interface Used {
  readonly tools: readonly string[]
  readonly text: string
}

async function useV2(url: string, authProvider: OAuthClientProvider, version?: string): Promise<Used> {
  const client = new Client({ name: 'machine', version: '1.0.0' }, { versionNegotiation: { mode: version === undefined ? 'legacy' : { pin: version } } })
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }))
  return used(client)
}

async function useV1(url: string, authProvider: ClientCredentialsProviderV1 | PrivateKeyJwtProviderV1): Promise<Used> {
  const client = new ClientV1({ name: 'machine', version: '1.0.0' })
  await client.connect(new TransportV1(new URL(url), { authProvider }))
  return used(client)
}

async function used(client: Client | ClientV1): Promise<Used> {
  const { tools } = await client.listTools()
  const result = await client.callTool({ name: 'read_note', arguments: { title: 'welcome' } })
  await client.close()
  return { tools: tools.map(({ name }) => name), text: JSON.stringify(result) }
}

/** Calls a tool without any library: what a shell script does. */
async function call(url: string, token: unknown, tool = 'read_note', args: Readonly<Record<string, unknown>> = { title: 'welcome' }): Promise<{ readonly status: number; readonly text: string }> {
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} }
  const answer = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${String(token)}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': tool },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: tool, arguments: args, _meta: meta } }),
  })
  return { status: answer.status, text: await answer.text() }
}

for (const variant of variants()) {
  describe(`machine clients on ${variant.name}`, () => {
    let house: MachineHouse
    before(async () => {
      house = await machineHouse(variant)
    })
    after(() => house.close())

    const asWorkload = (client: string, jwt: string, more: Readonly<Record<string, string>> = {}): Promise<TokenAnswer> => house.ask({ grant_type: JWT_BEARER, client_id: client, assertion: jwt, resource: house.notes, ...more })

    test('the SDK, versions 1 and 2, with a secret and with a key: finds, authenticates, lists and calls (RFC 6749 §4.4)', async () => {
      const { notes, privateKey, gateway } = house
      const secret = { clientId: 'report', clientSecret: SECRET, expectedIssuer: gateway.issuer }
      const key = { clientId: 'signed', privateKey, algorithm: 'ES256', expectedIssuer: gateway.issuer }
      const all = await Promise.all([
        useV2(notes, new ClientCredentialsProvider(secret)),
        useV2(notes, new ClientCredentialsProvider(secret), '2026-07-28'),
        useV2(notes, new PrivateKeyJwtProvider(key)),
        useV2(notes, new PrivateKeyJwtProvider(key), '2026-07-28'),
        useV2(notes, new StaticPrivateKeyJwtProvider({ clientId: 'signed', jwtBearerAssertion: await house.assertion(), expectedIssuer: gateway.issuer }), '2026-07-28'),
        useV1(notes, new ClientCredentialsProviderV1(secret)),
        useV1(notes, new PrivateKeyJwtProviderV1(key)),
      ])
      assert.deepEqual(all.map(({ tools }) => tools), [0, 1, 2, 3, 4, 5, 6].map((index) => ([0, 1, 5].includes(index) ? ['list_notes', 'read_note', 'write_note'] : ['list_notes', 'read_note'])))
      for (const { text } of all) assert.match(text, /Welcome to the demo company/)
      await recorded(gateway, ({ action, subject, owner, clientId, rule, tool }) => action === 'call.allowed' && subject === 'machine:signed' && owner === 'alice@example.com' && clientId === 'signed' && rule === 'reports-read' && tool === 'read_note')
      assert.equal(gateway.output.some((line) => line.includes(SECRET)), false)
    })

    test('oauth4webapi finds the endpoint by the metadata, and authenticates in all three ways', async () => {
      const { gateway, notes, privateKey } = house
      const issuer = new URL(gateway.issuer)
      const insecure = { [oauth.allowInsecureRequests]: true }
      const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' }))
      assert.ok(server.grant_types_supported?.includes('client_credentials'))
      const key = await importPKCS8(privateKey, 'ES256')
      const ways: readonly (readonly [string, oauth.ClientAuth])[] = [['report', oauth.ClientSecretBasic(SECRET)], ['posted', oauth.ClientSecretPost(SECRET)], ['signed', oauth.PrivateKeyJwt({ key, kid: 'own' })]]
      for (const [id, authentication] of ways) {
        const client = { client_id: id }
        const answer = await oauth.clientCredentialsGrantRequest(server, client, authentication, { resource: notes, scope: 'mcp.read' }, insecure)
        const token = await oauth.processClientCredentialsResponse(server, client, answer)
        assert.deepEqual([token.token_type, token.scope, token.refresh_token], ['bearer', id === 'posted' ? 'mcp.notes.read' : 'mcp.read', undefined])
        assert.match((await call(notes, token.access_token)).text, /Welcome/)
        const seen = await oauth.introspectionRequest(server, client, id === 'signed' ? oauth.PrivateKeyJwt({ key, kid: 'own' }) : authentication, token.access_token, insecure)
        assert.deepEqual([(await oauth.processIntrospectionResponse(server, client, seen)).sub], [`machine:${id}`])
        await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, id === 'signed' ? oauth.PrivateKeyJwt({ key, kid: 'own' }) : authentication, token.access_token, insecure))
        await eventually('every node refuses the token', async () => (await Promise.all(gateway.nodes.map(() => call(notes, token.access_token)))).every(({ status }) => status === 401))
      }
    })

    test('a machine that proves a key gets a token that is worth nothing without it (RFC 9449 §5, §7.1)', async () => {
      const { gateway, notes } = house
      const issuer = new URL(gateway.issuer)
      const insecure = { [oauth.allowInsecureRequests]: true }
      const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' }))
      const client = { client_id: 'report' }
      const DPoP = oauth.DPoP({}, await oauth.generateKeyPair('ES256'))
      const answer = await oauth.clientCredentialsGrantRequest(server, client, oauth.ClientSecretBasic(SECRET), { resource: notes }, { ...insecure, DPoP })
      const token = await oauth.processClientCredentialsResponse(server, client, answer)
      assert.equal(token.token_type, 'dpop')
      assert.equal((await call(notes, token.access_token)).status, 401)
      const headers = new Headers({ 'content-type': 'application/json', accept: 'application/json, text/event-stream' })
      const initialize = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'job', version: '1.0.0' } } })
      const used = await oauth.protectedResourceRequest(token.access_token, 'POST', new URL(notes), headers, initialize, { ...insecure, DPoP })
      assert.equal(used.status, 200)
    })

    test('an assertion is good once, at whichever node, also when it comes to all of them at once (C10, RFC 7523 §3)', async () => {
      const { notes } = house
      const form = async () => ({ grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE, client_assertion: await house.assertion(), resource: notes })
      const one = await form()
      const answers = await Promise.all(Array.from({ length: 20 }, () => house.ask(one)))
      for (const [status, count] of [[200, 1], [401, 19]] as const) assert.equal(answers.filter((answer) => answer.status === status).length, count)
      assert.equal((await house.ask(one)).body['error'], 'invalid_client')
      assert.equal((await house.ask(await form())).status, 200)
    })

    test('a job of GitHub Actions asks its platform for a token and with it the gateway, in either way (RFC 7523 §2.1, §2.2)', async () => {
      const { github, gateway, notes } = house
      const answer = await fetch(`${github.requestUrl}&audience=${encodeURIComponent(gateway.issuer)}`, { headers: { authorization: `Bearer ${github.requestToken}` } })
      const { value: jwt } = (await answer.json()) as { readonly value: string }
      const granted = await asWorkload('deploy', jwt)
      assert.equal(granted.status, 200, JSON.stringify(granted.body))
      assert.equal('refresh_token' in granted.body, false)
      assert.ok(Number(granted.body['expires_in']) <= 300)
      assert.match((await call(notes, granted.body['access_token'])).text, /Welcome/)
      const asClient = await house.ask({ grant_type: 'client_credentials', client_id: 'deploy', client_assertion_type: ASSERTION_TYPE, client_assertion: jwt, resource: notes })
      assert.equal(asClient.status, 200, JSON.stringify(asClient.body))
      assert.match((await call(notes, asClient.body['access_token'])).text, /Welcome/)
      await recorded(gateway, ({ action, subject, owner, detail }) => action === 'token.issued' && subject === 'machine:deploy' && owner === 'alice@example.com' && detail?.['workload'] === 'repo:acme/app:ref:refs/heads/main' && detail['workload_issuer'] === github.issuer)
      assert.equal(gateway.output.some((line) => line.includes(jwt.split('.')[2] ?? jwt)), false)
      // The SDK presents it as an assertion that somebody else made, and names no client.
      const sdk = await useV2(notes, new StaticPrivateKeyJwtProvider({ clientId: 'deploy', jwtBearerAssertion: jwt, expectedIssuer: gateway.issuer }), '2026-07-28')
      assert.match(sdk.text, /Welcome/)
      // What the platform gives without being asked for this gateway is worth nothing here.
      const unasked = await github.sign(github.job('acme/app'))
      assert.equal((await asWorkload('deploy', unasked)).body['error'], 'invalid_grant')
    })

    test('a pod of Kubernetes and a workload of SPIFFE read what they are from their platform', async () => {
      const { kubernetes: cluster, spiffe: domain, gateway, notes } = house
      const pod = await asWorkload('pod', await cluster.sign(cluster.pod('ci', 'deployer', gateway.issuer)))
      // The projected token lives for an hour, an access token not longer than any other.
      assert.deepEqual([pod.status, pod.body['expires_in']], [200, 900])
      assert.match((await call(notes, pod.body['access_token'])).text, /Welcome/)
      assert.equal((await asWorkload('pod', await cluster.sign(cluster.pod('default', 'deployer', gateway.issuer)))).body['error'], 'invalid_grant')
      const svid = await domain.sign(domain.svid('/ns/ci/sa/job', gateway.issuer))
      const spiffeType = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe'
      const asClient = await house.ask({ grant_type: 'client_credentials', client_id: 'svid', client_assertion_type: spiffeType, client_assertion: svid, resource: notes })
      assert.equal(asClient.status, 200, JSON.stringify(asClient.body))
      assert.match((await call(notes, asClient.body['access_token'])).text, /Welcome/)
    })

    test('what a workload of SPIFFE authenticates by is in the metadata where a client is one (draft-ietf-oauth-spiffe-client-auth §4)', async (context) => {
      const methods = async (issuer: string): Promise<readonly unknown[]> => {
        const metadata = (await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json()) as Readonly<Record<string, unknown>>
        return ['token', 'revocation', 'introspection'].map((endpoint) => metadata[`${endpoint}_endpoint_auth_methods_supported`])
      }
      const proofs = ['client_secret_basic', 'client_secret_post', 'private_key_jwt']
      assert.deepEqual(await methods(house.gateway.issuer), [['none', ...proofs, 'spiffe_jwt'], ['none', ...proofs, 'spiffe_jwt'], [...proofs, 'spiffe_jwt']])
      const workload = { id: 'deploy', name: 'Deploy', grantTypes: ['client_credentials'], tokenEndpointAuthMethod: 'workload_identity', workloadIdentities: [{ issuer: house.github.issuer, subject: 'repo:acme/app:**' }] }
      const other = await startGateway({ ...variant, config: { clients: [workload] } })
      context.after(() => other.close())
      assert.deepEqual(await methods(other.issuer), [['none', ...proofs], ['none', ...proofs], proofs])
    })

    test('the assertion of the grant is the one that the client authenticated with (RFC 7521 §4.1)', async () => {
      const { github, gateway } = house
      const [own, other] = await Promise.all([github.sign(github.job('acme/app', { aud: gateway.issuer })), github.sign(github.job('acme/app', { aud: gateway.issuer, iss: 'https://evil.example' }))])
      const authenticated = { client_assertion_type: ASSERTION_TYPE, client_assertion: own }
      assert.equal((await asWorkload('deploy', other, authenticated)).body['error'], 'invalid_grant')
      assert.equal((await house.ask({ grant_type: JWT_BEARER, client_id: 'report', client_secret: SECRET, assertion: own, resource: house.notes })).body['error'], 'invalid_client')
      assert.equal((await asWorkload('deploy', own, authenticated)).status, 200)
    })

    test('rules, profiles and explanations know a machine; what no rule allows it gets no token for', async () => {
      const { notes, gateway } = house
      const form = { grant_type: 'client_credentials', client_secret: SECRET, resource: notes }
      const basic = async (id: string): Promise<TokenAnswer> => {
        const answer = await fetch(`${gateway.issuer}/token`, { method: 'POST', headers: { authorization: `Basic ${Buffer.from(`${id}:${encodeURIComponent(SECRET)}`).toString('base64')}` }, body: new URLSearchParams({ grant_type: 'client_credentials', resource: notes }) })
        return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
      }
      assert.deepEqual([(await basic('nobody')).status, (await basic('nobody')).body['error']], [400, 'invalid_grant'])
      const report = (await basic('report')).body['access_token']
      const posted = (await house.ask({ ...form, client_id: 'posted' })).body['access_token']
      const note = { title: 'machines', text: 'written by one' }
      assert.match((await call(notes, report, 'write_note', note)).text, /"content"/)
      assert.match((await call(notes, posted, 'write_note', note)).text, /Unknown tool/)
      const admin = await asPerson(gateway.issuer, 'dana')
      const explained = await admin('/api/policy/explain', { method: 'POST', body: { user: 'machine:report', client: 'report', upstream: 'notes', tool: 'read_note' } })
      assert.deepEqual((explained.body['decision'] as { rule?: string }).rule, 'reports-read', explained.text)
    })

    test('a machine administers by its groups and scopes, and no other does', async () => {
      const { gateway } = house
      const ask = (id: string): Promise<TokenAnswer> => house.ask({ grant_type: 'client_credentials', client_id: id, client_secret: SECRET, resource: `${gateway.issuer}/api` })
      const { body } = await ask('ops')
      assert.equal(body['scope'], 'admin')
      const known = await withToken(gateway.issuer, String(body['access_token']))('/api/applications')
      assert.equal(known.status, 200, known.text)
      assert.ok((known.body['applications'] as readonly { readonly id: string }[]).some(({ id }) => id === 'ops'))
      // One may hold no such scope, the other is in no group of administrators.
      for (const id of ['limited', 'posted']) assert.deepEqual([(await ask(id)).status, (await ask(id)).body['error']], [400, 'invalid_grant'], id)
      // And nothing else is what administering is for.
      assert.equal((await house.ask({ grant_type: 'client_credentials', client_id: 'ops', client_secret: SECRET, resource: house.notes })).status, 400)
    })

    test('mcp-remote with client credentials, as it is configured for a job', async () => {
      const home = await makeHome()
      try {
        const lines = [
          { id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'job', version: '1.0.0' } } },
          { method: 'notifications/initialized' },
          { id: 2, method: 'tools/call', params: { name: 'read_note', arguments: { title: 'welcome' } } },
        ].map((message) => JSON.stringify({ jsonrpc: '2.0', ...message }))
        const { stdout, stderr } = await home.run('mcp-remote', [house.notes, '--allow-http', '--client-credentials', '--static-oauth-client-info', JSON.stringify({ client_id: 'report', client_secret: SECRET })], lines)
        assert.match(stdout, /Welcome to the demo company/, stderr)
      } finally {
        await home.remove()
      }
    })

    test('a rule that wants a stronger sign-in refuses a machine once and for all: there is no challenge to answer (RFC 9470 §3)', async () => {
      const { gateway, notes } = house
      const { body } = await house.ask({ grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE, client_assertion: await house.assertion(), resource: notes })
      const answer = await call(notes, body['access_token'], 'list_notes', {})
      assert.equal(answer.status, 403, answer.text)
      assert.match(answer.text, /the sign-in of a person, which a machine does not have/)
      await recorded(gateway, ({ action, subject, rule, tool }) => action === 'call.denied' && subject === 'machine:signed' && rule === 'lists-need-proof' && tool === 'list_notes')
      assert.match((await call(notes, body['access_token'])).text, /Welcome/)
    })

    test('an upstream that wants an account of each person says so to a machine, and sends it nowhere', async () => {
      const { gateway } = house
      const tickets = `${gateway.issuer}/mcp/tickets`
      const { body } = await house.ask({ grant_type: 'client_credentials', client_id: 'posted', client_secret: SECRET, resource: tickets })
      const answer = await call(tickets, body['access_token'], 'my_tickets', {})
      assert.match(answer.text, /account of a person's own, which a machine does not have/)
      assert.equal(answer.text.includes('/connections/'), false)
    })

    test('an administrator who refuses the application ends its tokens on every node, and there are no new ones', async () => {
      const { gateway, notes } = house
      const ask = (): Promise<TokenAnswer> => house.ask({ grant_type: 'client_credentials', client_id: 'posted', client_secret: SECRET, resource: notes })
      const token = (await ask()).body['access_token']
      assert.match((await call(notes, token)).text, /Welcome/)
      const admin = await asPerson(gateway.issuer, 'dana')
      const refused = await admin('/api/applications/posted/refuse', { method: 'POST', body: { reason: 'no longer needed' } })
      assert.equal(refused.status, 200, refused.text)
      assert.ok(Number(refused.body['endedGrants']) >= 1)
      await eventually('every node refuses the token', async () => (await Promise.all([...gateway.nodes, ...gateway.nodes].map(() => call(notes, token)))).every(({ status }) => status === 401))
      await eventually('no node gives another', async () => (await ask()).status === 400)
      // Another machine and a person go on.
      const form = { grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE, client_assertion: await house.assertion(), resource: notes }
      assert.equal((await house.ask(form)).status, 200)
      assert.match((await call(notes, await tokenOf(gateway.issuer, 'alice', notes))).text, /Welcome/)
    })
  })
}
