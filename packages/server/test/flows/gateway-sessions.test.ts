// The sessions of the 2025 revisions live in their own identifiers: any node serves them, for their owner alone.
import assert from 'node:assert/strict'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, toolNames, type Cluster, type Sent } from '../support/mcp-nodes.ts'
import { event, reply, result } from '../support/mcp-upstream.ts'

async function begin(cluster: Cluster, token: string, profile = 'notes', capabilities = {}): Promise<string> {
  const answer = await cluster.nodes[0].send(at(profile, initialize(token, capabilities)))
  assert.equal(answer.status, 200, answer.text)
  const session = answer.headers['mcp-session-id']
  assert.ok(typeof session === 'string' && /^[\x21-\x7e]+$/.test(session), 'RS-41: visible ASCII')
  return session
}

const toolCall = (token: string, session?: string): Sent => legacy(token, 'tools/call', { name: 'read_note', arguments: {} }, session)

eachMcpCluster('a session goes on at another node, and at nodes that start anew with the same keys (RS-15, RS-41, X32)', async (cluster) => {
  const token = cluster.token()
  const session = await begin(cluster, token)
  for (const node of cluster.nodes) {
    assert.equal((await node.send(notify(token, 'notifications/initialized', {}, session))).status, 202)
    assert.match((await node.send(toolCall(token, session))).text, /ran/)
  }
  const [, restarted] = await cluster.restart()
  assert.match((await restarted.send(toolCall(token, session))).text, /ran/)
  const upstream = new Set(cluster.notes.asked.map(({ headers }) => headers['mcp-session-id']).filter((id) => id !== undefined))
  assert.deepEqual([...upstream], [...cluster.notes.sessions])
  assert.ok(![...upstream].includes(session))
  assert.equal((await cluster.events('session.opened'))[0]?.detail?.['client'], 'test')
})

eachMcpCluster('a session is nobody else’s: another user, client or profile, a changed one, one that is over (RS-14, RS-42, H12)', async (cluster) => {
  const token = cluster.token()
  const session = await begin(cluster, token)
  const weather = cluster.token({ profile: 'weather' })
  const changed = `${session.slice(0, 30)}${session[30] === 'A' ? 'B' : 'A'}${session.slice(31)}`
  const refused: [Sent, string][] = [
    [toolCall(cluster.token({ userId: 'usr_anna' }), session), 'another user'],
    [toolCall(cluster.token({ clientId: 'other' }), session), 'another client'],
    [at('weather', toolCall(weather, session)), 'another profile'],
    [toolCall(token, changed), 'changed'],
    [toolCall(token, [...cluster.notes.sessions][0]), 'the upstream’s own'],
    [toolCall(token, 'x'), 'made up'],
    [toolCall(token, '..'), 'dots'],
    [toolCall(token, `${session}.x`), 'longer'],
    [toolCall(token, `k1.${'A'.repeat(20_000)}`), 'very long'],
    [toolCall(token, '__proto__'), 'a name of objects'],
    [toolCall(token, ''), 'empty'],
  ]
  cluster.notes.forget()
  // The session is known to the second node already, as its owner's.
  assert.match((await cluster.nodes[1].send(toolCall(token, session))).text, /ran/)
  cluster.notes.forget()
  for (const [sent, name] of refused) {
    const answer = await cluster.nodes[1].send(sent)
    assert.equal(answer.status, 404, `${name}: ${answer.text}`)
    assert.equal(errorOf(answer.body).code, -32001)
  }
  for (const method of ['GET', 'DELETE']) {
    assert.equal((await cluster.nodes[1].send({ ...toolCall(cluster.token({ userId: 'usr_anna' }), session), method, body: '' })).status, 404)
  }
  assert.equal(cluster.notes.asked.length + cluster.weather.asked.length, 0)
  assert.equal(cluster.notes.sessions.size, 1)
  assert.match((await cluster.nodes[1].send(toolCall(token, session))).text, /ran/)
  cluster.now += 7 * 24 * 3600_000 + 1
  assert.equal((await cluster.nodes[1].send(toolCall(cluster.token(), session))).status, 404)
})

eachMcpCluster('what an upstream says of its session reaches the client: missing is 400, ended is 404 (RS-41)', async (cluster) => {
  const token = cluster.token()
  const session = await begin(cluster, token)
  assert.match((await cluster.nodes[0].send(toolCall(token, session))).text, /ran/)
  assert.equal((await cluster.nodes[0].send(toolCall(token))).status, 400)
  cluster.notes.sessions.clear()
  const ended = await cluster.nodes[0].send(toolCall(token, session))
  assert.equal(ended.status, 404)
  assert.equal(errorOf(ended.body).code, -32001)
  // The same when the gateway has to ask for the tools first: it is the session that is gone, not the tool.
  cluster.now += 10 * 60_000
  const stale = await cluster.nodes[0].send(toolCall(cluster.token(), session))
  assert.equal(stale.status, 404, stale.text)
  assert.doesNotMatch(stale.text, /Unknown tool/)
  const again = await begin(cluster, cluster.token())
  assert.match((await cluster.nodes[0].send(toolCall(cluster.token(), again))).text, /ran/)
})

