// An upstream of a profile that is dead, slow, or lacks the user's account takes nothing but itself away.
import assert from 'node:assert/strict'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, toolNames, type Cluster, type Sent } from '../support/mcp-nodes.ts'
import { mcpUpstream, reply, result, type McpUpstream } from '../support/mcp-upstream.ts'

const TEAM = { profiles: [{ id: 'team', name: 'Team', upstreams: ['tickets', 'notes', 'weather'] }] }

const inTeam = (cluster: Cluster) => {
  const token = cluster.token({ profile: 'team' })
  return { token, send: (sent: Sent, node: 0 | 1 = 0) => cluster.nodes[node].send(at('team', sent)) }
}

const NOTES = ['notes__read_note', 'notes__write_note']
const missing = (message: Record<string, unknown>) => (resultOf(message)['_meta'] as Record<string, unknown> | undefined)?.['lanyard/unavailable']

eachMcpCluster('a dead upstream is named in a list and fails nothing but its own calls', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.accounts.set('usr_alice', 'alice-account')
  for (const upstream of [cluster.tickets, cluster.weather]) upstream.script = (_asked, response) => void response.destroy()
  const listed = await send(modern(token, 'tools/list'))
  assert.equal(listed.status, 200)
  assert.deepEqual(toolNames(listed.body), NOTES)
  assert.deepEqual(missing(listed.body), [{ upstream: 'tickets', reason: 'The tickets cannot be reached' }, { upstream: 'weather', reason: 'The weather cannot be reached' }])
  assert.equal(resultOf(listed.body)['ttlMs'], 0, 'who is missing may be back at once')
  assert.equal((missing((await send(modern(token, 'resources/list'))).body) as unknown[]).length, 2)
  const discovered = await send(modern(token, 'server/discover'))
  assert.equal((missing(discovered.body) as unknown[]).length, 2)
  assert.match((await send(call(token, 'notes__read_note'))).text, /ran/)
  const failed = await send(call(token, 'weather__read_note'))
  assert.equal(failed.status, 502)
  assert.match(String(errorOf(failed.body).message), /^The weather /)
  assert.equal((await cluster.events('call.finished')).filter(({ upstream }) => upstream === 'weather').length, 4, 'tools, resources, discovery, and the call')

  // With nobody left there is no list, rather than an empty one.
  cluster.notes.script = cluster.weather.script
  assert.deepEqual(toolNames((await send(modern(token, 'tools/list'))).body), NOTES, 'what its upstream said may be kept is still at hand')
  cluster.now += 60_000
  assert.equal((await send(modern(token, 'tools/list'))).status, 502)
  for (const upstream of [cluster.notes, cluster.tickets, cluster.weather]) upstream.script = () => false
  cluster.now += 60_000
  const again = await cluster.nodes[1].send(at('team', modern(token, 'tools/list')))
  assert.equal(toolNames(again.body).length, 6)
  assert.equal(missing(again.body), undefined)
}, TEAM)

