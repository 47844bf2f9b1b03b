// A profile of several upstreams: each thing of each has one name, and what is said about it reaches that upstream alone,
// in its own words.
import assert from 'node:assert/strict'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, toolNames, type Cluster, type Sent } from '../support/mcp-nodes.ts'
import { event, reply, result, TOOLS } from '../support/mcp-upstream.ts'

const TEAM = { profiles: [{ id: 'team', name: 'Team', upstreams: ['weather', 'notes'] }] }

const inTeam = (cluster: Cluster) => {
  const token = cluster.token({ profile: 'team' })
  return { token, send: (sent: Sent, node: 0 | 1 = 0) => cluster.nodes[node].send(at('team', sent)) }
}

eachMcpCluster('tools of the same name are two tools, in the profile’s order, and each is called at its own upstream (H08, P-14, RS-28)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const listed = await send(modern(token, 'tools/list'))
  assert.deepEqual(toolNames(listed.body), ['weather__read_note', 'weather__write_note', 'notes__read_note', 'notes__write_note'])
  assert.equal(resultOf(listed.body)['cacheScope'], 'private', 'RS-26')
  assert.equal(resultOf(listed.body)['ttlMs'], 60_000)

  const answer = await send(call(token, 'notes__read_note', { id: 7 }))
  assert.match(answer.text, /\{\\"ran\\":\\"read_note\\",\\"with\\":\{\\"id\\":7\}\}/)
  assert.equal(cluster.weather.calls().length, 0)
  const [asked] = cluster.notes.calls()
  // RS-18: name and header together.
  assert.equal(asked?.headers['mcp-name'], 'read_note')
  assert.equal(asked?.headers.authorization, undefined)
  assert.equal((asked?.message['params'] as { name?: string } | undefined)?.name, 'read_note')
  await send(call(token, 'weather__write_note'))
  assert.equal(cluster.weather.calls()[0]?.headers['x-api-key'], 'the-weather-key')

  const events = await cluster.events('call.allowed')
  assert.deepEqual(events.map(({ upstream, tool }) => [upstream, tool]), [['notes', 'read_note'], ['weather', 'write_note']])
  assert.ok(events.every(({ resource }) => resource === 'https://lanyard.example/mcp/team'))
  assert.deepEqual((await cluster.events('list.filtered')).map(({ upstream }) => upstream ?? '').sort((a, b) => a.localeCompare(b)), ['notes', 'weather'])
}, TEAM)

eachMcpCluster('a tool that is hidden, of no upstream, or does not exist answers alike, and reaches nobody (H06)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const bob = cluster.token({ profile: 'team', userId: 'usr_bob' })
  assert.deepEqual(toolNames((await send(modern(bob, 'tools/list'))).body), ['weather__read_note', 'notes__read_note'])
  for (const [who, name] of [[bob, 'notes__write_note'], [token, 'notes__delete_note'], [token, 'notes__missing'], [token, 'other__read_note'], [token, 'tickets__read_note'], [token, 'read_note'], [token, 'notes_read_note'], [token, '__read_note'], [token, 'NOTES__read_note']] as const) {
    const answer = await send(call(who, name))
    assert.deepEqual(answer.body, { jsonrpc: '2.0', id: 1, error: { code: -32602, message: `Unknown tool: ${name}` } }, name)
  }
  assert.equal(cluster.notes.calls().length + cluster.weather.calls().length + cluster.tickets.asked.length, 0)
  assert.equal((await cluster.events('call.denied')).length, 9)
  // What may be called, is.
  assert.match((await send(call(bob, 'notes__read_note'))).text, /ran/)
}, TEAM)

