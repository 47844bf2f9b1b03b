// What a reverse proxy hears when it asks: who calls, whether they may, and with which credential; and that nobody but a
// proxy hears anything. The whole product in processes; the proxies' questions as nginx, Traefik and Envoy send them.
import assert from 'node:assert/strict'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { tokenFor, tokenOf } from '../support/api-clients.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { variants } from '../support/variants.ts'

const BOARD = 'http://board.example/mcp'
const PLAIN = 'http://plain.example/mcp'
const RESTRICTED = 'http://board.example/restricted'
const WEATHER = 'http://weather.example:8443/mcp'
const TICKETS = 'http://tickets.example/mcp'
const API_KEY = 'the-weather-key'

const CONFIG = {
  trustedProxies: ['127.0.0.1/32'],
  upstreams: [
    { id: 'board', url: 'http://127.0.0.1:9/mcp', readOnlyTools: ['read_note'] },
    { id: 'plain', url: 'http://127.0.0.1:9/mcp' },
    { id: 'weather', url: 'http://127.0.0.1:9/mcp', connector: { type: 'api-key', header: 'X-Api-Key', value: API_KEY } },
    { id: 'tickets', name: 'Tickets', url: 'http://127.0.0.1:9/mcp', connector: { type: 'oauth' } },
  ],
  profiles: [{ id: 'sales-board', upstreams: ['board'], groups: ['sales'], tools: { board: ['read_*'] } }],
  rules: [
    { id: 'engineering', effect: 'allow', groups: ['engineering'] },
    { id: 'sales-read', effect: 'allow', groups: ['sales'], upstreams: ['board', 'plain'], tools: ['read_*', 'write_log'] },
    { id: 'nobody-deletes', effect: 'deny', upstreams: ['board'], tools: ['delete_*'] },
    { id: 'strong', effect: 'step-up', upstreams: ['board'], tools: ['transfer_*'], require: { acrValues: ['urn:example:mfa'] } },
  ],
  forwardAuth: [
    { id: 'board', resource: BOARD, profile: 'board', validatesHeaders: true },
    { id: 'restricted', resource: RESTRICTED, profile: 'board' },
    { id: 'sales', resource: 'http://sales.example/mcp', profile: 'sales-board', validatesHeaders: true },
    { id: 'plain', resource: PLAIN, profile: 'plain' },
    { id: 'weather', resource: WEATHER, profile: 'weather' },
    { id: 'tickets', resource: TICKETS, profile: 'tickets' },
  ],
}

interface Question {
  readonly path?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  /** The address that the question comes from. */
  readonly from?: string
}

interface Told {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
}

function ask(node: string, { path = '/forward-auth', method = 'GET', headers = {}, from = '127.0.0.1' }: Question): Promise<Told> {
  const { hostname, port } = new URL(node)
  return new Promise((resolve, reject) => {
    // The path as it is: a URL would have its dots removed.
    const request = httpRequest({ hostname, port, path, method, headers, localAddress: from, agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text }))
    })
    request.once('error', reject).end()
  })
}

/** As nginx with `auth_request` and Traefik's ForwardAuth ask. */
function forwarded(resource: string, token: string | undefined, more: Readonly<Record<string, string>> = {}): Question {
  const { host, pathname } = new URL(resource)
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return { headers: { host: 'lanyard:8080', 'x-forwarded-method': 'POST', 'x-forwarded-proto': 'http', 'x-forwarded-host': host, 'x-forwarded-uri': pathname, 'x-forwarded-for': '192.0.2.7', ...authorization, ...more } }
}

function naming(method: string, name?: string): Record<string, string> {
  return { 'mcp-protocol-version': '2026-07-28', 'mcp-method': method, ...(name === undefined ? {} : { 'mcp-name': name }) }
}

