// A client of 2026-07-28 in front of a server of the 2025 revisions: the official SDK's on both sides.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { heardNothing, modernClient, said, type Heard } from '../support/era-clients.ts'
import { legacyServer, paramsOf, type EraServer } from '../support/era-servers.ts'
import { eventually } from '../support/eventually.ts'
import { startUpstreamNode } from '../support/upstream-node.ts'

type Client = Awaited<ReturnType<typeof modernClient>>

interface Scene {
  readonly server: EraServer
  readonly client: Client
  readonly memory: Heard
  readonly url: string
}

function scene(name: string, run: (scene: Scene) => Promise<void>, { names = [], capabilities, protocol = 'auto' }: { names?: string[]; capabilities?: Record<string, unknown>; protocol?: 'auto' | '2025' } = {}): void {
  test(name, async () => {
    const server = await legacyServer()
    const node = await startUpstreamNode({ id: 'old', name: 'Old', url: server.url, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 5000, protocol })
    const memory = heardNothing(...names)
    const client = await modernClient(node.url, memory, capabilities)
    try {
      await run({ server, client, memory, url: node.url })
    } finally {
      await client.close()
      await node.close()
      await server.close()
    }
  })
}

scene('lists, results and errors of a 2025 server reach a 2026-07-28 client in its own form', async ({ client, server }) => {
  assert.equal(client.getNegotiatedProtocolVersion(), '2026-07-28')
  assert.equal(client.getServerVersion()?.name, 'legacy')
  assert.equal(client.getInstructions(), 'Be kind.')
  const { tools, ...list } = (await client.listTools()) as Awaited<ReturnType<Client['listTools']>> & { ttlMs?: number; cacheScope?: string }
  assert.ok(tools.some(({ name }) => name === 'ask'))
  // RS-26
  assert.equal(list.cacheScope, 'private')
  assert.equal(list.ttlMs, 0)
  const sum = await client.callTool({ name: 'add', arguments: { a: 1, b: 2 } })
  assert.deepEqual(sum.structuredContent, { sum: 3 })
  assert.equal((await client.readResource({ uri: 'note://1' })).contents.length, 1)
  assert.equal((await client.getPrompt({ name: 'greet' })).messages.length, 1)
  await assert.rejects(client.readResource({ uri: 'note://none' }), { code: -32602 })
  // One session for all of it, which says what the client can do and nothing of 2026-07-28.
  const opened = server.of('initialize').filter(({ message }) => JSON.stringify(message).includes('"era"'))
  assert.equal(opened.length, 1)
  assert.deepEqual(paramsOf(opened[0])['capabilities'], { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} })
  for (const { message, headers } of server.of('tools/call')) {
    assert.doesNotMatch(JSON.stringify(message), /io\.modelcontextprotocol/)
    assert.equal(headers['mcp-protocol-version'], '2025-11-25')
    assert.equal(headers['mcp-method'], undefined)
  }
})

scene('what a 2025 server asks on the stream of a call is an input_required result, and the answer goes on with the same call (M)', async ({ client, memory, server }) => {
  assert.equal(said(await client.callTool({ name: 'ask' })), 'Hello, Ada')
  assert.deepEqual(server.log, ['asked: {"action":"accept","content":{"name":"Ada"}}'])
  assert.deepEqual(memory.heard, ['elicitation Who?'])
  // The call was made once: the second request of the client is an answer at the server.
  assert.equal(server.of('tools/call').length, 1)
  assert.equal(server.requests.filter(({ message }) => 'result' in message).length, 1)
  // Declined: the server hears it.
  assert.equal(said(await client.callTool({ name: 'ask' })), 'decline')
}, { names: ['Ada'] })

scene('sampling and roots are asked of the client that has them', async ({ client, memory }) => {
  assert.equal(said(await client.callTool({ name: 'think' })), 'I think so')
  assert.equal(said(await client.callTool({ name: 'where' })), 'file:///home')
  assert.deepEqual(memory.heard, ['sampling', 'roots'])
})

scene('questions that are asked at once are one round, and those that follow another', async ({ client, memory, server }) => {
  assert.equal(said(await client.callTool({ name: 'ask_three' })), 'Ada so Grace')
  assert.deepEqual(memory.heard, ['elicitation Who?', 'sampling', 'elicitation And who else?'])
  assert.equal(server.of('tools/call').length, 1)
}, { names: ['Ada', 'Grace'] })

scene('a question on the stream of the session belongs to the one call that can be asked', async ({ client, server }) => {
  assert.equal(said(await client.callTool({ name: 'ask_aside' })), 'Hello, Ada')
  assert.deepEqual(server.log, ['asked aside: {"action":"accept","content":{"name":"Ada"}}'])
}, { names: ['Ada'] })

scene('a client that can be asked nothing is asked nothing: the server is told so (RS-34)', async ({ client, server, memory }) => {
  const result = await client.callTool({ name: 'ask' })
  assert.equal(result.isError, true)
  assert.deepEqual(memory.heard, [])
  assert.deepEqual(server.log, [])
  // The same client's other calls work.
  assert.equal(said(await client.callTool({ name: 'add', arguments: { a: 1, b: 1 } })), '2')
}, { capabilities: {} })

