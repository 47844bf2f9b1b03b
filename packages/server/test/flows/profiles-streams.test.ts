// What the upstreams of a profile say by themselves reaches a client as one stream, in the profile's words, and what it
// answers reaches who asked.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, toolNames, type Cluster, type Sent, type Stream } from '../support/mcp-nodes.ts'
import { event, reply, result, TOOLS, type Asked, type McpUpstream } from '../support/mcp-upstream.ts'

const TEAM = { profiles: [{ id: 'team', name: 'Team', upstreams: ['weather', 'notes'] }] }

const inTeam = (cluster: Cluster) => {
  const token = cluster.token({ profile: 'team' })
  return { token, send: (sent: Sent, node: 0 | 1 = 0) => cluster.nodes[node].send(at('team', sent)), open: (sent: Sent, node: 0 | 1 = 0) => cluster.nodes[node].open(at('team', sent)) }
}

async function begin(cluster: Cluster): Promise<string> {
  const { token, send } = inTeam(cluster)
  const session = String((await send(initialize(token))).headers['mcp-session-id'])
  assert.equal((await send(notify(token, 'notifications/initialized', {}, session))).status, 202)
  return session
}

/** Makes an upstream keep streams open. @returns who listens now, and how often it was asked to */
function streaming(upstream: McpUpstream, is: (asked: Asked) => boolean, hello?: (asked: Asked) => string): { readonly asked: Asked[]; write: (text: string) => void; end: () => void } {
  const responses: ServerResponse[] = []
  const asked: Asked[] = []
  upstream.script = (one, response) => {
    if (!is(one)) return false
    asked.push(one)
    responses.push(response)
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
    if (hello !== undefined) response.write(hello(one))
    return undefined
  }
  return { asked, write: (text) => void responses.at(-1)?.write(text), end: () => void responses.at(-1)?.end() }
}

const isGet = ({ method }: Asked): boolean => method === 'GET'
const get = (token: string, session: string, more = {}): Sent => ({ ...legacy(token, '', {}, session, more), method: 'GET', body: '' })
const messages = (text: string): Record<string, unknown>[] => [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data ?? '') as Record<string, unknown>)
const paramsOf = (message: Record<string, unknown> | undefined, member: string) => (message?.['params'] as Record<string, Record<string, unknown>> | undefined)?.[member]
const received = async (stream: Stream, count: number): Promise<Record<string, unknown>[]> => messages(await stream.until((text) => messages(text).length >= count))

eachMcpCluster('one stream of a session carries what all upstreams say, each resource by its name in the profile (RS-30, RS-41, P-15)', async (cluster) => {
  const { token, send, open } = inTeam(cluster)
  const session = await begin(cluster)
  assert.equal((await send(get(token, session))).status, 405, 'no upstream has one')
  const [notes, weather] = [streaming(cluster.notes, isGet), streaming(cluster.weather, isGet)]
  const stream = await open(get(token, session), 1)
  assert.equal(stream.status, 200)
  assert.equal(stream.headers['x-accel-buffering'], 'no')
  notes.write(event({ jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'note://1' } }))
  assert.deepEqual(await received(stream, 1), [{ jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'lanyard:notes/note://1' } }])
  weather.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }))
  assert.deepEqual((await received(stream, 2))[1], { jsonrpc: '2.0', method: 'notifications/tools/list_changed' })
  assert.equal(notes.asked[0]?.headers['mcp-session-id'], [...cluster.notes.sessions][0])
  assert.equal(weather.asked[0]?.headers['x-api-key'], 'the-weather-key')

  // A resource is subscribed to at its own upstream.
  await send(legacy(token, 'resources/subscribe', { uri: 'lanyard:notes/note://1' }, session))
  assert.deepEqual(cluster.notes.of('resources/subscribe')[0]?.message['params'], { uri: 'note://1' })
  assert.equal(cluster.weather.of('resources/subscribe').length, 0)
  assert.equal((await send(legacy(token, 'logging/setLevel', { level: 'debug' }, session))).status, 200)
  for (const upstream of [cluster.notes, cluster.weather]) assert.deepEqual(upstream.of('logging/setLevel')[0]?.message['params'], { level: 'debug' })
  stream.leave()
  while (![notes, weather].every(({ asked }) => asked[0]?.left === true)) await new Promise((resolve) => setTimeout(resolve, 5))
}, TEAM)

