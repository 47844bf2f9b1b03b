// Two gateways. The near one reaches the far one's servers in the name of each person, without a connection of theirs: by
// an assertion of their identity provider (the emulator of Okta), and by one of its own. The official SDK has assertions
// made by the near one, and presents them at the far one.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { discoverAndRequestJwtAuthGrant, exchangeJwtAuthGrant } from '@modelcontextprotocol/client'
import { decodeJwt } from 'jose'
import { parse, stringify } from 'yaml'
import { forgetful, sdk2 } from '../../support/asking-clients.ts'
import { browser } from '../../support/browser.ts'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { memoryProvider } from '../../support/oauth-clients.ts'
import { CLIENT_ID, CLIENT_SECRET, okta, type Okta } from '../../support/okta/okta.ts'
import { connectV2 } from '../../support/sdk-clients.ts'

const SECRET = 'a-secret-of-the-near-gateway-at-the-far-one-and-nowhere-else'
const NEAR_SECRET = 'the-secret-of-the-assistant-at-the-near-gateway'
/** What Okta calls a sign-in with a second factor. */
const MFA = 'urn:okta:loa:2fa:any'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ASSISTANT = '0oa3assistant'
const ASSISTANT_SECRET = 'the-secret-of-the-assistant-at-Okta-and-nowhere-else'
const CALLBACK = 'http://127.0.0.1:53998/callback'

let provider: Okta
let far: RunningGateway
let near: RunningGateway
const opened = new AsyncDisposableStack()

before(async () => {
  provider = await okta()
  opened.defer(() => provider.close())
  provider.clients.set(ASSISTANT, { secret: ASSISTANT_SECRET, redirectUris: /^http:\/\/127\.0\.0\.1:\d+\/callback$/, rotates: false })
  far = await startGateway({ config: farConfig([]) })
  opened.defer(() => far.close())
  near = await startGateway({ config: nearConfig })
  opened.defer(() => near.close())
  provider.crossApps.push({ clientId: CLIENT_ID, audience: far.issuer, clientIdThere: 'near-by-okta', resources: ['notes', 'strict'].map((id) => `${far.issuer}/mcp/${id}`), scopes: ['mcp.read', 'mcp.write'] })
  await trustNear()
})
after(() => opened.disposeAsync())

/** Each gateway names the other: the far one is told of the near one when that has an address. */
async function trustNear(): Promise<void> {
  const [node] = far.processes
  assert.ok(node)
  const config = parse(await readFile(node.config, 'utf8')) as Record<string, unknown>
  await writeFile(node.config, stringify({ ...config, ...farConfig([{ id: 'near', issuer: near.issuer }]) }))
  await node.stop()
  await node.start()
}

function farConfig(trusted: readonly object[]): Readonly<Record<string, unknown>> {
  const clients = ['near-by-okta', 'near-by-itself', 'near-strong', 'near-picky', 'assistant'].map((id) => ({ id, name: id, clientSecret: SECRET, tokenEndpointAuthMethod: 'client_secret_basic', grantTypes: [JWT_BEARER] }))
  return {
    clients,
    idJag: { trustedIssuers: [{ id: 'okta', issuer: provider.origin }, ...trusted] },
    rules: [
      { id: 'everybody', effect: 'allow' },
      { id: 'strict', effect: 'step-up', upstreams: ['tickets'], require: { acrValues: ['phr'], maxAge: 600 } },
      { id: 'strong', effect: 'step-up', clients: ['near-strong'], require: { acrValues: [MFA] } },
      { id: 'picky', effect: 'step-up', clients: ['near-picky'], tools: ['read_note'], require: { acrValues: [MFA] } },
    ],
  }
}

