// HTTP APIs behind the gateway: what reaches the API, what comes back, and who is refused before.
import assert from 'node:assert/strict'
import { eachApiHouse } from '../support/api-house.ts'
import { eventually } from '../support/eventually.ts'
import { API_KEY, ISSUER } from '../support/mcp-nodes.ts'

eachApiHouse('a call reaches the API below its base as it was made, and its answer the caller', async ({ ask, api, events }) => {
  const answer = await ask('/http/api/repos/lanyard?page=2&x[]=%2F', { headers: { accept: 'application/json', 'x-github-api-version': '2022-11-28' } })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['x-api'], 'yes')
  assert.equal(answer.body['url'], '/v1/repos/lanyard?page=2&x[]=%2F')
  const [seen] = api.requests
  assert.deepEqual([seen?.method, seen?.headers.accept, seen?.headers['x-github-api-version'], seen?.headers.authorization], ['GET', 'application/json', '2022-11-28', undefined])
  for (const [path, url] of [['/http/api', '/v1'], ['/http/api/', '/v1/'], ['/http/api/a/', '/v1/a/']] as const) assert.equal((await ask(path)).body['url'], url)
  const [allowed] = await events('call.allowed')
  assert.deepEqual([allowed?.tool, allowed?.upstream, allowed?.rule, allowed?.subject, allowed?.resource], ['GET /repos/lanyard', 'api', 'engineering', 'usr_alice', `${ISSUER}/http/api`])
  await eventually('the end is recorded', async () => (await events('call.finished')).length === 4)
  const [finished] = await events('call.finished')
  assert.deepEqual([finished?.outcome, finished?.detail], ['success', { method: 'GET', status: 200 }])
  assert.ok(!JSON.stringify(await events()).includes('page=2'), 'a query holds arguments')
})

eachApiHouse('every method has its body and its scope: what only reads needs read, the others write (RS-8)', async ({ ask, api, apiToken, events }) => {
  const reader = apiToken('api', { scope: ['mcp.api.read'] })
  const writer = apiToken('api', { scope: ['mcp.api.write'] })
  const json = { 'content-type': 'application/json', 'content-length': '7' }
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    const refused = await ask('/http/api/items', { method, token: reader, body: '{"a":1}', headers: json })
    assert.equal(refused.status, 403)
    assert.match(String(refused.headers['www-authenticate']), /error="insufficient_scope".*resource_metadata="https:\/\/lanyard\.example\/\.well-known\/oauth-protected-resource\/http\/api".*scope="mcp\.write"/)
    assert.equal(api.requests.length, 0)
    assert.equal((await events('call.denied')).at(-1)?.tool, `${method} /items`)
    const passed = await ask('/http/api/items', { method, token: writer, body: '{"a":1}', headers: json })
    assert.deepEqual(passed.body, { method, url: '/v1/items', body: '{"a":1}' })
    assert.equal(api.requests.pop()?.headers['content-type'], 'application/json')
  }
  assert.equal((await ask('/http/api/items', { token: reader })).status, 200)
  const head = await ask('/http/api/items', { method: 'HEAD', token: reader })
  assert.deepEqual([head.status, head.text, head.headers['x-api'], api.requests.at(-1)?.method], [200, '', 'yes', 'HEAD'])
})

eachApiHouse('a token is for one resource: an API under /http is its own (RS-6, RFC 8707)', async ({ ask, nodes, token, apiToken, api }) => {
  const without = await nodes[0].send({ method: 'GET', path: '/http/api/repos' })
  assert.equal(without.status, 401)
  const metadata = /resource_metadata="([^"]+)"/.exec(String(without.headers['www-authenticate']))?.[1] ?? ''
  assert.equal(metadata, `${ISSUER}/.well-known/oauth-protected-resource/http/api`)
  // RFC 9728 §3.3
  const document = await nodes[0].send({ method: 'GET', path: new URL(metadata).pathname })
  assert.deepEqual([document.body['resource'], document.body['authorization_servers']], [`${ISSUER}/http/api`, [ISSUER]])
  for (const other of [token(), token({ profile: 'api' }), apiToken('keyed'), apiToken('api', { lifetime: -1 }), 'nonsense']) assert.equal((await ask('/http/api/repos', { token: other })).status, 401)
  assert.equal((await ask(`/http/api/repos?access_token=${apiToken()}`, { headers: { authorization: '' } })).status, 401)
  assert.equal(api.requests.length, 0)
  assert.equal((await ask('/http/api/repos')).status, 200)
  // An HTTP API alone is no MCP server.
  assert.equal((await nodes[0].send({ path: '/mcp/api', headers: { authorization: `Bearer ${token({ profile: 'api' })}`, 'content-type': 'application/json' }, body: '{}' })).status, 404)
})

