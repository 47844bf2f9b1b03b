// How a node learns which generation of the protocol an upstream speaks, and when it does not.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, resultOf, type Cluster, type Node } from '../support/mcp-nodes.ts'
import { reply, type Asked, type McpUpstream, type Script } from '../support/mcp-upstream.ts'

const AUTO = { upstreams: { protocol: 'auto' as const } }
const UPGRADED_MS = 31_000

function isModern({ headers }: Asked): boolean {
  return (headers['mcp-protocol-version'] ?? '') >= '2026'
}

function refuse(response: ServerResponse, code: number, status = 400): void {
  reply(response, { jsonrpc: '2.0', id: null, error: { code, message: 'Unsupported' } }, status)
}

const speaksModern: Script = (asked, response) => (isModern(asked) ? false : refuse(response, -32022))
const speaksLegacy: Script = (asked, response) => (isModern(asked) ? refuse(response, -32000) : false)

/** How many requests of either generation came. */
function counts({ asked }: McpUpstream): { modern: number; legacy: number } {
  const ofModern = asked.filter(isModern).length
  return { modern: ofModern, legacy: asked.length - ofModern }
}

async function openSession(node: Node, token: string): Promise<string> {
  const answer = await node.send(initialize(token))
  assert.equal(answer.status, 200, answer.text)
  return String(answer.headers['mcp-session-id'])
}

async function works(cluster: Cluster, node = cluster.nodes[0]): Promise<void> {
  const token = cluster.token()
  assert.match((await node.send(call(token, 'write_note'))).text, /ran/)
  const session = await openSession(node, token)
  assert.match((await node.send(legacy(token, 'tools/call', { name: 'write_note', arguments: {} }, session))).text, /ran/)
}

eachMcpCluster('an upstream that speaks both generations is asked for each of them once, and never bridged', async (cluster) => {
  const { notes } = cluster
  await works(cluster)
  await works(cluster)
  assert.deepEqual(notes.calls().map(isModern), [true, false, true, false])
  assert.equal(notes.of('server/discover').length, 1)
  // The question, and the two clients' own.
  assert.equal(notes.of('initialize').length, 3)
  // An hour later it is asked again.
  cluster.now += 3600_001
  await works(cluster)
  assert.equal(notes.of('server/discover').length, 2)
}, AUTO)

eachMcpCluster('an upstream of one generation serves clients of both', async (cluster) => {
  const { notes } = cluster
  for (const script of [speaksModern, speaksLegacy]) {
    notes.script = script
    const [first, second] = await cluster.restart()
    notes.forget()
    await works(cluster, first)
    await works(cluster, second)
    assert.equal(notes.calls().length, 4)
    assert.ok(notes.calls().every((asked) => isModern(asked) === (script === speaksModern)))
  }
}, AUTO)

eachMcpCluster('a 2025 server without sessions serves clients of 2026-07-28 as well', async (cluster) => {
  const { notes, token, nodes: [node] } = cluster
  notes.script = (asked, response) => {
    if (isModern(asked)) return refuse(response, -32000)
    const { id, method } = asked.message
    if (id === undefined) return void response.writeHead(202).end()
    if (method === 'initialize') return reply(response, { jsonrpc: '2.0', id, result: { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'plain', version: '1' } } })
    if (method === 'tools/list') return reply(response, { jsonrpc: '2.0', id, result: { tools: [{ name: 'plain', inputSchema: { type: 'object' } }] } })
    return reply(response, { jsonrpc: '2.0', id, result: { content: [{ type: 'text', text: 'plain' }] } })
  }
  for (let twice = 0; twice < 2; twice += 1) assert.match((await node.send(call(token(), 'plain'))).text, /"text":"plain"/)
  assert.ok(notes.calls().every(({ headers }) => headers['mcp-session-id'] === undefined && headers['mcp-protocol-version'] === '2025-06-18'))
  assert.equal(notes.calls().length, 2)
}, AUTO)

