// Devices and pushed requests as clients speak them: mcp-remote on a machine without a browser, and oauth4webapi, which
// checks every answer against the specifications.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { generateKeyPair, exportJWK } from 'jose'
import * as oauth from 'oauth4webapi'
import { browser } from '../../support/browser.ts'
import { makeHome } from '../../support/command-line.ts'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { variants } from '../../support/variants.ts'

const LOOSE = { [oauth.allowInsecureRequests]: true }
const CALLBACK = 'http://127.0.0.1:53997/callback'
const INITIALIZE = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'flow', version: '1.0.0' } } }
const CALL = { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'read_note', arguments: { title: 'welcome' } } }

for (const variant of variants()) {
  describe(`devices and pushed requests on ${variant.name}`, () => {
    let gateway: RunningGateway
    let server: oauth.AuthorizationServer
    before(async () => {
      gateway = await startGateway(variant)
      const issuer = new URL(gateway.issuer)
      server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...LOOSE }))
    })
    after(() => gateway.close())

    async function register(metadata: Readonly<Record<string, oauth.JsonValue>>): Promise<oauth.Client> {
      const response = await oauth.dynamicClientRegistrationRequest(server, metadata, LOOSE)
      return oauth.processDynamicClientRegistrationResponse(response)
    }

    test('mcp-remote --device-code: registers without a browser’s grant, waits for the approval, calls (RFC 8628)', async () => {
      const home = await makeHome()
      try {
        const lines = [INITIALIZE, { jsonrpc: '2.0', method: 'notifications/initialized' }, CALL].map((message) => JSON.stringify(message))
        const { stdout, stderr } = await home.run('mcp-remote', [`${gateway.issuer}/mcp/notes`, '--allow-http', '--device-code'], lines)
        assert.match(stdout, /Welcome to the demo company/, stderr)
        await recorded(gateway, ({ action, detail }) => action === 'authorization.granted' && detail?.['device'] === '127.0.0.1')
      } finally {
        await home.remove()
      }
    })

    test('oauth4webapi: asks, waits, is answered, and its tokens work (RFC 8628 §3.1 to §3.5)', async () => {
      const client = await register({ client_name: 'Screen', grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], token_endpoint_auth_method: 'none' })
      assert.deepEqual([client['redirect_uris'], client['response_types'], client['application_type']], [[], [], 'native'])
      const resource = `${gateway.issuer}/mcp/notes`
      const asked = await oauth.deviceAuthorizationRequest(server, client, oauth.None(), { resource, scope: 'mcp.read' }, LOOSE)
      const device = await oauth.processDeviceAuthorizationResponse(server, client, asked)
      const poll = async (): Promise<oauth.TokenEndpointResponse> => oauth.processDeviceCodeResponse(server, client, await oauth.deviceCodeGrantRequest(server, client, oauth.None(), device.device_code, LOOSE))
      await assert.rejects(poll(), (error: unknown) => error instanceof oauth.ResponseBodyError && error.error === 'authorization_pending')
      const done = await browser().approve(device.verification_uri_complete ?? '')
      assert.match(done.text, /The device is connected/)
      const tokens = await poll()
      assert.deepEqual([tokens.token_type, tokens.scope], ['bearer', 'mcp.read'])
      const called = await fetch(resource, { method: 'POST', headers: { authorization: `Bearer ${tokens.access_token}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body: JSON.stringify(INITIALIZE) })
      assert.equal(called.status, 200)
      const refreshed = await oauth.processRefreshTokenResponse(server, client, await oauth.refreshTokenGrantRequest(server, client, oauth.None(), tokens.refresh_token ?? '', LOOSE))
      assert.ok(refreshed.access_token)
      await assert.rejects(poll(), (error: unknown) => error instanceof oauth.ResponseBodyError && error.error === 'invalid_grant')
    })

    test('oauth4webapi: pushes with a signed assertion, and the code comes back (RFC 9126 §2, §4, §6; RFC 7523)', async () => {
      const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
      const key = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }
      const client = await register({ client_name: 'Pusher', redirect_uris: [CALLBACK], token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [key] }, require_pushed_authorization_requests: true })
      assert.equal(client['require_pushed_authorization_requests'], true)
      const authentication = oauth.PrivateKeyJwt({ key: privateKey, kid: 'k1' })
      const verifier = oauth.generateRandomCodeVerifier()
      const parameters = { response_type: 'code', redirect_uri: CALLBACK, code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', resource: `${gateway.issuer}/mcp/notes`, scope: 'mcp.read', state: 's' }
      const pushed = await oauth.processPushedAuthorizationResponse(server, client, await oauth.pushedAuthorizationRequest(server, client, authentication, parameters, LOOSE))
      const person = browser({ stop: (url) => url.startsWith(CALLBACK) })
      const answer = new URL((await person.approve(`${gateway.issuer}/authorize?${new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri }).toString()}`)).url)
      const validated = oauth.validateAuthResponse(server, client, answer, 's')
      const response = await oauth.authorizationCodeGrantRequest(server, client, authentication, validated, CALLBACK, verifier, LOOSE)
      assert.equal((await oauth.processAuthorizationCodeResponse(server, client, response)).scope, 'mcp.read')
      const unpushed = await person.open(`${gateway.issuer}/authorize?${new URLSearchParams({ client_id: client.client_id, ...parameters }).toString()}`)
      assert.equal(new URL(unpushed.url).searchParams.get('error'), 'invalid_request')
    })
  })
}
