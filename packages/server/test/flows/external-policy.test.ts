// A decision point of somebody else, wherever calls are decided: MCP servers alone and in profiles, items, HTTP APIs.
import assert from 'node:assert/strict'
import type { Question } from '../../src/policy/external.ts'
import { eachApiHouse } from '../support/api-house.ts'
import { at, call, eachMcpCluster, errorOf, legacy, initialize, modern, resultOf, toolNames } from '../support/mcp-nodes.ts'

const asked: Question[] = []
const onlyReading = async (question: Question): Promise<'allow' | 'deny'> => {
  asked.push(question)
  return question.tool?.startsWith('read_') === true || question.tool?.startsWith('GET ') === true ? 'allow' : 'deny'
}

eachMcpCluster(
  'at an MCP server: what it denies is told, recorded, and never forwarded; lists do not ask; what is known of the tool is said',
  async (cluster) => {
    for (const node of cluster.nodes) {
      asked.length = 0
      const token = cluster.token()
      assert.deepEqual(toolNames((await node.send(modern(token, 'tools/list'))).body), ['read_note', 'write_note'])
      assert.equal(asked.length, 0)
      assert.ok('content' in resultOf((await node.send(call(token, 'read_note'))).body))
      assert.deepEqual(asked.map(({ subject, tool, toolFacts }) => [subject, tool, toolFacts]), [['usr_alice', 'read_note', { annotations: { readOnly: true, destructive: false, idempotent: false, openWorld: true }, dataClasses: [] }]])
      const before = cluster.notes.calls().length
      const denied = await node.send(call(token, 'write_note'))
      assert.match(errorOf(denied.body).message ?? '', /does not allow this/)
      assert.equal(cluster.notes.calls().length, before)
      const began = await node.send(initialize(token))
      const prompt = await node.send(legacy(token, 'prompts/get', { name: 'p' }, String(began.headers['mcp-session-id'])))
      assert.match(errorOf(prompt.body).message ?? '', /does not allow this/)
      assert.equal(cluster.notes.of('prompts/get').length, 0)
      // Our own denial comes first, and asks nobody.
      const count = asked.length
      assert.match(errorOf((await node.send(call(token, 'delete_note'))).body).message ?? '', /Unknown tool/)
      assert.equal(asked.length, count)
    }
    const denials = (await cluster.events('call.denied')).filter(({ rule }) => rule === 'external').map(({ tool, detail, reason }) => [tool ?? detail?.['method'], reason])
    assert.deepEqual(denials.slice(0, 2), [['write_note', 'the external decision point denies it'], ['prompts/get', 'the external decision point denies it']])
  },
  { external: onlyReading },
)

eachMcpCluster(
  'in a profile of several: the tool is asked about by the name that its upstream knows',
  async (cluster) => {
    asked.length = 0
    const token = cluster.token({ profile: 'both' })
    const [node] = cluster.nodes
    assert.ok('content' in resultOf((await node.send(at('both', call(token, 'notes__read_note')))).body))
    assert.deepEqual(asked.map(({ upstream, tool }) => [upstream, tool]), [['notes', 'read_note']])
    assert.match(errorOf((await node.send(at('both', call(token, 'weather__write_note')))).body).message ?? '', /does not allow this/)
    assert.equal(cluster.weather.calls().length, 0)
  },
  { external: onlyReading, profiles: [{ id: 'both', name: 'Both', upstreams: ['notes', 'weather'] }] },
)

eachApiHouse(
  'at an HTTP API: method and path are asked about, and what it denies does not reach the API',
  async ({ ask, api, events }) => {
    asked.length = 0
    assert.equal((await ask('/http/api/repos/lanyard?page=2')).status, 200)
    assert.deepEqual(asked.map(({ upstream, tool }) => [upstream, tool]), [['api', 'GET /repos/lanyard']])
    const before = api.requests.length
    const denied = await ask('/http/api/repos/lanyard', { method: 'PUT', body: '{}', headers: { 'content-type': 'application/json', 'content-length': '2' } })
    assert.equal(denied.status, 403)
    assert.equal(api.requests.length, before)
    assert.equal((await events('call.denied')).at(-1)?.rule, 'external')
  },
  { external: onlyReading },
)