for (const variant of variants().filter(({ nodes }) => nodes === 1)) {
  describe(`forward-auth on ${variant.name}`, () => {
    let gateway: RunningGateway
    let alice: string
    let bob: string
    const about = (question: Question): Promise<Told> => ask(gateway.nodes[0] ?? '', question)

    before(async () => {
      gateway = await startGateway({ ...variant, config: CONFIG })
      alice = await tokenOf(gateway.issuer, 'alice', BOARD)
      bob = await tokenOf(gateway.issuer, 'bob', BOARD)
    })
    after(() => gateway.close())

    test('without a token: 401 with the address of the metadata, which names the server as its clients know it (RFC 9728 §5.1, RS-2, RS-3)', async () => {
      const told = await about(forwarded(BOARD, undefined))
      assert.equal(told.status, 401)
      const metadata = `${gateway.issuer}/.well-known/oauth-protected-resource/forward-auth/board`
      assert.equal(told.headers['www-authenticate'], `Bearer resource_metadata="${metadata}", scope="mcp.read mcp.write"`)
      const document = (await (await fetch(metadata)).json()) as Record<string, unknown>
      assert.deepEqual([document['resource'], document['authorization_servers']], [BOARD, [gateway.issuer]])
      const garbage = await about(forwarded(BOARD, 'garbage'))
      assert.equal(garbage.status, 401)
      assert.match(garbage.headers['www-authenticate'] ?? '', /^Bearer error="invalid_token"/)
      assert.equal((await fetch(`${gateway.issuer}/.well-known/oauth-protected-resource/forward-auth/absent`)).status, 404)
    })

    test('a token is for one server (RFC 8707 §2, G04): not for another behind a proxy, nor for the gateway, nor the other way round', async () => {
      assert.equal((await about(forwarded(BOARD, alice, naming('tools/list')))).status, 200)
      assert.equal((await about(forwarded(PLAIN, alice))).status, 401)
      assert.equal((await about(forwarded(RESTRICTED, alice))).status, 401)
      assert.equal((await about(forwarded(BOARD, await tokenOf(gateway.issuer, 'alice', `${gateway.issuer}/mcp/board`), naming('tools/list')))).status, 401)
      const atGateway = await fetch(`${gateway.issuer}/mcp/board`, { method: 'POST', headers: { authorization: `Bearer ${alice}` } })
      assert.equal(atGateway.status, 401)
      assert.equal((await tokenFor(gateway.issuer, 'alice', 'http://board.example/mcp/x')).error, 'invalid_target')
    })

    test('allowed: who calls stands in headers that are all there, and the token is gone (RS-10)', async () => {
      const told = await about(forwarded(BOARD, bob, naming('tools/call', 'read_note')))
      assert.equal(told.status, 200)
      const { headers } = told
      assert.match(headers['x-lanyard-user'] as string, /^usr_/)
      assert.deepEqual(
        ['x-lanyard-subject', 'x-lanyard-groups', 'x-lanyard-scope', 'authorization', 'cache-control'].map((name) => headers[name]),
        ['bob', 'sales', 'mcp.read mcp.write', '', 'no-store'],
      )
      for (const name of ['name', 'email', 'client']) assert.ok(`x-lanyard-${name}` in headers, name)
      assert.doesNotMatch(JSON.stringify(headers), new RegExp(bob))
      await recorded(gateway, ({ action, tool, rule, resource, upstream, address, detail }) => action === 'call.allowed' && tool === 'read_note' && rule === 'sales-read' && resource === BOARD && upstream === 'board' && address === '192.0.2.7' && detail?.['by'] === 'forward-auth')
    })

    test('a server that compares headers with bodies has rules about single tools (P-10, P-11, P-20)', async () => {
      const cases: readonly (readonly [string, string, Record<string, string>, number])[] = [
        ['bob reads', bob, naming('tools/call', 'read_note'), 200],
        ['in an encoded header', bob, naming('tools/call', `=?base64?${Buffer.from('read_note').toString('base64')}?=`), 200],
        ['bob writes', bob, naming('tools/call', 'write_note'), 403],
        ['alice writes', alice, naming('tools/call', 'write_note'), 200],
        ['nobody deletes', alice, naming('tools/call', 'delete_note'), 403],
        ['encoded, too', alice, naming('tools/call', `=?base64?${Buffer.from('delete_note').toString('base64')}?=`), 403],
        ['bob lists', bob, naming('tools/list'), 200],
        ['bob discovers', bob, naming('server/discover'), 200],
        ['alice reads what is no tool, and may not do everything', alice, naming('resources/read', 'note://1'), 403],
        ['a method that nobody knows', alice, naming('tools/run', 'read_note'), 403],
        ['two names in one header', bob, naming('tools/call', 'read_note, write_note'), 403],
        ['an encoding that is none', bob, naming('tools/call', '=?base64?!?='), 403],
        ['no name', bob, naming('tools/call'), 403],
        // Before 2026-07-28 nobody compares: what the headers say is what somebody says (P-10).
        ['a revision that compares nothing', bob, { ...naming('tools/call', 'read_note'), 'mcp-protocol-version': '2025-11-25' }, 403],
        ['no revision', bob, { 'mcp-method': 'tools/call', 'mcp-name': 'read_note' }, 403],
        ['another method of HTTP', bob, { ...naming('tools/list'), 'x-forwarded-method': 'GET' }, 403],
      ]
      for (const [name, token, headers, status] of cases) assert.equal((await about(forwarded(BOARD, token, headers))).status, status, name)
      await recorded(gateway, ({ action, tool, rule }) => action === 'call.denied' && tool === 'delete_note' && rule === 'nobody-deletes')
      await recorded(gateway, ({ action, tool, rule }) => action === 'call.denied' && tool === 'write_note' && rule === 'default')
    })

    test('where headers are not compared, only who may use everything gets through (P-10)', async () => {
      const plain = { alice: await tokenOf(gateway.issuer, 'alice', PLAIN), bob: await tokenOf(gateway.issuer, 'bob', PLAIN) }
      assert.equal((await about(forwarded(PLAIN, plain.alice))).status, 200)
      // He may use some of its tools, and nobody can tell which one he calls.
      const refused = await about(forwarded(PLAIN, plain.bob, naming('tools/call', 'read_note')))
      assert.equal(refused.status, 403)
      assert.match(refused.text, /"error":"access_denied"/)
      // She may use all but one of them.
      const restricted = await tokenOf(gateway.issuer, 'alice', RESTRICTED)
      assert.equal((await about(forwarded(RESTRICTED, restricted, naming('tools/call', 'read_note')))).status, 403)
      await recorded(gateway, ({ action, resource, rule }) => action === 'call.denied' && resource === RESTRICTED && rule === 'nobody-deletes')
    })

    test('a narrow token: 403 with the scope to ask for, and where (RS-8, RFC 6750 §3.1)', async () => {
      const narrow = await tokenOf(gateway.issuer, 'alice', BOARD, 'mcp.read')
      assert.equal((await about(forwarded(BOARD, narrow, naming('tools/call', 'read_note')))).status, 200)
      const told = await about(forwarded(BOARD, narrow, naming('tools/call', 'write_note')))
      assert.equal(told.status, 403)
      assert.match(told.headers['www-authenticate'] ?? '', /^Bearer error="insufficient_scope", .*resource_metadata=".*\/forward-auth\/board", scope="mcp.write"$/)
      const plain = await tokenOf(gateway.issuer, 'alice', PLAIN, 'mcp.read')
      assert.match((await about(forwarded(PLAIN, plain))).headers['www-authenticate'] ?? '', /insufficient_scope/)
    })

    test('a tool that needs a stronger sign-in: 401 that says which (RFC 9470 §3)', async () => {
      const told = await about(forwarded(BOARD, alice, naming('tools/call', 'transfer_note')))
      assert.equal(told.status, 401)
      assert.match(told.headers['www-authenticate'] ?? '', /error="insufficient_user_authentication".*resource_metadata=".*\/forward-auth\/board".*acr_values="urn:example:mfa"/)
      assert.equal((await about(forwarded(BOARD, alice, naming('tools/call', 'write_note')))).status, 200)
    })

    test('a profile keeps its groups and tools', async () => {
      const sales = await tokenOf(gateway.issuer, 'bob', 'http://sales.example/mcp')
      assert.equal((await about(forwarded('http://sales.example/mcp', sales, naming('tools/call', 'read_note')))).status, 200)
      assert.equal((await about(forwarded('http://sales.example/mcp', sales, naming('tools/call', 'write_log')))).status, 403)
      assert.equal((await about(forwarded(BOARD, bob, naming('tools/call', 'write_log')))).status, 200)
      assert.notEqual((await tokenFor(gateway.issuer, 'alice', 'http://sales.example/mcp')).error, undefined)
    })

    test('the credential of the connector is for the proxy to send on; without an account the person hears where to connect it (J3)', async () => {
      const told = await about(forwarded(WEATHER, await tokenOf(gateway.issuer, 'alice', WEATHER)))
      assert.deepEqual([told.status, told.headers['x-api-key'], told.headers.authorization], [200, API_KEY, ''])
      assert.doesNotMatch(gateway.output.join(''), new RegExp(API_KEY))
      const missing = await about(forwarded(TICKETS, await tokenOf(gateway.issuer, 'alice', TICKETS, undefined, false)))
      assert.equal(missing.status, 403)
      assert.ok(missing.text.includes(`${gateway.issuer}/connections/tickets`), missing.text)
    })

    test('only a trusted proxy hears anything, whatever is forwarded (M09)', async () => {
      const question = forwarded(WEATHER, await tokenOf(gateway.issuer, 'alice', WEATHER))
      assert.equal((await about(question)).headers['x-api-key'], API_KEY)
      for (const headers of [question.headers, { ...question.headers, 'x-forwarded-for': '127.0.0.1' }, { ...question.headers, forwarded: 'for=127.0.0.1' }]) {
        const told = await about({ ...question, headers: headers ?? {}, from: '127.0.0.2' })
        assert.equal(told.status, 403)
        assert.equal(told.headers['x-api-key'], undefined)
        assert.equal(told.headers['www-authenticate'], undefined)
      }
      await recorded(gateway, ({ action, reason, address }) => action === 'call.denied' && reason === 'only a trusted proxy may ask here' && address === '127.0.0.2')
    })

    test('Envoy asks by method, host and path; headers of the client say nothing else (P-11)', async () => {
      const envoy = (path: string, headers: Readonly<Record<string, string>> = {}, method = 'POST'): Question => ({ path, method, headers: { host: 'board.example', authorization: `Bearer ${alice}`, ...headers } })
      assert.equal((await about(envoy('/forward-auth/mcp', naming('tools/call', 'read_note')))).status, 200)
      assert.equal((await about(envoy('/forward-auth/mcp?x=y', naming('tools/list')))).status, 200)
      assert.equal((await about(envoy('/forward-auth/mcp', naming('tools/call', 'delete_note')))).status, 403)
      assert.equal((await about(envoy('/forward-auth/mcp', { ...naming('tools/list'), host: 'plain.example' }))).status, 401)
      const spoofed = { 'x-forwarded-host': 'plain.example', 'x-forwarded-uri': '/mcp', 'x-forwarded-method': 'POST' }
      assert.equal((await about({ ...envoy('/forward-auth/mcp', { ...naming('tools/call', 'delete_note'), ...spoofed }) })).status, 403)
      assert.equal((await about(envoy('/forward-auth/mcp', naming('tools/list'), 'GET'))).status, 403)
    })

    test('a place that is not protected, or not one place alone, is refused (H18)', async () => {
      const [host, list] = [new URL(BOARD).host, naming('tools/list')]
      const tricks = ['/', '/mcpx', '/x/mcp', '/mcp/../restricted', '/restricted/../mcp', '/mcp/..%2frestricted', '/mcp%2f..', '/%6dcp', '//mcp', '/mcp//', '/mcp;a', '/mcp\\..', 'http://board.example/mcp', 'mcp']
      for (const uri of tricks) {
        assert.equal((await about(forwarded(BOARD, alice, { ...list, 'x-forwarded-uri': uri }))).status, 403, uri)
        if (uri.startsWith('/')) assert.equal((await about({ path: `/forward-auth${uri}`, method: 'POST', headers: { host, authorization: `Bearer ${alice}`, ...list } })).status, 403, uri)
      }
      for (const other of ['evil.example', 'board.example.evil.example', 'board.example:81', 'board.example, plain.example', '']) {
        assert.equal((await about(forwarded(BOARD, alice, { ...list, 'x-forwarded-host': other }))).status, 403, other)
      }
      for (const uri of ['/mcp', '/mcp/', '/mcp/x', '/mcp?q=/../x']) assert.equal((await about(forwarded(BOARD, alice, { ...list, 'x-forwarded-uri': uri }))).status, 200, uri)
    })

    test('the resource of the proxy\'s own configuration holds, and what is forwarded must agree with it', async () => {
      const named = `/forward-auth?resource=${encodeURIComponent(BOARD)}`
      const bare = { path: named, headers: { host: 'lanyard:8080', authorization: `Bearer ${alice}`, 'x-forwarded-method': 'POST', ...naming('tools/list') } }
      assert.equal((await about(bare)).status, 200)
      assert.equal((await about({ ...forwarded(BOARD, alice, naming('tools/list')), path: named })).status, 200)
      for (const spoofed of [{ 'x-forwarded-host': 'plain.example', 'x-forwarded-uri': '/mcp' }, { 'x-forwarded-uri': '/mcp' }, { 'x-forwarded-host': 'board.example' }, { 'x-forwarded-host': 'board.example', 'x-forwarded-uri': '/restricted' }]) {
        assert.equal((await about({ ...bare, headers: { ...bare.headers, ...spoofed } })).status, 403, JSON.stringify(spoofed))
      }
      assert.equal((await about({ ...bare, path: '/forward-auth?resource=http://absent.example/mcp' })).status, 403)
    })

    test('who was revoked is refused at the next question', async () => {
      const token = await tokenOf(gateway.issuer, 'alice', PLAIN)
      assert.equal((await about(forwarded(PLAIN, token))).status, 200)
      const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, string>
      assert.equal(claims['aud'], PLAIN)
      await fetch(`${gateway.issuer}/revoke`, { method: 'POST', body: new URLSearchParams({ token, client_id: claims['client_id'] ?? '' }) })
      assert.equal((await about(forwarded(PLAIN, token))).status, 401)
    })
  })
}