eachMcpCluster('a refused credential is no evidence of a generation (C-27): it is renewed, and the upstream asked again', async (cluster) => {
  const { tickets, accounts, token } = cluster
  accounts.set('usr_alice', 'old')
  cluster.renew = () => 'new'
  tickets.script = (asked, response) => {
    if (asked.headers.authorization !== 'Bearer new') return refuse(response, -32001, 401)
    return speaksLegacy(asked, response)
  }
  assert.match((await cluster.nodes[0].send(at('tickets', call(token({ profile: 'tickets' }), 'write_note')))).text, /ran/)
  assert.deepEqual(new Set(cluster.refusals), new Set(['old']))
  assert.deepEqual(tickets.calls().filter(({ headers }) => headers.authorization === 'Bearer new').map(isModern), [false])
}, AUTO)

eachMcpCluster('a session that began before the account was connected is opened across generations when it is first needed', async (cluster) => {
  const { tickets, accounts, token, nodes } = cluster
  tickets.script = speaksModern
  const alice = token({ profile: 'tickets' })
  const opened = await nodes[0].send(at('tickets', initialize(alice)))
  const session = String(opened.headers['mcp-session-id'])
  assert.equal(tickets.asked.length, 0)
  accounts.set('usr_alice', 'connected')
  for (const node of nodes) assert.match((await node.send(at('tickets', legacy(alice, 'tools/call', { name: 'write_note', arguments: {} }, session)))).text, /ran/)
  assert.ok(tickets.calls().every((asked) => isModern(asked) && asked.headers.authorization === 'Bearer connected'))
  assert.equal(tickets.calls().length, 2)
}, AUTO)

eachMcpCluster('an upstream in trouble is asked as the client asks, and again when it is well', async (cluster) => {
  const { notes, token, nodes } = cluster
  notes.script = (_asked, response) => refuse(response, -32000, 403)
  const answer = await nodes[0].send(modern(token(), 'server/discover'))
  assert.equal(answer.status, 502)
  notes.script = speaksLegacy
  const [, second] = await cluster.restart()
  await works(cluster, second)
}, AUTO)

eachMcpCluster('an upgrade is noticed by the first call that it would break, and the call goes on', async (cluster) => {
  const { notes, token, nodes: [node] } = cluster
  notes.script = speaksLegacy
  await works(cluster)
  cluster.now += UPGRADED_MS
  // From 2025 to 2026-07-28: what was bridged goes straight on, and what went straight on is bridged.
  notes.script = speaksModern
  notes.sessions.clear()
  notes.forget()
  assert.match((await node.send(call(token(), 'write_note'))).text, /ran/)
  assert.equal(notes.calls().filter(isModern).length, 1)
  await works(cluster)
  cluster.now += UPGRADED_MS
  // And back.
  notes.script = speaksLegacy
  notes.forget()
  assert.match((await node.send(call(token(), 'write_note'))).text, /ran/)
  await works(cluster)
  assert.ok(counts(notes).legacy > counts(notes).modern)
}, AUTO)

eachMcpCluster('the session of before an upgrade has ended, and the client opens another one (RS-41)', async (cluster) => {
  const { notes, token, nodes: [node] } = cluster
  const alice = token()
  for (const [before, after] of [[speaksLegacy, speaksModern], [speaksModern, speaksLegacy]] as const) {
    notes.script = before
    const session = await openSession(node, alice)
    assert.equal((await node.send(legacy(alice, 'tools/list', {}, session))).status, 200)
    cluster.now += UPGRADED_MS
    notes.script = after
    notes.sessions.clear()
    assert.equal((await node.send(legacy(alice, 'tools/list', {}, session))).status, 404)
    const next = await openSession(node, alice)
    assert.ok(Array.isArray(resultOf((await node.send(legacy(alice, 'tools/list', {}, next))).body)['tools']))
    cluster.now += UPGRADED_MS
  }
}, AUTO)

eachMcpCluster('what an upstream refuses for another reason stays refused, and is not asked over and over', async (cluster) => {
  const { notes, token, nodes: [node] } = cluster
  await works(cluster)
  cluster.now += UPGRADED_MS
  notes.script = (asked, response) => (asked.message['method'] === 'prompts/get' ? refuse(response, -32602) : false)
  notes.forget()
  for (let n = 0; n < 3; n += 1) assert.equal(errorOf((await node.send(modern(token(), 'prompts/get', { name: 'a' }))).body).code, -32602)
  assert.equal(notes.of('server/discover').length, 1)
  assert.equal(notes.of('prompts/get').length, 3)
}, AUTO)
