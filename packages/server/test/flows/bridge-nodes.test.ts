// The bridge between generations on two nodes, and against those who would answer for others or take all the room: each
// refusal with its positive twin. The servers are the official SDK's; the clients say each message themselves.
import assert from 'node:assert/strict'
import { after } from 'node:test'
import type { Upstream } from '../../src/upstreams/upstream.ts'
import { legacyServer, modernServer, paramsOf } from '../support/era-servers.ts'
import { eventually } from '../support/eventually.ts'
import { at, call, eachMcpCluster, errorOf, initialize, legacy, modern, notify, resultOf, type Answer, type Cluster, type Node, type Sent, type Stream } from '../support/mcp-nodes.ts'

const old = await legacyServer()
const young = await modernServer()
after(() => Promise.all([old.close(), young.close()]))

const upstream = (id: string, url: string): Upstream => ({ id, name: id, url, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 5000, protocol: 'auto' })
const options = { more: async () => [upstream('old', old.url), upstream('young', young.url)] }

const CAN = { elicitation: { form: {} }, sampling: {}, roots: {} }
const META = { _meta: { 'io.modelcontextprotocol/clientCapabilities': CAN } }
const ANSWER = { action: 'accept', content: { name: 'Ada' } }
const MAX_PARKED = 20

function scene(name: string, run: (cluster: Cluster, nodes: Cluster['nodes']) => Promise<void>): void {
  eachMcpCluster(
    name,
    async (cluster) => {
      for (const server of [old, young]) {
        server.log.splice(0)
        server.requests.splice(0)
      }
      await run(cluster, cluster.nodes)
    },
    options,
  )
}

/** A call of a 2026-07-28 client; with the answers of a retry, or without. */
function ask(token: string, more: Readonly<Record<string, unknown>> = {}, tool = 'ask', id: unknown = 1): Sent {
  return at('old', modern(token, 'tools/call', { name: tool, arguments: {}, ...META, ...more }, {}, id))
}

function stateOf(answer: Answer): string {
  const { resultType, requestState } = resultOf(answer.body)
  assert.equal(resultType, 'input_required', answer.text)
  return String(requestState)
}

/** The same call again, with the answer to all that it asked. */
function answering(requestState: string, answer: unknown = ANSWER): Readonly<Record<string, unknown>> {
  return { requestState, inputResponses: { 'question-1': answer } }
}

function answersAt(server: typeof old): number {
  return server.requests.filter(({ message }) => 'result' in message && !('method' in message)).length
}

function textOf(answer: Answer): string {
  const message = answer.events.at(-1) ?? answer.body
  return (resultOf(message)['content'] as { text: string }[] | undefined)?.[0]?.text ?? answer.text
}

scene('a parked call goes on when its client comes back, to the node that holds it or to another one', async ({ token }, nodes) => {
  const alice = token({ profile: 'old' })
  for (const back of nodes) {
    old.log.splice(0)
    const state = stateOf(await nodes[0].send(ask(alice)))
    const answer = await back.send(ask(alice, answering(state), 'ask', 'second'))
    assert.equal(textOf(answer), 'Hello, Ada')
    assert.equal(answer.body['id'], 'second')
    assert.deepEqual(old.log, [`asked: ${JSON.stringify(ANSWER)}`])
  }
  assert.equal(old.of('tools/call').length, 2)
})

scene('on another node, too, several rounds follow, and the state of one is nothing for the next', async ({ token }, [first, second]) => {
  const alice = token({ profile: 'old' })
  const asked = await first.send(ask(alice, {}, 'ask_three'))
  const thought = { role: 'assistant', model: 'a', content: { type: 'text', text: 'so' } }
  const round = { requestState: stateOf(asked), inputResponses: { 'question-1': ANSWER, 'question-2': thought } }
  const again = await second.send(ask(alice, round, 'ask_three'))
  const state = stateOf(again)
  assert.equal(errorOf((await second.send(ask(alice, round, 'ask_three'))).body).code, -32602)
  const done = await second.send(ask(alice, { requestState: state, inputResponses: { 'question-3': ANSWER } }, 'ask_three'))
  assert.equal(textOf(done), 'Ada so Ada')
  assert.equal(old.of('tools/call').length, 1)
})

