// The tasks extension of 2026-07-28 in front of a server that gives any task to whoever knows its name, and tells everybody
// of all of them: through an upstream alone and through a profile, on two nodes.
import assert from 'node:assert/strict'
import { after } from 'node:test'
import { policy } from '../../src/policy/policy.ts'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { at, eachMcpCluster, errorOf, modern, resultOf, type Answer, type Cluster, type Sent } from '../support/mcp-nodes.ts'
import { modernTaskServer } from '../support/task-servers.ts'

const server = await modernTaskServer()
after(() => server.close())

const upstream: Upstream = { id: 'slow', name: 'Slow', url: server.url, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 5000, protocol: 'auto' }
const OPTIONS = { more: async () => [upstream], profiles: [{ id: 'team', name: 'Team', upstreams: ['notes', 'slow'] }] }
const KNOWS = { _meta: { 'io.modelcontextprotocol/clientCapabilities': { extensions: { 'io.modelcontextprotocol/tasks': {} } } } }
const NOT_FOUND = { code: -32602, message: 'Task not found' }

const begin = (token: string, name: string): Sent => modern(token, 'tools/call', { name, arguments: {}, ...KNOWS })
const on = (token: string, method: string, taskId: unknown, more: Readonly<Record<string, unknown>> = {}, header = String(taskId)): Sent => modern(token, method, { taskId, ...KNOWS, ...more }, { 'mcp-name': header })

function taskOf(answer: Answer): string {
  const { resultType, taskId } = resultOf(answer.body)
  assert.equal(resultType, 'task', answer.text)
  return String(taskId)
}

const senders = (cluster: Cluster, profile: string) => cluster.nodes.map((node) => (sent: Sent) => node.send(at(profile, sent))) as [(sent: Sent) => Promise<Answer>, (sent: Sent) => Promise<Answer>]

