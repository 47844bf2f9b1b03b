import assert from 'node:assert/strict'
import { test } from 'node:test'
import { html } from 'hono/html'
import { OAuthError } from '../oauth/error.ts'
import { PageError } from './errors.ts'
import { formTarget, page, plain } from './page.ts'
import type { Route } from './route.ts'
import { hostCheck, newReference, router, type RouterSettings } from './router.ts'

const ISSUER = 'https://lanyard.example'
const route = (path: string, more: Partial<Route> = {}): Route => ({ method: 'GET', path, access: 'public', errors: 'page', respond: () => new Response('ok'), ...more })
const failing = (path: string, errors: Route['errors'], error: Error): Route => route(path, { errors, respond: () => Promise.reject(error) })

function ask(routes: readonly Route[], settings: Partial<RouterSettings> = {}) {
  const logged: Readonly<Record<string, unknown>>[] = []
  const app = router(routes, { issuer: ISSUER, hosts: [], clientAddress: () => '192.0.2.1', log: (line) => logged.push(line), ...settings })
  const send = async (path: string, init: RequestInit & { readonly host?: string } = {}): Promise<Response> =>
    app.request(`${ISSUER}${path}`, { ...init, headers: { host: init.host ?? 'lanyard.example', ...(init.headers as Record<string, string> | undefined) } })
  return { send, logged }
}

test('no other host name is answered (H15, M09); probes come by address', async () => {
  const { send } = ask([route('/livez'), route('/a')], { hosts: ['gateway.internal:8080'] })
  for (const host of ['lanyard.example', 'LANYARD.example', 'lanyard.example:443', 'gateway.internal:8080']) assert.equal((await send('/a', { host })).status, 200, host)
  for (const host of ['evil.example', 'lanyard.example:8443', 'lanyard.example.evil.example', 'gateway.internal', '127.0.0.1', '']) assert.equal((await send('/a', { host })).status, 421, host)
  assert.equal((await send('/a', { host: 'evil.example', headers: { 'x-forwarded-host': 'lanyard.example' } })).status, 421)
  assert.equal((await send('/livez', { host: '10.1.2.3:8080' })).status, 200)
  assert.equal(hostCheck({ issuer: 'http://127.0.0.1:8080', hosts: [] })('127.0.0.1:80'), false)
  assert.equal(hostCheck({ issuer: ISSUER, hosts: [] })(undefined), false)
})

test('a method that a path does not have is 405, with those that it has (RFC 9110 §15.5.6)', async () => {
  const { send } = ask([route('/a'), route('/a', { method: 'POST' }), route('/b', { method: 'DELETE' })])
  const refused = await send('/a', { method: 'PUT' })
  assert.deepEqual([refused.status, refused.headers.get('allow')], [405, 'GET, POST'])
  assert.equal((await send('/b')).headers.get('allow'), 'DELETE')
  assert.equal((await send('/a', { method: 'OPTIONS' })).status, 405)
  assert.equal((await send('/a', { method: 'POST' })).status, 200)
  assert.equal((await send('/a', { method: 'HEAD' })).status, 200)
  assert.equal((await send('/c')).status, 404)
})

test('two routes of one method and path are a mistake that is told at start', () => {
  assert.throws(() => ask([route('/a'), route('/a')]), /two routes answer GET \/a/)
})

test('every answer says that it is not to be sniffed and leaks no address (A11, RFC 9700 §4.2.4)', async () => {
  const { send } = ask([route('/a'), failing('/e', 'page', new Error('x'))])
  for (const response of [await send('/a'), await send('/e'), await send('/none'), await send('/a', { method: 'POST' }), await send('/a', { host: 'evil' })]) {
    assert.equal(response.headers.get('referrer-policy'), 'no-referrer')
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff')
    assert.match(response.headers.get('strict-transport-security') ?? '', /max-age=\d+/)
    // A popup must be able to tell its opener that it is done.
    assert.equal(response.headers.get('cross-origin-opener-policy'), null)
  }
  const plainHttp = await ask([route('/livez')], { issuer: 'http://127.0.0.1:8080' }).send('/livez')
  assert.equal(plainHttp.headers.get('strict-transport-security'), null)
})

test('an error of OAuth is JSON for clients and a page for people', async () => {
  const error = new OAuthError('too_many_requests', 'wait <b>a</b> moment', { retryAfter: 7, reason: 'secret reason' })
  const { send } = ask([failing('/json', 'oauth', error), failing('/page', 'page', error)])
  const json = await send('/json')
  assert.deepEqual([json.status, json.headers.get('retry-after')], [429, '7'])
  assert.deepEqual(await json.json(), { error: 'too_many_requests', error_description: 'wait <b>a</b> moment' })
  const shown = await send('/page')
  assert.deepEqual([shown.status, shown.headers.get('retry-after')], [429, '7'])
  const text = await shown.text()
  assert.match(text, /Wait &lt;b&gt;a&lt;\/b&gt; moment\./)
  assert.doesNotMatch(text, /secret reason/)
})

