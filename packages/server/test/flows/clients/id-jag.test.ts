// Enterprise-Managed Authorization with clients as they are: the official SDK's CrossAppAccessProvider and MCP Inspector
// sign somebody in at their identity provider (the emulator of Okta), and reach the gateway without a page of it.
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Client, CrossAppAccessProvider, discoverAndRequestJwtAuthGrant, exchangeJwtAuthGrant, requestJwtAuthorizationGrant, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { decodeJwt } from 'jose'
import { browser } from '../../support/browser.ts'
import { makeHome } from '../../support/command-line.ts'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { CLIENT_ID, CLIENT_SECRET, okta, type Okta } from '../../support/okta/okta.ts'

const AT_OKTA = { clientId: '0oa3assistant', clientSecret: 'the-secret-of-the-assistant-at-Okta-and-nowhere-else' }
const AT_GATEWAY = { clientId: 'assistant', clientSecret: 'the-secret-of-the-assistant-at-the-gateway' }
const CALLBACK = 'http://127.0.0.1:53999/callback'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

let provider: Okta
let gateway: RunningGateway

before(async () => {
  provider = await okta()
  provider.clients.set(AT_OKTA.clientId, { secret: AT_OKTA.clientSecret, redirectUris: /^http:\/\/(?:127\.0\.0\.1|localhost):\d+\/\S*$/, rotates: false, agent: 'wlp2assistant' })
  gateway = await startGateway({
    config: {
      identityProviders: [{ id: 'okta', type: 'oidc', issuer: provider.origin, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'] }],
      clients: [{ id: AT_GATEWAY.clientId, name: 'Assistant', clientSecret: AT_GATEWAY.clientSecret, tokenEndpointAuthMethod: 'client_secret_basic', grantTypes: [JWT_BEARER] }, { id: 'inspector', name: 'Inspector', clientSecret: AT_GATEWAY.clientSecret, tokenEndpointAuthMethod: 'client_secret_post', grantTypes: [JWT_BEARER] }],
      idJag: { trustedIssuers: [{ id: 'okta-xaa', issuer: provider.origin }] },
      rules: [{ id: 'engineering', effect: 'allow', groups: ['engineering'], upstreams: ['notes'] }],
    },
  })
  const resources = [`${gateway.issuer}/mcp/notes`]
  for (const clientIdThere of ['assistant', 'inspector']) {
    provider.crossApps.push({ clientId: clientIdThere === 'inspector' ? '0oa4inspector' : AT_OKTA.clientId, audience: gateway.issuer, clientIdThere, resources, scopes: ['mcp.read', 'mcp.write'] })
  }
  provider.clients.set('0oa4inspector', { secret: AT_OKTA.clientSecret, redirectUris: /^http:\/\/(?:127\.0\.0\.1|localhost):\d+\/\S*$/, rotates: false, agent: 'wlp3inspector' })
})
after(async () => {
  await gateway.close()
  await provider.close()
})

/** Signs the person in to the assistant at Okta, as every application of the company does. */
async function idToken(person: string): Promise<string> {
  const url = `${provider.origin}/oauth2/v1/authorize?${new URLSearchParams({ client_id: AT_OKTA.clientId, redirect_uri: CALLBACK, response_type: 'code', scope: 'openid profile email', state: 's' }).toString()}`
  const page = await browser({ stop: (to) => to.startsWith(CALLBACK) }).approve(url, { person })
  const answer = await fetch(`${provider.origin}/oauth2/v1/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code', code: new URL(page.url).searchParams.get('code') ?? '', redirect_uri: CALLBACK, client_id: AT_OKTA.clientId, client_secret: AT_OKTA.clientSecret }) })
  return String(((await answer.json()) as Record<string, unknown>)['id_token'])
}

/** Signs the person in to the gateway, so that it knows their groups; nobody approves anything there. */
async function signInToGateway(person: string): Promise<void> {
  const page = await browser().approve(`${gateway.issuer}/login?return_to=/`, { person, connect: false })
  assert.equal(page.status, 200, page.text)
}

function assistant(person: string): { readonly provider: CrossAppAccessProvider; readonly assertions: string[] } {
  const assertions: string[] = []
  const made = new CrossAppAccessProvider({
    ...AT_GATEWAY,
    expectedIssuer: gateway.issuer,
    assertion: async ({ authorizationServerUrl, resourceUrl, scope, fetchFn }) => {
      const { jwtAuthGrant } = await discoverAndRequestJwtAuthGrant({ idpUrl: provider.origin, audience: authorizationServerUrl, resource: resourceUrl, idToken: await idToken(person), ...AT_OKTA, ...(scope === undefined ? {} : { scope }), ...(fetchFn === undefined ? {} : { fetchFn }) })
      assertions.push(jwtAuthGrant)
      return jwtAuthGrant
    },
  })
  return { provider: made, assertions }
}

for (const era of ['2025-11-25', '2026-07-28'] as const) {
  test(`the SDK's CrossAppAccessProvider lists and calls tools at the gateway, without a page of it, with ${era}`, async () => {
    await signInToGateway('alice')
    const { provider: authProvider, assertions } = assistant('alice')
    const client = new Client({ name: 'assistant', version: '1.0.0' }, { versionNegotiation: { mode: era === '2026-07-28' ? { pin: era } : 'legacy' } })
    await client.connect(new StreamableHTTPClientTransport(new URL(`${gateway.issuer}/mcp/notes`), { authProvider }))
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name).includes('read_note'), true)
    const result = await client.callTool({ name: 'read_note', arguments: { title: 'welcome' } })
    assert.match(JSON.stringify(result.content), /Welcome to the demo company/)
    await client.close()
    assert.equal(assertions.length, 1)
    const access = decodeJwt(authProvider.tokens()?.access_token ?? '')
    assert.deepEqual([access.aud, access['client_id'], access['act']], [`${gateway.issuer}/mcp/notes`, 'assistant', { sub: 'wlp2assistant', iss: provider.origin, sub_profile: 'ai_agent' }])
    assert.equal(authProvider.tokens()?.refresh_token, undefined)
    await recorded(gateway, ({ action, subject, clientId, detail }) => action === 'token.issued' && subject === access.sub && clientId === 'assistant' && detail?.['assertion_issuer'] === provider.origin)
    assert.ok(gateway.output.every((line) => !line.includes(assertions[0]?.split('.')[2] ?? '-')))
  })
}

