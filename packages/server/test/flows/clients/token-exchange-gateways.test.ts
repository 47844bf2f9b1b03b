// Two gateways that trust the same identity provider (the emulator of Okta). The near one reaches a server of the far one in
// the name of each person, without a connection of theirs: it exchanges what their sign-in brought at the far one, which is
// the real authorization server here, by its own token exchange.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { memoryProvider } from '../../support/oauth-clients.ts'
import { CLIENT_ID, CLIENT_SECRET, okta, type Okta } from '../../support/okta/okta.ts'
import { connectV2 } from '../../support/sdk-clients.ts'

const SECRET = 'a-secret-of-the-near-gateway-at-the-far-one-and-nowhere-else'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

let provider: Okta
let far: RunningGateway
let near: RunningGateway

before(async () => {
  provider = await okta()
  const identityProvider = { id: 'okta', type: 'oidc', issuer: provider.origin, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'] }
  far = await startGateway({ host: '127.0.0.2', config: (issuer) => ({
    identityProviders: [identityProvider],
    clients: [{ id: 'near', name: 'Near', clientSecret: SECRET, tokenEndpointAuthMethod: 'client_secret_basic', grantTypes: [TOKEN_EXCHANGE] }],
    tokenExchange: [{ id: 'near', clients: ['near'], identityProvider: 'okta', tokenTypes: ['id_token'], audiences: [CLIENT_ID], targets: [`${issuer}/mcp/notes`], scopes: ['mcp.read'] }],
    rules: [{ id: 'engineering', effect: 'allow', groups: ['engineering'] }],
  }) })
  const connector = { type: 'token-exchange', clientId: 'near', clientSecret: SECRET, issuer: far.issuer, subjectToken: 'id_token' }
  near = await startGateway({ config: () => ({
    identityProviders: [identityProvider],
    upstreams: [
      { id: 'reading', url: `${far.issuer}/mcp/notes`, connector: { ...connector, scopes: ['mcp.read'] } },
      { id: 'writing', url: `${far.issuer}/mcp/notes`, connector: { ...connector, scopes: ['mcp.write'] } },
    ],
    rules: [{ id: 'engineering', effect: 'allow', groups: ['engineering'] }],
  }) })
})
after(async () => {
  await near.close()
  await far.close()
  await provider.close()
})

test('the connector token-exchange reaches the far server as the person, and asks once for many calls (RFC 8693 §2.1, C-7)', async () => {
  const session = await connectV2(`${near.issuer}/mcp/reading`, memoryProvider(), 'modern')
  assert.ok((await session.tools()).includes('read_note'))
  for (let call = 0; call < 3; call += 1) assert.match(await session.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
  await session.close()
  const isToken = ({ action, clientId }: RunningGateway['events'][number]): boolean => action === 'token.issued' && clientId === 'near'
  await recorded(far, isToken)
  const issued = far.events.filter(isToken)
  assert.deepEqual(issued.map(({ resource, detail }) => [resource, detail?.['subject_kind'], detail?.['exchange_rule'], detail?.['scope']]), [[`${far.issuer}/mcp/notes`, 'okta id_token', ['near'], 'mcp.read']])
  await recorded(near, ({ action, upstream, detail }) => action === 'connection.refreshed' && upstream === 'reading' && detail?.['connector'] === 'token-exchange')
  const call = far.events.find(({ action, clientId }) => action === 'call.allowed' && clientId === 'near')
  assert.equal(call?.subject, issued[0]?.subject)
})

test('what the far side does not give is told to the person in words, and recorded on both', async () => {
  const signedIn = memoryProvider()
  await connectV2(`${near.issuer}/mcp/writing`, signedIn, 'modern').catch(() => undefined)
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} }
  const answer = await fetch(`${near.issuer}/mcp/writing`, {
    method: 'POST',
    headers: { authorization: `Bearer ${signedIn.tokens()?.access_token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'read_note' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'read_note', arguments: { title: 'welcome' }, _meta: meta } }),
  })
  assert.match(await answer.text(), /cannot be used in your name: its authorization server gives no token for your sign-in/)
  await recorded(far, ({ action, clientId, reason }) => action === 'token.refused' && clientId === 'near' && reason === 'token exchange: wider scope')
  await recorded(near, ({ action, upstream, reason }) => action === 'connection.failed' && upstream === 'writing' && reason === 'token exchange: server: invalid_scope')
})