eachApiHouse('policy decides by method and path; a denial holds for every spelling of them (H23)', async ({ ask, api, apiToken, events }) => {
  const bob = apiToken('api', { userId: 'usr_bob' })
  assert.equal((await ask('/http/api/repos/a/b', { token: bob })).status, 200)
  assert.equal((await ask('/http/api/repos/a', { method: 'HEAD', token: bob })).status, 200)
  const received = api.requests.length
  for (const [method, path] of [['POST', '/http/api/repos/a'], ['GET', '/http/api/users'], ['GET', '/http/api/Repos/a'], ['GET', '/http/api/repos/a/secrets'], ['GET', '/http/api/repos/a/secrets/'], ['GET', '/http/api/repos']] as const) {
    const refused = await ask(path, { method, token: bob })
    assert.equal(refused.status, 403, `${method} ${path}`)
    assert.equal(refused.headers['content-type'], 'application/problem+json')
    assert.equal(refused.headers['www-authenticate'], undefined)
  }
  for (const path of ['/http/api/repos/a/%73ecrets', '/http/api/repos/a//secrets', '/http/api/repos/a/./secrets', '/http/api/repos/a/x/../secrets', '/http/api/repos/a%2Fsecrets', '/http/api/repos/a/secrets;x', '/http/api/%2e%2e/admin', '/http/api/..%2Fadmin', '/http/api/../../admin', '/http/api//evil.example/x']) {
    const refused = await ask(path)
    assert.equal(refused.status, 400, path)
    assert.match(String(refused.body['detail']), /canonical/)
  }
  assert.equal(api.requests.length, received)
  assert.deepEqual(new Set((await events('call.denied')).map(({ rule }) => rule)), new Set(['default', 'no-secrets']))
  // The same for who may do everything else.
  assert.equal((await ask('/http/api/repos/a/secrets')).status, 403)
  assert.equal((await ask('/http/api/protected/1', { method: 'DELETE' })).status, 403)
  assert.equal((await ask('/http/api/protected/1', { method: 'PUT' })).status, 200)
})

eachApiHouse('encoded slashes pass where the API is said to use them', async ({ ask, api }) => {
  assert.equal((await ask('/http/slashes/projects/group%2Fproject')).status, 200)
  assert.equal(api.requests.at(-1)?.url, '/v1/projects/group%2Fproject')
  assert.equal((await ask('/http/slashes/projects/group%2F..%2F..%2Fadmin')).status, 400)
  assert.equal((await ask('/http/api/projects/group%2Fproject')).status, 400)
  assert.equal(api.requests.length, 1)
})

eachApiHouse('the credential is the connector’s and nothing of the caller goes up (P-7, RS-10)', async ({ ask, api, accounts, apiToken }) => {
  const own = { cookie: 'sid=1', 'proxy-authorization': 'Basic x', 'x-forwarded-for': '203.0.113.9', 'x-remote-user': 'root', 'x-api-key': 'mine', 'x_api_key': 'mine', forwarded: 'for=1', connection: 'x-hop', 'x-hop': '1', referer: 'https://a.example/', 'x-original-url': '/admin' }
  const token = apiToken('keyed')
  assert.equal((await ask('/http/keyed/a', { token, headers: own })).status, 200)
  const { headers } = api.requests.at(-1)!
  assert.equal(headers['x-api-key'], API_KEY)
  for (const name of ['authorization', 'cookie', 'proxy-authorization', 'x-forwarded-for', 'x-remote-user', 'x_api_key', 'forwarded', 'x-hop', 'referer', 'x-original-url']) assert.equal(headers[name], undefined, name)
  assert.ok(!JSON.stringify(headers).includes(token))
  accounts.set('usr_alice', 'alice-at-the-api')
  assert.equal((await ask('/http/personal/me')).status, 200)
  assert.equal(api.requests.at(-1)?.headers.authorization, 'Bearer alice-at-the-api')
})

eachApiHouse('without the account a problem says where to connect it; with it the call goes on', async ({ ask, api, accounts, events }) => {
  const missing = await ask('/http/personal/me')
  assert.deepEqual([missing.status, missing.headers['content-type']], [403, 'application/problem+json'])
  assert.equal(missing.body['connect_url'], `${ISSUER}/connections/personal?for=usr_alice`)
  assert.equal(api.requests.length, 0)
  assert.equal((await events('call.denied')).at(-1)?.reason, 'the account is not connected')
  accounts.set('usr_alice', 'a-token')
  assert.equal((await ask('/http/personal/me')).status, 200)
})