scene('an answer that is none is asked for again, and the call still waits', async ({ token }, [node]) => {
  const alice = token({ profile: 'old' })
  const state = stateOf(await node.send(ask(alice)))
  const next = await node.send(ask(alice, { requestState: state, inputResponses: { 'question-1': { method: 'elicitation/create', result: ANSWER } } }))
  assert.equal(answersAt(old), 0)
  assert.equal(textOf(await node.send(ask(alice, answering(stateOf(next))))), 'Hello, Ada')
})

scene('a requestState that was changed, is of another person, application, tool or arguments, or is old, opens nothing (RS-33, H12)', async (cluster, [node]) => {
  const { token } = cluster
  const grantId = 'grt_alice'
  const alice = token({ profile: 'old', grantId })
  const state = stateOf(await node.send(ask(alice)))
  const changed = `${state.slice(0, -4)}${state.endsWith('AAAA') ? 'BBBB' : 'AAAA'}`
  const refused: readonly Sent[] = [
    ask(alice, answering(changed)),
    ask(alice, answering('lanyard-bridge.')),
    ask(alice, answering('anything')),
    ask(token({ profile: 'old', grantId, userId: 'usr_anna' }), answering(state)),
    ask(token({ profile: 'old', grantId, clientId: 'other' }), answering(state)),
    ask(token({ profile: 'old', grantId: 'grt_other' }), answering(state)),
    ask(alice, answering(state), 'ask_aside'),
    ask(alice, { ...answering(state), arguments: { more: true } }),
    at('old', modern(alice, 'prompts/get', { name: 'ask', ...META, ...answering(state) })),
  ]
  for (const sent of refused) {
    const answer = await node.send(sent)
    assert.equal(errorOf(answer.body).code, -32602, answer.text)
  }
  assert.equal(answersAt(old), 0)
  assert.deepEqual(old.log, [])
  // None of it was any harm to the call itself.
  assert.equal(textOf(await node.send(ask(alice, answering(state)))), 'Hello, Ada')
  const late = stateOf(await node.send(ask(alice)))
  cluster.now += 301_000
  assert.equal(errorOf((await node.send(ask(alice, answering(late)))).body).code, -32602)
  assert.equal(answersAt(old), 1)
})

scene('of answers that come at once to both nodes one is carried out (H12)', async ({ token }, nodes) => {
  const alice = token({ profile: 'old' })
  const state = stateOf(await nodes[0].send(ask(alice)))
  const answers = await Promise.all([0, 1, 0, 1, 0].map((node) => (nodes[node] ?? nodes[0]).send(ask(alice, answering(state)))))
  const won = answers.filter((answer) => textOf(answer) === 'Hello, Ada')
  assert.equal(won.length, 1)
  for (const answer of answers) if (answer !== won[0]) assert.equal(errorOf(answer.body).code, -32602)
  assert.equal(answersAt(old), 1)
  assert.equal(old.log.length, 1)
})

scene('one person cannot take all the room for waiting calls: the next one is refused, the server told, and others find room', async ({ token }, [node]) => {
  const alice = token({ profile: 'old' })
  const states: string[] = []
  for (let n = 0; n < MAX_PARKED; n += 1) states.push(stateOf(await node.send(ask(alice, {}, 'ask', n))))
  const refused = await node.send(ask(alice))
  assert.equal(refused.status, 429)
  assert.match(String(errorOf(refused.body).message), /wait for an answer/)
  await eventually('the end of it at the server', () => old.of('notifications/cancelled').length === 1)
  stateOf(await node.send(ask(token({ profile: 'old', userId: 'usr_anna' }))))
  // One that is answered makes room.
  assert.equal(textOf(await node.send(ask(alice, answering(states[0] ?? ''), 'ask', 0))), 'Hello, Ada')
  stateOf(await node.send(ask(alice)))
})

