// What goes upstream and what comes back: the connector's credential and nothing of the caller's; scopes; accounts that
// are missing.
import assert from 'node:assert/strict'
import { API_KEY, at, call, eachMcpCluster, errorOf, initialize, ISSUER, legacy, modern, resultOf, toolNames, type Cluster, type Sent } from '../support/mcp-nodes.ts'
import { event, reply, result } from '../support/mcp-upstream.ts'
import { CredentialRefused, UpstreamUnavailable } from '../../src/upstreams/connectors/connector.ts'

function more(sent: Sent, headers: Readonly<Record<string, string>>): Sent {
  return { ...sent, headers: { ...sent.headers, ...headers } }
}

eachMcpCluster('nothing of a caller goes upstream but the message and what the protocol names (E05, RS-10, P-7, P-9)', async (cluster) => {
  const token = cluster.token()
  const sent = more(call(token, 'read_note', { a: 1 }), {
    cookie: 'session=secret',
    'x-api-key': 'mine',
    'x-forwarded-for': '10.0.0.1',
    forwarded: 'for=10.0.0.1',
    'x-user': 'admin',
    'proxy-authorization': 'Basic c2VjcmV0',
    'mcp-session-id': 'guessed',
    'mcp-param-region': 'eu',
    connection: 'close, mcp-name',
    te: 'trailers',
    'accept-encoding': 'gzip, br',
    'user-agent': 'client/1',
    baggage: 'x=1',
    'last-event-id': '7',
  })
  assert.equal((await cluster.nodes[0].send(sent)).status, 200)
  const [asked] = cluster.notes.calls()
  assert.deepEqual(Object.keys(asked?.headers ?? {}).sort(), ['accept', 'accept-encoding', 'connection', 'content-length', 'content-type', 'host', 'mcp-method', 'mcp-name', 'mcp-param-region', 'mcp-protocol-version', 'user-agent'])
  assert.equal(asked?.headers['accept-encoding'], 'identity')
  assert.equal(asked?.headers['mcp-param-region'], 'eu')
  assert.doesNotMatch(JSON.stringify(cluster.notes.asked), new RegExp(token.slice(-40)))
  assert.doesNotMatch(JSON.stringify(cluster.notes.asked), /secret|mine|client\/1/)
})

eachMcpCluster('the connector’s credential stands above whatever a client sends in its place (E05)', async (cluster) => {
  const weather = cluster.token({ profile: 'weather' })
  assert.equal((await cluster.nodes[0].send(at('weather', more(call(weather, 'read_note'), { 'x-api-key': 'mine' })))).status, 200)
  assert.deepEqual(cluster.weather.asked.map(({ headers }) => headers['x-api-key']), [API_KEY, API_KEY])
  cluster.accounts.set('usr_alice', 'alice-account')
  cluster.accounts.set('usr_anna', 'anna-account')
  for (const userId of ['usr_alice', 'usr_anna']) {
    const tickets = cluster.token({ profile: 'tickets', userId })
    assert.equal((await cluster.nodes[0].send(at('tickets', call(tickets, 'read_note')))).status, 200)
  }
  assert.deepEqual(cluster.tickets.calls().map(({ headers }) => headers.authorization), ['Bearer alice-account', 'Bearer anna-account'])
  const trail = JSON.stringify(await cluster.events())
  assert.doesNotMatch(trail, new RegExp(`${API_KEY}|-account|${weather.slice(-40)}`))
})

