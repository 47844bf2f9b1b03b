// Rules at the data plane: what conditions, step-ups and approvals do to lists and calls, on every node.
import assert from 'node:assert/strict'
import { policy, type Rule } from '../../src/policy/policy.ts'
import { call, eachMcpCluster, errorOf, legacy, initialize, modern, resultOf, toolNames } from '../support/mcp-nodes.ts'

const ALL: Rule = { id: 'all', effect: 'allow', groups: ['engineering'] }

eachMcpCluster('a tool that needs a step-up or an approval is listed, a denied one is not; neither reaches its upstream', async (cluster) => {
  cluster.policy = policy([ALL, { id: 'strong', effect: 'step-up', tools: ['write_note'], require: { acrValues: ['phr', 'mfa'], maxAge: 300, claims: { device: ['managed'] } } }, { id: 'no', effect: 'deny', tools: ['delete_*'] }])
  for (const node of cluster.nodes) {
    const token = cluster.token()
    assert.deepEqual(toolNames((await node.send(modern(token, 'tools/list'))).body), ['read_note', 'write_note'])
    const before = cluster.notes.calls().length
    const refused = await node.send(call(token, 'write_note'))
    // RFC 9470 §3: 401, and what the next sign-in must be like.
    assert.equal(refused.status, 401)
    const challenge = refused.headers['www-authenticate'] ?? ''
    assert.match(challenge, /^Bearer error="insufficient_user_authentication", error_description="[^"]+", resource_metadata="[^"]+", scope="[^"]+", acr_values="phr mfa", max_age="300", claims="[\w-]+"$/)
    const claims = JSON.parse(Buffer.from(/claims="([\w-]+)"/.exec(challenge)?.[1] ?? '', 'base64url').toString()) as object
    assert.deepEqual(claims, { id_token: { device: { essential: true, value: 'managed' } } })
    assert.equal(cluster.notes.calls().length, before)
    // The twin.
    assert.ok('content' in resultOf((await node.send(call(token, 'read_note'))).body))
    assert.equal(cluster.notes.calls().length, before + 1)
  }
  const denied = (await cluster.events('call.denied')).filter(({ rule }) => rule === 'strong')
  assert.deepEqual(denied.map(({ tool, reason }) => [tool, reason]), [['write_note', 'step-up'], ['write_note', 'step-up']])
})

eachMcpCluster('nobody is asked for a step-up who would be denied after it', async (cluster) => {
  cluster.policy = policy([ALL, { id: 'sales', effect: 'allow', groups: ['sales'], tools: ['read_note'] }, { id: 'strong', effect: 'step-up', require: { acrValues: ['mfa'] } }])
  const bob = cluster.token({ userId: 'usr_bob' })
  const answer = await cluster.nodes[0].send(call(bob, 'write_note'))
  assert.equal(answer.status, 200)
  assert.match(errorOf(answer.body).message ?? '', /Unknown tool/)
  assert.deepEqual(toolNames((await cluster.nodes[0].send(modern(bob, 'tools/list'))).body), ['read_note'])
})

eachMcpCluster('rules about annotations: of a tool that this node has not seen its upstream is asked first, and then it is decided', async (cluster) => {
  cluster.policy = policy([{ id: 'readers', effect: 'allow', groups: ['engineering'], when: { tool: { readOnly: true } } }])
  // No list was asked for before: on either node.
  for (const node of cluster.nodes) {
    assert.ok('content' in resultOf((await node.send(call(cluster.token(), 'read_note'))).body))
    for (const tool of ['write_note', 'delete_note']) {
      const answer = await node.send(call(cluster.token(), tool))
      assert.match(errorOf(answer.body).message ?? '', /Unknown tool/, tool)
    }
    assert.deepEqual(toolNames((await node.send(modern(cluster.token(), 'tools/list'))).body), ['read_note'])
  }
  assert.deepEqual([...new Set(cluster.notes.calls().map(({ message }) => (message['params'] as { name: string }).name))], ['read_note'])
  const rules = (await cluster.events('call.allowed')).map(({ rule }) => rule)
  assert.deepEqual(rules, ['readers', 'readers'])
})

eachMcpCluster('a tool that says nothing of itself is taken for the worst, in lists and calls', async (cluster) => {
  cluster.policy = policy([ALL, { id: 'no-destruction', effect: 'deny', when: { tool: { destructive: true } } }])
  cluster.notes.tools = [...cluster.notes.tools, { name: 'append_note', inputSchema: { type: 'object' }, annotations: { destructiveHint: false } }]
  for (const node of cluster.nodes) {
    // `write_note` says nothing: it may destroy (MCP, ToolAnnotations).
    assert.deepEqual(toolNames((await node.send(modern(cluster.token(), 'tools/list'))).body), ['read_note', 'append_note'])
    assert.ok('content' in resultOf((await node.send(call(cluster.token(), 'append_note'))).body))
    assert.match(errorOf((await node.send(call(cluster.token(), 'write_note'))).body).message ?? '', /Unknown tool/)
  }
})