eachMcpCluster('requests of two upstreams with one identifier are two requests, and each answer reaches who asked (H10)', async (cluster) => {
  const { token, send, open } = inTeam(cluster)
  const session = await begin(cluster)
  const [notes, weather] = [streaming(cluster.notes, isGet), streaming(cluster.weather, isGet)]
  const stream = await open(get(token, session))
  const ask = { jsonrpc: '2.0', id: 1, method: 'sampling/createMessage', params: { messages: [{ role: 'user', content: { type: 'text', text: 'x' } }], _meta: { progressToken: 1 } } }
  notes.write(event(ask))
  const [first] = await received(stream, 1)
  weather.write(event({ ...ask, id: '1', method: 'elicitation/create' }))
  const [, second] = await received(stream, 2)
  assert.notEqual(first?.['id'], second?.['id'])
  const response = (id: unknown, role: string): Sent => ({ ...legacy(token, '', {}, session), body: JSON.stringify({ jsonrpc: '2.0', id, result: { role } }) })
  assert.equal((await send(notify(token, 'notifications/progress', { progressToken: paramsOf(first, '_meta')?.['progressToken'], progress: 1 }, session))).status, 202)
  assert.equal((await send(response(second?.['id'], 'for weather'), 1)).status, 202)
  assert.equal((await send(response(first?.['id'], 'for notes'), 1)).status, 202)
  const answered = (upstream: McpUpstream) => upstream.asked.filter(({ message }) => 'result' in message).map(({ message }) => message)
  assert.deepEqual(answered(cluster.notes), [{ jsonrpc: '2.0', id: 1, result: { role: 'for notes' } }])
  assert.deepEqual(answered(cluster.weather), [{ jsonrpc: '2.0', id: '1', result: { role: 'for weather' } }])
  assert.deepEqual(cluster.notes.of('notifications/progress').map(({ message }) => message['params']), [{ progressToken: 1, progress: 1 }])
  assert.equal(cluster.weather.of('notifications/progress').length, 0)

  for (const id of ['1', 1, 'tickets:1', 'notes:', 'notes:{}']) assert.equal((await send(response(id, 'nobody'))).status, 400, String(id))
  // An upstream takes a request of its own back, and a client one of its.
  notes.write(event({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } }))
  assert.deepEqual((await received(stream, 3))[2], { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: first?.['id'] } })
  assert.equal((await send(notify(token, 'notifications/cancelled', { requestId: 'c1' }, session))).status, 202)
  assert.equal((await send(notify(token, 'notifications/roots/list_changed', {}, session))).status, 202)
  for (const upstream of [cluster.notes, cluster.weather]) {
    assert.deepEqual(upstream.of('notifications/cancelled').map(({ message }) => message['params']), [{ requestId: 'c1' }])
    assert.equal(upstream.of('notifications/roots/list_changed').length, 1)
  }
  stream.leave()
}, TEAM)

