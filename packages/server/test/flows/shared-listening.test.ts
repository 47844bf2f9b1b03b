// One stream of an upstream for all who would hear the same: each has an answer of their own, and nobody hears what is not theirs.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { eventually } from '../support/eventually.ts'
import { eachMcpCluster, modern, type Cluster, type Sent } from '../support/mcp-nodes.ts'

const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId'
const TOOLS = { notifications: { toolsListChanged: true } }

interface Heard {
  readonly id: unknown
  readonly response: ServerResponse
}

/** An upstream that acknowledges, and says what the test wants. */
function speaking(cluster: Cluster): Heard[] {
  const streams: Heard[] = []
  cluster.notes.script = ({ message }, response) => {
    if (message['method'] !== 'subscriptions/listen') return false
    streams.push({ id: message['id'], response })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    say({ id: message['id'], response }, 'notifications/subscriptions/acknowledged', TOOLS)
    return undefined
  }
  return streams
}

function say({ id, response }: Heard, method: string, params: object = {}): void {
  response.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', method, params: { ...params, _meta: { [SUBSCRIPTION]: id } } })}\n\n`)
}

function listening(token: string, id: unknown, params: object = TOOLS): Sent {
  const sent = modern(token, 'subscriptions/listen', params as Record<string, unknown>)
  return { ...sent, body: JSON.stringify({ ...(JSON.parse(String(sent.body)) as object), id }) }
}

eachMcpCluster('RS-32: 20 clients of three people hear one stream of the upstream, each by the name of their own request', async (cluster) => {
  const streams = speaking(cluster)
  const tokens = [cluster.token(), cluster.token({ userId: 'usr_bob' }), cluster.token({ clientId: 'other' })]
  const ids = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? index : `sub ${index} "quoted"`))
  const open = await Promise.all(ids.map((id, index) => cluster.nodes[0].open(listening(tokens[index % 3] ?? '', id))))
  await eventually('all hear the acknowledgement', () => open.every((stream) => stream.text().includes('acknowledged')))
  assert.equal(streams.length, 1)
  for (const stream of streams) say(stream, 'notifications/tools/list_changed')
  for (const [index, stream] of open.entries()) {
    await stream.until((text) => text.includes('list_changed'))
    const events = stream.text().split('\n').filter((line) => line.startsWith('data: ')).map((line) => JSON.parse(line.slice(6)) as { method: string; params: { _meta: Record<string, unknown> } })
    assert.deepEqual(events.map(({ method }) => method), ['notifications/subscriptions/acknowledged', 'notifications/tools/list_changed'])
    assert.ok(events.every(({ params }) => params._meta[SUBSCRIPTION] === ids[index]), stream.text())
  }
  for (const stream of open.slice(1)) stream.leave()
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(cluster.notes.asked.filter(({ left }) => left).length, 0, 'the stream goes on for the one who is left')
  open[0]?.leave()
  await eventually('nobody listens any more', () => cluster.notes.asked.filter(({ left }) => left).length === 1)
  // Whoever comes now opens another.
  const again = await cluster.nodes[0].open(listening(tokens[0] ?? '', 1))
  await again.until((text) => text.includes('acknowledged'))
  assert.equal(streams.length, 2)
  again.leave()
})

eachMcpCluster('whoever asks for something else, or comes by another account, has a stream of their own', async (cluster) => {
  const streams = speaking(cluster)
  const token = cluster.token()
  const open = [await cluster.nodes[0].open(listening(token, 1)), await cluster.nodes[0].open(listening(token, 2, { notifications: { promptsListChanged: true } })), await cluster.nodes[0].open(listening(token, 3))]
  assert.equal(streams.length, 2)
  cluster.accounts.set('usr_alice', 'alice-at-tickets').set('usr_bob', 'bob-at-tickets')
  const own: Heard[] = []
  cluster.tickets.script = ({ message }, response) => {
    if (message['method'] !== 'subscriptions/listen') return false
    own.push({ id: message['id'], response })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    say({ id: message['id'], response }, 'notifications/subscriptions/acknowledged', TOOLS)
    return undefined
  }
  for (const userId of ['usr_alice', 'usr_bob', 'usr_alice']) open.push(await cluster.nodes[0].open({ ...listening(cluster.token({ userId, profile: 'tickets' }), userId), path: '/mcp/tickets' }))
  assert.equal(own.length, 2)
  // What is said to bob's account, alice does not hear.
  say(own[1] as Heard, 'notifications/tools/list_changed')
  await open[4]?.until((text) => text.includes('list_changed'))
  assert.ok(![open[3], open[5]].some((stream) => stream?.text().includes('list_changed')))
  for (const stream of open) stream.leave()
})

eachMcpCluster('an upstream that ends or breaks the stream ends it for all, and one that refuses it refuses each', async (cluster) => {
  const streams = speaking(cluster)
  const open = await Promise.all([1, 2, 3].map((id) => cluster.nodes[0].open(listening(cluster.token(), id))))
  await eventually('all hear it', () => open.every((stream) => stream.text().includes('acknowledged')))
  const [stream] = streams
  stream?.response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id: stream.id, result: { resultType: 'complete' } })}\n\n`)
  for (const [index, each] of open.entries()) {
    assert.equal(await each.ended, 'whole')
    assert.ok(each.text().includes(`"id":${index + 1},"result"`), each.text())
  }
  const broken = await Promise.all([4, 5].map((id) => cluster.nodes[0].open(listening(cluster.token(), id))))
  await eventually('both hear it', () => broken.every((each) => each.text().includes('acknowledged')))
  streams[1]?.response.destroy()
  for (const each of broken) assert.equal(await each.ended, 'cut')
  cluster.notes.script = ({ message }, response) => {
    if (message['method'] !== 'subscriptions/listen') return false
    response.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id: message['id'], error: { code: -32601, message: 'Method not found' } }))
    return undefined
  }
  const refused = await Promise.all([6, 7].map((id) => cluster.nodes[0].send(listening(cluster.token(), id))))
  assert.deepEqual(refused.map(({ status, body }) => [status, body['id'], (body['error'] as { code: number }).code]), [[404, 6, -32601], [404, 7, -32601]])
})
