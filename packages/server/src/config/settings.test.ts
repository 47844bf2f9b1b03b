import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig, type Config } from './load.ts'
import { introspectors, keyOverlapMs, machineSettings, preRegisteredClients, profileSettings, providerSettings, tokenLifetimes, upstreamSettings } from './settings.ts'

function config(more = ''): Config {
  const text = `
issuer: https://lanyard.example
identityProviders:
  - { id: corp, type: oidc, issuer: https://idp.example, clientId: lanyard }
  - { id: other, name: Other, type: oidc, issuer: https://other.example, clientId: lanyard, clientSecret: s, scopes: [openid], offlineAccess: 'off' }
clients:
  - { id: notes-server, name: Notes, tokenEndpointAuthMethod: client_secret_basic, clientSecret: ${'x'.repeat(32)}, resources: [https://lanyard.example/mcp/notes] }
  - { id: app, name: App, tokenEndpointAuthMethod: none, redirectUris: [https://app.example/callback] }
upstreams:
  - { id: notes, url: https://notes.example/mcp, timeoutSeconds: 5 }
  - { id: tickets, name: Tickets, url: https://tickets.example/mcp, connector: { type: oauth } }
profiles: [{ id: engineering, upstreams: [notes] }]
${more}`
  return parseConfig(text, { file: 'test.yaml', directory: '/etc/lanyard', environment: {} })
}

test('what was left out of an identity provider gets its default, what was named stays', () => {
  const [corp, other] = providerSettings(config())
  assert.deepEqual(corp, {
    id: 'corp',
    name: 'corp',
    type: 'oidc',
    issuer: 'https://idp.example',
    clientId: 'lanyard',
    groupsClaim: 'groups',
    rolesClaim: 'roles',
    claims: [],
    acrValues: [],
    scopes: ['openid', 'profile', 'email', 'offline_access'],
    offlineAccess: 'scope',
  })
  assert.deepEqual([other?.name, other?.scopes, other?.offlineAccess, other?.clientSecret], ['Other', ['openid'], 'off', 's'])
})

test('upstreams, profiles and clients: names default to identifiers, seconds become milliseconds, nothing is undefined', () => {
  const [notes, tickets] = upstreamSettings(config())
  assert.deepEqual(notes, { id: 'notes', name: 'notes', url: 'https://notes.example/mcp', connector: { type: 'none' }, readOnlyTools: [], toolChanges: 'hide', protocol: 'auto', timeoutMs: 5000 })
  assert.deepEqual([tickets?.name, tickets?.connector], ['Tickets', { type: 'oauth' }])
  assert.deepEqual(profileSettings(config()), [{ id: 'engineering', name: 'engineering', upstreams: ['notes'] }])
  const [, app] = preRegisteredClients(config())
  assert.deepEqual(app, {
    id: 'app',
    name: 'App',
    redirectUris: ['https://app.example/callback'],
    grantTypes: ['authorization_code', 'refresh_token'],
    tokenEndpointAuthMethod: 'none',
  })
})

test('the clients that stand for themselves, with what the configuration says of them', () => {
  const made = parseConfig(`issuer: https://lanyard.example
identityProviders: [{ id: corp, type: oidc, issuer: https://idp.example, clientId: lanyard }]
clients:
  - { id: report, name: Report, grantTypes: [client_credentials], clientSecret: ${'s'.repeat(32)}, owner: alice, groups: [reporting], scopes: [mcp.notes.read] }
  - { id: plain, name: Plain, grantTypes: [client_credentials], clientSecret: ${'s'.repeat(32)} }
  - { id: app, name: App, redirectUris: ['https://app.example/callback'], tokenEndpointAuthMethod: none }`, { file: 'test.yaml', directory: '/etc/lanyard', environment: {} })
  assert.deepEqual(machineSettings(made), [
    { clientId: 'report', name: 'Report', owner: 'alice', groups: ['reporting'], scopes: ['mcp.notes.read'] },
    { clientId: 'plain', name: 'Plain', groups: [] },
  ])
  for (const client of preRegisteredClients(made)) for (const member of ['owner', 'groups', 'scopes']) assert.equal(member in client, false)
})

test('a workload is a machine, and is expected to name this gateway as its audience', () => {
  const made = parseConfig(`issuer: https://lanyard.example
identityProviders: [{ id: corp, type: oidc, issuer: https://idp.example, clientId: lanyard }]
clients:
  - id: deploy
    name: Deploy
    grantTypes: [urn:ietf:params:oauth:grant-type:jwt-bearer]
    tokenEndpointAuthMethod: workload_identity
    workloadIdentities: [{ issuer: https://ci.example, subject: job:deploy }, { issuer: https://ci.example, subject: job:other, audience: lanyard }]
`, { file: 'test.yaml', directory: '/etc/lanyard', environment: {} })
  assert.deepEqual(machineSettings(made).map(({ clientId }) => clientId), ['deploy'])
  assert.deepEqual(preRegisteredClients(made)[0]?.workloadIdentities, [
    { issuer: 'https://ci.example', subject: 'job:deploy', audience: 'https://lanyard.example' },
    { issuer: 'https://ci.example', subject: 'job:other', audience: 'lanyard' },
  ])
})

test('a client introspects for the resources that it stands for, in whatever spelling, and for no other', () => {
  const may = introspectors(config())
  assert.equal(may('notes-server', 'https://lanyard.example/mcp/notes'), true)
  assert.equal(may('notes-server', 'https://LANYARD.example/mcp/notes/'), true)
  assert.equal(may('notes-server', 'https://lanyard.example/mcp/tickets'), false)
  assert.equal(may('app', 'https://lanyard.example/mcp/notes'), false)
  assert.equal(may('nobody', 'https://lanyard.example/mcp/notes'), false)
  assert.equal(may('notes-server', 'no resource'), false)
})

test('a resource that is no address stands for nothing', () => {
  const more = config().clients.map((client) => ({ ...client, resources: ['notes'] }))
  assert.equal(introspectors({ ...config(), clients: more })('notes-server', 'also no address'), false)
})

test('keys stay published longer than the tokens that they signed live', () => {
  for (const seconds of [60, 900, 3600]) {
    const made = config(`tokens: { accessTokenSeconds: ${seconds} }`)
    assert.ok(keyOverlapMs(made) > (tokenLifetimes(made).accessToken + 300) * 1000)
  }
  assert.deepEqual(tokenLifetimes(config()), { accessToken: 900, refreshToken: 30 * 86_400, grant: 90 * 86_400 })
})
