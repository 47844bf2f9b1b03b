// Every route by everybody who might try it (Z01): what each of them gets stands here, and a route that does not fails.
// What they aim at is alice's: her grant, her request, her account, her client's registration.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { csrfToken } from '../../src/http/csrf.ts'
import { browser, type Browser } from '../support/browser.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../support/oauth-clients.ts'
import { routeTable } from '../support/route-table.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'
import { registeredRequest } from '../support/web-client.ts'

const CALLERS = ['nobody', 'bob', 'token', 'garbage'] as const
type Caller = (typeof CALLERS)[number]
type Cells = readonly [nobody: number, bob: number, token: number, garbage: number]

const everybody = (status: number): Cells => [status, status, status, status]

/** In the order of `CALLERS`: nobody, bob with forms of his own session, alice's access token for a tool server, garbage. */
const EXPECTED: Readonly<Record<string, Cells>> = {
  'GET /livez': everybody(200),
  'GET /readyz': everybody(200),
  'GET /assets/lanyard.css': everybody(200),
  'GET /assets/lanyard.svg': everybody(200),
  'GET /login': everybody(303),
  'GET /login/:provider/callback': everybody(400),
  // To the page of somebody signed out; bob's form has the token of another form.
  'POST /logout': [303, 403, 303, 303],
  'GET /': everybody(200),
  // Bob ends nothing: like a grant that does not exist.
  'POST /grants/:id/revoke': everybody(303),
  // Bob's has no name; the others are nobody here.
  'POST /profiles': [303, 400, 303, 303],
  // Bob deletes nothing, like a profile that does not exist.
  'POST /profiles/:id/delete': everybody(303),
  // Without a client nothing is redirected; a POST is sent to ask again by GET.
  'GET /authorize': everybody(400),
  'POST /authorize': everybody(303),
  // Alice's request, in other browsers than hers.
  'GET /authorize/:id': everybody(403),
  'POST /authorize/:id': everybody(403),
  // No link that was sealed here.
  'GET /step-up': everybody(400),
  'POST /step-up': everybody(400),
  // Whoever is not signed in is sent to sign in; bob's form has the token of another form.
  'GET /device': [303, 200, 303, 303],
  'POST /device': [303, 403, 303, 303],
  'POST /device_authorization': everybody(401),
  'POST /par': everybody(401),
  'POST /token': everybody(401),
  'POST /revoke': everybody(401),
  'POST /introspect': everybody(401),
  'POST /access/v1/evaluation': everybody(401),
  'POST /access/v1/evaluations': everybody(401),
  'GET /.well-known/authzen-configuration': everybody(200),
  'GET /.well-known/oauth-authorization-server': everybody(200),
  'GET /.well-known/oauth-authorization-server/mcp': everybody(200),
  'GET /.well-known/oauth-authorization-server/mcp/:profile': everybody(200),
  'GET /mcp/:profile/.well-known/oauth-authorization-server': everybody(200),
  'GET /.well-known/oauth-authorization-server/http/:profile': everybody(200),
  'GET /.well-known/openid-configuration/http/:profile': everybody(200),
  'GET /.well-known/openid-configuration': everybody(200),
  'GET /.well-known/openid-configuration/mcp': everybody(200),
  'GET /.well-known/openid-configuration/mcp/:profile': everybody(200),
  'GET /mcp/:profile/.well-known/openid-configuration': everybody(200),
  'GET /jwks': everybody(200),
  'POST /register': everybody(201),
  'GET /register/:id': everybody(401),
  'PUT /register/:id': everybody(401),
  'DELETE /register/:id': everybody(401),
  // No rule lets bob use it; the others are sent to sign in.
  'GET /connections/:upstream': [303, 403, 303, 303],
  'POST /connections/:upstream': [401, 403, 401, 401],
  'GET /connections/:upstream/back': everybody(303),
  'GET /connections/:upstream/callback': everybody(400),
  // Bob ends a connection that he does not have.
  'POST /connections/:upstream/disconnect': [401, 303, 401, 401],
  'GET /connections/:upstream/client.json': everybody(200),
  'GET /.well-known/oauth-protected-resource/mcp/:profile': everybody(200),
  'GET /.well-known/oauth-protected-resource/mcp': everybody(200),
  'GET /.well-known/oauth-protected-resource/http/:profile': everybody(404),
  'GET /.well-known/oauth-protected-resource/forward-auth/:profile': everybody(404),
  'GET /.well-known/oauth-protected-resource': everybody(200),
  // Who is signed in: bob, by his session. A token for a tool server is none for the API (RFC 8707 §2).
  'GET /api/me': [401, 200, 401, 401],
  'GET /api/openapi.json': everybody(200),
  'GET /api/pins': [401, 403, 401, 401],
  'GET /api/pins/:upstream/:hash': [401, 403, 401, 401],
  'POST /api/pins/approve': [401, 403, 401, 401],
  'POST /api/pins/withdraw': [401, 403, 401, 401],
  'GET /api/me/profiles': [401, 200, 401, 401],
  'POST /api/me/profiles': [401, 201, 401, 401],
  // Alice's: for bob it does not exist.
  'PUT /api/me/profiles/:id': [401, 404, 401, 401],
  'DELETE /api/me/profiles/:id': [401, 404, 401, 401],
  'GET /api/profiles': [401, 403, 401, 401],
  'POST /api/profiles': [401, 403, 401, 401],
  'GET /api/profiles/:id': [401, 403, 401, 401],
  'PUT /api/profiles/:id': [401, 403, 401, 401],
  'DELETE /api/profiles/:id': [401, 403, 401, 401],
  'GET /api/rules': [401, 403, 401, 401],
  'GET /api/rules/:id': [401, 403, 401, 401],
  'POST /api/rules': [401, 403, 401, 401],
  'PUT /api/rules': [401, 403, 401, 401],
  'PUT /api/rules/:id': [401, 403, 401, 401],
  'DELETE /api/rules/:id': [401, 403, 401, 401],
  'POST /api/policy/explain': [401, 403, 401, 401],
  'POST /api/policy/simulate': [401, 403, 401, 401],
  'GET /api/approvals': [401, 403, 401, 401],
  'GET /api/approvals/:id': [401, 403, 401, 401],
  'POST /api/approvals/:id/approve': [401, 403, 401, 401],
  'POST /api/approvals/:id/refuse': [401, 403, 401, 401],
  'POST /api/approvals/:id/withdraw': [401, 403, 401, 401],
  'GET /api/applications': [401, 403, 401, 401],
  'POST /api/applications/:id/approve': [401, 403, 401, 401],
  'POST /api/applications/:id/refuse': [401, 403, 401, 401],
  'POST /api/applications/:id/withdraw': [401, 403, 401, 401],
  'POST /api/applications/:id/pin': [401, 403, 401, 401],
  'POST /api/applications/:id/unpin': [401, 403, 401, 401],
  'GET /.well-known/oauth-protected-resource/api': everybody(200),
  // The token is for another server than this one.
  'POST /mcp/notes': everybody(401),
  'GET /mcp/notes': everybody(401),
  'DELETE /mcp/notes': everybody(401),
}