eachMcpCluster('a slow upstream does not hold up a list, and is stopped', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.accounts.set('usr_alice', 'alice-account')
  cluster.weather.script = () => undefined
  // One that begins its answer and does not end it.
  cluster.tickets.script = (_asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{')
  const started = performance.now()
  const listed = await send(modern(token, 'tools/list'))
  assert.ok(performance.now() - started < 4500, 'less than the deadline of a call')
  assert.deepEqual(toolNames(listed.body), NOTES)
  assert.deepEqual(missing(listed.body), [{ upstream: 'tickets', reason: 'The tickets took too long to answer' }, { upstream: 'weather', reason: 'The weather took too long to answer' }])
  while (!cluster.weather.asked.every(({ left }) => left) || !cluster.tickets.asked.every(({ left }) => left)) await new Promise((resolve) => setTimeout(resolve, 5))
  const reasons = (await cluster.events('call.finished')).map(({ upstream, reason }) => `${upstream} ${reason}`)
  assert.deepEqual(reasons.sort((a, b) => a.localeCompare(b)), ['tickets upstream: slow answer', 'weather upstream: slow answer'])
}, TEAM)

eachMcpCluster('a client that goes away takes all of its list along (RS-29)', async (cluster) => {
  const { token } = inTeam(cluster)
  cluster.accounts.set('usr_alice', 'alice-account')
  for (const upstream of [cluster.notes, cluster.tickets, cluster.weather]) upstream.script = () => undefined
  const leave = cluster.nodes[0].begin(at('team', modern(token, 'tools/list')))
  const all = [cluster.notes, cluster.tickets, cluster.weather]
  while (!all.every(({ asked }) => asked.length === 1)) await new Promise((resolve) => setTimeout(resolve, 5))
  leave()
  while (!all.every(({ asked }) => asked[0]?.left === true)) await new Promise((resolve) => setTimeout(resolve, 5))
  // Nothing is wrong with the upstreams.
  assert.deepEqual(await cluster.events('call.finished'), [])
}, TEAM)

eachMcpCluster('what an upstream answers that is no list is its own failure, not a list (H07)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.accounts.set('usr_alice', 'alice-account')
  const bodies = ['[]', '{}', '{"jsonrpc":"2.0","id":1,"result":7}', 'x', '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"delete_note"}]}}', '{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"no"}}']
  for (const body of bodies) {
    cluster.weather.script = (_asked, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end(body)
    const listed = await send(modern(token, 'tools/list'))
    assert.deepEqual(toolNames(listed.body), ['tickets__read_note', 'tickets__write_note', ...NOTES], body)
    assert.equal((missing(listed.body) as unknown[]).length, 1, body)
    cluster.now += 60_000
  }
}, TEAM)

eachMcpCluster('an account that is missing is one tool of the profile, which leads to where it is connected (J3)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const listed = await send(modern(token, 'tools/list'))
  assert.deepEqual(toolNames(listed.body), ['tickets__connect_account', ...NOTES, 'weather__read_note', 'weather__write_note'])
  assert.equal(missing(listed.body), undefined)
  assert.match(String(resultOf((await send(modern(token, 'server/discover'))).body)['instructions']), /The user's The tickets account is not connected yet: call tickets__connect_account first\./)
  assert.deepEqual(resultOf((await send(modern(token, 'prompts/list'))).body)['prompts'], [{ name: 'notes__a-prompt' }, { name: 'weather__a-prompt' }])

  const withUrl = { _meta: { 'io.modelcontextprotocol/clientCapabilities': { elicitation: { url: {} } } } }
  const asked = resultOf((await send(modern(token, 'tools/call', { name: 'tickets__connect_account', arguments: {}, ...withUrl }))).body)
  assert.equal(asked['resultType'], 'input_required')
  assert.match(JSON.stringify(asked['inputRequests']), /https:\/\/lanyard\.example\/connections\/tickets/)
  assert.equal(cluster.tickets.asked.length, 0)
  cluster.accounts.set('usr_alice', 'alice-account')
  const retry = { requestState: asked['requestState'], inputResponses: { lanyard_connect: { action: 'accept' } } }
  assert.match((await send(modern(token, 'tools/call', { name: 'tickets__read_note', arguments: {}, ...withUrl, ...retry }), 1)).text, /ran/)
  assert.equal((cluster.tickets.calls()[0]?.message['params'] as Record<string, unknown> | undefined)?.['requestState'], undefined)
  assert.match((await send(modern(token, 'tools/call', { name: 'tickets__connect_account', arguments: {}, ...withUrl, ...retry }))).text, /is connected/)
  assert.deepEqual(toolNames((await send(modern(token, 'tools/list'))).body).slice(0, 2), ['tickets__read_note', 'tickets__write_note'])
}, TEAM)

eachMcpCluster('a session of a profile begins at an upstream when it can: once its account is connected, or it is back (J3, X32)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.weather.script = (_asked, response) => void response.destroy()
  const opened = await send(initialize(token))
  assert.equal(opened.status, 200)
  const session = String(opened.headers['mcp-session-id'])
  assert.equal((await send(notify(token, 'notifications/initialized', {}, session))).status, 202)
  assert.deepEqual(toolNames((await send(legacy(token, 'tools/list', {}, session))).body), ['tickets__connect_account', ...NOTES])
  cluster.accounts.set('usr_alice', 'alice-account')
  cluster.weather.script = () => false
  for (const name of ['tickets', 'weather'] as const) {
    assert.match((await send(legacy(token, 'tools/call', { name: `${name}__read_note`, arguments: {} }, session), 1)).text, /ran/)
    assert.equal(cluster[name].of('notifications/initialized').length, 1)
  }
  assert.equal(cluster.notes.sessions.size, 1, 'the one that began at once')
  assert.equal(toolNames((await send(legacy(token, 'tools/list', {}, session), 1)).body).length, 6)
  await send({ ...legacy(token, '', {}, session), method: 'DELETE', body: '' }, 1)
  assert.equal(cluster.tickets.sessions.size + cluster.weather.sessions.size + cluster.notes.sessions.size, 0, 'the late ones too')
}, TEAM)