eachApiHouse('a credential that the API refuses is renewed once, and the call made again', async (house) => {
  const { ask, api, accounts, refusals } = house
  accounts.set('usr_alice', 'old')
  house.renew = () => 'new'
  api.script = (request, response) => (request.headers.authorization === 'Bearer old' ? void response.writeHead(401, { 'www-authenticate': 'Bearer' }).end('no') : false)
  const answer = await ask('/http/personal/items', { method: 'POST', body: '{"n":1}', headers: { 'content-type': 'application/json' } })
  assert.deepEqual([answer.status, answer.body['body']], [200, '{"n":1}'])
  assert.deepEqual(refusals, ['old'])
  // Refused for good: the caller's own token is not to blame.
  api.script = (_request, response) => void response.writeHead(401, { 'www-authenticate': 'Bearer realm="the API"' }).end('no')
  const refused = await ask('/http/personal/items')
  assert.deepEqual([refused.status, refused.headers['www-authenticate']], [502, undefined])
  assert.deepEqual(refusals, ['old', 'new'], 'and what is refused is told')
  house.renew = () => undefined
  assert.equal(String((await ask('/http/personal/items')).body['connect_url']).startsWith(ISSUER), true)
})

eachApiHouse('an account that lacks a scope leads to the page that connects it with more (C-17)', async (house) => {
  const { ask, api, accounts } = house
  accounts.set('usr_alice', 'narrow')
  api.script = (_request, response) => void response.writeHead(403, { 'www-authenticate': 'Bearer error="insufficient_scope", scope="admin"' }).end()
  house.stepUp = (lacking) => lacking
  const refused = await ask('/http/personal/admin')
  assert.deepEqual([refused.status, typeof refused.body['connect_url']], [403, 'string'])
  // What the API refuses for another reason is its own answer.
  api.script = (_request, response) => void response.writeHead(403, { 'content-type': 'text/plain', 'www-authenticate': 'Bearer' }).end('not yours')
  const own = await ask('/http/personal/admin')
  assert.deepEqual([own.status, own.text, own.headers['www-authenticate']], [403, 'not yours', undefined])
})

eachApiHouse('an API sets no cookie here, and points to no address outside of itself', async ({ ask, api, events }) => {
  api.script = (_request, response) => void response.writeHead(302, { location: `${api.url}/next?x=1`, 'set-cookie': 'a=b', 'access-control-allow-origin': '*', 'cache-control': 'public, max-age=9' }).end()
  const inside = await ask('/http/api/a')
  assert.deepEqual([inside.status, inside.headers.location, inside.headers['set-cookie'], inside.headers['access-control-allow-origin'], inside.headers['cache-control']], [302, `${ISSUER}/http/api/next?x=1`, undefined, undefined, 'private, max-age=9'])
  for (const location of ['https://evil.example/', `${api.url.replace('/v1', '/v2')}/x`, '//evil.example/v1', '/admin', '../../admin']) {
    api.script = (_request, response) => void response.writeHead(307, { location }).end()
    const outside = await ask('/http/api/a')
    assert.deepEqual([outside.status, outside.headers.location], [502, undefined], location)
  }
  assert.equal((await events('call.finished')).at(-1)?.reason, 'upstream: redirect outside')
  api.script = (_request, response) => void response.writeHead(201, { location: '/v1/items/7' }).end()
  const created = await ask('/http/api/items', { method: 'POST' })
  assert.deepEqual([created.status, created.headers.location], [201, `${ISSUER}/http/api/items/7`])
})

eachApiHouse('other methods, overrides, upgrades, hosts and origins are refused; the known ones are answered', async ({ ask, nodes, api }) => {
  for (const method of ['TRACE', 'PROPFIND', 'OPTIONS']) {
    const refused = await ask('/http/api/a', { method })
    assert.deepEqual([refused.status, refused.headers.allow], [405, 'GET, HEAD, POST, PUT, PATCH, DELETE'])
  }
  assert.equal((await ask('/http/api/a', { method: 'POST', headers: { 'x-http-method-override': 'DELETE' } })).status, 400)
  assert.equal((await ask('/http/api/a?_method=DELETE', { method: 'POST' })).status, 400)
  const upgrade = await ask('/http/api/a', { headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'a2V5', 'sec-websocket-version': '13' } })
  assert.deepEqual([upgrade.status, upgrade.body['detail']], [501, 'WebSockets are not passed on'])
  assert.equal((await ask('/http/api/a', { headers: { host: 'evil.example' } })).status, 421)
  assert.equal((await ask('/http/api/a', { headers: { origin: 'https://evil.example' } })).status, 403)
  for (const path of ['/http/none/a', '/http/notes/a', '/http/', '/http/API/a']) assert.equal((await ask(path)).status, 404, path)
  assert.equal(api.requests.length, 0)
  const preflight = await nodes[0].send({ method: 'OPTIONS', path: '/http/api/a', headers: { origin: 'https://app.example', 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'authorization, x-custom' } })
  assert.deepEqual([preflight.status, preflight.headers['access-control-allow-origin'], preflight.headers['access-control-allow-headers']], [204, 'https://app.example', 'authorization, x-custom'])
  assert.equal((await ask('/http/api/a', { headers: { origin: 'https://app.example' } })).headers['access-control-allow-origin'], 'https://app.example')
}, { allowedOrigins: ['https://app.example'] })