eachMcpCluster('a version that is not served is refused, and none means 2025-03-26 (RS-19, RS-41)', async (cluster) => {
  const token = cluster.token()
  const session = await begin(cluster, token)
  for (const version of ['2024-11-05', '2025-01-01', 'x', '1.0']) {
    assert.equal((await cluster.nodes[0].send(legacy(token, 'ping', {}, session, { 'mcp-protocol-version': version }))).status, 400, version)
  }
  for (const version of [undefined, '2025-03-26', '2025-06-18', '2025-11-25']) {
    assert.equal((await cluster.nodes[0].send(legacy(token, 'ping', {}, session, { 'mcp-protocol-version': version }))).status, 200, String(version))
  }
  const unsupported = await cluster.nodes[0].send(modern(token, 'tools/list', { _meta: { 'io.modelcontextprotocol/protocolVersion': '2027-01-01' } }, { 'mcp-protocol-version': '2027-01-01' }))
  assert.equal(unsupported.status, 400)
  assert.deepEqual(errorOf(unsupported.body), { code: -32022, message: 'Unsupported protocol version: 2027-01-01', data: { supported: ['2026-07-28'], requested: '2027-01-01' } })
  assert.equal((await cluster.nodes[0].send(modern(token, 'tools/list', {}, { 'mcp-session-id': 'ignored' }))).status, 200, 'RS-40: the session identifier is ignored')
})

eachMcpCluster('a client ends its session, and the upstream’s with it', async (cluster) => {
  const token = cluster.token()
  const session = await begin(cluster, token)
  const kept = await begin(cluster, token)
  assert.equal((await cluster.nodes[1].send({ ...toolCall(token, session), method: 'DELETE', body: '' })).status, 200)
  assert.equal(cluster.notes.sessions.size, 1)
  assert.equal((await cluster.events('session.closed')).length, 1)
  assert.equal((await cluster.nodes[0].send(toolCall(token, session))).status, 404)
  assert.match((await cluster.nodes[0].send(toolCall(token, kept))).text, /ran/)
  // An upstream that lets no session be ended: to the client it has ended all the same.
  cluster.notes.script = ({ method }, response) => (method === 'DELETE' ? void response.writeHead(405).end() : false)
  assert.equal((await cluster.nodes[1].send({ ...toolCall(token, kept), method: 'DELETE', body: '' })).status, 200)
})

eachMcpCluster('the stream of a session passes both ways at once, and resumes where the client was (RS-30, RS-41, P-15)', async (cluster) => {
  const token = cluster.token()
  const session = await begin(cluster, token)
  const get = (more = {}): Sent => ({ ...legacy(token, '', {}, session, more), method: 'GET', body: '' })
  assert.equal((await cluster.nodes[0].send(get())).status, 405, 'an upstream without one')
  let write: ((text: string) => void) | undefined
  cluster.notes.script = ({ method }, response) => {
    if (method !== 'GET') return false
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    write = (text) => void response.write(text)
    return undefined
  }
  const stream = await cluster.nodes[1].open(get({ 'last-event-id': 'e7' }))
  assert.equal(stream.status, 200)
  assert.equal(stream.headers['x-accel-buffering'], 'no')
  assert.equal(cluster.notes.asked.at(-1)?.headers['last-event-id'], 'e7')
  assert.equal(cluster.notes.asked.at(-1)?.headers.authorization, undefined)
  write?.(event({ jsonrpc: '2.0', id: 'ask-1', method: 'sampling/createMessage', params: {} }, 'id: e8\n'))
  assert.match(await stream.until((text) => text.includes('\n\n')), /^id: e8\nevent: message\ndata: \{"jsonrpc":"2\.0","id":"ask-1"/)
  // The client's answer to the upstream's own request.
  const answer = { ...legacy(token, '', {}, session), body: JSON.stringify({ jsonrpc: '2.0', id: 'ask-1', result: { role: 'assistant' } }) }
  assert.equal((await cluster.nodes[0].send(answer)).status, 202)
  assert.equal(cluster.notes.asked.at(-1)?.message['id'], 'ask-1')
  stream.leave()
})

eachMcpCluster('a session that began before the account was connected goes on after it (J3)', async (cluster) => {
  const token = cluster.token({ profile: 'tickets' })
  const session = await begin(cluster, token, 'tickets')
  const send = (sent: Sent, node: 0 | 1 = 0) => cluster.nodes[node].send(at('tickets', sent))
  assert.deepEqual(toolNames((await send(legacy(token, 'tools/list', {}, session))).body), ['connect_account'])
  assert.equal((await send(notify(token, 'notifications/initialized', {}, session))).status, 202)
  assert.equal(cluster.tickets.asked.length, 0)
  cluster.accounts.set('usr_alice', 'alice-account')

  const answers = await Promise.all(Array.from({ length: 10 }, (_, id) => send(legacy(token, 'tools/list', {}, session, {}, id))))
  for (const answer of answers) assert.deepEqual(toolNames(answer.body), ['read_note', 'write_note'])
  assert.equal(cluster.tickets.of('initialize').length, 1, 'one session for calls that come at once')
  const [opening] = cluster.tickets.of('initialize')
  assert.deepEqual(opening?.message['params'], { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } })
  assert.equal(cluster.tickets.of('notifications/initialized').length, 1)
  assert.match((await send(toolCall(token, session), 1)).text, /ran/)
  assert.ok(cluster.tickets.asked.every(({ headers }) => headers.authorization === 'Bearer alice-account'))
})