eachMcpCluster('a tool whose name has separators in it is called by exactly that name (H08)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const odd = ['_', '__', 'a__b', 'weather__read_note', '名前', '=?base64?eA==?=']
  cluster.notes.tools = odd.map((name) => ({ name, inputSchema: { type: 'object' } }))
  const names = toolNames((await send(modern(token, 'tools/list'))).body).filter((name) => String(name).startsWith('notes__'))
  assert.deepEqual(names, odd.filter((name) => name !== '').map((name) => `notes__${name}`))
  const header = (name: string) => `=?base64?${Buffer.from(name).toString('base64')}?=`
  for (const name of odd) {
    const outer = `notes__${name}`
    const answer = await send(call(token, outer, {}, { 'mcp-name': header(outer) }))
    assert.equal(answer.status, 200, answer.text)
    assert.equal(JSON.parse(String((resultOf(answer.body)['content'] as { text: string }[])[0]?.text)).ran, name)
    const sent = String(cluster.notes.calls().at(-1)?.headers['mcp-name'])
    const decoded = /^=\?base64\?(.*)\?=$/.exec(sent)
    assert.equal(decoded === null ? sent : Buffer.from(decoded[1] ?? '', 'base64').toString(), name, 'what the upstream reads in the header')
  }
  // RS-18: the header that the client sends must be the name that it uses.
  assert.equal(errorOf((await send(call(token, 'notes___', {}, { 'mcp-name': '_' }))).body).code, -32020)
}, TEAM)

eachMcpCluster('prompts, resources, templates and completions go to their upstream, links come back readable', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.notes.script = (asked, response) => {
    const params = asked.message['params'] as Record<string, unknown> | undefined
    switch (asked.message['method']) {
      case 'resources/templates/list':
        return reply(response, result(asked, { resourceTemplates: [{ uriTemplate: 'note://{id}{?v}', name: 'note' }] }))
      case 'prompts/get':
        return reply(response, result(asked, { messages: [{ role: 'user', content: { type: 'resource', resource: { uri: 'note://1', text: String(params?.['name']) } } }] }))
      case 'completion/complete':
        return reply(response, result(asked, { completion: { values: [JSON.stringify(params?.['ref'])] } }))
      case 'tools/call':
        return reply(response, result(asked, { content: [{ type: 'resource_link', uri: 'note://1', name: 'one' }, { type: 'resource', resource: { uri: 'note://2', text: 'two' } }, { type: 'text', text: 'note://3' }], structuredContent: { uri: 'note://4' } }))
      default:
        return false
    }
  }
  const of = async (method: string, list: string) => resultOf((await send(modern(token, method))).body)[list]
  assert.deepEqual(await of('prompts/list', 'prompts'), [{ name: 'weather__a-prompt' }, { name: 'notes__a-prompt' }])
  assert.deepEqual(await of('resources/list', 'resources'), [{ uri: 'lanyard:weather/note://1', name: 'one' }, { uri: 'lanyard:notes/note://1', name: 'one' }])
  assert.deepEqual(await of('resources/templates/list', 'resourceTemplates'), [{ uriTemplate: 'lanyard:notes/note://{id}{?v}', name: 'note' }], 'an upstream that has no such method has none')

  const read = await send(modern(token, 'resources/read', { uri: 'lanyard:notes/note://1' }))
  assert.deepEqual(resultOf(read.body)['contents'], [{ uri: 'lanyard:notes/note://1', text: 'content' }])
  assert.equal(cluster.notes.of('resources/read')[0]?.headers['mcp-name'], 'note://1')
  assert.equal(cluster.weather.of('resources/read').length, 0)
  for (const uri of ['note://1', 'lanyard:tickets/note://1', 'lanyard:notes', 'lanyard://notes/note://1']) {
    assert.deepEqual(errorOf((await send(modern(token, 'resources/read', { uri }))).body), { code: -32602, message: `Resource not found: ${uri}`, data: { uri } })
  }

  const got = await send(modern(token, 'prompts/get', { name: 'notes__a-prompt' }))
  assert.deepEqual(resultOf(got.body)['messages'], [{ role: 'user', content: { type: 'resource', resource: { uri: 'lanyard:notes/note://1', text: 'a-prompt' } } }])
  const refs = [[{ type: 'ref/prompt', name: 'notes__a-prompt' }, { type: 'ref/prompt', name: 'a-prompt' }], [{ type: 'ref/resource', uri: 'lanyard:notes/note://{id}{?v}' }, { type: 'ref/resource', uri: 'note://{id}{?v}' }]]
  for (const [ref, inner] of refs) {
    const completed = await send(modern(token, 'completion/complete', { ref, argument: { name: 'id', value: '1' } }))
    assert.deepEqual(resultOf(completed.body)['completion'], { values: [JSON.stringify(inner)] })
  }
  assert.equal(errorOf((await send(modern(token, 'completion/complete', { ref: { type: 'ref/prompt', name: 'a-prompt' }, argument: {} }))).body).code, -32602)
  assert.deepEqual(resultOf((await send(call(token, 'notes__read_note'))).body)['content'], [
    { type: 'resource_link', uri: 'lanyard:notes/note://1', name: 'one' },
    { type: 'resource', resource: { uri: 'lanyard:notes/note://2', text: 'two' } },
    { type: 'text', text: 'note://3' },
  ])
  // Whoever may use some of the tools alone, sees nothing else (as for an upstream alone).
  const bob = cluster.token({ profile: 'team', userId: 'usr_bob' })
  assert.deepEqual(resultOf((await send(modern(bob, 'resources/list'))).body)['resources'], [])
  assert.equal(errorOf((await send(modern(bob, 'resources/read', { uri: 'lanyard:notes/note://1' }))).body).message, 'Resource not found: lanyard:notes/note://1')
}, TEAM)