test('the SDK hears of policy: whoever may use nothing gets no token, and an assertion is good once (EMA §7.4.2)', async () => {
  await signInToGateway('bob')
  const bob = assistant('bob')
  const denied = new Client({ name: 'assistant', version: '1.0.0' })
  await assert.rejects(denied.connect(new StreamableHTTPClientTransport(new URL(`${gateway.issuer}/mcp/notes`), { authProvider: bob.provider })), /invalid_grant|no longer valid/)
  const { jwtAuthGrant } = await requestJwtAuthorizationGrant({ tokenEndpoint: `${provider.origin}/oauth2/v1/token`, audience: gateway.issuer, resource: `${gateway.issuer}/mcp/notes`, idToken: await idToken('alice'), ...AT_OKTA, scope: 'mcp.read' })
  const exchange = { tokenEndpoint: `${gateway.issuer}/token`, jwtAuthGrant, ...AT_GATEWAY }
  assert.equal((await exchangeJwtAuthGrant(exchange)).scope, 'mcp.read')
  await assert.rejects(exchangeJwtAuthGrant(exchange), /invalid_grant/)
})

test('MCP Inspector with enterprise-managed authorization signs in at the identity provider alone, and calls a tool', async () => {
  await signInToGateway('alice')
  const home = await makeHome()
  try {
    await writeFile(home.clientConfig, JSON.stringify({ enterpriseManagedAuth: { enabled: true, idp: { issuer: provider.origin, clientId: '0oa4inspector', clientSecret: AT_OKTA.clientSecret } } }))
    const config = join(home.directory, 'mcp.json')
    await writeFile(config, JSON.stringify({ mcpServers: { gateway: { type: 'streamable-http', url: `${gateway.issuer}/mcp/notes`, oauth: { enterpriseManaged: true, clientId: 'inspector', clientSecret: AT_GATEWAY.clientSecret } } } }))
    const { stdout, stderr } = await home.run('mcp-inspector', ['--cli', '--config', config, '--server', 'gateway', '--client-config', home.clientConfig, '--format', 'json', '--method', 'tools/call', '--tool-name', 'read_note', '--tool-arg', 'title=welcome'])
    assert.match(stdout, /Welcome to the demo company/, stderr)
    await recorded(gateway, ({ action, clientId, detail }) => action === 'token.issued' && clientId === 'inspector' && detail?.['assertion_issuer'] === provider.origin)
  } finally {
    await home.remove()
  }
})