eachMcpCluster('a late session that cannot be opened is told, tried again, and not lost with whoever came first', async (cluster) => {
  const token = cluster.token({ profile: 'tickets' })
  const session = await begin(cluster, token, 'tickets')
  cluster.accounts.set('usr_alice', 'alice-account')
  let answer: 'error' | 'hang' | 'well' = 'error'
  cluster.tickets.script = (asked, response) => {
    if (asked.message['method'] !== 'initialize' || answer === 'well') return false
    if (answer === 'error') reply(response, { jsonrpc: '2.0', id: asked.message['id'], error: { code: -32603, message: 'not now' } })
    return undefined
  }
  const sent = at('tickets', toolCall(token, session))
  const failed = await cluster.nodes[0].send(sent)
  assert.equal(failed.status, 502)
  assert.equal(cluster.tickets.of('tools/call').length, 0)
  answer = 'hang'
  const leave = cluster.nodes[0].begin(sent)
  while (cluster.tickets.of('initialize').length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  answer = 'well'
  const next = cluster.nodes[0].send(sent)
  await new Promise((resolve) => setTimeout(resolve, 30))
  leave()
  assert.match((await next).text, /ran/)
  assert.equal(cluster.tickets.calls().length, 1)
})

eachMcpCluster('what a client says of itself at length does not make a session that nobody can open', async (cluster) => {
  const token = cluster.token({ profile: 'tickets' })
  for (const clientInfo of [{ name: '\u6f22'.repeat(1900), version: '1' }, { name: 'x'.repeat(100_000), version: '1' }]) {
    for (const protocolVersion of ['2025-11-25', '9'.repeat(50_000)]) {
      const { headers = {} } = initialize(token)
      const opened = await cluster.nodes[0].send(at('tickets', { headers, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion, capabilities: {}, clientInfo } }) }))
      assert.equal(opened.status, 200)
      const session = String(opened.headers['mcp-session-id'])
      assert.ok(session.length < 4096, String(session.length))
      assert.deepEqual(toolNames((await cluster.nodes[1].send(at('tickets', legacy(token, 'tools/list', {}, session)))).body), ['connect_account'])
    }
  }
})

eachMcpCluster('an upstream’s session identifier that no header can carry is its own fault (RS-41)', async (cluster) => {
  const token = cluster.token()
  for (const id of ['\u00e9t\u00e9', 'a b', 'x'.repeat(8000)]) {
    cluster.notes.script = (asked, response) => (asked.message['method'] === 'initialize' ? reply(response, result(asked, { capabilities: {} }), 200, { 'mcp-session-id': id }) : false)
    const answer = await cluster.nodes[0].send(initialize(token))
    assert.equal(answer.status, 502, id.slice(0, 5))
    assert.equal(answer.headers['mcp-session-id'], undefined)
  }
  cluster.notes.script = () => false
  await begin(cluster, token)
})

eachMcpCluster('an upstream without sessions gets none, and its client has one all the same', async (cluster) => {
  cluster.notes.script = (asked, response) => {
    if (asked.message['id'] === undefined) return void response.writeHead(202).end()
    if (asked.message['method'] === 'initialize') return reply(response, result(asked, { protocolVersion: '2025-11-25', capabilities: { tools: {}, tasks: {}, extensions: { 'io.modelcontextprotocol/tasks': {}, other: {} } } }))
    if (asked.message['method'] === 'tools/list') return reply(response, result(asked, { tools: cluster.notes.tools }))
    return reply(response, result(asked, { content: [] }))
  }
  const token = cluster.token()
  const opened = await cluster.nodes[0].send(initialize(token))
  assert.deepEqual(resultOf(opened.body)['capabilities'], { tools: {}, extensions: { other: {} } })
  assert.equal((await cluster.nodes[1].send(toolCall(token, String(opened.headers['mcp-session-id'])))).status, 200)
  assert.equal((await cluster.nodes[1].send(call(token, 'read_note'))).status, 200)
  assert.ok(cluster.notes.asked.every(({ headers }) => headers['mcp-session-id'] === undefined))
})