eachMcpCluster('an answer in events is passed on in the client’s words, as it comes', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.notes.script = (asked, response) => {
    if (asked.message['method'] !== 'tools/call') return false
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(event({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'mine', progress: 1 } }, 'id: e1\n'))
    response.end(event(result(asked, { content: [{ type: 'resource_link', uri: 'note://1' }] })))
    return undefined
  }
  const answer = await send(call(token, 'notes__read_note'))
  assert.deepEqual(answer.events, [
    { jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: 'mine', progress: 1 } },
    { jsonrpc: '2.0', id: 1, result: { content: [{ type: 'resource_link', uri: 'lanyard:notes/note://1' }] } },
  ])
}, TEAM)

eachMcpCluster('requestState comes back to its upstream for the same request, and is sealed for everybody else (RS-33, H12)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const states: unknown[] = []
  cluster.notes.script = (asked, response) => {
    if (asked.message['method'] !== 'tools/call') return false
    const { requestState, inputResponses } = asked.message['params'] as Record<string, unknown>
    states.push(requestState)
    if (inputResponses !== undefined) return reply(response, result(asked, { resultType: 'complete', content: [{ type: 'text', text: 'done' }] }))
    return reply(response, result(asked, { resultType: 'input_required', inputRequests: { q: { method: 'elicitation/create', params: {} } }, requestState: 'the-own-state' }))
  }
  const asked = resultOf((await send(call(token, 'notes__read_note', { a: 1 }))).body)
  const requestState = String(asked['requestState'])
  assert.equal(asked['resultType'], 'input_required')
  assert.doesNotMatch(requestState, /the-own-state/)
  const again = (who: string, state: string, name = 'notes__read_note', args = { a: 1 }) => send(modern(who, 'tools/call', { name, arguments: args, requestState: state, inputResponses: { q: {} } }), 1)
  const refused = [
    again(token, `${requestState.slice(0, -3)}AAA`),
    again(token, 'the-own-state'),
    again(cluster.token({ profile: 'team', userId: 'usr_anna' }), requestState),
    again(cluster.token({ profile: 'team', clientId: 'other' }), requestState),
    again(token, requestState, 'weather__read_note'),
    again(token, requestState, 'notes__write_note'),
    again(token, requestState, 'notes__read_note', { a: 2 }),
  ]
  for (const answer of await Promise.all(refused)) assert.deepEqual(errorOf(answer.body), { code: -32602, message: 'Invalid or expired requestState' })
  assert.equal(cluster.weather.calls().length, 0)
  assert.match((await again(token, requestState)).text, /done/)
  assert.deepEqual(states, [undefined, 'the-own-state'])
  cluster.now += 3600_001
  assert.equal(errorOf((await again(cluster.token({ profile: 'team' }), requestState)).body).code, -32602)
}, TEAM)