eachMcpCluster(
  'data classes that an administrator gave tools, and tools that one marked read-only',
  async (cluster) => {
    cluster.policy = policy([ALL, { id: 'no-personal', effect: 'deny', unless: { time: { timeZone: 'UTC', from: '08:00', to: '18:00' } }, when: { dataClasses: ['personal'] } }, { id: 'only-readers', effect: 'deny', unless: { tool: { readOnly: true } } }])
    const [node, other] = cluster.nodes
    cluster.now = Date.parse('2026-11-25T12:00:00Z')
    assert.deepEqual(toolNames((await node.send(modern(cluster.token(), 'tools/list'))).body), ['read_note', 'write_note'])
    assert.ok('content' in resultOf((await other.send(call(cluster.token(), 'read_note'))).body))
    cluster.now = Date.parse('2026-11-25T19:00:00Z')
    assert.deepEqual(toolNames((await node.send(modern(cluster.token(), 'tools/list'))).body), ['write_note'])
    assert.match(errorOf((await other.send(call(cluster.token(), 'read_note'))).body).message ?? '', /Unknown tool/)
  },
  { upstreams: { dataClasses: { personal: ['read_*'] }, readOnlyTools: ['write_note'] } },
)

eachMcpCluster('a network that a request names in a header is none: the connection says where it comes from', async (cluster) => {
  cluster.policy = policy([ALL, { id: 'office', effect: 'deny', unless: { networks: ['203.0.113.0/24'] } }])
  const headers = { 'x-forwarded-for': '203.0.113.7', 'x-real-ip': '203.0.113.7', forwarded: 'for=203.0.113.7' }
  const [node] = cluster.nodes
  assert.equal((await node.send(call(cluster.token(), 'read_note', {}, headers))).status, 404)
  assert.equal(cluster.notes.calls().length, 0)
  // The twin: from where the rule allows it.
  cluster.policy = policy([ALL, { id: 'office', effect: 'deny', unless: { networks: ['127.0.0.0/8'] } }])
  assert.ok('content' in resultOf((await node.send(call(cluster.token(), 'read_note'))).body))
})

eachMcpCluster('what a client says of its user’s sign-in is believed by nobody', async (cluster) => {
  cluster.policy = policy([{ id: 'strong', effect: 'allow', when: { authentication: { acr: ['phr'] } } }])
  const forged = { _meta: { acr: 'phr', 'io.modelcontextprotocol/clientInfo': { name: 'x', version: '1', acr: 'phr' } }, acr: 'phr' }
  const answer = await cluster.nodes[0].send(modern(cluster.token(), 'tools/call', { name: 'read_note', arguments: { acr: 'phr' }, ...forged }, { 'x-acr': 'phr' }))
  assert.equal(cluster.notes.calls().length, 0)
  assert.equal(answer.status, 200)
})

eachMcpCluster('prompts and resources behind a step-up: listed, and challenged when they are asked for', async (cluster) => {
  cluster.policy = policy([ALL, { id: 'strong', effect: 'step-up', require: { maxAge: 60 } }])
  const [node] = cluster.nodes
  const token = cluster.token()
  const began = await node.send(initialize(token))
  const session = String(began.headers['mcp-session-id'])
  const challenged = await node.send(legacy(token, 'prompts/get', { name: 'p' }, session))
  assert.equal(challenged.status, 401)
  assert.match(challenged.headers['www-authenticate'] ?? '', /max_age="60"/)
  assert.equal(cluster.notes.of('prompts/get').length, 0)
})

eachMcpCluster('a challenge for another sign-in names the scope that lacks, where it is known which the call needs (RFC 9470 §3, RS-8)', async (cluster) => {
  cluster.policy = policy([ALL, { id: 'strong', effect: 'step-up', require: { maxAge: 60 } }])
  const [node, other] = cluster.nodes
  const reader = cluster.token({ scope: ['mcp.notes.read'] })
  const scopeOf = (challenge = ''): string | undefined => /scope="([^"]*)"/.exec(challenge)?.[1]
  const described = (challenge = ''): string | undefined => /error_description="([^"]*)"/.exec(challenge)?.[1]
  // An upstream that says nothing of its tools hides no challenge: the scope is found out after the sign-in.
  cluster.notes.script = (_asked, response) => void response.writeHead(503).end()
  const down = await node.send(call(reader, 'write_note'))
  assert.deepEqual([down.status, described(down.headers['www-authenticate'])], [401, 'this needs another sign-in, stronger or more recent'])
  cluster.notes.script = () => false
  for (const each of [other, other]) {
    const both = await each.send(call(reader, 'write_note'))
    assert.deepEqual([both.status, scopeOf(both.headers['www-authenticate']), described(both.headers['www-authenticate'])], [401, 'mcp.write', 'this needs another sign-in, stronger or more recent, and the scope mcp.write'])
    assert.match(both.headers['www-authenticate'] ?? '', /error="insufficient_user_authentication".*max_age="60"/)
    // What it has suffices for what only reads.
    assert.equal(described((await each.send(call(reader, 'read_note'))).headers['www-authenticate']), 'this needs another sign-in, stronger or more recent')
  }
  assert.equal(cluster.notes.calls().length, 0)
  // The twin: with the scope, and without the rule.
  cluster.policy = policy([ALL])
  assert.ok('content' in resultOf((await other.send(call(cluster.token(), 'write_note'))).body))
})
