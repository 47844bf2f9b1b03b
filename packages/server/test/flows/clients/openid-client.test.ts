// The grants of an agent by openid-client, which checks each answer against the specifications: a pushed request with proofs of
// possession, a device, a machine, and tokens that are exchanged.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { decodeJwt } from 'jose'
import * as openid from 'openid-client'
import { browser } from '../../support/browser.ts'
import { startGateway, type RunningGateway } from '../../support/gateway.ts'
import { variants } from '../../support/variants.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const CALLBACK = 'http://127.0.0.1:53996/callback'
const SECRET = 's'.repeat(40)

for (const variant of variants()) {
  describe(`openid-client on ${variant.name}`, () => {
    let gateway: RunningGateway
    let agent: openid.Configuration
    before(async () => {
      gateway = await startGateway({ ...variant, config: (issuer) => ({
        dpop: { requireNonce: true },
        clients: [
          { id: 'agent', name: 'Agent', grantTypes: ['authorization_code', 'refresh_token', 'client_credentials', DEVICE, EXCHANGE], redirectUris: [CALLBACK], clientSecret: SECRET, groups: ['engineering'], requirePushedAuthorizationRequests: true },
          { id: 'other', name: 'Other', grantTypes: [EXCHANGE], clientSecret: SECRET },
        ],
        tokenExchange: [{ id: 'notes', clients: ['agent'], targets: [`${issuer}/mcp/notes`] }],
      }) })
      agent = await discover('agent')
    })
    after(() => gateway.close())

    function discover(clientId: string): Promise<openid.Configuration> {
      return openid.discovery(new URL(gateway.issuer), clientId, { client_secret: SECRET }, openid.ClientSecretBasic(SECRET), { execute: [openid.allowInsecureRequests], algorithm: 'oauth2' })
    }

    const resource = (): string => `${gateway.issuer}/mcp/notes`

    async function refusal(attempt: Promise<unknown>): Promise<string> {
      const error: unknown = await attempt.then(() => undefined, (thrown: unknown) => thrown)
      assert.ok(error instanceof openid.ResponseBodyError, String(error))
      return error.error
    }

    /** Signs in by a pushed request that is bound to a key. */
    async function signIn(): Promise<{ readonly tokens: openid.TokenEndpointResponse; readonly DPoP: openid.DPoPHandle }> {
      const DPoP = openid.getDPoPHandle(agent, await openid.randomDPoPKeyPair())
      const verifier = openid.randomPKCECodeVerifier()
      const parameters = { redirect_uri: CALLBACK, scope: 'mcp.read mcp.write', resource: resource(), state: 'st', code_challenge: await openid.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' }
      const start = await openid.buildAuthorizationUrlWithPAR(agent, parameters, { DPoP })
      assert.deepEqual([...start.searchParams.keys()].sort(), ['client_id', 'request_uri'])
      const end = await browser({ stop: (url) => url.startsWith(CALLBACK) }).approve(start.href)
      const tokens = await openid.authorizationCodeGrant(agent, new URL(end.url), { pkceCodeVerifier: verifier, expectedState: 'st' }, { resource: resource() }, { DPoP })
      return { tokens, DPoP }
    }

    test('a pushed request, a code that is bound to its key, calls and a refresh with the nonces that are asked for (RFC 9126 §4, RFC 9449 §10.1)', async () => {
      const { tokens, DPoP } = await signIn()
      assert.deepEqual([tokens.token_type, decodeJwt(tokens.access_token)['cnf']], ['dpop', { jkt: await DPoP.calculateThumbprint() }])
      const initialize = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'openid-client', version: '6' } } }
      const headers = new Headers({ 'content-type': 'application/json', accept: 'application/json, text/event-stream' })
      const answer = await openid.fetchProtectedResource(agent, tokens.access_token, new URL(resource()), 'POST', JSON.stringify(initialize), headers, { DPoP })
      assert.equal(answer.status, 200)
      const refreshed = await openid.refreshTokenGrant(agent, tokens.refresh_token ?? '', {}, { DPoP })
      assert.equal(refreshed.token_type, 'dpop')
      const bare = { response_type: 'code', client_id: 'agent', redirect_uri: CALLBACK, scope: 'mcp.read', resource: resource(), code_challenge: 'a'.repeat(43), code_challenge_method: 'S256' }
      const refused = await browser({ stop: (url) => url.startsWith(CALLBACK) }).open(openid.buildAuthorizationUrl(agent, bare).href)
      assert.equal(new URL(refused.url).searchParams.get('error'), 'invalid_request', 'a request that was not pushed')
    })

    test('a device asks, is approved elsewhere, and polls until then (RFC 8628 §3.4)', async () => {
      const device = await openid.initiateDeviceAuthorization(agent, { scope: 'mcp.read', resource: resource() })
      const done = await browser().approve(device.verification_uri_complete ?? '')
      assert.match(done.text, /The device is connected/)
      const tokens = await openid.pollDeviceAuthorizationGrant(agent, device)
      assert.equal(tokens.scope, 'mcp.read')
      assert.equal(await refusal(openid.pollDeviceAuthorizationGrant(agent, device)), 'invalid_grant')
    })

    test('a machine has a token of its own, without a refresh token (RFC 6749 §4.4.3)', async () => {
      const tokens = await openid.clientCredentialsGrant(agent, { resource: resource(), scope: 'mcp.read' })
      assert.deepEqual([tokens.refresh_token, decodeJwt(tokens.access_token).sub], [undefined, 'machine:agent'])
      assert.equal(await refusal(openid.clientCredentialsGrant(await discover('other'), { resource: resource() })), 'unauthorized_client')
    })

    test('a token is exchanged for a narrower one that ends with it (RFC 8693 §2.2)', async () => {
      const { tokens, DPoP } = await signIn()
      const ask = (config: openid.Configuration, more: Record<string, string> = {}) => openid.genericGrantRequest(config, EXCHANGE, { subject_token: tokens.access_token, subject_token_type: ACCESS_TOKEN, resource: resource(), scope: 'mcp.read', ...more }, { DPoP })
      const exchanged = await ask(agent)
      assert.deepEqual([exchanged['issued_token_type'], exchanged.scope], [ACCESS_TOKEN, 'mcp.read'])
      assert.equal(await refusal(ask(agent, { scope: 'mcp.read admin' })), 'invalid_scope')
      assert.equal(await refusal(ask(await discover('other'))), 'invalid_request')
      await openid.tokenRevocation(agent, tokens.refresh_token ?? '')
      assert.equal(await refusal(ask(agent)), 'invalid_request')
    })
  })
}
