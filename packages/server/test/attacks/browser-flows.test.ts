// What can be done to the flows of a browser, at whole processes: forms that are sent again, parameters twice, cookies
// that somebody planted, line breaks on their way into headers, tokens of somebody else's making.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { csrfToken } from '../../src/http/csrf.ts'
import { browser, type Browser, type Form, type Page } from '../support/browser.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { eventually } from '../support/eventually.ts'
import { CLIENT_SECRET, openIdProvider } from '../support/openid-provider.ts'
import { answersOf, exchange } from '../support/raw-http.ts'
import { routeTable } from '../support/route-table.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'
import { registeredRequest } from '../support/web-client.ts'

const REDIRECT = 'http://127.0.0.1:53998/callback'
const HOST = '127.0.0.1'

function newBrowser(): Browser {
  return browser({ stop: (url) => url.startsWith(REDIRECT) })
}

function cookie(pairs: Iterable<readonly [string, string]>): string {
  return [...pairs].map(([name, value]) => `${name}=${value}`).join('; ')
}

function consentForm(page: Page): Form {
  const form = page.forms.find(({ buttons }) => buttons.some(([name]) => name === 'decision'))
  assert.ok(form, page.text)
  return form
}

for (const variant of variants()) {
  describe(`flows of a browser, on ${variant.name}`, () => {
    let gateway: RunningGateway
    before(async () => {
      gateway = await startGateway(variant)
    })
    after(() => gateway.close())

    const count = (action: string): number => gateway.events.filter((event) => event.action === action).length

    async function post(action: string, cookies: string, fields: Readonly<Record<string, string>> | string): Promise<Response> {
      const headers = { cookie: cookies, origin: gateway.issuer, 'sec-fetch-site': 'same-origin', 'content-type': 'application/x-www-form-urlencoded' }
      return fetch(action, { method: 'POST', redirect: 'manual', headers, body: typeof fields === 'string' ? fields : new URLSearchParams(fields) })
    }

    // What a node prints comes a little after its answer.
    const told = (action: string, before: number): Promise<number> => eventually(action, () => count(action) > before)

    /** Signs in and stops at the consent page of a new request. */
    async function atConsent(person: Browser, name = 'alice'): Promise<Page> {
      await person.approve(`${gateway.issuer}/login?return_to=/`, { person: name, connect: false })
      return person.open(await registeredRequest(gateway.issuer, REDIRECT, `App ${name}`, { resource: `${gateway.issuer}/mcp/notes` }))
    }

    test('a consent, a sign-in and their answers count once, whatever is sent again (Z07, P-6, D03)', async () => {
      const alice = newBrowser()
      const form = consentForm(await atConsent(alice))
      const cookies = cookie(alice.cookies(HOST))
      const granted = count('authorization.granted')
      const fields = { ...form.fields, decision: 'approve' }
      const first = await post(form.action, cookies, fields)
      assert.equal(first.status, 303)
      const back = await alice.open(new URL(first.headers.get('location') ?? '', gateway.issuer).href)
      assert.equal(back.url.startsWith(REDIRECT), true, back.text)
      assert.ok(new URL(back.url).searchParams.get('code'))
      const again = await Promise.all([1, 2, 3, 4].map(() => post(form.action, cookies, fields)))
      assert.deepEqual(again.map(({ status }) => status), [400, 400, 400, 400])
      assert.deepEqual((await Promise.all([post(form.action, cookies, { ...fields, decision: 'deny' }), alice.open(form.action)])).map(({ status }) => status), [400, 400])
      const callback = alice.visited.find((url) => url.startsWith(`${gateway.issuer}/login/corp/callback?`)) ?? ''
      await told('login.succeeded', 0)
      const signedIn = count('login.succeeded')
      for (const other of [alice, newBrowser()]) assert.equal((await other.open(callback)).status, 400)
      assert.equal(count('login.succeeded'), signedIn)
      await told('authorization.granted', granted)
      assert.equal(count('authorization.granted'), granted + 1)
    })

    test('before the consent no callback with made-up or foreign state does anything (D03, C-18)', async () => {
      const alice = newBrowser()
      const form = consentForm(await atConsent(alice))
      const cookies = cookie(alice.cookies(HOST))
      await new Promise((resolve) => setTimeout(resolve, 100))
      const before = [count('connection.started'), count('connection.created'), count('login.succeeded'), count('authorization.granted')]
      const request = new URL(form.action).pathname.split('/').at(-1) ?? ''
      const foreign = new URL(alice.visited.find((url) => url.includes('/login/corp/callback?')) ?? '').searchParams.get('state') ?? ''
      const ids = [...alice.cookies(HOST).values()]
      for (const state of ['', 'x', request, foreign, ...ids, `lyd_st_${'A'.repeat(43)}`, '../x', `' OR 1=1 --`]) {
        for (const path of ['/connections/tickets/callback', '/login/corp/callback']) {
          const query = new URLSearchParams({ state, code: 'x', iss: gateway.company.issuer }).toString()
          const response = await fetch(`${gateway.issuer}${path}?${query}`, { redirect: 'manual', headers: { cookie: cookies } })
          assert.ok([400, 403].includes(response.status), `${path} ${state}: ${response.status}`)
        }
      }
      assert.deepEqual([count('connection.started'), count('connection.created'), count('login.succeeded'), count('authorization.granted')], before)
      // The request is as it was, and goes on.
      const done = await alice.submit(await alice.open(form.action), form, { decision: 'approve' })
      assert.ok(new URL(done.url).searchParams.get('code'), done.text)
    })

    test('a parameter twice is refused at every route that reads any (Z03, A06, RFC 6749 §3.1, §3.2)', async () => {
      const alice = newBrowser()
      const form = consentForm(await atConsent(alice))
      const jar = alice.cookies(HOST)
      const session = jar.get('lanyard_session') ?? ''
      const request = new URL(form.action).pathname.split('/').at(-1) ?? ''
      const reading = new Set(['/login', '/login/:provider/callback', '/authorize', '/connections/:upstream', '/connections/:upstream/callback'])
      // What takes JSON has no parameters.
      const json = (path: string): boolean => /^\/(?:register$|api\/|access\/)/.test(path)
      const routes = (await routeTable()).filter(({ method, path }) => (method === 'POST' && !json(path)) || (method === 'GET' && reading.has(path)))
      assert.ok(routes.length >= 13)
      const events = gateway.events.length
      for (const { method, path } of routes) {
        const target = `${gateway.issuer}${path.replace(':upstream', 'tickets').replace(':provider', 'corp').replace(':id', path.startsWith('/authorize') ? request : 'grt_x')}`
        const purposes: Readonly<Record<string, string>> = { '/logout': 'logout', '/grants/:id/revoke': 'revoke:grt_x', '/connections/:upstream': 'connect:tickets', '/connections/:upstream/disconnect': 'disconnect:tickets' }
        const csrf = path === '/authorize/:id' ? (form.fields['csrf'] ?? '') : csrfToken(session, purposes[path] ?? '')
        const twice = new URLSearchParams([['csrf', csrf], ['decision', 'deny'], ['decision', 'approve'], ['state', 'a'], ['client_id', 'x'], ['grant_type', 'refresh_token'], ['token', 'x']]).toString()
        const response = method === 'POST' ? await post(target, cookie(jar), twice) : await fetch(`${target}?${twice}`, { redirect: 'manual', headers: { cookie: cookie(jar) } })
        assert.equal(response.status, 400, `${method} ${path}`)
      }
      const done = gateway.events.slice(events).filter(({ outcome, action }) => outcome === 'success' && action !== 'authorization.requested')
      assert.deepEqual(done, [])
      const approved = await alice.submit(await alice.open(form.action), form, { decision: 'approve' })
      assert.ok(new URL(approved.url).searchParams.get('code'), approved.text)
    })

    test('a session that somebody planted beside or instead of a person’s own signs nobody in and answers nothing (Z10, D09, D11)', async () => {
      const [alice, bob] = [newBrowser(), newBrowser()]
      const form = consentForm(await atConsent(alice))
      await bob.approve(`${gateway.issuer}/login?return_to=/`, { person: 'bob', connect: false })
      const own = [...alice.cookies(HOST)]
      const planted: [string, string] = ['lanyard_session', bob.cookies(HOST).get('lanyard_session') ?? '']
      const home = async (cookies: string): Promise<string> => (await fetch(`${gateway.issuer}/`, { headers: { cookie: cookies } })).text()
      assert.match(await home(cookie(own)), /Signed in as/)
      for (const jar of [[planted, ...own], [...own, planted], [...own, ['lanyard_session', ''] as const]]) assert.doesNotMatch(await home(cookie(jar)), /Signed in as/)
      const granted = count('authorization.granted')
      const others: (readonly [string, string])[][] = [[planted, ...own], [planted, ...own.filter(([name]) => name !== 'lanyard_session')], [...own.filter(([name]) => name !== 'lanyard_flow'), ['lanyard_flow', bob.cookies(HOST).get('lanyard_flow') ?? '']]]
      for (const jar of others) {
        const response = await post(form.action, cookie(jar), { ...form.fields, decision: 'approve' })
        // Signed out goes back to the dispatcher, which asks for a sign-in.
        assert.ok([303, 403].includes(response.status), String(response.status))
        assert.doesNotMatch(response.headers.get('location') ?? '', /code=/)
      }
      for (const jar of others) {
        const page = await fetch(form.action, { redirect: 'manual', headers: { cookie: cookie(jar) } })
        assert.doesNotMatch(page.headers.get('location') ?? '', /code=/)
      }
      assert.equal(count('authorization.granted'), granted)
      const approved = await alice.submit(await alice.open(form.action), form, { decision: 'approve' })
      assert.ok(new URL(approved.url).searchParams.get('code'), approved.text)
    })

    test('no line break that somebody sends becomes a header of an answer (Z06)', async () => {
      const alice = newBrowser()
      await atConsent(alice)
      const own = cookie(alice.cookies(HOST))
      const break_ = encodeURIComponent('x\r\nx-injected: 1\r\n\r\n<script>')
      const { searchParams } = new URL(await registeredRequest(gateway.issuer, REDIRECT, 'x\r\nx-injected: 1'))
      searchParams.set('state', 'x\r\nx-injected: 1')
      searchParams.set('scope', 'nonsense\r\nx-injected: 1')
      const targets = [
        `/login?return_to=/${break_}`, `/login?provider=${break_}`, `/login?choice=${break_}`, `/authorize?${searchParams.toString()}`, `/authorize?client_id=${break_}`, `/authorize/${break_}`,
        `/connections/tickets?for=${break_}`, `/connections/${break_}`, `/login/${break_}/callback`, `/register/${break_}`, `/mcp/${break_}`, `/.well-known/oauth-protected-resource/mcp/${break_}`, `/${break_}`,
      ]
      for (const target of targets) {
        const [answer] = answersOf(await exchange(gateway.issuer, [`GET ${target} HTTP/1.1\r\nhost: ${new URL(gateway.issuer).host}\r\ncookie: ${own}\r\nconnection: close\r\n\r\n`], 5000))
        assert.ok(answer !== undefined && answer.status < 500, target)
        assert.doesNotMatch(answer.head, /\r\nx-injected/i, target)
        assert.doesNotMatch(answer.body, /<script/i, target)
      }
      const asked = await post(`${gateway.issuer}/authorize`, '', { ...Object.fromEntries(searchParams), redirect_uri: REDIRECT })
      assert.equal(asked.headers.get('x-injected'), null)
      const refused = await fetch(new URL(asked.headers.get('location') ?? '', gateway.issuer), { redirect: 'manual' })
      assert.equal(refused.headers.get('x-injected'), null)
      assert.equal(new URL(refused.headers.get('location') ?? '').searchParams.get('state'), 'x\r\nx-injected: 1')
    })

    test('a changed link to connect an account, or another person’s, begins nothing (Z09, RS-36)', async () => {
      const provider = memoryProvider({ connect: false })
      const links: string[] = []
      const client = await connectV2(`${gateway.issuer}/mcp/tickets`, provider, 'modern', (url) => {
        links.push(url)
        return Promise.reject(new Error('not now'))
      })
      await client.call('my_tickets').catch(() => undefined)
      await client.close()
      const link = new URL(links[0] ?? '')
      const sealed = link.searchParams.get('for') ?? ''
      assert.ok(sealed.length > 40)
      const started = count('connection.started')
      const own = cookie(provider.browser.cookies(HOST))
      const get = async (value: string, cookies = own): Promise<number> => (await fetch(`${gateway.issuer}/connections/tickets?for=${encodeURIComponent(value)}`, { redirect: 'manual', headers: { cookie: cookies } })).status
      assert.equal(await get(sealed), 200)
      for (let at = 0; at < sealed.length; at += 1) {
        const changed = `${sealed.slice(0, at)}${sealed[at] === 'A' ? 'B' : 'A'}${sealed.slice(at + 1)}`
        assert.equal(await get(changed), 400, `at ${at}`)
      }
      for (const changed of [sealed.slice(1), sealed.slice(0, -1), `${sealed}A`, `${sealed}=`, ` ${sealed}`, sealed + sealed]) assert.equal(await get(changed), 400)
      const bob = newBrowser()
      await bob.approve(`${gateway.issuer}/login?return_to=/`, { person: 'bob', connect: false })
      assert.equal(await get(sealed, cookie(bob.cookies(HOST))), 403)
      const fields = { csrf: csrfToken(provider.browser.cookies(HOST).get('lanyard_session') ?? '', 'connect:tickets') }
      assert.equal((await post(`${gateway.issuer}/connections/tickets`, own, { ...fields, for: `${sealed}A` })).status, 400)
      assert.equal(count('connection.started'), started)
      assert.equal((await post(`${gateway.issuer}/connections/tickets`, own, { ...fields, for: sealed })).status, 303)
      await told('connection.started', started)
      assert.equal(count('connection.started'), started + 1)
    })
  })
}