eachMcpCluster('nothing of an upstream’s own headers reaches the client: cookies, challenges, redirects (P-7, RS-38)', async (cluster) => {
  const trap = { 'set-cookie': 'a=b', 'www-authenticate': 'Bearer resource_metadata="https://evil.example"', location: 'https://evil.example', 'access-control-allow-origin': '*', 'x-powered-by': 'x', link: '<https://evil.example>; rel=x', 'strict-transport-security': 'max-age=0', 'mcp-session-id': 'upstream-session' }
  const own = new Set(['cache-control', 'connection', 'content-type', 'date', 'x-content-type-options', 'transfer-encoding'])
  const token = cluster.token()
  assert.equal((await cluster.nodes[0].send(modern(token, 'tools/list'))).status, 200)
  cluster.notes.script = (asked, response) => reply(response, result(asked, { content: [], resultType: 'complete' }), 200, trap)
  for (const sent of [call(token, 'read_note'), modern(token, 'tools/list')]) {
    const answer = await cluster.nodes[0].send(sent)
    assert.equal(answer.status, 200)
    assert.deepEqual(Object.keys(answer.headers).filter((name) => !own.has(name)), [])
  }
  for (const [status, expected] of [[301, 502], [302, 502], [303, 502], [307, 502], [308, 502], [300, 502], [304, 502], [401, 502], [403, 502], [407, 502], [500, 502], [501, 502], [511, 502]] as const) {
    cluster.notes.script = (_asked, response) => void response.writeHead(status, trap).end()
    const answer = await cluster.nodes[1].send(call(token, 'read_note'))
    assert.equal(answer.status, expected, `${status}`)
    assert.deepEqual(Object.keys(answer.headers).filter((name) => !own.has(name)), [], `${status}`)
    assert.equal(errorOf(answer.body).code, -32000)
    assert.match(errorOf(answer.body).message ?? '', /^The notes /)
    // The breaker of the other node is not what this test is about.
    cluster.notes.script = () => false
    assert.equal((await cluster.nodes[1].send(modern(token, 'tools/list'))).status, 200)
  }
  assert.equal(cluster.weather.asked.length, 0)
})

eachMcpCluster('a tool that only reads needs read, every other write; the challenge names all that is needed, once, and is recorded (RS-7, RS-8, RS-9, RS-45)', async (cluster) => {
  const reader = cluster.token({ scope: ['mcp.read'] })
  assert.equal((await cluster.nodes[0].send(call(reader, 'read_note'))).status, 200)
  const refused = await cluster.nodes[0].send(call(reader, 'write_note'))
  assert.equal(refused.status, 403)
  assert.equal(
    refused.headers['www-authenticate'],
    `Bearer error="insufficient_scope", error_description="this needs the scope mcp.write", resource_metadata="${ISSUER}/.well-known/oauth-protected-resource/mcp/notes", scope="mcp.write"`,
  )
  assert.equal(cluster.notes.calls().length, 1)
  assert.deepEqual((await cluster.events('call.denied')).map(({ tool, reason }) => [tool, reason]), [['write_note', 'this needs the scope mcp.write']])
  for (const scope of [['mcp.write'], ['mcp.notes.write'], ['mcp.read', 'mcp.notes.write']]) {
    for (const tool of ['read_note', 'write_note']) assert.equal((await cluster.nodes[0].send(call(cluster.token({ scope }), tool))).status, 200)
  }
  assert.equal((await cluster.nodes[0].send(call(cluster.token({ scope: ['mcp.notes.read'] }), 'read_note'))).status, 200)
  for (const scope of [['mcp.tickets.write'], ['mcp.tickets.read'], ['openid'], []]) {
    assert.equal((await cluster.nodes[0].send(call(cluster.token({ scope }), 'read_note'))).status, 403)
  }
  // What a wider scope would not help is no challenge.
  const denied = await cluster.nodes[0].send(call(reader, 'delete_note'))
  assert.equal(denied.status, 200)
  assert.equal(errorOf(denied.body).code, -32602)
})

eachMcpCluster(
  'an administrator’s mark and the upstream’s annotation decide, and only a true one (RS-8)',
  async (cluster) => {
    cluster.notes.tools = [{ name: 'write_note' }, { name: 'read_other', annotations: { readOnlyHint: 'yes' } }, { name: 'read_wrong', annotations: [] as never }, { name: 'read_note', annotations: { readOnlyHint: true } }]
    const reader = cluster.token({ scope: ['mcp.read'] })
    const statuses = await Promise.all(['write_note', 'read_other', 'read_wrong', 'read_note'].map(async (tool) => (await cluster.nodes[0].send(call(reader, tool))).status))
    assert.deepEqual(statuses, [200, 403, 403, 200])
  },
  { upstreams: { readOnlyTools: ['write_note'] } },
)

