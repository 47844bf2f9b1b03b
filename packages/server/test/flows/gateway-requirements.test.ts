// What the protocol asks of every server and intermediary, shown with plain requests.
import assert from 'node:assert/strict'
import { call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, toolNames, type Node } from '../support/mcp-nodes.ts'
import { event, reply, result } from '../support/mcp-upstream.ts'

eachMcpCluster('a request is answered as JSON or as an event stream, a notification with 202 and nothing (RS-17, C-21)', async (cluster) => {
  const [node] = cluster.nodes
  const token = cluster.token()
  const json = await node.send(call(token, 'read_note'))
  assert.equal(json.status, 200)
  assert.match(String(json.headers['content-type']), /^application\/json/)
  assert.equal(json.body['id'], 1)
  cluster.notes.script = (asked, response) => {
    if (asked.message['method'] !== 'tools/call') return false
    response.writeHead(200, { 'content-type': 'text/event-stream' }).end(event(result(asked, { resultType: 'complete', content: [] })))
    return undefined
  }
  const stream = await node.send(call(token, 'read_note'))
  assert.match(String(stream.headers['content-type']), /^text\/event-stream/)
  assert.deepEqual(resultOf(stream.events[0])['content'], [])
  cluster.notes.script = () => false
  const session = String((await node.send(initialize(token))).headers['mcp-session-id'])
  const told = await node.send(notify(token, 'notifications/initialized', {}, session))
  assert.deepEqual([told.status, told.text], [202, ''])
  assert.ok(cluster.notes.asked.every(({ headers }) => /application\/json/.test(String(headers.accept)) && /text\/event-stream/.test(String(headers.accept))))
})

eachMcpCluster('server/discover is answered, for the caller alone to keep (RS-22, RS-26, P-18)', async (cluster) => {
  cluster.notes.script = (asked, response) => {
    if (asked.message['method'] !== 'server/discover') return false
    reply(response, result(asked, { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {}, prompts: {}, tasks: {} }, ttlMs: 60_000, cacheScope: 'public' }))
    return undefined
  }
  const ask = async (userId: string) => resultOf((await cluster.nodes[0].send(modern(cluster.token({ userId }), 'server/discover'))).body)
  const alice = await ask('usr_alice')
  assert.deepEqual(alice['supportedVersions'], ['2026-07-28'])
  assert.equal(alice['cacheScope'], 'private')
  assert.deepEqual(Object.keys(alice['capabilities'] as object), ['tools', 'prompts'])
  // Bob may use some tools, and nothing but tools.
  assert.deepEqual(Object.keys((await ask('usr_bob'))['capabilities'] as object), ['tools'])
})

eachMcpCluster('each request stands alone: nodes that never met the client answer it, one after the other (RS-23)', async (cluster) => {
  const token = cluster.token()
  const askAll = async (nodes: readonly Node[]): Promise<void> => {
    for (const node of nodes) {
      assert.equal((await node.send(call(token, 'read_note'))).status, 200)
      assert.deepEqual(toolNames((await node.send(modern(token, 'tools/list'))).body), ['read_note', 'write_note'])
    }
  }
  await askAll(cluster.nodes)
  await askAll(await cluster.restart())
})

eachMcpCluster('a schema that refers elsewhere is never fetched, and its tool is not offered; one that refers to itself is (RS-44, H20)', async (cluster) => {
  const schema = (reference: string): object => ({ type: 'object', properties: { a: { $ref: reference } }, $defs: { b: { type: 'string' } } })
  const tool = (name: string, reference: string) => ({ name, inputSchema: schema(reference), annotations: { readOnlyHint: true } })
  cluster.notes.tools = [tool('read_note', '#/$defs/b'), tool('read_elsewhere', `${cluster.weather.url}/schema.json`)]
  const [node] = cluster.nodes
  const list = resultOf((await node.send(modern(cluster.token(), 'tools/list'))).body)
  assert.deepEqual((list['tools'] as { inputSchema: unknown }[]).map(({ inputSchema }) => inputSchema), [schema('#/$defs/b')])
  assert.match((await node.send(call(cluster.token(), 'read_note'))).text, /ran/)
  assert.match((await node.send(call(cluster.token(), 'read_elsewhere'))).text, /Unknown tool/)
  assert.equal(cluster.notes.calls().length, 1)
  assert.equal(cluster.weather.asked.length, 0)
})

eachMcpCluster('what fails validation has a status that says so, and goes nowhere (P-12, RS-7)', async (cluster) => {
  const [node] = cluster.nodes
  const token = cluster.token()
  const good = call(token, 'read_note')
  const bad: readonly (readonly [object, number, number])[] = [
    [{ ...good, body: '{' }, 400, -32_700],
    [{ ...good, body: '[]' }, 400, -32_600],
    [{ ...good, headers: { ...good.headers, 'mcp-name': 'write_note' } }, 400, -32_020],
    [{ ...good, headers: { ...good.headers, 'content-type': 'text/plain' } }, 415, -32_600],
    [modern(token, 'tools/unknown'), 404, -32_601],
    [legacy(token, 'tools/list', {}, 'no-such-session'), 404, -32_001],
  ]
  for (const [sent, status, code] of bad) {
    const answer = await node.send(sent)
    assert.deepEqual([answer.status, errorOf(answer.body).code], [status, code], answer.text)
  }
  assert.equal(cluster.notes.asked.length, 0)
  assert.equal((await node.send(good)).status, 200)
})