eachMcpCluster('an upstream asks in the middle of a call, and hears the answer (RS-15)', async (cluster) => {
  const { token, send, open } = inTeam(cluster)
  const session = await begin(cluster)
  const calls = streaming(cluster.notes, ({ message }) => message['method'] === 'tools/call', () => event({ jsonrpc: '2.0', id: 'e', method: 'elicitation/create', params: { message: 'Sure?' } }, 'id: p1\n'))
  const stream = await open(legacy(token, 'tools/call', { name: 'notes__read_note', arguments: {} }, session, {}, 'c1'))
  const [asked] = await received(stream, 1)
  assert.deepEqual(asked, { jsonrpc: '2.0', id: 'notes:"e"', method: 'elicitation/create', params: { message: 'Sure?' } })
  assert.equal((await send({ ...legacy(token, '', {}, session), body: JSON.stringify({ jsonrpc: '2.0', id: asked?.['id'], result: { action: 'accept' } }) }, 1)).status, 202)
  assert.deepEqual(cluster.notes.asked.at(-1)?.message, { jsonrpc: '2.0', id: 'e', result: { action: 'accept' } })
  calls.write(event({ jsonrpc: '2.0', id: 'c1', result: { content: [] } }))
  calls.end()
  assert.deepEqual((await received(stream, 2))[1], { jsonrpc: '2.0', id: 'c1', result: { content: [] } })
  assert.equal(await stream.ended, 'whole')

  // Where a stream of the call was, the stream of the session goes on from: at that upstream, and at no other.
  const [position] = /(?<=^id: ).+$/m.exec(stream.text()) ?? []
  const [notes, weather] = [streaming(cluster.notes, isGet), streaming(cluster.weather, isGet)]
  const resumed = await open(get(token, session, { 'last-event-id': position }))
  assert.equal(notes.asked[0]?.headers['last-event-id'], 'p1')
  assert.equal(weather.asked[0]?.headers['last-event-id'], undefined)
  // H10: it may answer what was asked where that stream was, and nothing that another upstream may have been asked.
  weather.write(event({ jsonrpc: '2.0', id: 'c1', result: { content: [{ type: 'text', text: 'forged' }] } }))
  notes.write(event({ jsonrpc: '2.0', id: 'c2', result: { content: [{ type: 'text', text: 'forged' }] } }))
  notes.write(event({ jsonrpc: '2.0', id: 'c1', method: 'x', result: { content: [{ type: 'text', text: 'forged' }] } }))
  // H07: what is repeated there is a list for this caller, in the profile's words.
  notes.write(event({ jsonrpc: '2.0', id: 'c1', result: { tools: TOOLS } }, 'id: p2\n'))
  const [odd, list] = await received(resumed, 2)
  assert.deepEqual(odd, { jsonrpc: '2.0', id: 'notes:"c1"', method: 'x' })
  assert.deepEqual(toolNames(list), ['notes__read_note', 'notes__write_note'])
  notes.write(event({ jsonrpc: '2.0', id: 'c1', result: { content: [{ type: 'text', text: 'once more' }] } }))
  weather.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }, 'id: w9\n'))
  await received(resumed, 3)
  assert.doesNotMatch(resumed.text(), /forged|once more/)
  const last = [...resumed.text().matchAll(/^id: (.+)$/gm)].at(-1)?.[1]
  resumed.leave()
  const again = await open(get(token, session, { 'last-event-id': last }), 1)
  assert.deepEqual([notes.asked.at(-1)?.headers['last-event-id'], weather.asked.at(-1)?.headers['last-event-id']], ['p2', 'w9'])
  again.leave()
  for (const bad of ['', 'x', 'e30', Buffer.from('[["notes","a\\nb"]]').toString('base64url'), 'A'.repeat(5000)]) {
    const other = await open(get(token, session, { 'last-event-id': bad }))
    assert.equal(other.status, 200)
    assert.equal(notes.asked.at(-1)?.headers['last-event-id'], undefined)
    other.leave()
  }
}, TEAM)

eachMcpCluster('an upstream whose stream ends is listened to again, and the client’s stream stays', async (cluster) => {
  const { token, open } = inTeam(cluster)
  const session = await begin(cluster)
  const [notes, weather] = [streaming(cluster.notes, isGet), streaming(cluster.weather, isGet)]
  const stream = await open(get(token, session))
  notes.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }, 'id: n1\n'))
  await received(stream, 1)
  notes.end()
  while (notes.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(notes.asked[1]?.headers['last-event-id'], 'n1')
  assert.equal(weather.asked.length, 1)
  notes.write(event({ jsonrpc: '2.0', method: 'notifications/prompts/list_changed' }))
  assert.deepEqual((await received(stream, 2)).map(({ method }) => method), ['notifications/tools/list_changed', 'notifications/prompts/list_changed'])
  // It ends with the access of whoever listens.
  await cluster.revoke({ kind: 'subject', key: 'usr_alice' })
  assert.equal(await stream.ended, 'cut')
  while (weather.asked[0]?.left !== true) await new Promise((resolve) => setTimeout(resolve, 5))
}, TEAM)