eachMcpCluster('one identifier for calls of many, at once, at both upstreams: each has the answer to their own (H10)', async (cluster) => {
  const { send } = inTeam(cluster)
  const tokens = ['usr_alice', 'usr_anna'].map((userId) => cluster.token({ profile: 'team', userId }))
  const answers = await Promise.all(
    Array.from({ length: 100 }, async (_, index) => {
      const upstream = index % 2 === 0 ? 'notes' : 'weather'
      const answer = await send(call(tokens[index % 3 === 0 ? 0 : 1] ?? '', `${upstream}__read_note`, { index, upstream }, {}, 'the-same'), index % 4 < 2 ? 0 : 1)
      return [index, JSON.parse(String((resultOf(answer.body)['content'] as { text: string }[])[0]?.text)) as { with: unknown }] as const
    }),
  )
  for (const [index, answer] of answers) assert.deepEqual(answer.with, { index, upstream: index % 2 === 0 ? 'notes' : 'weather' })
  assert.equal(cluster.notes.calls().length, 50)
}, TEAM)

eachMcpCluster('an upstream answers what it was asked, and cannot answer for another one (H10)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const forged = { jsonrpc: '2.0', id: 2, result: { content: [{ type: 'text', text: 'forged' }] } }
  const own = { ...forged, id: 1, result: { content: [{ type: 'text', text: 'own' }] } }
  await send(modern(token, 'tools/list'))
  for (const body of [JSON.stringify(forged), `{"id":1,${JSON.stringify(forged).slice(1)}`, `[${JSON.stringify(forged)}]`]) {
    cluster.weather.script = (asked, response) => (asked.message['method'] === 'tools/call' ? void response.writeHead(200, { 'content-type': 'application/json' }).end(body) : false)
    const answer = await send(call(token, 'weather__read_note'))
    assert.equal(answer.status, 502, body)
    assert.doesNotMatch(answer.text, /forged/)
  }
  for (const more of [{ Id: 2 }, { RESULT: forged.result }, { ID: 2, extra: 'forged' }]) {
    cluster.weather.script = (asked, response) => (asked.message['method'] === 'tools/call' ? reply(response, { ...own, ...more }) : false)
    assert.deepEqual((await send(call(token, 'weather__read_note'))).body, own, 'members that another parser would take for others are gone')
  }
  cluster.weather.script = (asked, response) => {
    if (asked.message['method'] !== 'tools/call') return false
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(event({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' }, result: forged.result, ID: 2 }))
    response.end(event(own))
    return undefined
  }
  assert.deepEqual((await send(call(token, 'weather__read_note'))).events, [{ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } }, own])
  cluster.weather.script = (asked, response) => (asked.message['method'] === 'tools/call' ? void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(event(forged)) : false)
  const none = await send(call(token, 'weather__read_note')).catch((error: unknown) => String(error))
  assert.doesNotMatch(JSON.stringify(none), /forged/)
}, TEAM)

eachMcpCluster('MCP Apps: a host finds the page of a tool under the address that it is told, in either generation', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const page = { contents: [{ uri: 'ui://notes/view.html', mimeType: 'text/html;profile=mcp-app', text: '<p>' }] }
  for (const upstream of [cluster.notes, cluster.weather]) {
    upstream.script = (asked, response) => {
      const { method, params } = asked.message as { method?: string; params?: { uri?: string } }
      if (method === 'tools/list') return reply(response, result(asked, { resultType: 'complete', tools: [{ ...TOOLS[0], _meta: { ui: { resourceUri: 'ui://notes/view.html' }, 'ui/resourceUri': 'ui://notes/view.html' } }] }))
      return method === 'resources/read' && params?.uri === 'ui://notes/view.html' ? reply(response, result(asked, { resultType: 'complete', ...page })) : false
    }
  }
  const session = String((await send(initialize(token))).headers['mcp-session-id'])
  const generations = [(method: string, params = {}) => modern(token, method, params), (method: string, params = {}) => legacy(token, method, params, session)]
  for (const ask of generations) {
    const tools = resultOf((await send(ask('tools/list'))).body)['tools'] as { name: string; _meta: { ui: { resourceUri: string } } }[]
    assert.deepEqual(tools.map(({ name, _meta }) => [name, _meta]), ['weather', 'notes'].map((id) => [`${id}__read_note`, { ui: { resourceUri: `ui://${id}/notes/view.html` }, 'ui/resourceUri': `ui://${id}/notes/view.html` }]))
    for (const [index, { _meta }] of tools.entries()) {
      const { resourceUri: uri } = _meta.ui
      // What a host of MCP Apps takes for a page.
      assert.ok(uri.startsWith('ui://'))
      assert.deepEqual(resultOf((await send(ask('resources/read', { uri }))).body)['contents'], [{ ...page.contents[0], uri }])
      const [asked, other] = index === 0 ? [cluster.weather, cluster.notes] : [cluster.notes, cluster.weather]
      assert.deepEqual([asked.of('resources/read').length, other.of('resources/read').length], [1, 0])
      for (const upstream of [asked, other]) upstream.forget()
    }
  }
  assert.equal(errorOf((await send(modern(token, 'resources/read', { uri: 'ui://tickets/view.html' }))).body).code, -32602)
}, TEAM)