eachMcpCluster('a tool that became a writing one is not kept as a reading one by listing another page', async (cluster) => {
  const reader = cluster.token({ scope: ['mcp.read'] })
  const page = (asked: Parameters<typeof result>[0], annotations: object, response: Parameters<typeof reply>[0]): void => {
    const second = (asked.message['params'] as Record<string, unknown>)['cursor'] !== undefined
    reply(response, result(asked, second ? { tools: [{ name: 'changing', annotations }], resultType: 'complete' } : { tools: [{ name: 'read_note' }], nextCursor: 'two', resultType: 'complete' }))
  }
  let annotations: object = { readOnlyHint: true }
  cluster.notes.script = (asked, response) => (asked.message['method'] === 'tools/list' ? page(asked, annotations, response) : false)
  assert.equal((await cluster.nodes[0].send(call(reader, 'changing'))).status, 200)
  annotations = {}
  for (let minutes = 0; minutes < 6; minutes += 2) {
    cluster.now += 2 * 60_000
    assert.equal((await cluster.nodes[0].send(modern(reader, 'tools/list'))).status, 200)
  }
  assert.equal((await cluster.nodes[0].send(call(reader, 'changing'))).status, 403)
  assert.equal((await cluster.nodes[0].send(call(cluster.token(), 'changing'))).status, 200)
}, { upstreams: { toolChanges: 'report' } })

const URL_MODE = { elicitation: { url: {} } }
const withUrlMode = { _meta: { 'io.modelcontextprotocol/clientCapabilities': URL_MODE } }

function connecting(cluster: Cluster, userId = 'usr_alice'): string {
  return cluster.token({ profile: 'tickets', userId })
}

eachMcpCluster('a missing account shows one tool, and nothing goes upstream until it is connected (J3)', async (cluster) => {
  const token = connecting(cluster)
  const send = (sent: Sent) => cluster.nodes[0].send(at('tickets', sent))
  assert.deepEqual(toolNames((await send(modern(token, 'tools/list'))).body), ['connect_account'])
  const discovered = resultOf((await send(modern(token, 'server/discover'))).body)
  assert.deepEqual(discovered['capabilities'], { tools: {} })
  assert.equal(discovered['cacheScope'], 'private')
  assert.deepEqual(resultOf((await send(modern(token, 'prompts/list'))).body)['prompts'], [])
  assert.equal((await send(modern(token, 'subscriptions/listen', { notifications: {} }))).status, 200)
  assert.equal(cluster.tickets.asked.length, 0)
  cluster.accounts.set('usr_alice', 'alice-account')
  assert.deepEqual(toolNames((await send(modern(token, 'tools/list'))).body), ['read_note', 'write_note'])
  assert.match((await send(call(token, 'connect_account'))).text, /is connected/)
  assert.equal(cluster.tickets.calls().length, 0)
})