const acknowledged = (asked: Asked, notifications: unknown): string => event({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: { notifications, _meta: { 'io.modelcontextprotocol/subscriptionId': asked.message['id'] } } })
const filterOf = (asked: Asked | undefined): unknown => (asked?.message['params'] as Record<string, unknown> | undefined)?.['notifications']
const isListen = ({ message }: Asked): boolean => message['method'] === 'subscriptions/listen'
const listening = (upstream: McpUpstream, honored?: unknown) => streaming(upstream, isListen, (asked) => acknowledged(asked, honored ?? filterOf(asked)))

eachMcpCluster('one subscription listens to all upstreams: acknowledged once, first, for what they will tell (RS-32)', async (cluster) => {
  const { token, open } = inTeam(cluster)
  const [notes, weather] = [listening(cluster.notes), listening(cluster.weather, { toolsListChanged: true })]
  const wanted = { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: ['lanyard:notes/note://1', 'lanyard:other/x', 'note://1'] }
  const stream = await open(modern(token, 'subscriptions/listen', { notifications: wanted }, {}, 'sub-1'))
  const meta = { 'io.modelcontextprotocol/subscriptionId': 'sub-1' }
  assert.deepEqual(await received(stream, 1), [{ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: { notifications: { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: ['lanyard:notes/note://1'] }, _meta: meta } }])
  assert.deepEqual(filterOf(notes.asked[0]), { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: ['note://1'] })
  assert.deepEqual(filterOf(weather.asked[0]), { toolsListChanged: true, promptsListChanged: true })
  notes.write(event({ jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'note://1', _meta: meta } }))
  assert.deepEqual((await received(stream, 2))[1], { jsonrpc: '2.0', method: 'notifications/resources/updated', params: { uri: 'lanyard:notes/note://1', _meta: meta } })
  weather.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: { _meta: meta } }))
  assert.deepEqual((await received(stream, 3))[2], { jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: { _meta: meta } })
  // One that ends its subscription does not end the client's, and is asked again.
  weather.write(event({ jsonrpc: '2.0', id: weather.asked[0]?.message['id'], result: { resultType: 'complete', _meta: meta } }))
  weather.end()
  while (weather.asked.length < 2) await new Promise((resolve) => setTimeout(resolve, 20))
  weather.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: { _meta: meta } }))
  assert.equal((await received(stream, 4)).length, 4, 'acknowledged once')
  stream.leave()
  while (notes.asked[0]?.left !== true) await new Promise((resolve) => setTimeout(resolve, 5))
}, TEAM)

eachMcpCluster('who may use some tools alone hears of no resources, and a profile in which nobody can be listened to says so', async (cluster) => {
  const { token, send, open } = inTeam(cluster)
  const wanted = { toolsListChanged: true, resourcesListChanged: true, resourceSubscriptions: ['lanyard:notes/note://1'] }
  const sent = (who: string): Sent => modern(who, 'subscriptions/listen', { notifications: wanted })
  const none = await send(sent(token))
  assert.equal(none.status, 404)
  assert.equal(errorOf(none.body).code, -32601)
  const [notes] = [listening(cluster.notes), listening(cluster.weather, {})]
  const stream = await open(sent(cluster.token({ profile: 'team', userId: 'usr_bob' })))
  assert.deepEqual(filterOf(notes.asked[0]), { toolsListChanged: true })
  const [first] = await received(stream, 1)
  assert.deepEqual(paramsOf(first, 'notifications'), { toolsListChanged: true })
  stream.leave()
  const whole = await open(sent(token))
  assert.deepEqual(paramsOf((await received(whole, 1))[0], 'notifications'), wanted)
  whole.leave()
  cluster.weather.script = (asked, response) => (isListen(asked) ? reply(response, result(asked, {})) : false)
  assert.match((await send(call(token, 'notes__read_note'))).text, /ran/)
}, TEAM)