test('tokens of the identity provider are none of the gateway, at any endpoint (G06, P-7)', async () => {
  const idp = await openIdProvider()
  const given: Record<string, unknown> = {}
  idp.behave.tokens = (body) => Object.assign(given, body)
  const gateway = await startGateway({ config: { identityProviders: [{ id: 'corp', type: 'oidc', issuer: idp.issuer, clientId: 'lanyard', clientSecret: CLIENT_SECRET }] } })
  try {
    const provider = memoryProvider()
    const client = await connectV2(`${gateway.issuer}/mcp/notes`, provider, 'modern')
    const call = async (token: unknown): Promise<number> => {
      const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' })
      const response = await fetch(`${gateway.issuer}/mcp/notes`, { method: 'POST', headers: { authorization: `Bearer ${String(token)}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body })
      return response.status
    }
    assert.equal(await call(provider.tokens()?.access_token), 200)
    const foreign = ['id_token', 'access_token', 'refresh_token'].map((name) => given[name]).filter((token) => typeof token === 'string')
    assert.equal(foreign.length, 3)
    for (const token of [...foreign, provider.tokens()?.refresh_token]) {
      assert.equal(await call(token), 401)
      const refreshed = await fetch(`${gateway.issuer}/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'refresh_token', client_id: provider.clientInformation()?.client_id ?? '', refresh_token: token === provider.tokens()?.refresh_token ? 'x' : String(token) }) })
      assert.equal(refreshed.status, 400)
    }
    assert.match(await client.call('list_notes'), /welcome/)
    await client.close()
  } finally {
    await gateway.close()
    await idp.close()
  }
})
