// Two gateways. The far one gives bound tokens alone, and takes none without a proof that holds its nonce (RFC 9449); the
// near one reaches it in the name of each person by the connectors id-jag and token-exchange, with a key and without.
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { discoverAndRequestJwtAuthGrant } from '@modelcontextprotocol/client'
import * as oauth from 'oauth4webapi'
import { parse, stringify } from 'yaml'
import { tokenOf } from '../../support/api-clients.ts'
import { browser } from '../../support/browser.ts'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { memoryProvider } from '../../support/oauth-clients.ts'
import { CLIENT_ID, CLIENT_SECRET, okta, type Okta } from '../../support/okta/okta.ts'
import { connectV2 } from '../../support/sdk-clients.ts'

const SECRET = 'a-secret-of-the-near-gateway-at-the-far-one-and-nowhere-else'
const NEAR_SECRET = 'the-secret-of-the-assistant-at-the-near-gateway'
const ASSISTANT = '0oa3assistant'
const ASSISTANT_SECRET = 'the-secret-of-the-assistant-at-Okta-and-nowhere-else'
const CALLBACK = 'http://127.0.0.1:53998/callback'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

let provider: Okta
let far: RunningGateway
let near: RunningGateway
const opened = new AsyncDisposableStack()

before(async () => {
  provider = await okta()
  opened.defer(() => provider.close())
  provider.clients.set(ASSISTANT, { secret: ASSISTANT_SECRET, redirectUris: /^http:\/\/127\.0\.0\.1:\d+\/callback$/, rotates: false })
  far = await startGateway({ host: '127.0.0.2', config: (issuer) => farConfig(issuer, []) })
  opened.defer(() => far.close())
  near = await startGateway({ config: nearConfig })
  opened.defer(() => near.close())
  const [node] = far.processes
  assert.ok(node)
  const config = parse(await readFile(node.config, 'utf8')) as Record<string, unknown>
  await writeFile(node.config, stringify({ ...config, ...farConfig(far.issuer, [{ id: 'near', issuer: near.issuer }]) }))
  await node.stop()
  await node.start()
})
after(() => opened.disposeAsync())