eachMcpCluster('each client is sent to the connect page in the way it declared, and in no other: by address, never by a form (RS-34, RS-35, RS-37)', async (cluster) => {
  const token = connecting(cluster)
  const send = (sent: Sent) => cluster.nodes[1].send(at('tickets', sent))
  const link = `${ISSUER}/connections/tickets?for=usr_alice`
  const asked = resultOf((await send(modern(token, 'tools/call', { name: 'read_note', ...withUrlMode }))).body)
  assert.equal(asked['resultType'], 'input_required')
  const [[, request] = []] = Object.entries(asked['inputRequests'] as Record<string, { method: string; params: Record<string, unknown> }>)
  assert.equal(request?.method, 'elicitation/create')
  assert.deepEqual([request?.params['mode'], request?.params['url']], ['url', link])
  assert.equal('elicitationId' in (request?.params ?? {}), false)
  for (const capabilities of [{}, { elicitation: {} }, { elicitation: { form: {} } }, { elicitation: { url: true } }, { elicitation: [] }]) {
    const plain = resultOf((await send(modern(token, 'tools/call', { name: 'read_note', _meta: { 'io.modelcontextprotocol/clientCapabilities': capabilities } }))).body)
    assert.equal(plain['isError'], true)
    assert.equal(plain['resultType'], 'complete')
    assert.ok(JSON.stringify(plain['content']).includes(link))
  }
  for (const [capabilities, version, code] of [[URL_MODE, '2025-11-25', -32042], [URL_MODE, '2025-06-18', undefined], [{}, '2025-11-25', undefined]] as const) {
    const opened = await send(initialize(token, capabilities))
    assert.equal(resultOf(opened.body)['protocolVersion'], '2025-11-25')
    const session = opened.headers['mcp-session-id']
    assert.equal(typeof session, 'string')
    const answer = await send(legacy(token, 'tools/call', { name: 'connect_account', arguments: {} }, String(session), { 'mcp-protocol-version': version }))
    assert.equal(errorOf(answer.body).code, code, answer.text)
    assert.ok(answer.text.includes(link))
    if (code !== undefined) assert.match(JSON.stringify(errorOf(answer.body).data), /^\{"elicitations":\[\{"mode":"url","elicitationId":/)
  }
  assert.equal(cluster.tickets.asked.length, 0)
  assert.ok((await cluster.events('call.denied')).every(({ reason }) => reason === 'the account is not connected'))
})

eachMcpCluster('a retried call arrives upstream without what the gateway asked for, and with all else (RS-33, C-23, H12)', async (cluster) => {
  const token = connecting(cluster)
  const send = (sent: Sent) => cluster.nodes[0].send(at('tickets', sent))
  const first = resultOf((await send(modern(token, 'tools/call', { name: 'read_note', arguments: { n: 1 }, ...withUrlMode }))).body)
  const requestState = String(first['requestState'])
  const [input = ''] = Object.keys(first['inputRequests'] as object)
  const retry = (state: unknown, responses: object, bearer = token) =>
    send(modern(bearer, 'tools/call', { name: 'read_note', arguments: { n: 1 }, requestState: state, inputResponses: responses, ...withUrlMode }, {}, 2))

  const declined = resultOf((await retry(requestState, { [input]: { action: 'decline' } })).body)
  assert.equal(declined['isError'], true)
  const early = resultOf((await retry(requestState, { [input]: { action: 'accept' } })).body)
  assert.equal(early['resultType'], 'input_required', 'not connected yet: asked again')

  cluster.accounts.set('usr_alice', 'alice-account')
  cluster.accounts.set('usr_anna', 'anna-account')
  assert.match((await retry(requestState, { [input]: { action: 'accept' }, other: { action: 'accept' } })).text, /ran/)
  const params = cluster.tickets.calls()[0]?.message['params'] as Record<string, unknown>
  assert.equal('requestState' in params, false)
  assert.deepEqual(params['inputResponses'], { other: { action: 'accept' } })
  assert.match((await retry(requestState, { [input]: { action: 'accept' } })).text, /ran/)
  assert.doesNotMatch(cluster.tickets.calls()[1]?.body ?? 'nothing: inputResponses', /inputResponses/)

  const changed = `${requestState.slice(0, -6)}${requestState.at(-6) === 'A' ? 'B' : 'A'}${requestState.slice(-5)}`
  for (const [state, bearer] of [[changed, token], [requestState, connecting(cluster, 'usr_anna')], ['lanyard.', token], ['lanyard.k1.AAAA', token]] as const) {
    const answer = await retry(state, {}, bearer)
    assert.equal(errorOf(answer.body).code, -32602, answer.text)
  }
  assert.equal(cluster.tickets.calls().length, 2)
  // RS-33: the upstream's own state is its own.
  assert.match((await retry('upstream-state', { theirs: { action: 'accept' } })).text, /ran/)
  const theirs = cluster.tickets.calls()[2]?.message['params'] as Record<string, unknown>
  assert.deepEqual([theirs['requestState'], theirs['inputResponses']], ['upstream-state', { theirs: { action: 'accept' } }])
  cluster.now += 3600_001
  assert.equal(errorOf((await retry(requestState, {}, connecting(cluster))).body).code, -32602)
})

eachMcpCluster('an upstream that asks for input of its own is passed on unchanged (C-30, P-15)', async (cluster) => {
  const token = cluster.token()
  const wanted = { resultType: 'input_required', inputRequests: { a: { method: 'elicitation/create', params: { mode: 'url', url: 'https://pay.example/x' } } }, requestState: 'opaque' }
  cluster.notes.script = (asked, response) => (asked.message['method'] === 'tools/call' ? void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(event(result(asked, wanted))) : false)
  const answer = await cluster.nodes[0].send(call(token, 'write_note'))
  assert.deepEqual(resultOf(answer.events[0]), wanted)
})

eachMcpCluster('a credential that the upstream refuses is renewed once, and the call sent exactly once more (X17)', async (cluster) => {
  cluster.accounts.set('usr_alice', 'old')
  const token = connecting(cluster)
  const send = () => cluster.nodes[0].send(at('tickets', call(token, 'write_note', { n: 1 })))
  assert.equal((await send()).status, 200)
  cluster.tickets.forget()
  cluster.tickets.script = ({ headers }, response) => (headers.authorization === 'Bearer new' ? false : void response.writeHead(401, { 'www-authenticate': 'Bearer' }).end('no'))
  cluster.renew = () => 'new'
  const answer = await send()
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual(cluster.tickets.calls().map(({ headers }) => headers.authorization), ['Bearer old', 'Bearer new'])
  assert.equal(cluster.tickets.calls()[0]?.body, cluster.tickets.calls()[1]?.body)
  assert.deepEqual(cluster.refusals, ['old'])

  cluster.tickets.forget()
  cluster.tickets.script = (_asked, response) => void response.writeHead(401).end()
  cluster.renew = () => 'newer'
  const refused = await send()
  assert.equal(refused.status, 502)
  assert.equal(refused.headers['www-authenticate'], undefined, 'a 401 upstream is not about the caller’s token')
  assert.equal(cluster.tickets.calls().length, 2)

  cluster.tickets.forget()
  cluster.renew = () => undefined
  const lost = await send()
  assert.equal(lost.status, 200)
  assert.match(lost.text, /not connected/)
  assert.equal(cluster.tickets.calls().length, 1)
  assert.equal((await cluster.events('call.denied')).at(-1)?.reason, 'the account is not connected')
})

eachMcpCluster('a credential that was overtaken while it was renewed is renewed once more, and no more often than that', async (cluster) => {
  cluster.accounts.set('usr_alice', '1')
  const token = connecting(cluster)
  const send = () => cluster.nodes[0].send(at('tickets', call(token, 'write_note')))
  assert.equal((await send()).status, 200)
  cluster.renew = (_userId, refused) => String(Number(refused) + 1)
  let good = 'Bearer 3'
  cluster.tickets.script = ({ headers }, response) => (headers.authorization === good ? false : void response.writeHead(401).end())
  cluster.tickets.forget()
  assert.equal((await send()).status, 200)
  assert.deepEqual(cluster.tickets.calls().map(({ headers }) => headers.authorization), ['Bearer 1', 'Bearer 2', 'Bearer 3'])
  good = 'none'
  cluster.tickets.forget()
  assert.equal((await send()).status, 502)
  assert.deepEqual([cluster.tickets.calls().length, cluster.refusals], [3, ['1', '2', '3', '4', '5']])
})

eachMcpCluster('an account that is lost while the tools are asked for is told as lost, not as a tool that does not exist (J3)', async (cluster) => {
  cluster.accounts.set('usr_alice', 'old')
  const token = connecting(cluster)
  const send = (tool: string) => cluster.nodes[0].send(at('tickets', call(token, tool)))
  cluster.tickets.script = (_asked, response) => void response.writeHead(401).end()
  cluster.renew = () => undefined
  const lost = await send('connect_account')
  assert.equal(lost.status, 503, lost.text)
  assert.match(errorOf(lost.body).message ?? '', /no longer accepts your account's access/)
  assert.equal(cluster.tickets.calls().length, 0)
  // Then the way to connect, and once it is gone, the tool itself: nothing wrong was remembered.
  assert.match((await send('write_note')).text, /not connected/)
  cluster.accounts.set('usr_alice', 'new')
  cluster.tickets.script = () => false
  assert.equal((await send('write_note')).status, 200)
  assert.equal(cluster.tickets.calls().length, 1)
})

eachMcpCluster('a call by an account that everybody shares is marked, as the upstream cannot tell people apart', async (cluster) => {
  const [node] = cluster.nodes
  assert.equal((await node.send(at('weather', call(cluster.token({ profile: 'weather' }), 'read_note')))).status, 200)
  assert.equal((await node.send(call(cluster.token(), 'read_note'))).status, 200)
  const calls = await cluster.events('call.allowed')
  assert.deepEqual(calls.map(({ upstream, subject, credential }) => [upstream, subject, credential]), [['weather', 'usr_alice', 'shared'], ['notes', 'usr_alice', undefined]])
})

eachMcpCluster('a credential for everybody is not tried again when it is refused', async (cluster) => {
  const token = cluster.token({ profile: 'weather' })
  assert.equal((await cluster.nodes[0].send(at('weather', call(token, 'read_note')))).status, 200)
  cluster.weather.forget()
  cluster.weather.script = (_asked, response) => void response.writeHead(401).end()
  assert.equal((await cluster.nodes[0].send(at('weather', call(token, 'read_note')))).status, 502)
  assert.equal(cluster.weather.asked.length, 1)
  assert.equal((await cluster.events('call.finished')).at(-1)?.reason, 'upstream: 401')
})

eachMcpCluster('an upstream that challenges in several lines is understood, and its challenge is not the client’s (RFC 9110 §11.6.1)', async (cluster) => {
  cluster.accounts.set('usr_alice', 'alice-account')
  const token = connecting(cluster)
  assert.equal((await cluster.nodes[0].send(at('tickets', call(token, 'write_note')))).status, 200)
  cluster.stepUp = (wanted) => (wanted.includes('tickets:write') ? wanted : undefined)
  const challenges = ['www-authenticate', 'Basic realm="x"', 'www-authenticate', 'Bearer error="insufficient_scope", scope="tickets:write"']
  cluster.tickets.script = (_asked, response) => void response.writeHead(403, challenges).end()
  const answer = await cluster.nodes[0].send(at('tickets', call(token, 'write_note')))
  assert.equal(answer.status, 200, answer.text)
  assert.match(answer.text, /needs more permissions/)
  assert.equal(answer.headers['www-authenticate'], undefined)
  cluster.stepUp = () => undefined
  assert.equal((await cluster.nodes[0].send(at('tickets', call(token, 'write_note')))).status, 502)
})

eachMcpCluster('N03: a call for which there is no credential is recorded, and reaches nobody; with one it goes through', async (cluster) => {
  const token = cluster.token({ profile: 'tickets' })
  const failing = (error: Error) => {
    cluster.accounts.get = () => {
      throw error
    }
  }
  failing(new CredentialRefused('ask your administrator', 'google: no verified address'))
  assert.equal((await cluster.nodes[0].send(at('tickets', call(token, 'read_note')))).status, 502)
  failing(new UpstreamUnavailable('it does not answer'))
  assert.equal((await cluster.nodes[0].send(at('tickets', call(token, 'read_note')))).status, 503)
  assert.equal(cluster.tickets.asked.length, 0)
  const failures = (await cluster.events()).filter(({ outcome }) => outcome === 'failure')
  assert.deepEqual(failures.map(({ subject, upstream, tool, reason }) => [subject, upstream, tool, reason]), [
    ['usr_alice', 'tickets', 'read_note', 'google: no verified address'],
    ['usr_alice', 'tickets', 'read_note', 'it does not answer'],
  ])
  cluster.accounts.get = () => 'alice-account'
  assert.equal((await cluster.nodes[0].send(at('tickets', call(token, 'read_note')))).status, 200)
})

eachMcpCluster('N03: a call that fails before it is made, as its upstream says nothing of its tools or opens no session, is recorded once', async (cluster) => {
  const token = cluster.token()
  cluster.notes.script = ({ message }, response) => (message['method'] === 'tools/list' ? void response.writeHead(500).end() : false)
  assert.equal((await cluster.nodes[0].send(call(token, 'read_note'))).status, 502)
  const tickets = cluster.token({ profile: 'tickets' })
  const session = String((await cluster.nodes[0].send(at('tickets', initialize(tickets)))).headers['mcp-session-id'])
  cluster.accounts.set('usr_alice', 'alice-account')
  cluster.tickets.script = ({ message }, response) => (message['method'] === 'initialize' ? void response.writeHead(503).end() : false)
  const late = at('tickets', legacy(tickets, 'tools/call', { name: 'read_note', arguments: {} }, session))
  assert.equal((await cluster.nodes[0].send(late)).status, 503)
  const failures = (await cluster.events()).filter(({ outcome }) => outcome === 'failure')
  assert.deepEqual(failures.map(({ action, upstream, tool, reason }) => [action, upstream, tool, reason]), [
    ['call.finished', 'notes', 'read_note', 'upstream: 500'],
    ['call.finished', 'tickets', 'read_note', 'upstream: 503'],
  ])
  cluster.notes.script = cluster.tickets.script = () => false
  assert.equal((await cluster.nodes[0].send(call(token, 'read_note'))).status, 200)
  assert.match((await cluster.nodes[0].send(late)).text, /ran/)
  assert.equal((await cluster.events()).filter(({ outcome }) => outcome === 'failure').length, 2)
})