eachMcpCluster('lists go on page by page, each upstream from its own cursor; a cursor is for its caller and list alone (H12)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  const pages = (prefix: string, count: number): Cluster['notes']['script'] => (asked, response) => {
    if (asked.message['method'] !== 'tools/list') return false
    const cursor = (asked.message['params'] as Record<string, unknown>)['cursor']
    const page = typeof cursor === 'string' ? Number(cursor.slice('own-'.length)) : 1
    return reply(response, result(asked, { tools: [{ name: `${prefix}${page}`, annotations: { readOnlyHint: true } }], ...(page < count ? { nextCursor: `own-${page + 1}` } : {}), ttlMs: 1000 * page, cacheScope: 'public' }))
  }
  cluster.notes.script = pages('n', 3)
  cluster.weather.script = pages('w', 2)
  const seen: unknown[][] = []
  const cursors: string[] = []
  for (let cursor: unknown; seen.length < 5; ) {
    const { body } = await send(modern(token, 'tools/list', cursor === undefined ? {} : { cursor }), seen.length % 2 === 0 ? 0 : 1)
    seen.push(toolNames(body))
    cursor = resultOf(body)['nextCursor']
    if (typeof cursor !== 'string') break
    cursors.push(cursor)
  }
  assert.deepEqual(seen, [['tickets__connect_account', 'notes__n1', 'weather__w1'], ['notes__n2', 'weather__w2'], ['notes__n3']])
  assert.ok(cursors.every((cursor) => !cursor.includes('own-')))
  const [first = ''] = cursors
  const refused: [string, Sent][] = [
    ['another user', modern(cluster.token({ profile: 'team', userId: 'usr_anna' }), 'tools/list', { cursor: first })],
    ['another client', modern(cluster.token({ profile: 'team', clientId: 'other' }), 'tools/list', { cursor: first })],
    ['another list', modern(token, 'prompts/list', { cursor: first })],
    ['an upstream’s own', modern(token, 'tools/list', { cursor: 'own-2' })],
    ['changed', modern(token, 'tools/list', { cursor: `${first.slice(0, -3)}AAA` })],
  ]
  const before = cluster.notes.of('tools/list').length
  for (const [name, sent] of refused) assert.deepEqual(errorOf((await send(sent)).body), { code: -32602, message: 'Invalid or expired cursor' }, name)
  assert.equal(cluster.notes.of('tools/list').length, before)
  assert.deepEqual(toolNames((await send(modern(token, 'tools/list', { cursor: first }))).body), ['notes__n2', 'weather__w2'], 'its own still opens')
}, TEAM)

eachMcpCluster('a scope for one upstream reaches that one through the profile (RS-8)', async (cluster) => {
  const { send } = inTeam(cluster)
  const token = cluster.token({ profile: 'team', scope: ['mcp.notes.read'] })
  assert.deepEqual(resultOf((await send(modern(token, 'resources/list'))).body)['resources'], [{ uri: 'lanyard:notes/note://1', name: 'one' }])
  assert.match((await send(call(token, 'notes__read_note'))).text, /ran/)
  assert.equal((await send(call(token, 'notes__write_note'))).status, 403)
  const refused = await send(call(token, 'weather__read_note'))
  assert.equal(refused.status, 403)
  assert.match(String(refused.headers['www-authenticate']), /insufficient_scope.*resource_metadata="https:\/\/lanyard\.example\/\.well-known\/oauth-protected-resource\/mcp\/team"/)
  assert.equal(cluster.weather.calls().length + cluster.weather.of('resources/list').length, 0)
  const narrow = cluster.token({ profile: 'team', scope: ['mcp.other.read'] })
  assert.equal((await send(modern(narrow, 'resources/list'))).status, 403)
}, TEAM)

