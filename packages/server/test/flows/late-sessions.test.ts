// Sessions of the 2025 revisions that begin before the account is connected: whichever node needs the upstream first opens
// one there, and every node goes on with it.
import assert from 'node:assert/strict'
import { at, eachMcpCluster, initialize, legacy, notify, resultOf, toolNames, type Cluster, type Sent, type Stream } from '../support/mcp-nodes.ts'
import { event, reply, result } from '../support/mcp-upstream.ts'

const TEAM = { profiles: [{ id: 'team', name: 'Team', upstreams: ['notes', 'tickets'] }] }
const PLACES = [['tickets', 'read_note'], ['team', 'tickets__read_note']] as const

/** A session that began while nothing was connected, and whose account is there now. */
async function late(cluster: Cluster, profile: string): Promise<{ session: string; token: string; send: (node: 0 | 1, sent: Sent) => ReturnType<Cluster['nodes'][0]['send']> }> {
  const token = cluster.token({ profile })
  const send = (node: 0 | 1, sent: Sent) => cluster.nodes[node].send(at(profile, sent))
  const opened = await send(0, initialize(token, { elicitation: { form: {} } }))
  const session = String(opened.headers['mcp-session-id'])
  await send(0, notify(token, 'notifications/initialized', {}, session))
  assert.equal(cluster.tickets.asked.length, 0)
  cluster.accounts.set('usr_alice', 'alice-account')
  return { session, token, send }
}

const sessionsOf = (cluster: Cluster) => new Set(cluster.tickets.asked.map(({ headers }) => headers['mcp-session-id']).filter((id) => id !== undefined))

for (const [profile, tool] of PLACES) {
  eachMcpCluster(`one session is opened for both nodes, and lives on at nodes that start anew: ${profile} (RS-41, X32)`, async (cluster) => {
    const { session, token, send } = await late(cluster, profile)
    const read = legacy(token, 'tools/call', { name: tool, arguments: {} }, session)
    assert.match((await send(0, read)).text, /ran/)
    assert.match((await send(1, read)).text, /ran/)
    const [, restarted] = await cluster.restart()
    assert.match((await restarted.send(at(profile, read))).text, /ran/)
    assert.equal(cluster.tickets.of('initialize').length, 1)
    assert.deepEqual([...sessionsOf(cluster)], [...cluster.tickets.sessions])
    // What the upstream calls it is in no row as it is.
    const rows = await cluster.db.query<{ sealed: string; mark: string; id: string }>('SELECT id, mark, sealed FROM late_sessions')
    assert.equal(rows.length, 1)
    for (const own of cluster.tickets.sessions) assert.ok(!JSON.stringify(rows).includes(own))
  }, TEAM)

  eachMcpCluster(`nodes that need it at the same moment agree on one, and leave no other open: ${profile}`, async (cluster) => {
    const { session, token, send } = await late(cluster, profile)
    const answers = await Promise.all(Array.from({ length: 12 }, (_none, index) => send(index % 2 === 0 ? 0 : 1, legacy(token, 'tools/call', { name: tool, arguments: {} }, session, {}, index))))
    for (const answer of answers) assert.match(answer.text, /ran/)
    assert.ok(cluster.tickets.of('initialize').length <= 2, 'one by each node at most')
    assert.equal(cluster.tickets.sessions.size, 1)
    assert.deepEqual(new Set(cluster.tickets.calls().map(({ headers }) => headers['mcp-session-id'])), cluster.tickets.sessions)
    assert.equal((await cluster.db.query('SELECT id FROM late_sessions')).length, 1)
  }, TEAM)

  eachMcpCluster(`what the upstream asks through one node is answered through the other, its own stream is at either, and either ends it: ${profile} (RS-41)`, async (cluster) => {
    const { session, token, send } = await late(cluster, profile)
    const asking = new Map<string, (answer: unknown) => void>()
    cluster.tickets.script = (asked, response) => {
      const { message, headers } = asked
      const own = String(headers['mcp-session-id'])
      if (asked.method === 'GET') {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).end(event({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: own } }))
        return undefined
      }
      if (message['method'] === undefined && 'result' in message) {
        asking.get(own)?.(message['result'])
        return void response.writeHead(202).end()
      }
      if (message['method'] !== 'tools/call') return false
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(event({ jsonrpc: '2.0', id: 'q1', method: 'elicitation/create', params: { message: 'Who?', requestedSchema: { type: 'object', properties: {} } } }))
      asking.set(own, (answer) => response.end(event(result(asked, { content: [{ type: 'text', text: JSON.stringify(answer) }] }))))
      return undefined
    }
    const stream = await cluster.nodes[0].open(at(profile, legacy(token, 'tools/call', { name: tool, arguments: {} }, session)))
    const question = /"id":("(?:[^"\\]|\\.)*"),"method":"elicitation\/create"/.exec(await stream.until((text) => text.includes('elicitation/create')))
    const id: unknown = JSON.parse(question?.[1] ?? 'null')
    const answer = { ...legacy(token, '', {}, session), body: JSON.stringify({ jsonrpc: '2.0', id, result: { action: 'accept', content: { name: 'Ada' } } }) }
    assert.equal((await send(1, answer)).status, 202)
    assert.match(await stream.until((text) => text.includes('Ada')), /accept/)
    const [own = ''] = cluster.tickets.sessions
    for (const node of [cluster.nodes[1], cluster.nodes[0]]) {
      const told = await node.open({ ...at(profile, legacy(token, '', {}, session)), method: 'GET', body: '' })
      assert.match(await told.until((text) => text.includes('notifications/message')), new RegExp(own))
      told.leave()
    }
    cluster.tickets.script = () => false
    assert.equal((await send(1, { ...legacy(token, '', {}, session), method: 'DELETE', body: '' })).status, 200)
    assert.equal(cluster.tickets.sessions.size, 0)
    assert.equal((await cluster.db.query('SELECT id FROM late_sessions')).length, 0)
    assert.equal(cluster.tickets.of('initialize').length, 1)
  }, TEAM)
}

