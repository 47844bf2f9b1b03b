// Odd values in every place of a request at every route (Z12): whatever it is, the answer is no fault of the gateway.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { csrfToken } from '../../src/http/csrf.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../support/oauth-clients.ts'
import { routeTable } from '../support/route-table.ts'
import { connectV2 } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'
import { randomFrom, type Random } from './fuzz/mutate.ts'

const VALUES = [
  '', ' ', '\0', 'a\0b', '\u{1F600}', '\u202e', '\ufeff', '\r\n', '%00', '%', '../..', '//evil.example', 'https://evil.example/\0', 'http://127.0.0.1:1/cb', 'https://127.0.0.1/x.json', "' OR 1=1 --", '__proto__', 'constructor',
  'null', '[]', '{}', '-1', '9'.repeat(30), '1e400', 'NaN', 'a'.repeat(5000), 'none', 'login consent', 'login', '0', 'S256', 'code', 'query', 'offline_access mcp.read', 'dyn_\0', `dyn_${'A'.repeat(22)}`, `lyd_rt_${'A'.repeat(43)}`, `lyd_ac_${'A'.repeat(43)}`, 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJcdTAwMDAifQ.', 'a.b.c',
]
const NAMES = [
  'client_id', 'redirect_uri', 'response_type', 'response_mode', 'scope', 'state', 'code_challenge', 'code_challenge_method', 'resource', 'prompt', 'max_age', 'acr_values', 'login_hint', 'request', 'code', 'iss', 'error', 'return_to', 'provider', 'choice', 'for', 'continue',
  'grant_type', 'refresh_token', 'code_verifier', 'client_secret', 'client_assertion', 'client_assertion_type', 'token', 'token_type_hint', 'csrf', 'decision', 'connections', 'account', '\0', '__proto__', 'a[b]',
]
const MEMBERS = ['client_name', 'redirect_uris', 'grant_types', 'response_types', 'token_endpoint_auth_method', 'token_endpoint_auth_methods_supported', 'jwks', 'jwks_uri', 'scope', 'client_uri', 'software_id', 'application_type', 'client_id', 'client_secret', 'contacts', '__proto__']
const ROUNDS = 40

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  describe(`odd requests, on ${variant.name}`, () => {
    let gateway: RunningGateway
    let alice: MemoryProvider
    let registered = { client_id: '', registration_access_token: '' }
    const random = randomFrom(7)
    const one = <Value>(values: readonly Value[]): Value => values[random(values.length)] as Value

    before(async () => {
      gateway = await startGateway({ ...variant, config: { limits: { registrationsPerHour: 100_000, tokenRequestsPerMinute: 100_000 } } })
      alice = memoryProvider()
      await (await connectV2(`${gateway.issuer}/mcp/notes`, alice, 'modern')).close()
      const response = await fetch(`${gateway.issuer}/register`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ redirect_uris: ['https://app.example/cb'] }) })
      registered = (await response.json()) as typeof registered
    })
    after(() => gateway.close())

    test('no request at any route ends in a fault, and nothing is logged as one (Z12)', async () => {
      const routes = [...(await routeTable()), { method: 'POST', path: '/mcp/notes' }, { method: 'GET', path: '/mcp/notes' }, { method: 'DELETE', path: '/mcp/notes' }]
      const statuses = new Set<number>()
      for (const { method, path } of routes) {
        const takesParameters = !path.startsWith('/register') && !path.startsWith('/mcp')
        const requests = [...Array.from({ length: ROUNDS }, () => odd(method, path)), ...(takesParameters ? NAMES.map((name) => singly(method, path, name)) : [])]
        for (const [target, init] of requests) {
          const response = await fetch(`${gateway.issuer}${target}`, init)
          const text = await response.text()
          statuses.add(response.status)
          // An upstream provider that cannot be reached is told with 502 and 503, and no fault.
          assert.notEqual(response.status, 500, `${method} ${target} ${JSON.stringify(init)}: ${text.slice(0, 300)}`)
        }
      }
      assert.ok([200, 303, 400, 401, 403, 404].every((status) => statuses.has(status)), [...statuses].join())
      assert.deepEqual(gateway.output.filter((line) => line.includes('"level":"error"')), [])
      const client = await connectV2(`${gateway.issuer}/mcp/notes`, alice, 'modern')
      assert.match(await client.call('list_notes'), /welcome/)
      await client.close()
    })

    function odd(method: string, path: string): [string, RequestInit] {
      const parameters = (): string => new URLSearchParams(Array.from({ length: random(8) }, () => pair(random))).toString()
      const target = path.replace(/:(\w+)/g, (_, name: string) => (random(2) === 0 ? known(name, path) : encodeURIComponent(one(VALUES).slice(0, 500) || 'x')))
      const headers: Record<string, string> = { ...(random(2) === 0 ? { cookie: cookies() } : {}), ...(random(2) === 0 ? { authorization: authorization(path) } : {}), ...(random(4) === 0 ? { 'x-forwarded-for': printable(one(VALUES)), 'mcp-session-id': printable(one(VALUES)), 'mcp-protocol-version': printable(one(VALUES)), 'last-event-id': printable(one(VALUES)) } : {}) }
      const init: RequestInit & { headers: Record<string, string> } = { method, redirect: 'manual', headers }
      if (method === 'GET' || method === 'DELETE') return [`${target}?${parameters()}`, init]
      const isJson = path.startsWith('/register') || path.startsWith('/mcp')
      headers['content-type'] = random(10) === 0 ? one(['text/plain', 'multipart/form-data; boundary=x', 'application/json; charset=utf-16']) : isJson ? 'application/json' : 'application/x-www-form-urlencoded'
      init.body = path.startsWith('/register') ? document() : isJson ? message() : `${parameters()}&csrf=${csrf(path)}`
      return [target, init]
    }

    /** One parameter that PostgreSQL could not keep, and all others right. */
    function singly(method: string, path: string, name: string): [string, RequestInit] {
      const target = path.replace(/:(\w+)/g, (_, found: string) => known(found, path))
      const parameters = new URLSearchParams({ ...right(), csrf: csrf(path), [name]: 'a\0b' }).toString()
      const headers = { cookie: cookies() }
      if (method === 'GET') return [`${target}?${parameters}`, { redirect: 'manual', headers }]
      return [target, { method, redirect: 'manual', headers: { ...headers, 'content-type': 'application/x-www-form-urlencoded' }, body: parameters }]
    }

    function right(): Record<string, string> {
      return {
        client_id: alice.clientInformation()?.client_id ?? '', redirect_uri: alice.redirectUrl, response_type: 'code', code_challenge_method: 'S256', code_challenge: 'A'.repeat(43), resource: `${gateway.issuer}/mcp/notes`, grant_type: one(['authorization_code', 'refresh_token']), provider: 'corp',
      }
    }

    function pair(from: Random): [string, string] {
      const name = NAMES[from(NAMES.length)] ?? ''
      // Right ones among them, so that the odd ones are reached.
      return [name, (random(2) === 0 ? right()[name] : undefined) ?? one(VALUES)]
    }

    function known(name: string, path: string): string {
      if (name === 'id') return path.startsWith('/register') ? registered.client_id : `req_${'A'.repeat(22)}`
      return name === 'provider' ? 'corp' : name === 'upstream' ? 'tickets' : 'notes'
    }

    function cookies(): string {
      const own = [...alice.browser.cookies('127.0.0.1')].map(([name, value]) => `${name}=${value}`)
      return random(3) === 0 ? `lanyard_session=${printable(one(VALUES))}; lanyard_flow=${printable(one(VALUES))}` : own.join('; ')
    }

    function csrf(path: string): string {
      const purpose = path.startsWith('/connections') ? `${path.endsWith('disconnect') ? 'disconnect' : 'connect'}:tickets` : 'revoke:x'
      return csrfToken(alice.browser.cookies('127.0.0.1').get('lanyard_session') ?? '', purpose)
    }

    function authorization(path: string): string {
      if (path.startsWith('/mcp')) return `Bearer ${alice.tokens()?.access_token ?? ''}`
      if (path.startsWith('/register')) return `Bearer ${random(3) === 0 ? printable(one(VALUES)) : registered.registration_access_token}`
      return `Basic ${Buffer.from(`${encodeURIComponent(one(VALUES).slice(0, 100))}:${encodeURIComponent(one(VALUES).slice(0, 100))}`).toString('base64')}`
    }

    function document(): string {
      const anything = (): unknown => one<unknown>([one(VALUES), [one(VALUES)], ['https://app.example/cb', one(VALUES)], null, 1, {}, { keys: [{ kty: 'EC', kid: one(VALUES), x: one(VALUES) }] }, ['authorization_code'], '\ud800'])
      return JSON.stringify({ redirect_uris: ['https://app.example/cb'], client_id: registered.client_id, ...Object.fromEntries(Array.from({ length: random(6) }, () => [one(MEMBERS), anything()])) })
    }

    function message(): string {
      const method = one(['tools/call', 'tools/list', 'initialize', 'ping', 'resources/read', 'prompts/get', 'completion/complete', 'server/discover', 'notifications/initialized', 'subscriptions/listen', one(VALUES)])
      const params = { name: one(['list_notes', ...VALUES]), uri: one(VALUES), cursor: one(VALUES), arguments: { a: one(VALUES) }, protocolVersion: one(['2025-11-25', ...VALUES]), capabilities: {}, clientInfo: { name: one(VALUES), version: '\ud800' }, ref: one<unknown>([null, {}, { type: one(VALUES) }]) }
      return JSON.stringify({ jsonrpc: '2.0', ...(random(5) === 0 ? {} : { id: one<unknown>([1, 'a', one(VALUES), '\ud800', 1.5]) }), method, ...(random(5) === 0 ? {} : { params }) })
    }
  })
}

function printable(text: string): string {
  return text.replace(/[^\x21-\x7e]/g, '')
}