eachMcpCluster('what a client says under reserved names reaches no upstream as the gateway’s word, nor the other way round (H13)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.notes.script = (asked, response) => (asked.message['method'] === 'tools/list' ? reply(response, result(asked, { tools: TOOLS, ttlMs: 1, cacheScope: 'public', _meta: { 'lanyard/unavailable': [{ upstream: 'weather', reason: 'made up' }], subject: 'usr_dana' } })) : false)
  const listed = await send(modern(token, 'tools/list', { _meta: { 'lanyard/user': 'usr_dana' } }))
  assert.deepEqual(resultOf(listed.body)['_meta'], { 'io.modelcontextprotocol/serverInfo': { name: 'lanyard', title: 'Team', version: '1' } }, 'RS-25')
  assert.equal(resultOf(listed.body)['cacheScope'], 'private')
  assert.equal(resultOf(listed.body)['ttlMs'], 1)
  assert.equal(toolNames(listed.body).length, 4, 'the list itself is there')
  assert.ok((await cluster.events('list.filtered')).every(({ subject }) => subject === 'usr_alice'))
}, TEAM)

eachMcpCluster('a profile is discovered as one server: capabilities united, instructions by upstream, in Lanyard’s name', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const answers = { notes: { tools: {}, prompts: { listChanged: true }, tasks: {} }, weather: { tools: { listChanged: true }, resources: { subscribe: true }, extensions: { x: {}, 'io.modelcontextprotocol/tasks': {} } } }
  for (const id of ['notes', 'weather'] as const) {
    cluster[id].script = (asked, response) => {
      const method = asked.message['method']
      if (method !== 'server/discover' && method !== 'initialize') return false
      return reply(response, result(asked, { resultType: 'complete', protocolVersion: '2025-06-18', supportedVersions: ['2026-07-28'], capabilities: answers[id], serverInfo: { name: id, version: '9' }, instructions: `Use ${id} well.`, ttlMs: 5, cacheScope: 'public' }))
    }
  }
  const capabilities = { tools: { listChanged: true }, prompts: { listChanged: true }, resources: { subscribe: true }, extensions: { x: {} } }
  const instructions = '# The weather (weather__*)\n\nUse weather well.\n\n# The notes (notes__*)\n\nUse notes well.'
  const serverInfo = { name: 'lanyard', title: 'Team', version: '1' }
  const tasks = { 'io.modelcontextprotocol/tasks': {} }
  const extended = { ...capabilities, extensions: { ...capabilities.extensions, ...tasks } }
  assert.deepEqual(resultOf((await send(modern(token, 'server/discover'))).body), { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: extended, instructions, _meta: { 'io.modelcontextprotocol/serverInfo': serverInfo }, ttlMs: 5, cacheScope: 'private' })
  assert.deepEqual(resultOf((await send(initialize(token))).body), { protocolVersion: '2025-11-25', capabilities, instructions, serverInfo })
  const bob = cluster.token({ profile: 'team', userId: 'usr_bob' })
  assert.deepEqual(resultOf((await send(modern(bob, 'server/discover'))).body)['capabilities'], { tools: { listChanged: true }, extensions: extended.extensions })
  const dana = await send(modern(cluster.token({ profile: 'team', userId: 'usr_dana' }), 'server/discover'))
  assert.equal(dana.status, 404)
  assert.match(String(errorOf(dana.body).message), /^No rule/)
}, TEAM)