eachMcpCluster('a late session that the upstream has lost is opened anew once for both nodes (RS-41)', async (cluster) => {
  const { session, token, send } = await late(cluster, 'team')
  const read = (id: number): Sent => legacy(token, 'tools/call', { name: 'tickets__read_note', arguments: {} }, session, {}, id)
  for (const node of [0, 1] as const) assert.match((await send(node, read(node))).text, /ran/)
  for (let round = 0; round < 3; round += 1) {
    const lost = [...cluster.tickets.sessions]
    cluster.tickets.sessions.clear()
    const answers = await Promise.all(Array.from({ length: 6 }, (_none, index) => send(index % 2 === 0 ? 0 : 1, read(index))))
    for (const answer of answers) assert.match(answer.text, /ran/)
    assert.equal(cluster.tickets.sessions.size, 1)
    assert.ok(!cluster.tickets.sessions.has(lost[0] ?? ''))
  }
  assert.equal((await cluster.db.query('SELECT id FROM late_sessions')).length, 1)
}, TEAM)

eachMcpCluster('somebody else’s late session is nobody’s, and one without an account opens nothing (RS-14, RS-42)', async (cluster) => {
  const { session, token, send } = await late(cluster, 'tickets')
  const read = (who: string): Sent => legacy(who, 'tools/call', { name: 'read_note', arguments: {} }, session)
  cluster.accounts.set('usr_anna', 'anna-account')
  assert.equal((await send(1, read(cluster.token({ profile: 'tickets', userId: 'usr_anna' })))).status, 404)
  assert.equal(cluster.tickets.asked.length, 0)
  cluster.accounts.delete('usr_alice')
  assert.deepEqual(toolNames((await send(1, legacy(token, 'tools/list', {}, session))).body), ['connect_account'])
  assert.equal((await cluster.db.query('SELECT id FROM late_sessions')).length, 0)
  cluster.accounts.set('usr_alice', 'alice-account')
  assert.equal(toolNames((await send(1, legacy(token, 'tools/list', {}, session))).body).length, 2)
})