/** What no route table has: the data plane answers it. */
const MCP = ['POST', 'GET', 'DELETE'].map((method) => ({ method, path: '/mcp/notes' }))

interface Target {
  readonly grantId: string
  readonly requestId: string
  readonly clientId: string
  readonly registrationToken: string
  readonly profileId: string
}

const REDIRECT = 'http://127.0.0.1:53999/callback'

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  describe(`every route by everybody, on ${variant.name}`, () => {
    let gateway: RunningGateway
    let alice: MemoryProvider
    let bob: Browser
    let target: Target

    before(async () => {
      gateway = await startGateway(variant)
      alice = memoryProvider()
      await (await connectV2(`${gateway.issuer}/mcp/tickets`, alice, 'modern')).close()
      bob = browser({ stop: (url) => url.startsWith(REDIRECT) })
      await bob.approve(`${gateway.issuer}/login?return_to=/`, { person: 'bob' })
      target = await aimAt(gateway, alice)
    })
    after(() => gateway.close())

    test('each gets what is written down for the route, and nothing of alice is touched (Z01, E06)', async () => {
      const found: Record<string, number[]> = {}
      for (const route of [...(await routeTable()), ...MCP]) {
        const cells: number[] = []
        for (const caller of CALLERS) cells.push(await answered(await send(route, caller)))
        found[`${route.method} ${route.path}`] = cells
      }
      assert.deepEqual(found, EXPECTED)
      await assertUntouched()
    })

    /** The status, once it is sure that the answer neither signs anybody in nor shows what is alice's. */
    async function answered(response: Response): Promise<number> {
      const text = await response.text()
      assert.doesNotMatch(text, /Alice|lyd_(?:rt|ac|ses)_|"access_token"|Managed|Waiting|Her own/)
      assert.doesNotMatch(response.headers.get('set-cookie') ?? '', /lanyard_session=[^;]/)
      return response.status
    }

    /** The twin: what everybody aimed at is still there, for alice. */
    async function assertUntouched(): Promise<void> {
      const client = await connectV2(`${gateway.issuer}/mcp/tickets`, alice, 'modern')
      assert.match(await client.call('my_tickets'), /\S/)
      await client.close()
      const registration = await fetch(`${gateway.issuer}/register/${target.clientId}`, { headers: { authorization: `Bearer ${target.registrationToken}` } })
      assert.equal(registration.status, 200)
      assert.deepEqual(((await registration.json()) as { redirect_uris: string[] }).redirect_uris, [REDIRECT])
      const home = await alice.browser.open(`${gateway.issuer}/`)
      assert.match(home.text, /Flow test/)
      assert.match(home.text, new RegExp(`Her own[^]*/profiles/${target.profileId}/delete`))
      assert.ok(home.forms.some(({ action }) => action.endsWith('/connections/tickets/disconnect')))
      const waiting = await alice.browser.open(`${gateway.issuer}/authorize/${target.requestId}`)
      assert.equal(waiting.status, 200)
      const consent = waiting.forms.find(({ buttons }) => buttons.some(([name]) => name === 'decision'))
      assert.ok(consent)
      const answer = await fetch(consent.action, { method: 'POST', redirect: 'manual', headers: { ...cookiesOf(alice.browser), origin: gateway.issuer, 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ ...consent.fields, decision: 'approve' }) })
      assert.equal(answer.status, 303)
      const ended = gateway.events.filter(({ action }) => ['consent.revoked', 'connection.deleted', 'client.deleted', 'client.updated', 'logout', 'token.revoked', 'token.reuse_detected', 'subject.revoked'].includes(action))
      assert.deepEqual(ended, [])
    }

    async function send(route: { readonly method: string; readonly path: string }, caller: Caller): Promise<Response> {
      const id = route.path.startsWith('/grants') ? target.grantId : route.path.includes('/profiles/') ? target.profileId : route.path.startsWith('/register') ? target.clientId : target.requestId
      const path = route.path.replace(':id', id).replace(':provider', 'corp').replace(':upstream', 'tickets').replace(':profile', 'tickets')
      const headers: Record<string, string> = { ...credentials(caller) }
      const init: RequestInit = { method: route.method, redirect: 'manual', headers }
      if (route.method !== 'GET') {
        headers['origin'] = gateway.issuer
        headers['sec-fetch-site'] = 'same-origin'
      }
      if (route.method === 'POST' || route.method === 'PUT') {
        const registering = route.path.startsWith('/register')
        headers['content-type'] = registering || /^\/(?:mcp|api)/.test(route.path) ? 'application/json' : 'application/x-www-form-urlencoded'
        init.body = route.path.startsWith('/api') ? JSON.stringify({ name: 'Of bob', upstreams: ['notes'] }) : registering ? JSON.stringify({ client_id: target.clientId, redirect_uris: ['https://evil.example/cb'] }) : form(route.path, caller)
      }
      return fetch(`${gateway.issuer}${path}`, init)
    }

    function credentials(caller: Caller): Record<string, string> {
      if (caller === 'bob') return cookiesOf(bob)
      const token = alice.tokens()?.access_token ?? ''
      // Wherever somebody might look for it.
      if (caller === 'token') return { authorization: `Bearer ${token}`, cookie: `lanyard_session=${token}; lanyard_flow=${token}` }
      if (caller === 'garbage') return { authorization: 'Bearer lyd_rat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', cookie: `lanyard_session=lyd_ses_${'A'.repeat(43)}; lanyard_flow=lyd_flow_${'A'.repeat(43)}` }
      return {}
    }

    /** Everything that a form of the route could hold; bob's have the form token that his own session makes for them. */
    function form(path: string, caller: Caller): string {
      const secret = caller === 'bob' ? (bob.cookies('127.0.0.1').get('lanyard_session') ?? '') : 'guessed'
      const purpose = path.startsWith('/grants') ? `revoke:${target.grantId}` : path.startsWith('/profiles') ? (path === '/profiles' ? 'profile' : `delete-profile:${target.profileId}`) : path.startsWith('/connections') ? `${path.endsWith('disconnect') ? 'disconnect' : 'connect'}:tickets` : path === '/logout' ? 'logout of nobody' : `consent:${target.requestId}:`
      const token = alice.tokens()?.access_token ?? ''
      return new URLSearchParams({ csrf: csrfToken(secret, purpose), decision: 'approve', token, grant_type: 'refresh_token', refresh_token: alice.tokens()?.refresh_token ?? '' }).toString()
    }
  })
}