scene('what waits ends when its grant is revoked: the server is told, and nobody comes back to it', async (cluster, [node]) => {
  const { token, revoke } = cluster
  const alice = token({ profile: 'old', grantId: 'grt_ended' })
  const anna = token({ profile: 'old', userId: 'usr_anna' })
  const [state, other] = [stateOf(await node.send(ask(alice))), stateOf(await node.send(ask(anna)))]
  await revoke({ kind: 'grant', key: 'grt_ended' })
  await eventually('the end of it at the server', () => old.of('notifications/cancelled').length === 1)
  assert.equal((await node.send(ask(alice, answering(state)))).status, 401)
  assert.equal(textOf(await node.send(ask(anna, answering(other)))), 'Hello, Ada')
  assert.equal(answersAt(old), 1)
})

scene('a node that stops takes its waiting calls along: the server is told, the client hears it plainly, and a new call works', async (cluster, [node]) => {
  const alice = cluster.token({ profile: 'old' })
  const state = stateOf(await node.send(ask(alice)))
  const [next] = await cluster.restart()
  await eventually('the end of it at the server', () => old.of('notifications/cancelled').length === 1)
  const gone = await next.send(ask(alice, answering(state)))
  assert.equal(errorOf(gone.body).code, -32602)
  assert.match(String(errorOf(gone.body).message), /does not wait any more/)
  assert.equal(answersAt(old), 0)
  assert.equal(textOf(await next.send(ask(alice, answering(stateOf(await next.send(ask(alice))))))), 'Hello, Ada')
})

scene('a client that vanishes while its answer is carried out takes the call along (RS-29)', async ({ token }, [node]) => {
  const alice = token({ profile: 'old' })
  const leave = node.begin(at('old', call(alice, 'sleep', {}, {}, 1)))
  await eventually('the call', () => old.log.length === 1)
  leave()
  await eventually('the end', () => old.log.includes('woken'))
  assert.equal(`asleep ${String(paramsOf(old.of('notifications/cancelled')[0])['requestId'])}`, old.log[0])
})

scene('clients that share a session at a 2025 server and use the same identifiers get each their own answers and progress (H10)', async ({ token }, [node]) => {
  const alice = token({ profile: 'old', grantId: 'grt_shared' })
  const sums = await Promise.all(Array.from({ length: 20 }, (_, n) => node.send(at('old', call(alice, 'add', { a: n, b: 100 }, {}, 1)))))
  for (const [n, answer] of sums.entries()) {
    assert.equal(textOf(answer), String(n + 100))
    assert.equal(answer.body['id'], 1)
  }
  const counted = await Promise.all([0, 1, 2].map(() => node.send(at('old', modern(alice, 'tools/call', { name: 'count', arguments: {}, _meta: { progressToken: 'same' } }, {}, 1)))))
  for (const { events } of counted) {
    const steps = events.filter(({ method }) => method === 'notifications/progress').map(({ params }) => params as Record<string, unknown>)
    assert.deepEqual(steps.map(({ progress }) => progress), [1, 2, 3])
    assert.ok(steps.every(({ progressToken }) => progressToken === 'same'))
  }
  // At the server, no two of them had the same name.
  const ids = old.of('tools/call').map(({ message }) => message['id'])
  assert.equal(new Set(ids).size, 23)
  assert.equal(new Set(old.of('tools/call').map(({ headers }) => headers['mcp-session-id'])).size, 1)
})