eachMcpCluster('a 2025 session of a profile has one identifier, for sessions at all upstreams, on any node (RS-15, RS-41, X32)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const opened = await send(initialize(token))
  const session = String(opened.headers['mcp-session-id'])
  assert.match(session, /^[\x21-\x7e]+$/)
  for (const upstream of [cluster.notes, cluster.weather]) assert.ok(![...upstream.sessions].some((own) => session.includes(own)))
  assert.equal((await send(notify(token, 'notifications/initialized', {}, session), 1)).status, 202)
  for (const upstream of [cluster.notes, cluster.weather]) assert.equal(upstream.of('notifications/initialized').length, 1)
  const [, restarted] = await cluster.restart()
  for (const name of ['notes', 'weather'] as const) {
    const answer = await restarted.send(at('team', legacy(token, 'tools/call', { name: `${name}__read_note`, arguments: {} }, session)))
    assert.match(answer.text, /ran/)
    assert.equal(cluster[name].sessions.size, 1)
    assert.equal(cluster[name].calls()[0]?.headers['mcp-session-id'], [...cluster[name].sessions][0])
  }
  const tools = await restarted.send(at('team', legacy(token, 'tools/list', {}, session)))
  assert.equal(toolNames(tools.body).length, 4)
  const ping = await restarted.send(at('team', legacy(token, 'ping', {}, session)))
  assert.deepEqual(ping.body, { jsonrpc: '2.0', id: 1, result: {} })
  assert.equal(cluster.notes.of('ping').length, 0, 'answered here')
  for (const other of [cluster.token({ profile: 'team', userId: 'usr_anna' }), cluster.token({ profile: 'team', clientId: 'other' })]) {
    assert.equal((await restarted.send(at('team', legacy(other, 'tools/list', {}, session)))).status, 404)
    assert.equal((await restarted.send(at('team', { ...legacy(other, '', {}, session), method: 'DELETE', body: '' }))).status, 404)
  }
  assert.equal((await restarted.send(at('notes', legacy(cluster.token(), 'tools/list', {}, session)))).status, 404, 'another profile')
  assert.equal(cluster.notes.sessions.size, 1)
  assert.equal((await restarted.send(at('team', { ...legacy(token, '', {}, session), method: 'DELETE', body: '' }))).status, 200)
  assert.equal(cluster.notes.sessions.size + cluster.weather.sessions.size, 0)
  assert.equal((await cluster.events('session.closed')).length, 1)
}, TEAM)
