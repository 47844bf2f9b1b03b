// A profile that offers some of an upstream's tools: nothing else of that upstream is there, in lists and in calls, alone
// and among others; what it offers, policy may still deny.
import assert from 'node:assert/strict'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, resultOf, toolNames, type Answer, type Cluster, type Sent } from '../support/mcp-nodes.ts'

const PROFILES = {
  profiles: [
    { id: 'readers', name: 'Readers', upstreams: ['notes'], tools: { notes: ['read_*', 'delete_*'] } },
    { id: 'some', name: 'Some', upstreams: ['notes', 'weather'], tools: { notes: ['read_*'] } },
  ],
}

async function everyNode(cluster: Cluster, profile: string, make: (token: string) => Sent): Promise<readonly Answer[]> {
  const token = cluster.token({ profile })
  return Promise.all(cluster.nodes.map((node) => node.send(at(profile, make(token)))))
}

async function listed(cluster: Cluster, profile: string, kind: 'prompts' | 'resources', key: 'name' | 'uri'): Promise<readonly unknown[]> {
  const [one, two] = await everyNode(cluster, profile, (token) => modern(token, `${kind}/list`))
  assert.deepEqual(one?.body, two?.body)
  return ((resultOf(one?.body)[kind] ?? []) as Record<string, unknown>[]).map((item) => item[key])
}

eachMcpCluster('tools that it does not name are in no list and are not called, in any revision (H06)', async (cluster) => {
  for (const [profile, names] of [['readers', ['read_note']], ['some', ['notes__read_note', 'weather__read_note', 'weather__write_note']]] as const) {
    for (const { body } of await everyNode(cluster, profile, (token) => modern(token, 'tools/list'))) assert.deepEqual(toolNames(body), names)
    const token = cluster.token({ profile })
    const opened = await cluster.nodes[0].send(at(profile, initialize(token)))
    const session = String(opened.headers['mcp-session-id'] ?? '')
    const old = await cluster.nodes[1].send(at(profile, legacy(token, 'tools/list', {}, session === '' ? undefined : session)))
    assert.deepEqual(toolNames(old.events.at(-1) ?? old.body), names)
  }
  for (const [profile, hidden] of [['readers', 'write_note'], ['some', 'notes__write_note']] as const) {
    for (const { body } of await everyNode(cluster, profile, (token) => call(token, hidden))) assert.deepEqual([errorOf(body).code, errorOf(body).message], [-32602, `Unknown tool: ${hidden}`])
  }
  assert.equal(cluster.notes.calls().length + cluster.weather.calls().length, 0)
  const denied = await cluster.events('call.denied')
  assert.deepEqual([...new Set(denied.map(({ rule, tool, upstream }) => `${rule} ${tool} ${upstream}`))], ['profile write_note notes'])
  for (const [profile, shown] of [['readers', 'read_note'], ['some', 'notes__read_note'], ['some', 'weather__write_note']] as const) {
    for (const { status, text } of await everyNode(cluster, profile, (token) => call(token, shown))) assert.ok(status === 200 && /ran/.test(text), text)
  }
}, PROFILES)

eachMcpCluster('a rule denies what a profile offers', async (cluster) => {
  for (const { body } of await everyNode(cluster, 'readers', (token) => call(token, 'delete_note'))) assert.equal(errorOf(body).message, 'Unknown tool: delete_note')
  assert.deepEqual([...new Set((await cluster.events('call.denied')).map(({ rule }) => rule))], ['nobody-deletes'])
}, PROFILES)

eachMcpCluster('prompts and resources of an upstream are there only where a profile offers all of it', async (cluster) => {
  assert.deepEqual(await listed(cluster, 'readers', 'prompts', 'name'), [])
  assert.deepEqual(await listed(cluster, 'readers', 'resources', 'uri'), [])
  assert.deepEqual(await listed(cluster, 'some', 'prompts', 'name'), ['weather__a-prompt'])
  const [uri, ...others] = await listed(cluster, 'some', 'resources', 'uri')
  assert.ok(others.length === 0 && String(uri).includes('weather'))
  const asked = (): number => cluster.notes.asked.filter(({ message }) => ['prompts/list', 'resources/list', 'resources/read', 'prompts/get'].includes(String(message['method']))).length
  assert.equal(asked(), 0)
  for (const [profile, name] of [['readers', 'note://1'], ['some', String(uri).replace('weather', 'notes')]] as const) {
    for (const { body } of await everyNode(cluster, profile, (token) => modern(token, 'resources/read', { uri: name }))) assert.ok(errorOf(body).code !== undefined, JSON.stringify(body))
  }
  assert.equal(asked(), 0)
  for (const { text } of await everyNode(cluster, 'some', (token) => modern(token, 'resources/read', { uri }))) assert.match(text, /content/)
  // The twin: alone, the upstream has them.
  assert.deepEqual(await listed(cluster, 'notes', 'prompts', 'name'), ['a-prompt'])
  for (const { text } of await everyNode(cluster, 'notes', (token) => modern(token, 'resources/read', { uri: 'note://1' }))) assert.match(text, /content/)
}, PROFILES)
