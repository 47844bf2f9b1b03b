// Tasks where something else decides: an approval, another sign-in, an account that is gone, a decision point of somebody
// else, the other generation, and clients that work on tasks themselves.
import assert from 'node:assert/strict'
import { after } from 'node:test'
import { decisions } from '../../src/approval/decisions.ts'
import { policy, type Rule } from '../../src/policy/policy.ts'
import { approvalStore } from '../../src/store/applications.ts'
import { auditLog } from '../../src/store/audit-log.ts'
import { recordChange } from '../../src/store/changes.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { eventually } from '../support/eventually.ts'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, type Answer, type Cluster, type Sent } from '../support/mcp-nodes.ts'
import { event, reply, result } from '../support/mcp-upstream.ts'
import { legacyTaskServer, modernTaskServer } from '../support/task-servers.ts'

const [young, old] = [await modernTaskServer(), await legacyTaskServer()]
after(() => Promise.all([young.close(), old.close()]))

const upstream = (id: string, url: string, connector: Upstream['connector'] = { type: 'none' }): Upstream => ({ id, name: id, url, connector, readOnlyTools: [], timeoutMs: 5000, protocol: 'auto' })
const OPTIONS = {
  more: async () => [upstream('slow', young.url), upstream('mine', young.url, { type: 'oauth' }), upstream('old', old.url)],
  profiles: [{ id: 'team', name: 'Team', upstreams: ['notes', 'weather'] }],
}
const capable = (more: Readonly<Record<string, unknown>> = {}) => ({ _meta: { 'io.modelcontextprotocol/clientCapabilities': { extensions: { 'io.modelcontextprotocol/tasks': {} }, ...more } } })
const begin = (token: string, more: Readonly<Record<string, unknown>> = {}): Sent => modern(token, 'tools/call', { name: 'survey', arguments: {}, ...capable(more) })
const get = (token: string, taskId: string, more: Readonly<Record<string, unknown>> = {}): Sent => modern(token, 'tasks/get', { taskId, ...capable(more) }, { 'mcp-name': taskId })
const EVERYBODY: Rule = { id: 'all', effect: 'allow', groups: ['engineering'] }

async function begun(cluster: Cluster, profile: string, token: string): Promise<string> {
  const answer = await cluster.nodes[0].send(at(profile, begin(token)))
  assert.equal(resultOf(answer.body)['resultType'], 'task', answer.text)
  return String(resultOf(answer.body)['taskId'])
}

const statusOf = (answer: Answer): unknown => resultOf(answer.body)['status']

eachMcpCluster('a task of a call that an administrator approved is asked about without asking them again', async (cluster) => {
  const token = cluster.token({ profile: 'slow' })
  cluster.policy = policy([EVERYBODY, { id: 'ask-first', effect: 'approval', tools: ['survey'] }])
  assert.match(String(errorOf((await cluster.nodes[0].send(at('slow', begin(token)))).body).message), /administrator must approve/)
  const store = approvalStore({ db: cluster.db, audit: auditLog(cluster.db, () => undefined), changed: (tx, change) => recordChange(tx, change, () => undefined) })
  const [request] = await store.requests('pending', 10)
  assert.equal(await decisions(store, () => cluster.now).decide(request?.id ?? '', { effect: 'approve' }, { userId: 'usr_dana', reference: 'r', address: '192.0.2.9' }), 'decided')
  await eventually('the approval at this node', async () => resultOf((await cluster.nodes[0].send(at('slow', begin(token)))).body)['resultType'] === 'task')
  const taskId = await begun(cluster, 'slow', token)
  const requests = (await cluster.db.query('SELECT id FROM approval_requests')).length
  for (const node of cluster.nodes) assert.equal(statusOf(await node.send(at('slow', get(token, taskId)))), 'input_required')
  assert.equal((await cluster.db.query('SELECT id FROM approval_requests')).length, requests)
}, OPTIONS)