eachMcpCluster('an upstream that lost its session gets another one, and the client’s session of all goes on (RS-41)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  cluster.accounts.set('usr_alice', 'alice-account')
  const session = String((await send(initialize(token))).headers['mcp-session-id'])
  const callNotes = legacy(token, 'tools/call', { name: 'notes__read_note', arguments: {} }, session)
  assert.match((await send(callNotes)).text, /ran/)
  const lost = [...cluster.notes.sessions]
  cluster.notes.sessions.clear()
  const answers = await Promise.all(Array.from({ length: 5 }, () => send(callNotes)))
  for (const answer of answers) assert.match(answer.text, /ran/)
  assert.equal(cluster.notes.of('initialize').length, 2, 'one for all that found it lost at once')
  assert.equal(cluster.notes.sessions.size, 1)
  assert.ok(!lost.includes([...cluster.notes.sessions][0] ?? ''))
  assert.equal(cluster.tickets.of('initialize').length, 1)
  // Again, and where the tools have to be asked for first.
  cluster.notes.sessions.clear()
  cluster.now += 6 * 60_000
  assert.match((await send(callNotes)).text, /ran/)
  cluster.notes.sessions.clear()
  const listed = await send(legacy(token, 'tools/list', {}, session))
  assert.equal(toolNames(listed.body).length, 6)
  assert.equal(missing(listed.body), undefined)
  // Another node finds out by itself.
  assert.match((await send(callNotes, 1)).text, /ran/)
  // Whoever has lost it for good says so with every new one: that is not tried without end.
  cluster.notes.script = (asked, response) => (asked.message['method'] === 'tools/call' ? reply(response, { jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } }, 404) : false)
  const before = cluster.notes.calls().length
  assert.equal((await send(callNotes)).status, 404)
  assert.equal(cluster.notes.calls().length, before + 2)
}, TEAM)

const FEW = { ...TEAM, rules: [{ id: 'one', effect: 'allow' as const, tools: ['read_note'] }, { id: 'not-bob', effect: 'deny' as const, groups: ['sales'], tools: ['connect_account'] }] }

eachMcpCluster('whoever may use one tool of an upstream may connect their account there, unless a rule is about that (J3)', async (cluster) => {
  const { token, send } = inTeam(cluster)
  assert.deepEqual(toolNames((await send(modern(token, 'tools/list'))).body), ['tickets__connect_account', 'notes__read_note', 'weather__read_note'])
  assert.match((await send(call(token, 'tickets__connect_account'))).text, /connections\/tickets/)
  for (const [who, name] of [[cluster.token({ profile: 'team', userId: 'usr_bob' }), 'tickets__connect_account'], [token, 'notes__connect_account'], [token, 'tickets__write_note']] as const) {
    assert.equal(errorOf((await send(call(who, name))).body).message, `Unknown tool: ${name}`)
  }
  // Once it is connected, the name is the upstream's own.
  cluster.accounts.set('usr_alice', 'alice-account')
  assert.equal(errorOf((await send(call(token, 'tickets__connect_account'))).body).message, 'Unknown tool: tickets__connect_account')
  assert.match((await send(call(token, 'tickets__read_note'))).text, /ran/)
}, FEW)

const MANY = 90
let crowd: McpUpstream | undefined

eachMcpCluster(
  'a session of more upstreams than its identifier can hold begins at the rest of them later, on any node (RS-15, RS-41, X32)',
  async (cluster) => {
    try {
      const token = cluster.token({ profile: 'crowd' })
      const send = (sent: Sent, node: 0 | 1 = 0) => cluster.nodes[node].send(at('crowd', sent))
      const session = String((await send(initialize(token))).headers['mcp-session-id'])
      assert.ok(session.length < 8192, String(session.length))
      assert.equal(crowd?.of('initialize').length, MANY)
      const listed = await send(legacy(token, 'tools/list', {}, session), 1)
      assert.equal(toolNames(listed.body).length, 2 * MANY)
      assert.equal(missing(listed.body), undefined)
      const late = (crowd?.of('initialize').length ?? 0) - MANY
      assert.ok(late > 0 && late < MANY, `${late} began later`)
      for (const index of [0, MANY - 1]) assert.match((await send(legacy(token, 'tools/call', { name: `crowd-${index}__read_note`, arguments: {} }, session))).text, /ran/)
    } finally {
      await crowd?.close()
    }
  },
  {
    more: async () => {
      const { url } = (crowd = await mcpUpstream())
      return Array.from({ length: MANY }, (_, index) => ({ id: `crowd-${index}`, name: `${index}`, url, connector: { type: 'none' as const }, readOnlyTools: [], timeoutMs: 5000 }))
    },
    profiles: [{ id: 'crowd', name: 'Crowd', upstreams: Array.from({ length: MANY }, (_, index) => `crowd-${index}`) }],
  },
)
