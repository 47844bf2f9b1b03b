// Tasks of 2025-11-25 with the official SDK on both sides, in front of a server that gives any task to whoever knows its
// name: through an upstream alone and through a profile, each request at another node than the one before.
import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { Readable } from 'node:stream'
import { after } from 'node:test'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { CallToolResultSchema, ElicitRequestSchema, TaskStatusNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { policy } from '../../src/policy/policy.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { eventually } from '../support/eventually.ts'
import { eachMcpCluster, type Cluster, type TokenOptions } from '../support/mcp-nodes.ts'
import { legacyTaskServer } from '../support/task-servers.ts'

const server = await legacyTaskServer()
after(() => server.close())

const upstream: Upstream = { id: 'slow', name: 'Slow', url: server.url, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 5000, protocol: 'auto' }
const OPTIONS = { more: async () => [upstream], profiles: [{ id: 'team', name: 'Team', upstreams: ['notes', 'slow'] }] }

/** One node after the other, as behind a load balancer without affinity. */
function balanced(cluster: Cluster): (url: URL | string, init?: RequestInit) => Promise<Response> {
  let turn = 0
  return async (url, init = {}) => {
    const { hostname, port } = new URL(cluster.nodes[turn++ % 2 === 0 ? 0 : 1].address)
    const headers = { ...Object.fromEntries(new Headers(init.headers)), host: 'lanyard.example' }
    const request = httpRequest({ hostname, port, path: new URL(url).pathname, method: init.method ?? 'GET', headers, ...(init.signal == null ? {} : { signal: init.signal }) })
    request.end(init.body)
    const message = await new Promise<Parameters<Parameters<typeof request.once<'response'>>[1]>[0]>((resolve, reject) => request.once('response', resolve).once('error', reject))
    const status = message.statusCode ?? 500
    return new Response(status === 202 ? null : (Readable.toWeb(message) as ReadableStream), { status, headers: message.headers as Record<string, string> })
  }
}

const clients = new Set<Client>()

/** Runs a test, and closes its clients whatever becomes of it. */
function scene(name: string, run: (cluster: Cluster) => Promise<void>): void {
  const closing = async (cluster: Cluster): Promise<void> => {
    server.asked.splice(0)
    try {
      await run(cluster)
    } finally {
      for (const client of clients) await client.close()
      clients.clear()
    }
  }
  eachMcpCluster(name, closing, OPTIONS)
}

async function connect(cluster: Cluster, profile: string, options: Partial<TokenOptions> = {}): Promise<{ client: Client; related: unknown[]; told: string[] }> {
  const client = new Client({ name: 'tasks', version: '1' }, { capabilities: { elicitation: { form: {} } } })
  clients.add(client)
  const related: unknown[] = []
  const told: string[] = []
  client.setNotificationHandler(TaskStatusNotificationSchema, ({ params }) => void told.push(`${params.taskId} ${params.status}`))
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
    related.push((params._meta as Record<string, { taskId?: unknown }> | undefined)?.['io.modelcontextprotocol/related-task']?.taskId)
    return { action: 'accept', content: { name: 'Ada' } }
  })
  const headers = { authorization: `Bearer ${cluster.token({ profile, ...options })}` }
  await client.connect(new StreamableHTTPClientTransport(new URL(`https://lanyard.example/mcp/${profile}`), { requestInit: { headers }, fetch: balanced(cluster) }))
  return { client, related, told }
}

/** Begins a task and leaves it. */
async function begin(client: Client, name: string): Promise<string> {
  const stream = client.experimental.tasks.callToolStream({ name, arguments: {} }, CallToolResultSchema, { task: { ttl: 60_000 } })
  for await (const message of stream) {
    if (message.type === 'taskCreated') return message.task.taskId
    if (message.type === 'error') throw message.error
  }
  throw new Error('no task')
}