function nearConfig(): Readonly<Record<string, unknown>> {
  const connector = { type: 'id-jag', clientSecret: SECRET, scopes: ['mcp.read'] }
  return {
    identityProviders: [{ id: 'okta', type: 'oidc', issuer: provider.origin, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'] }],
    clients: [{ id: 'assistant', name: 'Assistant', clientSecret: NEAR_SECRET, tokenEndpointAuthMethod: 'client_secret_post', grantTypes: [TOKEN_EXCHANGE] }],
    idJag: { audiences: [{ issuer: far.issuer, resources: [`${far.issuer}/mcp/notes`], scopes: ['mcp.read'], clients: { assistant: 'assistant' } }] },
    tokenExchange: [{ id: 'far', clients: ['assistant'], identityProvider: 'okta', tokenTypes: ['id_token'], audiences: [ASSISTANT], targets: [far.issuer] }],
    upstreams: [
      { id: 'by-okta', url: `${far.issuer}/mcp/notes`, connector: { ...connector, clientId: 'near-by-okta' } },
      { id: 'by-itself', url: `${far.issuer}/mcp/notes`, connector: { ...connector, clientId: 'near-by-itself', assertions: 'lanyard' } },
      { id: 'strong', url: `${far.issuer}/mcp/notes`, connector: { ...connector, clientId: 'near-strong', assertions: 'lanyard' } },
      { id: 'picky', url: `${far.issuer}/mcp/notes`, connector: { ...connector, clientId: 'near-picky', assertions: 'lanyard' } },
      { id: 'strict', url: `${far.issuer}/mcp/tickets`, connector: { ...connector, clientId: 'near-by-itself', assertions: 'lanyard' } },
    ],
    rules: [{ id: 'engineering', effect: 'allow', groups: ['engineering', 'sales'] }],
  }
}

for (const [upstream, client, assertionIssuer] of [['by-okta', 'near-by-okta', (): string => provider.origin], ['by-itself', 'near-by-itself', (): string => near.issuer]] as const) {
  test(`the connector id-jag reaches the far server as the person, ${upstream}, and asks once for many calls (EMA §4, §5)`, async () => {
    const asked = (): number => provider.seen.filter(({ form }) => form.get('grant_type') === TOKEN_EXCHANGE).length
    const before = asked()
    const session = await connectV2(`${near.issuer}/mcp/${upstream}`, memoryProvider(), 'modern')
    assert.ok((await session.tools()).includes('read_note'))
    for (let call = 0; call < 3; call += 1) assert.match(await session.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
    await session.close()
    assert.equal(asked() - before, upstream === 'by-okta' ? 1 : 0)
    const isToken = ({ action, clientId, detail }: RunningGateway['events'][number]): boolean => action === 'token.issued' && clientId === client && detail?.['assertion_issuer'] === assertionIssuer()
    await recorded(far, isToken)
    assert.equal(far.events.filter(isToken).length, 1)
    await recorded(near, ({ action, upstream: of, detail }) => action === 'connection.refreshed' && of === upstream && detail?.['connector'] === 'id-jag')
    const call = far.events.find(({ action, clientId }) => action === 'call.allowed' && clientId === client)
    assert.equal(call?.resource, `${far.issuer}/mcp/notes`)
  })
}

test('Okta is asked exactly as it wants to be, and believed in both shapes of its answer (Okta, cross app access)', async () => {
  const request = provider.seen.find(({ form }) => form.get('grant_type') === TOKEN_EXCHANGE)
  assert.ok(request)
  const { subject_token: subject, ...form } = Object.fromEntries(request.form)
  assert.deepEqual(form, {
    grant_type: TOKEN_EXCHANGE,
    requested_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
    subject_token_type: 'urn:ietf:params:oauth:token-type:id_token',
    audience: far.issuer,
    resource: `${far.issuer}/mcp/notes`,
    scope: 'mcp.read',
  })
  assert.deepEqual([decodeJwt(subject ?? '').aud, decodeJwt(subject ?? '').sub], [CLIENT_ID, '00u1alice'])
  // Okta's own page says `Bearer` of what is no access token, the specification `N_A`.
  provider.idJagTokenType = 'N_A'
  const session = await connectV2(`${near.issuer}/mcp/by-okta`, memoryProvider({ person: 'bob' }), 'modern')
  assert.match(await session.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
  await session.close()
  const people = far.events.filter(({ action, clientId }) => action === 'token.issued' && clientId === 'near-by-okta').map(({ subject }) => subject)
  assert.equal(new Set(people).size, 2)
})

test('a sign-in that the far authorization server finds too weak comes back to the client as a challenge (RFC 9470 §3)', async () => {
  const strict = memoryProvider()
  await assert.rejects(connectV2(`${near.issuer}/mcp/strict`, strict, 'modern'))
  const answer = await fetch(`${near.issuer}/mcp/strict`, {
    method: 'POST',
    headers: { authorization: `Bearer ${strict.tokens()?.access_token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'x', version: '1' }, 'io.modelcontextprotocol/clientCapabilities': {} } } }),
  })
  assert.equal(answer.status, 401, await answer.clone().text())
  const challenge = answer.headers.get('www-authenticate') ?? ''
  assert.match(challenge, /error="insufficient_user_authentication"/)
  assert.match(challenge, /acr_values="phr"/)
  assert.match(challenge, /max_age="600"/)
  await recorded(near, ({ action, upstream, reason }) => action === 'connection.failed' && upstream === 'strict' && reason === 'id-jag: server: insufficient_user_authentication')
})

test('the person signs in as strongly as the far gateway wants, and this gateway’s own assertion says so (RFC 9470 §4, ID-JAG §3)', async () => {
  const signIns = (): readonly (string | null)[] => provider.seen.filter(({ path }) => path === '/oauth2/v1/authorize').map(({ query }) => query.get('acr_values'))
  const before = signIns().length
  const client = await sdk2('legacy')(`${near.issuer}/mcp/strong`, forgetful())
  assert.match(await client.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
  await client.close()
  assert.deepEqual(signIns().slice(before).filter((acr) => acr !== null), [MFA], 'once')
  await recorded(near, ({ action, upstream, reason }) => action === 'connection.failed' && upstream === 'strong' && reason === 'id-jag: server: insufficient_user_authentication')
  await recorded(far, ({ action, clientId, detail }) => action === 'token.issued' && clientId === 'near-strong' && detail?.['assertion_issuer'] === near.issuer)
})

test('a tool of the far gateway that wants a stronger sign-in gets it, and no other tool asks for one (RFC 9470 §3, §4)', async () => {
  const signIns = (): readonly (string | null)[] => provider.seen.filter(({ path }) => path === '/oauth2/v1/authorize').map(({ query }) => query.get('acr_values'))
  const before = signIns().length
  const strong = (): readonly (string | null)[] => signIns().slice(before).filter((acr) => acr !== null)
  const tokens = (): number => far.events.filter(({ action, clientId }) => action === 'token.issued' && clientId === 'near-picky').length
  const client = await sdk2('legacy')(`${near.issuer}/mcp/picky`, forgetful({ person: 'bob' }))
  assert.match(await client.call('list_notes'), /welcome/)
  assert.deepEqual(strong(), [])
  assert.match(await client.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
  assert.deepEqual(strong(), [MFA])
  const made = tokens()
  for (let call = 0; call < 3; call += 1) assert.match(await client.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
  assert.deepEqual([strong(), tokens()], [[MFA], made])
  await client.close()
  await recorded(near, ({ action, upstream, reason }) => action === 'connection.failed' && upstream === 'picky' && reason === 'id-jag: upstream: insufficient_user_authentication')
})

/** Signs the person in to the assistant at Okta. */
async function idToken(person: string): Promise<string> {
  const url = `${provider.origin}/oauth2/v1/authorize?${new URLSearchParams({ client_id: ASSISTANT, redirect_uri: CALLBACK, response_type: 'code', scope: 'openid profile email', state: 's' }).toString()}`
  const page = await browser({ stop: (to) => to.startsWith(CALLBACK) }).approve(url, { person })
  const answer = await fetch(`${provider.origin}/oauth2/v1/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code', code: new URL(page.url).searchParams.get('code') ?? '', redirect_uri: CALLBACK, client_id: ASSISTANT, client_secret: ASSISTANT_SECRET }) })
  return String(((await answer.json()) as Record<string, unknown>)['id_token'])
}

test('the SDK has the near gateway make an assertion of an ID token, and the far one take it (ID-JAG §4.3, §4.4)', async () => {
  const asked = { idpUrl: near.issuer, audience: far.issuer, resource: `${far.issuer}/mcp/notes`, idToken: await idToken('alice'), clientId: 'assistant', clientSecret: NEAR_SECRET, scope: 'mcp.read mcp.write' }
  const { jwtAuthGrant, expiresIn, scope } = await discoverAndRequestJwtAuthGrant(asked)
  assert.deepEqual([expiresIn, scope], [300, 'mcp.read'])
  const tokens = await exchangeJwtAuthGrant({ tokenEndpoint: `${far.issuer}/token`, jwtAuthGrant, clientId: 'assistant', clientSecret: SECRET })
  assert.deepEqual([tokens.token_type, tokens.scope, decodeJwt(tokens.access_token).aud], ['Bearer', 'mcp.read', `${far.issuer}/mcp/notes`])
  await recorded(near, ({ action, detail }) => action === 'assertion.issued' && detail?.['audience'] === far.issuer && detail['subject_kind'] === 'okta id_token')
  await assert.rejects(discoverAndRequestJwtAuthGrant({ ...asked, resource: `${far.issuer}/mcp/tickets` }), /invalid_target/)
  await assert.rejects(discoverAndRequestJwtAuthGrant({ ...asked, idToken: 'x' }), /invalid_request/)
  // One of the near gateway's own is worth nothing there (ID-JAG §7.3).
  await assert.rejects(exchangeJwtAuthGrant({ tokenEndpoint: `${near.issuer}/token`, jwtAuthGrant, clientId: 'assistant', clientSecret: NEAR_SECRET, authMethod: 'client_secret_post' }), /unauthorized_client|invalid_grant/)
  for (const gateway of [near, far]) assert.ok(gateway.output.every((line) => !line.includes(jwtAuthGrant.split('.')[2] ?? '-')))
})
