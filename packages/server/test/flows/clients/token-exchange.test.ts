// J7 with real clients: oauth4webapi exchanges (its generic grant), the official SDK uses what comes of it, and a browser
// connects the account that is missing.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { decodeJwt } from 'jose'
import * as oauth from 'oauth4webapi'
import { eventually } from '../../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../../support/oauth-clients.ts'
import { connectV2 } from '../../support/sdk-clients.ts'
import { browser } from '../../support/browser.ts'
import { variants } from '../../support/variants.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const SECRET = 'a'.repeat(40)
const BACK = 'http://127.0.0.1:53990/connected'

for (const variant of variants()) {
  describe(`token exchange on ${variant.name}`, () => {
    let gateway: RunningGateway
    let server: oauth.AuthorizationServer
    before(async () => {
      gateway = await startGateway({ ...variant, config: (issuer, company) => ({
        upstreams: [
          { id: 'notes', name: 'Notes', url: company.notes, connector: { type: 'none' } },
          { id: 'tickets', name: 'Tickets', url: company.tickets, connector: { type: 'oauth' }, vending: { purpose: 'required', maxSeconds: 120 } },
        ],
        clients: [
          { id: 'agent', name: 'Agent', grantTypes: ['client_credentials', EXCHANGE, 'authorization_code'], redirectUris: [BACK], tokenEndpointAuthMethod: 'client_secret_post', clientSecret: SECRET, groups: ['agents'] },
          { id: 'other', name: 'Other', grantTypes: [EXCHANGE], tokenEndpointAuthMethod: 'client_secret_basic', clientSecret: SECRET },
        ],
        tokenExchange: [
          { id: 'notes', clients: ['agent', 'other'], issuedTo: ['*'], targets: [`${issuer}/mcp/notes`] },
          { id: 'tickets', clients: ['agent'], issuedTo: ['*'], targets: [company.tickets], actors: ['machine:agent'] },
        ],
        rules: [
          { id: 'engineering', effect: 'allow', groups: ['engineering'] },
          { id: 'sales-reads', effect: 'allow', groups: ['sales'], upstreams: ['tickets'], tools: ['my_tickets'] },
          { id: 'nobody-deletes', effect: 'deny', upstreams: ['notes'], tools: ['delete_*'] },
        ],
      }) })
      const issuer = new URL(gateway.issuer)
      server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', [oauth.allowInsecureRequests]: true }))
    })
    after(() => gateway.close())

    async function exchange(subject: string, parameters: Readonly<Record<string, string>>, client: 'agent' | 'other' = 'agent'): Promise<oauth.TokenEndpointResponse> {
      const who = { client_id: client }
      const authentication = client === 'agent' ? oauth.ClientSecretPost(SECRET) : oauth.ClientSecretBasic(SECRET)
      const response = await oauth.genericTokenEndpointRequest(server, who, authentication, EXCHANGE, { subject_token: subject, subject_token_type: ACCESS_TOKEN, ...parameters }, { [oauth.allowInsecureRequests]: true })
      return oauth.processGenericTokenEndpointResponse(server, who, response)
    }

    async function refusal(attempt: Promise<unknown>): Promise<oauth.ResponseBodyError> {
      const error: unknown = await attempt.then(() => undefined, (thrown: unknown) => thrown)
      assert.ok(error instanceof oauth.ResponseBodyError, String(error))
      return error
    }

    async function call(url: string, token: string, tool: string, args: Record<string, unknown> = {}): Promise<string> {
      const client = new Client({ name: 'agent', version: '1.0.0' })
      await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: `Bearer ${token}` } } }))
      const result = await client.callTool({ name: tool, arguments: args })
      await client.close()
      return JSON.stringify(result)
    }

    async function signedIn(upstream: string, choices: { readonly person?: string; readonly connect?: boolean } = {}): Promise<{ readonly token: string; readonly provider: MemoryProvider }> {
      const provider = memoryProvider({ connect: false, ...choices })
      const client = await connectV2(`${gateway.issuer}/mcp/${upstream}`, provider, 'modern')
      await client.close()
      return { token: provider.tokens()?.access_token ?? '', provider }
    }

    test('a token for one endpoint becomes a narrower one for another, which the official SDK uses as that person (RFC 8693 §2.2.1)', async () => {
      assert.ok(server.grant_types_supported?.includes(EXCHANGE))
      const { token } = await signedIn('tickets')
      const exchanged = await exchange(token, { resource: `${gateway.issuer}/mcp/notes`, scope: 'mcp.read' }, 'other')
      assert.deepEqual([exchanged['issued_token_type'], exchanged.token_type, exchanged.scope, exchanged.refresh_token], [ACCESS_TOKEN, 'bearer', 'mcp.read', undefined])
      assert.deepEqual(decodeJwt(exchanged.access_token)['act'], { sub: 'other', iss: gateway.issuer })
      assert.match(await call(`${gateway.issuer}/mcp/notes`, exchanged.access_token, 'read_note', { title: 'welcome' }), /Welcome to the demo company/)
      await assert.rejects(call(`${gateway.issuer}/mcp/tickets`, exchanged.access_token, 'my_tickets'))
      assert.equal((await refusal(exchange(token, { resource: `${gateway.issuer}/mcp/notes`, scope: 'admin' }))).error, 'invalid_scope')
      assert.equal((await refusal(exchange(token, { resource: gateway.company.notes }))).error, 'invalid_target')
      await recorded(gateway, ({ action, clientId, detail }) => action === 'token.issued' && clientId === 'other' && detail?.['actor'] === 'other')
    })

    test("an application is given the person's own token at an upstream, once they have connected the account (J7)", async () => {
      const { token, provider } = await signedIn('tickets')
      const wanted = { resource: gateway.company.tickets, purpose: 'lists the tickets for the weekly report', redirect_uri: BACK, state: 'xyz' }
      const first = await refusal(exchange(token, wanted))
      const uri = String((first.cause as Record<string, unknown>)['interaction_uri'])
      assert.deepEqual([first.error, first.status, new URL(uri).origin], ['interaction_required', 400, gateway.issuer])
      await recorded(gateway, ({ action, reason, clientId }) => action === 'token.refused' && clientId === 'agent' && reason === 'vend: the account is not connected')
      // Somebody else's browser connects nothing for alice.
      const bob = await browser().approve(uri, { person: 'bob' })
      assert.equal(bob.status, 403, bob.text)
      const own = browser({ stop: (url) => url.startsWith(BACK) })
      const page = await own.approve(uri)
      assert.equal(page.url, `${BACK}?state=xyz`, page.text)
      const vended = await exchange(token, wanted)
      assert.deepEqual([vended['issued_token_type'], vended.token_type, vended.refresh_token, vended.scope], [ACCESS_TOKEN, 'bearer', undefined, 'tickets.read tickets.write'])
      assert.ok(vended.expires_in !== undefined && vended.expires_in > 0 && vended.expires_in <= 120, String(vended.expires_in))
      assert.equal(decodeJwt(vended.access_token).iss, new URL(gateway.company.tickets).origin)
      assert.match(await call(gateway.company.tickets, vended.access_token, 'my_tickets'), /coffee machine/)
      await recorded(gateway, ({ action }) => action === 'token.vended')
      const event = gateway.events.find(({ action }) => action === 'token.vended')
      assert.deepEqual([event?.subject !== undefined, event?.clientId, event?.upstream, event?.detail?.['purpose'], event?.detail?.['actor'], event?.detail?.['scope']], [true, 'agent', 'tickets', wanted.purpose, 'agent', ['tickets.read', 'tickets.write']])
      for (const secret of [vended.access_token, token]) assert.equal(gateway.output.join('').includes(secret), false)

      // A scope that the account lacks is asked of the person, not of the application.
      const wider = await refusal(exchange(token, { ...wanted, scope: 'tickets.admin' }))
      assert.equal(wider.error, 'interaction_required')
      for (const [code, more] of [
        ['invalid_request', { purpose: '' }],
        ['invalid_request', { purpose: 'two\nlines' }],
        ['invalid_request', { subject_token: 'x' }],
        ['invalid_target', { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }],
        ['invalid_target', { resource: gateway.company.notes }],
      ] as const) assert.equal((await refusal(exchange(token, { ...wanted, ...more }))).error, code, JSON.stringify(more))
      assert.equal((await refusal(exchange(token, { ...wanted, scope: 'tickets.admin', redirect_uri: 'https://evil.example/' }))).error, 'invalid_request')
      assert.equal((await refusal(exchange(token, wanted, 'other'))).error, 'invalid_target')
      const reading = await exchange(token, { resource: `${gateway.issuer}/mcp/notes`, scope: 'mcp.read' })
      assert.equal((await refusal(exchange(reading.access_token, wanted))).error, 'invalid_scope')

      // The account is ended: nothing more is vended, on any node.
      const home = await own.open(gateway.issuer)
      const form = home.forms.find(({ action }) => action.endsWith('/connections/tickets/disconnect'))
      assert.ok(form)
      await own.submit(home, form)
      await eventually('every node knows that the account is gone', async () => (await refusal(exchange(token, wanted))).error === 'interaction_required')
      // And the grant: its token is worth nothing as a subject any more.
      await fetch(`${gateway.issuer}/revoke`, { method: 'POST', body: new URLSearchParams({ token: provider.tokens()?.refresh_token ?? '', client_id: provider.clientInformation()?.client_id ?? '' }) })
      await eventually('every node knows that the grant is gone', async () => (await refusal(exchange(token, wanted))).error === 'invalid_request')
    })

    test('who may use single tools alone is given no token for all of them', async () => {
      const { token } = await signedIn('tickets', { person: 'bob', connect: true })
      const error = await refusal(exchange(token, { resource: gateway.company.tickets, purpose: 'report' }))
      assert.equal(error.error, 'invalid_target')
      await recorded(gateway, ({ action, reason }) => action === 'token.refused' && reason === 'token exchange: vend: policy (default)')
    })
  })
}