function identityProvider(): object {
  return { id: 'okta', type: 'oidc', issuer: provider.origin, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET, scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'] }
}

function farConfig(issuer: string, trustedIssuers: readonly object[]): Readonly<Record<string, unknown>> {
  const client = { clientSecret: SECRET, tokenEndpointAuthMethod: 'client_secret_basic' }
  return {
    identityProviders: [identityProvider()],
    dpop: { required: true, requireNonce: true },
    clients: [
      { id: 'asserting', name: 'Asserting', ...client, grantTypes: [JWT_BEARER] },
      { id: 'exchanging', name: 'Exchanging', ...client, grantTypes: [TOKEN_EXCHANGE] },
      { id: 'assistant', name: 'Assistant', ...client, grantTypes: [JWT_BEARER] },
    ],
    idJag: { trustedIssuers },
    tokenExchange: [{ id: 'near', clients: ['exchanging'], identityProvider: 'okta', tokenTypes: ['id_token'], audiences: [CLIENT_ID], targets: [`${issuer}/mcp/notes`], scopes: ['mcp.read'] }],
    rules: [{ id: 'everybody', effect: 'allow' }],
  }
}

function nearConfig(): Readonly<Record<string, unknown>> {
  const url = `${far.issuer}/mcp/notes`
  const asserting = { type: 'id-jag', clientId: 'asserting', clientSecret: SECRET, scopes: ['mcp.read'], assertions: 'lanyard' }
  const exchanging = { type: 'token-exchange', clientId: 'exchanging', clientSecret: SECRET, issuer: far.issuer, subjectToken: 'id_token', scopes: ['mcp.read'] }
  return {
    identityProviders: [identityProvider()],
    clients: [{ id: 'assistant', name: 'Assistant', clientSecret: NEAR_SECRET, tokenEndpointAuthMethod: 'client_secret_post', grantTypes: [TOKEN_EXCHANGE] }],
    idJag: { audiences: [{ issuer: far.issuer, resources: [url], scopes: ['mcp.read'], clients: { assistant: 'assistant' } }] },
    tokenExchange: [{ id: 'far', clients: ['assistant'], identityProvider: 'okta', tokenTypes: ['id_token'], audiences: [ASSISTANT], targets: [far.issuer] }],
    upstreams: [
      { id: 'asserting', url, connector: { ...asserting, dpop: true } },
      { id: 'asserting-plain', url, connector: asserting },
      { id: 'asserting-busy', url, connector: { ...asserting, dpop: true } },
      { id: 'exchanging', url, connector: { ...exchanging, dpop: true } },
      { id: 'exchanging-plain', url, connector: exchanging },
      { id: 'exchanging-busy', url, connector: { ...exchanging, dpop: true } },
    ],
    rules: [{ id: 'everybody', effect: 'allow' }],
  }
}

type Event = RunningGateway['events'][number]

for (const client of ['asserting', 'exchanging']) {
  for (const era of ['modern', 'legacy'] as const) {
    test(`${client}, ${era}: one bound token for many calls, each proven, with nonces of the authorization server and of the resource server (RFC 9449 §5, §7.1, §8, §9)`, async () => {
      const isIssued = ({ action, clientId }: Event): boolean => action === 'token.issued' && clientId === client
      const person = era === 'modern' ? 'alice' : 'bob'
      const before = far.events.filter(isIssued).length
      const session = await connectV2(`${near.issuer}/mcp/${client}`, memoryProvider({ person }), era)
      assert.ok((await session.tools()).includes('read_note'))
      for (let call = 0; call < 3; call += 1) assert.match(await session.call('read_note', { title: 'welcome' }), /Welcome to the demo company/)
      // Proofs of calls at once are good once each, too.
      for (const answer of await Promise.all(Array.from({ length: 5 }, () => session.call('read_note', { title: 'welcome' })))) assert.match(answer, /Welcome to the demo company/)
      await session.close()
      await recorded(far, (event) => isIssued(event) && far.events.filter(isIssued).length === before + 1)
      await recorded(near, ({ action, upstream }) => action === 'connection.refreshed' && upstream === client)
      const refused = far.events.filter(({ action, reason }) => action === 'token.refused' && reason?.startsWith('dpop: ') === true).map(({ reason }) => reason)
      assert.deepEqual(refused.filter((reason) => reason?.includes('nonce') !== true), [], 'for want of a nonce, and for nothing else')
    })
  }

  test(`${client}: of first calls at once, each is sent again with the nonce that the first answer brought, and the token stays (RFC 9449 §9)`, async () => {
    const url = `${near.issuer}/mcp/${client}-busy`
    const authorization = `Bearer ${await tokenOf(near.issuer, 'alice', url)}`
    const answers = await Promise.all(Array.from({ length: 8 }, async () => (await listTools(url, { authorization })).status))
    assert.deepEqual(answers, Array.from({ length: 8 }, () => 200))
    const refreshed = ({ action, upstream }: Event): boolean => action === 'connection.refreshed' && upstream === `${client}-busy`
    await recorded(near, refreshed)
    assert.equal(near.events.filter(refreshed).length, 1)
  })

  test(`${client}: without a key the far gateway gives no token, and the person is told (RFC 9449 §5)`, async () => {
    const signedIn = memoryProvider()
    await connectV2(`${near.issuer}/mcp/${client}-plain`, signedIn, 'modern').catch(() => undefined)
    const answer = await listTools(`${near.issuer}/mcp/${client}-plain`, { authorization: `Bearer ${signedIn.tokens()?.access_token}` })
    assert.match(await answer.text(), /cannot be used in your name/)
    await recorded(far, ({ action, clientId, reason }) => action === 'token.refused' && clientId === client && reason === 'no DPoP proof')
    await recorded(near, ({ action, upstream, reason }) => action === 'connection.failed' && upstream === `${client}-plain` && reason?.endsWith('server: invalid_dpop_proof') === true)
    assert.ok(!near.events.some(({ action, upstream }) => action === 'connection.refreshed' && upstream === `${client}-plain`))
  })
}

test('what the far gateway binds is worth nothing to a bearer, nor with the proof of another key (RFC 9449 §7.1, §7.2)', async () => {
  const idJag = await discoverAndRequestJwtAuthGrant({ idpUrl: near.issuer, audience: far.issuer, resource: `${far.issuer}/mcp/notes`, idToken: await idToken('alice'), clientId: 'assistant', clientSecret: NEAR_SECRET, scope: 'mcp.read' })
  const client = { client_id: 'assistant' }
  const server = { issuer: far.issuer, token_endpoint: `${far.issuer}/token` }
  const insecure = { [oauth.allowInsecureRequests]: true }
  const DPoP = oauth.DPoP({}, await oauth.generateKeyPair('ES256'))
  const ask = async (): Promise<oauth.TokenEndpointResponse> =>
    oauth.processGenericTokenEndpointResponse(server, client, await oauth.genericTokenEndpointRequest(server, client, oauth.ClientSecretBasic(SECRET), JWT_BEARER, { assertion: idJag.jwtAuthGrant, resource: `${far.issuer}/mcp/notes` }, { DPoP, ...insecure }))
  // The assertion is good once, and a request without the nonce did not use it up.
  const issued = await ask().catch((error: unknown) => (oauth.isDPoPNonceError(error) ? ask() : Promise.reject(error instanceof Error ? error : new Error(String(error)))))
  assert.equal(issued.token_type, 'dpop')
  const at = new URL(`${far.issuer}/mcp/notes`)
  const proven = async (handle: oauth.DPoPHandle): Promise<number> => {
    const send = async (): Promise<Response> => oauth.protectedResourceRequest(issued.access_token, 'POST', at, new Headers(HEADERS), LIST, { DPoP: handle, ...insecure })
    const answered = async (): Promise<number> => send().then(({ status }) => status, (error: unknown) => (error instanceof oauth.WWWAuthenticateChallengeError ? error.status : Promise.reject(error instanceof Error ? error : new Error(String(error)))))
    return (await answered()) === 200 ? 200 : answered()
  }
  assert.equal(await proven(DPoP), 200)
  assert.equal(await proven(oauth.DPoP({}, await oauth.generateKeyPair('ES256'))), 401)
  for (const scheme of ['Bearer', 'DPoP']) {
    const refused = await listTools(at.href, { authorization: `${scheme} ${issued.access_token}` })
    assert.equal(refused.status, 401, scheme)
  }
  assert.equal(await proven(DPoP), 200)
})

const META = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'x', version: '1' }, 'io.modelcontextprotocol/clientCapabilities': {} }
const LIST = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: META } })
const HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list' }

function listTools(url: string, headers: Readonly<Record<string, string>>): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { ...HEADERS, ...headers }, body: LIST })
}

/** Signs the person in to the assistant at Okta. */
async function idToken(person: string): Promise<string> {
  const url = `${provider.origin}/oauth2/v1/authorize?${new URLSearchParams({ client_id: ASSISTANT, redirect_uri: CALLBACK, response_type: 'code', scope: 'openid profile email', state: 's' }).toString()}`
  const page = await browser({ stop: (to) => to.startsWith(CALLBACK) }).approve(url, { person })
  const answer = await fetch(`${provider.origin}/oauth2/v1/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code', code: new URL(page.url).searchParams.get('code') ?? '', redirect_uri: CALLBACK, client_id: ASSISTANT, client_secret: ASSISTANT_SECRET }) })
  return String(((await answer.json()) as Record<string, unknown>)['id_token'])
}