eachMcpCluster('whoever must sign in again for the tool must for its task; a page is no answer to tasks/get (RFC 9470 §3, MRTR)', async (cluster) => {
  const token = cluster.token({ profile: 'slow' })
  const taskId = await begun(cluster, 'slow', token)
  cluster.policy = policy([EVERYBODY, { id: 'strong', effect: 'step-up', tools: ['survey'], require: { maxAge: 60 } }])
  young.asked.splice(0)
  const answer = await cluster.nodes[1].send(at('slow', get(token, taskId, { elicitation: { url: {} } })))
  assert.equal(answer.status, 401)
  assert.match(String(answer.headers['www-authenticate']), /insufficient_user_authentication.*max_age="?60/)
  assert.deepEqual(young.named('tasks/get'), [])
  assert.equal((await cluster.events('call.denied')).at(-1)?.tool, 'survey')
  cluster.policy = policy([EVERYBODY])
  assert.equal(statusOf(await cluster.nodes[1].send(at('slow', get(token, taskId)))), 'input_required')
}, OPTIONS)

eachMcpCluster('a task of an account that is not connected any more is an error with the way to connect it (J3)', async (cluster) => {
  const token = cluster.token({ profile: 'mine' })
  cluster.accounts.set('usr_alice', 'alice-account')
  const taskId = await begun(cluster, 'mine', token)
  cluster.accounts.delete('usr_alice')
  young.asked.splice(0)
  const answer = await cluster.nodes[0].send(at('mine', get(token, taskId, { elicitation: { url: {} } })))
  assert.equal('result' in answer.body, false, answer.text)
  assert.match(String(errorOf(answer.body).message), /\/connections\/mine/)
  assert.equal(young.asked.length, 0)
  cluster.accounts.set('usr_alice', 'alice-account')
  assert.equal(statusOf(await cluster.nodes[0].send(at('mine', get(token, taskId)))), 'input_required')
}, OPTIONS)

const external = { denied: false, asked: [] as unknown[] }
eachMcpCluster('a decision point of somebody else is asked about each message of a task, as about the tool (AuthZEN 1.0)', async (cluster) => {
  const token = cluster.token({ profile: 'slow' })
  const taskId = await begun(cluster, 'slow', token)
  external.asked.splice(0)
  external.denied = true
  young.asked.splice(0)
  const refused = await cluster.nodes[0].send(at('slow', get(token, taskId)))
  assert.match(String(errorOf(refused.body).message), /does not allow this/)
  assert.deepEqual(young.named('tasks/get'), [])
  external.denied = false
  assert.equal(statusOf(await cluster.nodes[0].send(at('slow', get(token, taskId)))), 'input_required')
  assert.deepEqual(external.asked, ['survey', 'survey'])
}, {
  ...OPTIONS,
  external: async ({ tool }) => {
    external.asked.push(tool)
    return external.denied ? 'deny' : 'allow'
  },
})

eachMcpCluster('tasks are not carried over to the other generation: calls are answered as for who knows none (RS-43)', async (cluster) => {
  const token = cluster.token({ profile: 'old' })
  const capabilities = resultOf((await cluster.nodes[0].send(at('old', modern(token, 'server/discover')))).body)['capabilities'] as { tasks?: unknown; extensions?: unknown }
  assert.deepEqual([capabilities.tasks, capabilities.extensions], [undefined, undefined])
  old.asked.splice(0)
  const asked = await cluster.nodes[0].send(at('old', modern(token, 'tools/call', { name: 'quick', arguments: {}, task: { ttl: 1000 }, ...capable() })))
  assert.match(asked.text, /"resultType":"complete".*at once/)
  assert.deepEqual(old.asked.find(({ method }) => method === 'tools/call')?.['params'], { name: 'quick', arguments: {} })

  const reverse = cluster.token({ profile: 'slow' })
  const session = String((await cluster.nodes[0].send(at('slow', initialize(reverse, { extensions: { 'io.modelcontextprotocol/tasks': {} } })))).headers['mcp-session-id'])
  await cluster.nodes[0].send(at('slow', notify(reverse, 'notifications/initialized', {}, session)))
  const answer = await cluster.nodes[1].send(at('slow', legacy(reverse, 'tools/call', { name: 'survey', arguments: {}, task: {} }, session)))
  assert.match(answer.text, /at once/)
  assert.doesNotMatch(answer.text, /taskId/)
}, OPTIONS)

eachMcpCluster('a client’s own tasks are between it and a single upstream; in a profile no upstream hears that it has any', async (cluster) => {
  const tasks = { requests: { elicitation: { create: {} } } }
  const alone = cluster.token()
  const session = String((await cluster.nodes[0].send(initialize(alone, { tasks, elicitation: {} }))).headers['mcp-session-id'])
  const told = (asked: { readonly message: Readonly<Record<string, unknown>> } | undefined): unknown => (asked?.message['params'] as { capabilities?: { tasks?: unknown } } | undefined)?.capabilities?.tasks
  assert.deepEqual(told(cluster.notes.of('initialize')[0]), tasks)
  // What it says of one goes on as it is: the name is the client's.
  const status = { taskId: 'client-task', status: 'working', ttl: null, createdAt: '2026-11-25T00:00:00Z', lastUpdatedAt: '2026-11-25T00:00:00Z' }
  const related = { 'io.modelcontextprotocol/related-task': { taskId: 'client-task' } }
  await cluster.nodes[1].send(notify(alone, 'notifications/tasks/status', { ...status, _meta: related }, session))
  assert.deepEqual(cluster.notes.of('notifications/tasks/status')[0]?.message['params'], { ...status, _meta: related })
  // In a request, a task that is not the client's to name is none.
  await cluster.nodes[1].send(legacy(alone, 'tools/call', { name: 'read_note', arguments: {}, _meta: { ...related, kept: 1 } }, session))
  assert.deepEqual(cluster.notes.calls()[0]?.message['params'], { name: 'read_note', arguments: {}, _meta: { kept: 1 } })

  cluster.notes.forget()
  const team = cluster.token({ profile: 'team' })
  await cluster.nodes[0].send(at('team', initialize(team, { tasks, elicitation: {} })))
  for (const server of [cluster.notes, cluster.weather]) assert.deepEqual([server.of('initialize').length, told(server.of('initialize')[0])], [1, undefined])
}, OPTIONS)

eachMcpCluster('an upstream that gives a task to who knows none, or one without a name, gives an answer that cannot be used (RS-43)', async (cluster) => {
  const token = cluster.token({ profile: 'team' })
  let task: Readonly<Record<string, unknown>> = { taskId: 'own' }
  cluster.notes.script = (asked, response) => (asked.message['method'] === 'tools/call' ? reply(response, result(asked, { resultType: 'task', status: 'working', ttlMs: null, ...task })) : false)
  const send = (sent: Sent) => cluster.nodes[0].send(at('team', sent))
  assert.equal((await send(call(token, 'notes__read_note'))).status, 502)
  const declared = modern(token, 'tools/call', { name: 'notes__read_note', arguments: {}, ...capable() })
  assert.equal(resultOf((await send(declared)).body)['resultType'], 'task')
  for (const bad of [{ taskId: 7 }, { taskId: '' }, {}, { taskId: 'x'.repeat(2000) }]) {
    task = bad
    assert.equal((await send(declared)).status, 502, JSON.stringify(bad).slice(0, 40))
  }
}, OPTIONS)

eachMcpCluster('a task that began in an answer that is read again from the stream of the session has its name all the same (H07)', async (cluster) => {
  const token = cluster.token()
  const session = String((await cluster.nodes[0].send(initialize(token))).headers['mcp-session-id'])
  const task = { taskId: 'own-task', status: 'working', ttl: 1000, createdAt: '2026-11-25T00:00:00Z', lastUpdatedAt: '2026-11-25T00:00:00Z' }
  cluster.notes.script = (asked, response) => {
    const { method } = asked.message
    if (asked.method === 'GET') {
      const events = [{ jsonrpc: '2.0', id: 3, result: { task } }, { jsonrpc: '2.0', method: 'notifications/tasks/status', params: task }, { jsonrpc: '2.0', method: 'notifications/tasks/status', params: { ...task, taskId: 'of-somebody-else' } }]
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(events.map((each) => event(each)).join(''))
      return undefined
    }
    return method === 'tasks/get' ? reply(response, result(asked, { ...task, taskId: (asked.message['params'] as { taskId: string }).taskId })) : false
  }
  const stream = await cluster.nodes[0].send({ ...legacy(token, '', {}, session, { 'last-event-id': 'e1' }), method: 'GET', body: '' })
  const names = stream.events.map((message) => (message['params'] as { taskId?: string } | undefined)?.taskId ?? (resultOf(message)['task'] as { taskId?: string } | undefined)?.taskId)
  assert.equal(stream.events.length, 2, stream.text)
  assert.equal(names[0], names[1])
  assert.doesNotMatch(stream.text, /own-task|somebody-else/)
  const asked = await cluster.nodes[1].send(legacy(token, 'tasks/get', { taskId: names[0] }, session))
  assert.equal(resultOf(asked.body)['taskId'], names[0])
  assert.deepEqual(cluster.notes.of('tasks/get')[0]?.message['params'], { taskId: 'own-task' })
  // Nobody knows which tool began it: only rules about all of them let it be asked for.
  const bob = cluster.token({ userId: 'usr_bob' })
  const bobs = String((await cluster.nodes[0].send(initialize(bob))).headers['mcp-session-id'])
  const his = await cluster.nodes[0].send({ ...legacy(bob, '', {}, bobs, { 'last-event-id': 'e1' }), method: 'GET', body: '' })
  const hisTask = (resultOf(his.events[0])['task'] as { taskId?: string } | undefined)?.taskId
  assert.deepEqual(errorOf((await cluster.nodes[0].send(legacy(bob, 'tasks/get', { taskId: hisTask }, bobs))).body), { code: -32602, message: 'Task not found' })
}, OPTIONS)
