// HTTP APIs at their edges: what HTTP allows and clients do, rules that ask for more, accounts that are connected.
import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { DPOP_ALGORITHMS } from '../../src/token/dpop.ts'
import { eachApiHouse, type ApiHouse } from '../support/api-house.ts'
import { eachTickets, upstream } from '../support/connection-nodes.ts'
import { eventually } from '../support/eventually.ts'
import { ISSUER } from '../support/mcp-nodes.ts'
import { answersOf, exchange } from '../support/raw-http.ts'
import { CredentialRefused } from '../../src/upstreams/connectors/connector.ts'

function raw(house: ApiHouse, lines: readonly string[], body = ''): Promise<string> {
  return exchange(house.nodes[0].address, [`${lines.join('\r\n')}\r\nHost: lanyard.example\r\nAuthorization: Bearer ${house.apiToken()}\r\n\r\n${body}`])
}

eachApiHouse('a rule may ask for a fresh sign-in, or be about what a method does (RFC 9470 §3)', async ({ ask, events, api }) => {
  const asked = await ask('/http/api/vault/1')
  assert.equal(asked.status, 401)
  assert.match(String(asked.headers['www-authenticate']), /error="insufficient_user_authentication".*max_age="?60/)
  assert.equal((await events('call.denied')).at(-1)?.rule, 'fresh')
  const refused = await ask('/http/api/items/1', { method: 'DELETE' })
  assert.deepEqual([refused.status, (await events('call.denied')).at(-1)?.rule], [403, 'nothing-destructive'])
  assert.equal(api.requests.length, 0)
  assert.equal((await ask('/http/api/items/1')).status, 200)
  assert.equal((await ask('/http/keyed/items/1', { method: 'PUT' })).status, 200)
}, {
  rules: [
    { id: 'all', effect: 'allow' },
    { id: 'fresh', effect: 'step-up', tools: ['* /vault/*'], require: { maxAge: 60 } },
    { id: 'nothing-destructive', effect: 'deny', upstreams: ['api'], when: { tool: { destructive: true } } },
  ],
})

eachApiHouse('what is compressed, partial, unchanged or empty passes as the API says it', async ({ ask, api }) => {
  const zipped = gzipSync('x'.repeat(10_000))
  api.script = (request, response) => {
    if (request.headers['if-none-match'] === '"a"') return void response.writeHead(304, { etag: '"a"' }).end()
    if (request.headers.range !== undefined) return void response.writeHead(206, { 'content-range': 'bytes 0-3/10' }).end('0123')
    if (request.method === 'HEAD') return void response.writeHead(200, { 'content-length': '12345', etag: '"a"' }).end()
    if (request.method === 'DELETE') return void response.writeHead(204).end()
    return void response.writeHead(200, { 'content-encoding': 'gzip', 'content-type': 'text/plain' }).end(zipped)
  }
  const answer = await ask('/http/api/a', { headers: { 'accept-encoding': 'gzip' } })
  assert.equal(answer.headers['content-encoding'], 'gzip')
  // It was read as UTF-8, and so is what it is compared with.
  assert.equal(answer.text, zipped.toString('utf8'))
  const unchanged = await ask('/http/api/a', { headers: { 'if-none-match': '"a"' } })
  assert.deepEqual([unchanged.status, unchanged.text, unchanged.headers.etag], [304, '', '"a"'])
  const partial = await ask('/http/api/a', { headers: { range: 'bytes=0-3' } })
  assert.deepEqual([partial.status, partial.text, partial.headers['content-range']], [206, '0123', 'bytes 0-3/10'])
  const head = await ask('/http/api/a', { method: 'HEAD' })
  assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', '12345'])
  const gone = await ask('/http/api/a', { method: 'DELETE' })
  assert.deepEqual([gone.status, gone.text], [204, ''])
})

eachApiHouse('requests that no client would send: two lengths, absolute and odd targets, an expectation (RFC 9112 §3.2)', async (house) => {
  const { api } = house
  const [both] = answersOf(await raw(house, ['POST /http/api/a HTTP/1.1', 'Content-Length: 3', 'Transfer-Encoding: chunked'], '0\r\n\r\n'))
  assert.equal(both?.status, 400)
  for (const target of ['http://evil.example/http/api/a', '/http/api/../api/a', '/http/api\\a', '/http/api/a#b', 'http/api/a', '//http/api/a']) {
    const [answer] = answersOf(await raw(house, [`GET ${target} HTTP/1.1`]))
    assert.ok(answer !== undefined && answer.status >= 400 && answer.status < 500, `${target} ${answer?.status}`)
  }
  assert.equal(api.requests.length, 0)
  const expecting = await raw(house, ['POST /http/api/a HTTP/1.1', 'Expect: 100-continue', 'Content-Length: 4', 'Content-Type: text/plain'], 'body')
  assert.match(expecting, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /)
  assert.deepEqual([api.requests[0]?.body, api.requests[0]?.headers.expect], ['body', undefined])
  // Two on one connection, the first of them refused with a body that nobody reads.
  const two = await raw(house, ['POST /http/api/x;y HTTP/1.1', 'Content-Length: 4'], `body${['GET /http/api/b HTTP/1.1', 'Host: lanyard.example', `Authorization: Bearer ${house.apiToken()}`, '', ''].join('\r\n')}`)
  assert.deepEqual(answersOf(two).map(({ status }) => status), [400, 200])
})

eachApiHouse('answers of many callers at once go each to its own (H10)', async ({ nodes, apiToken, api }) => {
  api.script = (request, response) => void setTimeout(() => response.end(request.url), Math.random() * 20)
  const tokens = [apiToken('api', { userId: 'usr_alice' }), apiToken('api', { userId: 'usr_anna' })]
  const answers = await Promise.all(Array.from({ length: 200 }, (_, index) => nodes[index % 2 === 0 ? 0 : 1].send({ method: 'GET', path: `/http/api/n/${index}`, headers: { authorization: `Bearer ${tokens[index % 2]}` } })))
  answers.forEach(({ text }, index) => assert.equal(text, `/v1/n/${index}`))
})

eachApiHouse('what cannot be recorded is not passed on', async (house) => {
  const { ask, api } = house
  house.beforeRecord = () => Promise.reject(new Error('the disk is full'))
  const failed = await ask('/http/api/a')
  assert.equal(failed.status, 500)
  assert.ok(!failed.text.includes('/v1/a') && !failed.text.includes('disk'))
  house.beforeRecord = () => Promise.resolve()
  assert.equal((await ask('/http/api/a')).body['url'], '/v1/a')
  assert.equal(api.requests.at(-1)?.url, '/v1/a')
  await eventually('the fault is logged', () => house.bugs.length === 1)
  // Known and looked at: the house finds no other.
  ;(house.bugs as unknown[]).pop()
})

eachApiHouse('a user who is disabled, or cut off, reaches the API no more', async (house) => {
  const { ask, apiToken, users, revoke, api } = house
  const token = apiToken()
  assert.equal((await ask('/http/api/a', { token })).status, 200)
  users.set('usr_alice', { ...users.get('usr_alice')!, disabled: true })
  await revoke({ kind: 'subject', key: 'usr_alice' })
  assert.equal((await ask('/http/api/a', { token })).status, 401)
  house.fresh = false
  assert.equal((await ask('/http/api/a', { token: apiToken('api', { userId: 'usr_anna' }) })).status, 503)
  house.fresh = true
  assert.equal((await ask('/http/api/a', { token: apiToken('api', { userId: 'usr_anna' }) })).status, 200)
  assert.equal(api.requests.length, 2)
})

eachTickets('an API without resource metadata has the authorization server that the operator names: it is asked by GET, and told no resource', async (cluster, tickets) => {
  const http = { maxBodyBytes: 1024, encodedSlashes: false }
  const connector = { type: 'oauth', clientId: 'mine', clientSecret: 'a-secret-of-some-length-for-a-client', scopes: ['issues.read'] } as const
  tickets.on.set('/mcp', () => ({ status: 401, headers: { 'www-authenticate': 'Bearer' } }))
  for (const path of ['/.well-known/oauth-protected-resource/mcp', '/.well-known/oauth-protected-resource']) tickets.on.set(path, () => ({ status: 404 }))
  const issuer = `${tickets.issuer}/tenant`
  // As Microsoft Entra ID says it: of PKCE nothing.
  tickets.metadata = { issuer, code_challenge_methods_supported: undefined }
  tickets.on.set('/tenant/.well-known/openid-configuration', (asked) => tickets.behave({ ...asked, path: '/.well-known/oauth-authorization-server' }))
  tickets.on.set('/.well-known/oauth-authorization-server/tenant', () => ({ status: 404 }))
  cluster.upstreams = [{ ...upstream('tickets', tickets.mcp, { ...connector, issuer }), http }]
  const url = await cluster.nodes[0].begin('tickets')
  assert.deepEqual([url.pathname, url.searchParams.get('client_id'), url.searchParams.get('resource'), url.searchParams.get('code_challenge_method')], ['/authorize', 'mine', null, 'S256'])
  assert.deepEqual(tickets.asked.filter(({ path }) => path === '/mcp').map(({ method, body }) => [method, body]), [['GET', '']])
  const page = await cluster.nodes[0].finish('tickets', { code: 'a-code', state: url.searchParams.get('state') ?? '' })
  assert.equal(page.status, 200, page.text)
  const [redeemed] = tickets.at('/token')
  assert.deepEqual([redeemed?.form.get('resource'), redeemed?.form.get('code')], [null, 'a-code'])
  cluster.now += 3600_000
  const credential = await cluster.nodes[1].oauth.credential('usr_alice', cluster.upstreams[0]!)
  assert.ok(credential !== 'connection_required')
  assert.deepEqual([tickets.at('/token').at(-1)?.form.get('grant_type'), tickets.at('/token').at(-1)?.form.get('resource')], ['refresh_token', null])
  // For an MCP server the operator's word is not enough, nor is a server that nobody named.
  for (const other of [{ ...upstream('tickets', tickets.mcp, { ...connector, issuer }) }, { ...upstream('tickets', tickets.mcp, connector), http }]) {
    cluster.upstreams = [other]
    cluster.now += 11 * 60_000
    assert.equal((await cluster.nodes[0].post('/connections/tickets', { csrf: await cluster.nodes[0].csrf('tickets') })).status, 502)
  }
})

eachApiHouse('the metadata of an API name it and nothing else', async ({ nodes }) => {
  const metadata = (id: string) => nodes[0].send({ method: 'GET', path: `/.well-known/oauth-protected-resource/http/${id}` })
  assert.deepEqual((await metadata('keyed')).body, { resource: `${ISSUER}/http/keyed`, authorization_servers: [ISSUER], scopes_supported: ['mcp.read', 'mcp.write'], bearer_methods_supported: ['header'], dpop_signing_alg_values_supported: DPOP_ALGORITHMS, resource_name: 'The keyed' })
  for (const id of ['none', 'notes', 'everything']) assert.equal((await metadata(id)).status, 404)
})

eachApiHouse('the token of the caller goes no further, wherever else they put it (RS-10, RS-11)', async ({ ask, apiToken, api }) => {
  const token = apiToken()
  const other = apiToken('api', { userId: 'usr_anna' })
  assert.equal((await ask(`/http/api/a?access_token=${token}`, { token })).status, 400)
  for (const headers of [{ 'x-token': token }, { 'x-token': ['a', `Bearer ${token}`] }]) assert.equal((await ask('/http/api/a', { token, headers })).status, 400)
  assert.equal(api.requests.length, 0)
  api.script = (_request, response) => void response.writeHead(200, { authorization: 'Bearer own', 'x-auth-token': 'own', 'x-request-id': '7' }).end('ok')
  const answer = await ask('/http/api/a?access_token=of-the-api', { token: other, headers: { 'x-token': 'another' } })
  assert.deepEqual([answer.status, answer.headers.authorization, answer.headers['x-auth-token'], answer.headers['x-request-id']], [200, undefined, undefined, '7'])
})

eachApiHouse('N03: a call for which there is no credential is recorded, and reaches nobody', async (house) => {
  const { ask, api, accounts, events } = house
  accounts.get = () => {
    throw new CredentialRefused('ask your administrator', 'google: no verified address')
  }
  const answer = await ask('/http/personal/a')
  assert.equal(answer.status, 502)
  assert.match(answer.text, /cannot be used in your name: ask your administrator/)
  assert.deepEqual((await events()).filter(({ outcome }) => outcome === 'failure').map(({ action, outcome, subject, upstream: at, tool, reason }) => [action, outcome, subject, at, tool, reason]), [['call.denied', 'failure', 'usr_alice', 'personal', 'GET /a', 'google: no verified address']])
  accounts.get = () => 'alice-account'
  assert.equal((await ask('/http/personal/a')).status, 200)
  assert.equal(api.requests.length, 1)
})