for (const [profile, tool] of [['slow', 'survey'], ['team', 'slow__survey']] as const) {
  scene(`a task runs to its end, asking on its way, with each request at another node: ${profile} (MCP 2025-11-25 tasks)`, async (cluster) => {
    const { client, related, told } = await connect(cluster, profile)
    assert.deepEqual(client.getServerCapabilities()?.tasks, { list: {}, cancel: {}, requests: { tools: { call: {} } } })
    await client.listTools()
    const seen: string[] = []
    const texts: unknown[] = []
    let taskId = ''
    for await (const message of client.experimental.tasks.callToolStream({ name: tool, arguments: {} }, CallToolResultSchema, { task: { ttl: 60_000 } })) {
      seen.push(message.type)
      if (message.type === 'taskCreated') taskId = message.task.taskId
      if (message.type === 'taskStatus') assert.equal(message.task.taskId, taskId, 'one task has one name')
      if (message.type === 'error') throw message.error
      if (message.type === 'result') texts.push(message.result.content[0], message.result.content[1], (message.result._meta?.['io.modelcontextprotocol/related-task'] as { taskId?: string } | undefined)?.taskId)
    }
    assert.equal(seen[0], 'taskCreated')
    assert.deepEqual(texts, [{ type: 'text', text: 'Hello, Ada' }, { type: 'resource_link', uri: profile === 'team' ? 'ui://slow/report' : 'ui://report', name: 'report' }, taskId])
    assert.deepEqual(related, [taskId], 'what the server asks belongs to the task that the client knows')
    const own = new Set([...server.named('tasks/get'), ...server.named('tasks/result')])
    assert.deepEqual(own.size, 1)
    assert.ok(!taskId.includes(String([...own][0])), 'the server’s own name stays here')
    assert.equal((await client.experimental.tasks.getTask(taskId)).status, 'completed')
    await eventually('word of it on the stream of the session', () => told.includes(`${taskId} completed`))
    assert.ok(told.every((line) => line.startsWith(`${taskId} `)))
    const events = await cluster.events('call.allowed')
    assert.deepEqual(new Set(events.map(({ tool: named, detail }) => `${String(named)} ${String(detail?.['method'] ?? 'tools/call')}`)), new Set(['survey tools/call', 'survey tasks/get', 'survey tasks/result']))
  })

  scene(`a task of somebody else, of another application or profile, and the server’s own name are like none: ${profile} (RS-43, RS-14, RS-15)`, async (cluster) => {
    const { client } = await connect(cluster, profile)
    const taskId = await begin(client, tool)
    await client.experimental.tasks.getTask(taskId)
    const own = String(server.named('tasks/get')[0])
    const unknown = await client.experimental.tasks.getTask('nothing-of-this-name').then(() => 'answered', String)
    assert.match(unknown, /-32602: Task not found/)
    const others = [await connect(cluster, profile, { userId: 'usr_anna' }), await connect(cluster, profile, { clientId: 'other' }), await connect(cluster, profile === 'team' ? 'slow' : 'team')]
    server.asked.splice(0)
    const changed = `${taskId.slice(0, 20)}${taskId[20] === 'A' ? 'B' : 'A'}${taskId.slice(21)}`
    const tries: [Client, string][] = [...others.map((other): [Client, string] => [other.client, taskId]), ...[client, ...others.map((other) => other.client)].map((each): [Client, string] => [each, own]), [client, changed], [client, ''], [client, '__proto__']]
    for (const [who, name] of tries) {
      const { tasks } = who.experimental
      for (const ask of [() => tasks.getTask(name), () => tasks.cancelTask(name), () => tasks.getTaskResult(name, CallToolResultSchema)]) {
        assert.equal(await ask().then(() => 'answered', String), unknown, name)
      }
    }
    assert.equal(server.asked.filter(({ method }) => String(method).startsWith('tasks/')).length, 0, 'nothing of it reached the server')
    assert.equal((await cluster.events('call.denied')).length, tries.length * 3 + 1)
    assert.equal((await client.experimental.tasks.cancelTask(taskId)).status, 'cancelled')
    assert.deepEqual(server.named('tasks/cancel'), [own])
  })

  scene(`each message about a task is decided about like the call that began it: ${profile} (RS-43)`, async (cluster) => {
    const { client } = await connect(cluster, profile)
    const survey = await begin(client, tool)
    const erase = await begin(client, tool.replace('survey', 'erase'))
    for (const taskId of [survey, erase]) await client.experimental.tasks.getTask(taskId)
    cluster.policy = policy([{ id: 'all', effect: 'allow', groups: ['engineering'] }, { id: 'no-erasing', effect: 'deny', tools: ['erase'] }])
    server.asked.splice(0)
    await assert.rejects(client.experimental.tasks.getTask(erase), /-32602: Task not found/)
    await assert.rejects(client.experimental.tasks.getTaskResult(erase, CallToolResultSchema), /-32602: Task not found/)
    assert.equal(server.named('tasks/get').length + server.named('tasks/result').length, 0)
    const [denied] = await cluster.events('call.denied')
    assert.deepEqual([denied?.tool, denied?.rule, denied?.detail?.['method']], ['erase', 'no-erasing', 'tasks/get'])
    // RS-8: whose token is too narrow for the tool is too narrow for its task.
    const narrow = await connect(cluster, profile, { scope: ['mcp.read'] })
    await assert.rejects(narrow.client.experimental.tasks.getTask(survey))
    assert.equal(server.named('tasks/get').length, 0)
    await client.experimental.tasks.cancelTask(survey)
    assert.equal(server.named('tasks/cancel').length, 1)
  })

  scene(`whoever lists tasks sees their own, by the names that they know, at either node: ${profile} (RS-43, RS-27)`, async (cluster) => {
    const [{ client }, anna, other] = [await connect(cluster, profile), await connect(cluster, profile, { userId: 'usr_anna' }), await connect(cluster, profile, { clientId: 'other' })]
    const mine = [await begin(client, tool), await begin(client, tool.replace('survey', 'erase'))]
    const hers = await begin(anna.client, tool)
    await begin(other.client, tool)
    for (const _node of cluster.nodes) {
      assert.deepEqual(await listed(client), new Set(mine))
      assert.deepEqual(await listed(anna.client), new Set([hers]))
    }
    cluster.policy = policy([{ id: 'all', effect: 'allow', groups: ['engineering'] }, { id: 'no-erasing', effect: 'deny', tools: ['erase'] }])
    for (const _node of cluster.nodes) assert.deepEqual(await listed(client), new Set(mine.slice(0, 1)))
    assert.ok(server.named('tasks/list').length >= 6, 'the server was asked each time, and told of everybody’s')
    // What is stored tells nobody how the server calls a task.
    const rows = JSON.stringify(await cluster.db.query('SELECT * FROM task_names'))
    await client.experimental.tasks.getTask(mine[0] ?? '')
    assert.ok(!rows.includes(String(server.named('tasks/get')[0])))
  })
}

/** All pages of it: the server tells of ten at a time, whosever they are. */
async function listed(client: Client): Promise<Set<string>> {
  const seen = new Set<string>()
  let cursor: string | undefined
  do {
    const page = await client.experimental.tasks.listTasks(cursor)
    for (const { taskId } of page.tasks) seen.add(taskId)
    cursor = page.nextCursor
  } while (cursor !== undefined)
  return seen
}