eachMcpCluster('an upstream without sessions is opened once for both nodes all the same', async (cluster) => {
  const { session, token, send } = await late(cluster, 'tickets')
  cluster.tickets.script = (asked, response) => {
    if (asked.message['id'] === undefined) return void response.writeHead(202).end()
    if (asked.message['method'] === 'initialize') return reply(response, result(asked, { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 't', version: '1' } }))
    if (asked.message['method'] === 'tools/list') return reply(response, result(asked, { tools: cluster.tickets.tools }))
    return reply(response, result(asked, { content: [] }))
  }
  for (const node of [0, 1, 0] as const) assert.deepEqual(resultOf((await send(node, legacy(token, 'tools/call', { name: 'read_note', arguments: {} }, session))).body)['content'], [])
  assert.equal(cluster.tickets.of('initialize').length, 1)
  assert.equal(sessionsOf(cluster).size, 0)
})

const messages = (text: string): Record<string, unknown>[] => [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data ?? '') as Record<string, unknown>)
const changed = ['tools', 'prompts', 'resources'].map((list) => ({ jsonrpc: '2.0', method: `notifications/${list}/list_changed` }))

/** The stream of a session whose account is not connected yet. */
async function waiting(cluster: Cluster, userId = 'usr_alice'): Promise<{ stream: Stream; token: string; session: string }> {
  const token = cluster.token({ profile: 'tickets', userId })
  const opened = await cluster.nodes[0].send(at('tickets', initialize(token)))
  assert.deepEqual(resultOf(opened.body)['capabilities'], { tools: { listChanged: true } })
  const session = String(opened.headers['mcp-session-id'])
  const stream = await cluster.nodes[0].open({ ...at('tickets', legacy(token, '', {}, session)), method: 'GET', body: '' })
  assert.deepEqual([stream.status, stream.headers['content-type']], [200, 'text/event-stream'])
  return { stream, token, session }
}

eachMcpCluster('the stream of a session whose account is missing is there, tells that the lists have changed when it is connected, and goes on with what the upstream says (J3, RS-41)', async (cluster) => {
  cluster.tickets.script = ({ method, headers }, response) => {
    if (method !== 'GET') return false
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(event({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: headers['mcp-session-id'] } }))
    return undefined
  }
  const { stream, token, session } = await waiting(cluster)
  assert.equal(cluster.tickets.asked.length, 0)
  cluster.accounts.set('usr_alice', 'alice-account')
  const told = messages(await stream.until((text) => text.includes('notifications/message')))
  assert.deepEqual(told, [...changed, { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: [...cluster.tickets.sessions][0] } }])
  assert.equal(toolNames((await cluster.nodes[0].send(at('tickets', legacy(token, 'tools/list', {}, session)))).body).length, 2)
  assert.equal(cluster.tickets.sessions.size, 1)
  // It ends with what it was opened by, like any other.
  await cluster.revoke({ kind: 'subject', key: 'usr_alice' })
  await stream.ended
  assert.ok(cluster.tickets.asked.some(({ method, left }) => method === 'GET' && left))
})

eachMcpCluster('an upstream without a stream is told of all the same, and the stream ends (RS-41)', async (cluster) => {
  const { stream } = await waiting(cluster)
  cluster.accounts.set('usr_alice', 'alice-account')
  assert.equal(await stream.ended, 'whole')
  assert.deepEqual(messages(stream.text()), changed)
})

eachMcpCluster('a stream that waits for an account ends with the access of its person, and asks nobody (K04)', async (cluster) => {
  const [alice, anna] = [await waiting(cluster), await waiting(cluster, 'usr_anna')]
  await cluster.revoke({ kind: 'subject', key: 'usr_alice' })
  await alice.stream.ended
  cluster.accounts.set('usr_alice', 'alice-account').set('usr_anna', 'anna-account')
  assert.equal(await anna.stream.ended, 'whole')
  assert.deepEqual(messages(anna.stream.text()), changed)
  assert.equal(alice.stream.text(), '')
  assert.ok(cluster.tickets.asked.every(({ headers }) => headers.authorization === 'Bearer anna-account'))
})