test('a page error is told with its status, headers and reference, without its reason', async () => {
  let reference = ''
  const error = new PageError(403, 'Not here', 'Go back.', { reason: 'secret reason', headers: { 'retry-after': '60' } })
  const { send } = ask([route('/a', { respond: (_request, context) => ((reference = context.reference), Promise.reject(error)) })])
  const shown = await send('/a')
  assert.deepEqual([shown.status, shown.headers.get('retry-after')], [403, '60'])
  const text = await shown.text()
  assert.ok(text.includes(reference) && reference !== '')
  assert.doesNotMatch(text, /secret reason/)
})

test('a bug is 500 with a reference and without a detail, logged once', async () => {
  const { send, logged } = ask([failing('/json', 'oauth', new Error('password=hunter2')), failing('/page', 'page', new TypeError('password=hunter2'))])
  for (const path of ['/json', '/page']) {
    const response = await send(path)
    assert.equal(response.status, 500)
    const text = await response.text()
    assert.doesNotMatch(text, /hunter2|TypeError|at /)
    assert.match(text, new RegExp(String(logged.at(-1)?.['reference'])))
  }
  assert.deepEqual(logged.map((line) => line['route']), ['GET /json', 'GET /page'])
})

test('parameters of a path come decoded; one with a NUL is no address', async () => {
  const { send } = ask([route('/a/:id', { respond: (_request, { params }) => new Response(params['id']) })])
  assert.equal(await (await send('/a/x%20y')).text(), 'x y')
  assert.equal((await send('/a/x%00y')).status, 404)
  assert.equal((await send('/a/%')).status, 200)
})

test('scripts of any origin call what is open to them, without credentials and errors included', async () => {
  const { send } = ask([route('/open', { cors: true }), failing('/refused', 'oauth', new OAuthError('invalid_client', 'no')), route('/closed')])
  const preflight = await send('/open', { method: 'OPTIONS', headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' } })
  assert.equal(preflight.status, 204)
  assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /MCP-Protocol-Version/)
  // RFC 9449 §8: an application in a browser sends a proof, and reads the nonce that the next one is to hold.
  assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /\bDPoP\b/)
  assert.match(preflight.headers.get('access-control-expose-headers') ?? '', /\bDPoP-Nonce\b/)
  for (const response of [preflight, await send('/open', { headers: { origin: 'https://app.example' } })]) {
    assert.equal(response.headers.get('access-control-allow-origin'), '*')
    assert.equal(response.headers.get('access-control-allow-credentials'), null)
  }
  for (const path of ['/closed', '/refused']) assert.equal((await send(path, { headers: { origin: 'https://app.example' } })).headers.get('access-control-allow-origin'), null)
})

test('references are short, speakable and never the same', () => {
  const references = Array.from({ length: 500 }, newReference)
  assert.equal(new Set(references).size, 500)
  for (const reference of references) assert.match(reference, /^[2-9BCDFGHJKMNPQRSTVWXYZ]{4}-[2-9BCDFGHJKMNPQRSTVWXYZ]{4}$/)
})

test('a page runs no script, is in no frame and no cache, and its forms lead where it says (A11, P-3)', async () => {
  const made = await page({ title: '<t>', body: html`<p>${'<script>'}</p>`, formTargets: ['https://app.example', 'cursor:', "'unsafe-inline'", 'https://a.example; script-src *', 'https://a.example/path'] })
  const policy = made.headers.get('content-security-policy') ?? ''
  assert.match(policy, /default-src 'none'/)
  assert.match(policy, /frame-ancestors 'none'/)
  assert.match(policy, /base-uri 'none'/)
  assert.doesNotMatch(policy, /unsafe|script-src/)
  assert.match(policy, /form-action 'self' https:\/\/app\.example cursor:;/)
  assert.deepEqual([made.headers.get('x-frame-options'), made.headers.get('cache-control')], ['DENY', 'no-store'])
  const text = await made.text()
  assert.ok(text.includes('<title>&lt;t&gt; · Lanyard</title>') && text.includes('<p>&lt;script&gt;</p>'))
})

test('a form target is an origin or a scheme that a policy can name', () => {
  assert.equal(formTarget('https://app.example:8443/cb?x=1'), 'https://app.example:8443')
  assert.equal(formTarget('http://127.0.0.1:4711/cb'), 'http://127.0.0.1:4711')
  assert.equal(formTarget('cursor://anysphere.cursor-mcp/oauth/callback'), 'cursor:')
  assert.equal(formTarget('http://[::1]:4711/cb'), 'http:')
})

test('text from elsewhere is shown without control, direction or invisible characters, and cut (A13)', () => {
  assert.equal(plain('Claude\u202eedoC'), 'Claude edoC')
  assert.equal(plain(' a\r\n\tb\u0000c\u200bd\ufeff '), 'a b c d')
  assert.equal(plain('\u3164\u115f\u2800'), '')
  assert.equal(plain('x'.repeat(5000)).length, 120)
  assert.equal(plain('Ünïcödé 名前 😀'), 'Ünïcödé 名前 😀')
  assert.equal(Array.from(plain('😀'.repeat(50), 10)).length, 10)
})