scene('people and applications have sessions of their own at a 2025 server', async ({ token }, [node]) => {
  const before = old.sessions.size
  for (const who of [{}, { userId: 'usr_anna' }, { clientId: 'other' }]) {
    for (let twice = 0; twice < 2; twice += 1) assert.equal(textOf(await node.send(at('old', call(token({ profile: 'old', grantId: 'grt_same', ...who }), 'add', { a: 1, b: 1 })))), '2')
  }
  assert.equal(old.sessions.size - before, 3)
  assert.equal(new Set(old.of('tools/call').map(({ headers }) => headers['mcp-session-id'])).size, 3)
})

scene('a subscription outlives the token that opened the stream of its session, and not its own (revocation)', async (cluster, [node]) => {
  const { token } = cluster
  const grantId = 'grt_listening'
  const filter = { notifications: { resourceSubscriptions: ['note://1'] }, ...META }
  const listen = (id: string, lifetime: number): Promise<Stream> => node.open(at('old', modern(token({ profile: 'old', grantId, lifetime }), 'subscriptions/listen', filter, {}, id)))
  const short = await listen('short', 1e9)
  await short.until((seen) => seen.includes('acknowledged'))
  cluster.now += 600_000
  const long = await listen('long', 1e9)
  await long.until((seen) => seen.includes('acknowledged'))
  const streams = (): number => old.requests.filter(({ method }) => method === 'GET').length
  const before = streams()
  // The first token has expired, the second has not.
  cluster.now += 400_000
  assert.equal(await short.ended, 'whole')
  await eventually('the stream of the session, opened again', () => streams() > before)
  await eventually('the news', async () => {
    await old.updated('note://1')
    return long.text().includes('resources/updated')
  })
  assert.match(long.text(), /"io.modelcontextprotocol\/subscriptionId":"long"/)
  assert.doesNotMatch(short.text(), /resources\/updated/)
  long.leave()
})

/** Opens a session of a 2025 client with the server of 2026-07-28. */
async function openSession(node: Node, token: string): Promise<string> {
  const answer = await node.send(at('young', initialize(token, CAN)))
  assert.equal(answer.status, 200, answer.text)
  await node.send(at('young', notify(token, 'notifications/initialized', {}, String(answer.headers['mcp-session-id']))))
  return String(answer.headers['mcp-session-id'])
}

async function question(stream: Stream): Promise<Readonly<Record<string, unknown>>> {
  const text = await stream.until((seen) => /"method":"elicitation\/create".*\n/.test(seen))
  return JSON.parse(/^data: (.*elicitation\/create.*)$/m.exec(text)?.[1] ?? '{}') as Readonly<Record<string, unknown>>
}

function response(token: string, id: unknown, session: string, result: unknown = ANSWER): Sent {
  const sent = at('young', legacy(token, 'response', {}, session))
  return { ...sent, body: JSON.stringify({ jsonrpc: '2.0', id, result }) }
}

scene('a 2025 client answers a question on any node; the call goes on where it waits', async ({ token }, nodes) => {
  const alice = token({ profile: 'young' })
  const session = await openSession(nodes[0], alice)
  for (const other of nodes) {
    const stream = await nodes[1].open(at('young', legacy(alice, 'tools/call', { name: 'ask', arguments: {} }, session)))
    const { id } = await question(stream)
    assert.equal((await other.send(response(alice, id, session))).status, 202)
    await stream.until((seen) => seen.includes('Hello, Ada'))
    assert.equal(await stream.ended, 'whole')
  }
  assert.equal(young.of('tools/call').length, 4)
})