for (const [profile, tool] of [['slow', 'survey'], ['team', 'slow__survey']] as const) {
  eachMcpCluster(`a task is asked for, answered, told of and finished under one name, at either node: ${profile} (SEP-2663, RS-18)`, async (cluster) => {
    server.asked.splice(0)
    const token = cluster.token({ profile })
    const [first, second] = senders(cluster, profile)
    const extensions = (resultOf((await first(modern(token, 'server/discover'))).body)['capabilities'] as { extensions?: unknown }).extensions
    assert.deepEqual(extensions, { 'io.modelcontextprotocol/tasks': {} })
    const taskId = taskOf(await first(begin(token, tool)))
    const asked = resultOf((await second(on(token, 'tasks/get', taskId))).body)
    assert.deepEqual([asked['taskId'], asked['status'], Object.keys(asked['inputRequests'] as object)], [taskId, 'input_required', ['who']])
    assert.equal(resultOf((await first(on(token, 'tasks/update', taskId, { inputResponses: { who: { action: 'accept', content: { name: 'Ada' } } } }))).body)['resultType'], 'complete')
    const done = resultOf((await second(on(token, 'tasks/get', taskId))).body)
    assert.deepEqual([done['taskId'], done['status']], [taskId, 'completed'])
    assert.deepEqual(done['result'], { content: [{ type: 'text', text: 'Hello, Ada' }, { type: 'resource_link', uri: profile === 'team' ? 'ui://slow/report' : 'ui://report', name: 'report' }] })
    assert.equal(new Set([...server.named('tasks/get'), ...server.named('tasks/update')]).size, 1)
    assert.ok(!taskId.includes(String(server.named('tasks/get')[0])))
    // RS-18: the header names what the body names, in the client's words.
    assert.equal(errorOf((await first(on(token, 'tasks/get', taskId, {}, 'another'))).body).code, -32020)
    assert.equal((await first(modern(token, 'tasks/result', { taskId, ...KNOWS }))).status, 404, 'RS-20: 2025’s alone')
  }, OPTIONS)

  eachMcpCluster(`a task of somebody else, an expired one, and the server’s own name are like none: ${profile} (RS-43, RS-14, RS-15)`, async (cluster) => {
    server.asked.splice(0)
    const token = cluster.token({ profile })
    const [first, second] = senders(cluster, profile)
    const taskId = taskOf(await first(begin(token, tool)))
    await first(on(token, 'tasks/get', taskId))
    const own = String(server.named('tasks/get')[0])
    server.asked.splice(0)
    const others = [cluster.token({ profile, userId: 'usr_anna' }), cluster.token({ profile, clientId: 'other' })]
    const tries: [string, string][] = [...others.map((other): [string, string] => [other, taskId]), ...[token, ...others].map((each): [string, string] => [each, own]), [token, `${taskId}.x`], [token, 'made-up']]
    for (const [who, name] of tries) {
      for (const method of ['tasks/get', 'tasks/update', 'tasks/cancel']) {
        const answer = await second(on(who, method, name, { inputResponses: {} }))
        assert.deepEqual(errorOf(answer.body), NOT_FOUND, `${method} ${name}`)
      }
    }
    assert.equal(server.asked.length, 0)
    assert.equal((await cluster.events('call.denied')).length, tries.length * 3)
    assert.equal(resultOf((await second(on(token, 'tasks/get', taskId))).body)['status'], 'input_required', 'its owner still has it')
    cluster.now += 31 * 24 * 3600_000
    assert.deepEqual(errorOf((await second(on(cluster.token({ profile }), 'tasks/get', taskId))).body), NOT_FOUND)
  }, OPTIONS)

  eachMcpCluster(`a client that does not say it knows tasks gets none, and asks for none: ${profile} (RS-43, RS-21)`, async (cluster) => {
    const token = cluster.token({ profile })
    const [first] = senders(cluster, profile)
    const plain = resultOf((await first(modern(token, 'tools/call', { name: tool, arguments: {} }))).body)
    assert.deepEqual([plain['resultType'], (plain['content'] as { text: string }[])[0]?.text], ['complete', 'at once'])
    const taskId = taskOf(await first(begin(token, tool)))
    for (const name of [taskId, 'made-up']) {
      for (const method of ['tasks/get', 'tasks/update', 'tasks/cancel']) {
        const undeclared = await first(modern(token, method, { taskId: name, inputResponses: {} }, { 'mcp-name': name }))
        assert.equal(undeclared.status, 400)
        assert.deepEqual(errorOf(undeclared.body), { code: -32021, message: 'Missing required client capability', data: { requiredCapabilities: { extensions: { 'io.modelcontextprotocol/tasks': {} } } } })
      }
    }
    assert.equal((await first(on(token, 'tasks/get', taskId))).status, 200)
  }, OPTIONS)

  eachMcpCluster(`a client hears of its own tasks alone, by the names that it knows, and only while it may use the tool: ${profile} (RS-32, RS-43)`, async (cluster) => {
    const token = cluster.token({ profile })
    const [first, second] = senders(cluster, profile)
    const [mine, erasing] = [taskOf(await first(begin(token, tool))), taskOf(await first(begin(token, tool.replace('survey', 'erase'))))]
    const anna = cluster.token({ profile, userId: 'usr_anna' })
    const hers = taskOf(await first(begin(anna, tool)))
    cluster.policy = policy([{ id: 'all', effect: 'allow', groups: ['engineering'] }, { id: 'no-erasing', effect: 'deny', tools: ['erase'] }])
    const stream = await cluster.nodes[1].open(at(profile, modern(token, 'subscriptions/listen', { notifications: { taskIds: [mine, hers, erasing, 'made-up'] }, ...KNOWS })))
    const text = await stream.until((seen) => seen.split('notifications/tasks"').length > 3)
    stream.leave()
    const messages = [...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data ?? '') as { method: string; params: Record<string, unknown> })
    assert.deepEqual(messages[0]?.params['notifications'], { taskIds: [mine] })
    assert.deepEqual(new Set(messages.slice(1).map(({ params }) => params['taskId'])), new Set([mine]))
    assert.deepEqual(errorOf((await second(on(token, 'tasks/get', erasing))).body), NOT_FOUND)
    assert.equal(resultOf((await second(on(anna, 'tasks/get', hers))).body)['taskId'], hers)
  }, OPTIONS)
}