test('with a key, a proxy proves itself by it, and neither a guess nor the query of a client is one', async () => {
  const key = 'a-key-of-at-least-thirty-two-characters'
  const gateway = await startGateway({ config: { ...CONFIG, forwardAuthKey: '${env:PROXY_KEY}' }, environment: { PROXY_KEY: key } })
  try {
    const node = gateway.nodes[0] ?? ''
    const token = await tokenOf(gateway.issuer, 'alice', WEATHER)
    const question = forwarded(WEATHER, token)
    for (const right of [{ ...question, headers: { ...question.headers, 'x-lanyard-proxy-key': key } }, { ...question, path: `/forward-auth?key=${key}` }]) {
      const told = await ask(node, right)
      assert.deepEqual([told.status, told.headers['x-api-key']], [200, API_KEY])
    }
    const envoy = { path: '/forward-auth/mcp', method: 'POST', headers: { host: new URL(WEATHER).host, authorization: `Bearer ${token}` } }
    assert.equal((await ask(node, { ...envoy, headers: { ...envoy.headers, 'x-lanyard-proxy-key': key } })).status, 200)
    for (const wrong of [question, { ...question, path: '/forward-auth?key=' }, { ...question, path: `/forward-auth?key=${key}x` }, { ...question, headers: { ...question.headers, 'x-lanyard-proxy-key': key.slice(1) } }, { ...envoy, path: `/forward-auth/mcp?key=${key}` }, { ...question, path: `/forward-auth?key=${key}`, from: '127.0.0.2' }]) {
      const told = await ask(node, wrong)
      assert.deepEqual([told.status, told.headers['x-api-key'], told.headers['www-authenticate']], [403, undefined, undefined], JSON.stringify(wrong))
    }
    await recorded(gateway, ({ action, reason }) => action === 'call.denied' && reason === 'the key of the proxies is missing or wrong')
    assert.doesNotMatch(gateway.output.join(''), new RegExp(key))
  } finally {
    await gateway.close()
  }
})

test('under its public name the gateway answers no proxy: whoever comes by it came through one as well', async () => {
  const gateway = await startGateway({ config: { ...CONFIG, issuer: 'https://lanyard.example.com', hosts: ['127.0.0.1:9'], forwardAuth: CONFIG.forwardAuth.slice(0, 1) } })
  try {
    const node = gateway.nodes[0] ?? ''
    assert.equal((await ask(node, forwarded(BOARD, undefined))).status, 401)
    for (const host of ['lanyard.example.com', 'LANYARD.example.com:443', '127.0.0.1:9']) {
      const told = await ask(node, forwarded(BOARD, undefined, { host }))
      assert.deepEqual([told.status, told.headers['www-authenticate']], [403, undefined], host)
    }
  } finally {
    await gateway.close()
  }
})