scene('an address where somebody has to go is asked for by input_required, and then the call is made again (-32042)', async ({ client, memory, server }) => {
  assert.equal(said(await client.callTool({ name: 'visit' })), 'Welcome back.')
  assert.deepEqual(memory.heard, ['elicitation https://forms.example/1'])
  assert.deepEqual(server.log, ['visit', 'visit'])
})

scene('a client that cannot be sent to an address hears that it would have to (RS-21: -32021)', async ({ client, server }) => {
  await assert.rejects(client.callTool({ name: 'visit' }), { code: -32021 })
  assert.deepEqual(server.log, ['visit'])
}, { capabilities: { elicitation: { form: {} } } })

scene('progress reaches the call that it is about, by the token of its client', async ({ client }) => {
  const steps: number[] = []
  const others: number[] = []
  await Promise.all([client.callTool({ name: 'count' }, { onprogress: ({ progress }) => void steps.push(progress) }), client.callTool({ name: 'count' }, { onprogress: ({ progress }) => void others.push(progress) })])
  assert.deepEqual(steps, [1, 2, 3])
  assert.deepEqual(others, [1, 2, 3])
})

scene('what a server logs reaches a call that wants it, and no lower level than it wants', async ({ client, memory, server }) => {
  await client.callTool({ name: 'chat', _meta: { 'io.modelcontextprotocol/logLevel': 'info' } })
  await eventually('the logs', () => memory.heard.length >= 3)
  assert.deepEqual(new Set(memory.heard), new Set(['log info said info', 'log error said error', 'log error said by the way']))
  assert.equal(paramsOf(server.of('logging/setLevel')[0])['level'], 'info')
  memory.heard.splice(0)
  await client.callTool({ name: 'chat' })
  assert.deepEqual(memory.heard, [])
})

scene('a client that goes away cancels its call: a 2025 server is told (RS-29)', async ({ client, server }) => {
  const leaving = new AbortController()
  const call = client.callTool({ name: 'sleep' }, { signal: leaving.signal })
  await eventually('the call', () => server.log.length === 1)
  leaving.abort()
  await assert.rejects(call)
  await eventually('the end', () => server.log.includes('woken'))
  const { requestId } = paramsOf(server.of('notifications/cancelled')[0])
  assert.equal(server.log[0], `asleep ${String(requestId)}`)
  assert.equal(said(await client.callTool({ name: 'add', arguments: { a: 2, b: 2 } })), '4')
})

scene('subscriptions/listen hears of lists and of resources, and of nothing that was not asked for (RS-32)', async ({ client, server, memory }) => {
  const listening = await client.listen({ toolsListChanged: true, resourceSubscriptions: ['note://1'] })
  assert.deepEqual(listening.honoredFilter, { toolsListChanged: true, resourceSubscriptions: ['note://1'] })
  assert.equal(server.of('resources/subscribe').length, 1)
  server.toolsChanged()
  await server.updated('note://1')
  await eventually('both', () => memory.heard.length === 2)
  assert.deepEqual(memory.heard, ['tools changed', 'updated note://1'])
  await listening.close()
  await eventually('the end of the subscription', () => server.of('resources/unsubscribe').length === 1)
  const narrow = await client.listen({ resourceSubscriptions: ['note://1'] })
  server.toolsChanged()
  await server.updated('note://1')
  await eventually('one of them', () => memory.heard.length === 3)
  assert.deepEqual(memory.heard.slice(2), ['updated note://1'])
  await narrow.close()
})

scene('a session that the server forgot is opened again, and the call is made in the new one', async ({ client, server }) => {
  assert.equal(said(await client.callTool({ name: 'add', arguments: { a: 1, b: 2 } })), '3')
  const [before] = server.sessions
  server.forget()
  assert.equal(said(await client.callTool({ name: 'add', arguments: { a: 3, b: 4 } })), '7')
  assert.equal(server.sessions.size, 1)
  assert.notEqual([...server.sessions][0], before)
}, { protocol: '2025' })

scene('a server that is said to speak 2025 is not asked what it speaks', async ({ client, server }) => {
  await client.callTool({ name: 'add', arguments: { a: 1, b: 2 } })
  assert.equal(server.of('server/discover').length, 0)
  assert.equal(server.of('initialize').length, 1)
}, { protocol: '2025' })

scene('what a server speaks is asked once', async ({ client, server, url }) => {
  await client.callTool({ name: 'add', arguments: { a: 1, b: 2 } })
  const other = await modernClient(url, heardNothing())
  assert.equal(said(await other.callTool({ name: 'add', arguments: { a: 1, b: 2 } })), '3')
  await other.close()
  assert.equal(server.of('server/discover').length, 1)
  // The question's own session, and the one that both clients share: they are the same person's.
  assert.equal(server.of('initialize').length, 2)
  assert.equal(server.sessions.size, 1)
})
