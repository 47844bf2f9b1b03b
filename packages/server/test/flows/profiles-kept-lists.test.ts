// What an upstream says that its lists may be kept, a profile keeps: for whom it said so, and filtered for each.
import assert from 'node:assert/strict'
import { at, eachMcpCluster, modern, resultOf, toolNames, type Cluster } from '../support/mcp-nodes.ts'
import { reply, result } from '../support/mcp-upstream.ts'
import { policy } from '../../src/policy/policy.ts'

const TEAM = { profiles: [{ id: 'team', name: 'Team', upstreams: ['notes', 'weather'] }] }
const NOTES = ['notes__read_note', 'notes__write_note']

const lists = (cluster: Cluster, user = 'usr_alice', clientId = 'client') => {
  const token = cluster.token({ profile: 'team', userId: user, clientId })
  return async (node: 0 | 1 = 0) => (await cluster.nodes[node].send(at('team', modern(token, 'tools/list')))).body
}

eachMcpCluster('a list that may be shared is asked for once on each node, and shown to each as policy says (P-13, RS-26)', async (cluster) => {
  const [alice, bob] = [lists(cluster), lists(cluster, 'usr_bob')]
  cluster.policy = policy([{ id: 'all', effect: 'allow' }, { id: 'bob-reads', effect: 'deny', users: ['usr_bob'], tools: ['write_*', 'delete_*'] }])
  const first = await alice()
  assert.equal(resultOf(first)['ttlMs'], 60_000)
  cluster.now += 20_000
  assert.deepEqual(toolNames(await bob()), ['notes__read_note', 'weather__read_note'])
  const again = await alice()
  assert.deepEqual(again['id'], first['id'])
  assert.deepEqual(resultOf(again), { ...resultOf(first), ttlMs: 40_000 }, 'what is left of its time')
  assert.equal(cluster.notes.of('tools/list').length, 1)
  const seen = (await cluster.events('list.filtered')).map(({ subject, upstream }) => `${subject} ${upstream}`)
  assert.deepEqual(seen.sort(), ['usr_alice notes', 'usr_alice undefined', 'usr_alice weather', 'usr_bob undefined'], 'who saw a list is recorded, also when nobody was asked')
  await alice(1)
  assert.equal(cluster.notes.of('tools/list').length, 2, 'each node by itself')
  cluster.now += 40_000
  await alice()
  assert.equal(cluster.notes.of('tools/list').length, 3)
}, TEAM)

eachMcpCluster('a private list is for its person and client alone, and one without a time is not kept (P-13)', async (cluster) => {
  cluster.policy = policy([{ id: 'all', effect: 'allow' }])
  let cacheScope = 'private'
  let ttlMs = 60_000
  cluster.notes.script = (asked, response) => asked.message['method'] === 'tools/list' && reply(response, result(asked, { tools: [{ name: `of_${cluster.notes.of('tools/list').length}`, annotations: { readOnlyHint: true } }], ttlMs, cacheScope }))
  const own = async (list: ReturnType<typeof lists>) => toolNames(await list()).filter((name) => String(name).startsWith('notes'))
  const [alice, other, bob] = [lists(cluster), lists(cluster, 'usr_alice', 'another'), lists(cluster, 'usr_bob')]
  assert.deepEqual(await own(alice), ['notes__of_1'])
  assert.deepEqual(await own(bob), ['notes__of_2'])
  assert.deepEqual(await own(other), ['notes__of_3'])
  assert.deepEqual(await own(alice), ['notes__of_1'], 'her own')
  cluster.now += 60_000
  ttlMs = 0
  cacheScope = 'public'
  assert.deepEqual(await own(alice), ['notes__of_4'])
  assert.deepEqual(await own(alice), ['notes__of_5'])
  // An upstream may say that its list is good for a day; nodes that do not hear of a change must not be late by that.
  ttlMs = 86_400_000
  assert.deepEqual(await own(alice), ['notes__of_6'])
  cluster.now += 60_001
  assert.deepEqual(await own(alice), ['notes__of_7'])
}, TEAM)

eachMcpCluster('an upstream that says that its tools have changed is asked again (RS-32)', async (cluster) => {
  const list = lists(cluster)
  const { promise: listening, resolve } = Promise.withResolvers<(message: object) => void>()
  cluster.notes.script = (asked, response) => {
    if (asked.message['method'] !== 'subscriptions/listen') return false
    const params = { _meta: { 'io.modelcontextprotocol/subscriptionId': asked.message['id'] } }
    const tell = (message: object): void => void response.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`)
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    tell({ method: 'notifications/subscriptions/acknowledged', params: { ...params, notifications: { toolsListChanged: true } } })
    resolve((message) => tell({ ...message, params }))
    return undefined
  }
  const token = cluster.token({ profile: 'team' })
  const stream = await cluster.nodes[0].open(at('team', modern(token, 'subscriptions/listen', { notifications: { toolsListChanged: true } })))
  const tell = await listening
  await list()
  await list()
  assert.equal(cluster.notes.of('tools/list').length, 1)
  tell({ method: 'notifications/tools/list_changed' })
  await stream.until((text) => text.includes('list_changed'))
  assert.deepEqual(toolNames(await list()).slice(0, 2), NOTES)
  assert.equal(cluster.notes.of('tools/list').length, 2)
  assert.equal(cluster.weather.of('tools/list').length, 1, 'the other one said nothing')
  stream.leave()
}, TEAM)