function cookiesOf(person: Browser): { cookie: string } {
  return { cookie: [...person.cookies('127.0.0.1')].map(([name, value]) => `${name}=${value}`).join('; ') }
}

/** What of alice's there is to aim at. */
async function aimAt(gateway: RunningGateway, alice: MemoryProvider): Promise<Target> {
  const grantId = gateway.events.find(({ action }) => action === 'authorization.granted')?.grantId ?? ''
  const page = await alice.browser.open(await registeredRequest(gateway.issuer, REDIRECT, 'Waiting'))
  const metadata = { client_name: 'Managed', redirect_uris: [REDIRECT], token_endpoint_auth_method: 'none' }
  const registered = await fetch(`${gateway.issuer}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(metadata) })
  const { client_id: clientId, registration_access_token: registrationToken } = (await registered.json()) as { client_id: string; registration_access_token: string }
  const home = await alice.browser.open(`${gateway.issuer}/`)
  const building = home.forms.find(({ action }) => action.endsWith('/profiles'))
  const built = building === undefined ? home : await alice.browser.submit(home, building, { name: 'Her own' })
  const profileId = built.forms.map(({ action }) => /\/profiles\/(u-[a-z2-7]+)\/delete$/.exec(action)?.[1]).find((id) => id !== undefined) ?? ''
  return { profileId, grantId, requestId: page.forms.map(({ action }) => new URL(action).pathname).find((path) => path.startsWith('/authorize/'))?.split('/').at(-1) ?? '', clientId, registrationToken }
}