scene('nobody answers in the place of another: not another session, and not another person (RS-42, H12)', async ({ token }, nodes) => {
  const [alice, anna] = [token({ profile: 'young' }), token({ profile: 'young', userId: 'usr_anna' })]
  const [session, second, foreign] = [await openSession(nodes[0], alice), await openSession(nodes[0], alice), await openSession(nodes[0], anna)]
  const stream = await nodes[0].open(at('young', legacy(alice, 'tools/call', { name: 'ask', arguments: {} }, session)))
  const { id } = await question(stream)
  const forged = { action: 'accept', content: { name: 'Mallory' } }
  for (const node of nodes) {
    await node.send(response(anna, id, foreign, forged))
    await node.send(response(alice, id, second, forged))
    assert.equal((await node.send(response(anna, id, session, forged))).status, 404)
  }
  await nodes[0].send(response(alice, `${String(id)}1`, session, forged))
  assert.equal((await nodes[1].send(response(alice, id, session))).status, 202)
  await stream.until((seen) => seen.includes('Hello, '))
  assert.match(stream.text(), /Hello, Ada/)
  assert.doesNotMatch(stream.text(), /Mallory/)
  assert.deepEqual(young.log, [`asked: ${JSON.stringify(ANSWER)}`])
})

scene('a call that waits for a 2025 client ends when its grant is revoked; that of another goes on', async (cluster, [node]) => {
  const { token, revoke } = cluster
  const [alice, anna] = [token({ profile: 'young', grantId: 'grt_ended' }), token({ profile: 'young', userId: 'usr_anna' })]
  const [session, other] = [await openSession(node, alice), await openSession(node, anna)]
  const [ends, goesOn] = [await node.open(at('young', legacy(alice, 'tools/call', { name: 'ask', arguments: {} }, session))), await node.open(at('young', legacy(anna, 'tools/call', { name: 'ask', arguments: {} }, other)))]
  const [, { id }] = [await question(ends), await question(goesOn)]
  await revoke({ kind: 'grant', key: 'grt_ended' })
  assert.equal(await ends.ended, 'cut')
  await node.send(response(anna, id, other))
  await goesOn.until((seen) => seen.includes('Hello, Ada'))
  assert.equal(young.log.length, 1)
})

scene('a 2025 client cancels, sets its level and subscribes on any node', async ({ token }, [first, second]) => {
  const alice = token({ profile: 'young' })
  const session = await openSession(first, alice)
  const sleeping = await Promise.all([eventually('the call', () => young.log.includes('asleep')).then(() => second.send(at('young', notify(alice, 'notifications/cancelled', { requestId: 'nap' }, session)))), first.send(at('young', legacy(alice, 'tools/call', { name: 'sleep', arguments: {} }, session, {}, 'nap')))])
  assert.equal(errorOf(sleeping[1].body).message, 'Request cancelled')
  await eventually('the end', () => young.log.includes('woken'))
  const stream = await first.open({ ...at('young', legacy(alice, 'GET', undefined, session)), method: 'GET', body: '' })
  assert.equal(stream.status, 200)
  await second.send(at('young', legacy(alice, 'resources/subscribe', { uri: 'note://1' }, session)))
  await eventually('the subscription of the other node', () => young.of('subscriptions/listen').some((request) => JSON.stringify(paramsOf(request)).includes('note://1')))
  await young.updated('note://1')
  await stream.until((seen) => seen.includes('resources/updated'))
  assert.doesNotMatch(stream.text(), /subscriptionId|acknowledged/)
  stream.leave()
  await second.send(at('young', legacy(alice, 'logging/setLevel', { level: 'error' }, session)))
  await eventually('the level on the other node', async () => {
    const talk = await first.send(at('young', legacy(alice, 'tools/call', { name: 'chat', arguments: {} }, session)))
    return talk.text.includes('said error') && !talk.text.includes('said info')
  })
})

scene('a session ends on all nodes', async ({ token }, [first, second]) => {
  const alice = token({ profile: 'young' })
  const session = await openSession(first, alice)
  assert.equal((await second.send(at('young', legacy(alice, 'tools/list', {}, session)))).status, 200)
  assert.equal((await first.send({ ...at('young', legacy(alice, 'DELETE', undefined, session)), method: 'DELETE', body: '' })).status, 200)
  await eventually('the end', async () => (await second.send(at('young', legacy(alice, 'tools/list', {}, session)))).status === 404)
  assert.equal((await first.send(at('young', legacy(alice, 'tools/list', {}, session)))).status, 404)
})
