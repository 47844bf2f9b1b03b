// A client of the 2025 revisions in front of a server of 2026-07-28: the official SDK's on both sides.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientV1, heardNothing, legacyClient, said, type Heard } from '../support/era-clients.ts'
import { modernServer, paramsOf, type EraServer } from '../support/era-servers.ts'
import { eventually } from '../support/eventually.ts'
import { startUpstreamNode } from '../support/upstream-node.ts'

type Client = Awaited<ReturnType<typeof clientV1>>

interface Scene {
  readonly server: EraServer
  readonly client: Client
  readonly memory: Heard
  /** Calls a tool: the SDK's versions differ in where its options stand. */
  readonly call: (name: string, options: { onprogress?: (step: { progress: number }) => void; signal?: AbortSignal }) => Promise<unknown>
  /** What the client says where the server says -32002: version 2 reads it as 2026-07-28. */
  readonly notFound: number
}

/** Runs with the client of the SDK's version 1, and with that of version 2. */
function scene(name: string, run: (scene: Scene) => Promise<void>, { names = [], protocol = 'auto' }: { names?: string[]; protocol?: 'auto' | '2026-07-28' } = {}): void {
  const connects = { 'SDK version 1': clientV1, 'SDK version 2': (url: string, memory: Heard) => legacyClient(url, memory) as unknown as Promise<Client> }
  for (const [sdk, connect] of Object.entries(connects)) {
    test(`${name} (${sdk})`, async () => {
      const server = await modernServer()
      const node = await startUpstreamNode({ id: 'new', name: 'New', url: server.url, connector: { type: 'none' }, readOnlyTools: [], timeoutMs: 5000, protocol })
      const memory = heardNothing(...names)
      const client = await connect(node.url, memory)
      try {
        const isV1 = sdk === 'SDK version 1'
        const call: Scene['call'] = (name, options) => (isV1 ? client.callTool({ name }, undefined, options) : client.callTool({ name }, options as never))
        await run({ server, client, memory, call, notFound: isV1 ? -32002 : -32602 })
      } finally {
        await client.close()
        await node.close()
        await server.close()
      }
    })
  }
}

scene('initialize is answered from server/discover; lists and results have nothing in them that 2025 does not know', async ({ client, server, notFound }) => {
  assert.equal(client.getServerVersion()?.name, 'modern')
  assert.equal(client.getInstructions(), 'Be kind.')
  assert.deepEqual(client.getServerCapabilities()?.tools, { listChanged: true })
  const list = await client.listTools()
  assert.ok(list.tools.some(({ name }) => name === 'ask'))
  const { contents, ...read } = await client.readResource({ uri: 'note://1' })
  assert.equal(contents.length, 1)
  const sum = await client.callTool({ name: 'add', arguments: { a: 1, b: 2 } })
  assert.deepEqual(sum.structuredContent, { sum: 3 })
  for (const result of [list, read, sum]) for (const member of ['ttlMs', 'cacheScope', 'resultType']) assert.ok(!(member in result), member)
  assert.equal((await client.getPrompt({ name: 'greet' })).messages.length, 1)
  await assert.rejects(client.readResource({ uri: 'note://none' }), { code: notFound })
  await client.ping()
  assert.equal(server.of('ping').length, 0)
  // RS-18, RS-21: every request says what 2026-07-28 wants to hear, and nothing of a session.
  const called = server.of('tools/call')[0]
  assert.equal(called?.headers['mcp-method'], 'tools/call')
  assert.equal(called?.headers['mcp-name'], 'add')
  assert.equal(called?.headers['mcp-session-id'], undefined)
  const meta = paramsOf(called)['_meta'] as Record<string, unknown> | undefined
  assert.deepEqual(meta?.['io.modelcontextprotocol/clientCapabilities'], { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} })
  assert.deepEqual(meta?.['io.modelcontextprotocol/clientInfo'], { name: 'era', version: '1' })
})

scene('input_required is a question on the stream of the call, and the call is made again with the answer (M)', async ({ client, memory, server }) => {
  assert.equal(said(await client.callTool({ name: 'ask' })), 'Hello, Ada')
  assert.deepEqual(memory.heard, ['elicitation Who?'])
  assert.deepEqual(server.log, ['asked: {"action":"accept","content":{"name":"Ada"}}'])
  const [first, second] = server.of('tools/call')
  // C-23
  assert.notEqual(first?.message['id'], second?.message['id'])
  assert.deepEqual(paramsOf(second)['inputResponses'], { who: { action: 'accept', content: { name: 'Ada' } } })
  assert.equal(said(await client.callTool({ name: 'ask' })), 'decline')
}, { names: ['Ada'] })

scene('sampling and roots are asked of the client', async ({ client, memory }) => {
  assert.equal(said(await client.callTool({ name: 'think' })), 'I think so')
  assert.equal(said(await client.callTool({ name: 'where' })), 'file:///home')
  assert.deepEqual(memory.heard, ['sampling', 'roots'])
})

scene('several rounds go by with the state of each as it came', async ({ client, memory, server }) => {
  assert.equal(said(await client.callTool({ name: 'ask_three' })), 'Grace')
  assert.deepEqual(new Set(memory.heard), new Set(['elicitation Who?', 'sampling', 'elicitation And who else? (Ada so)']))
  assert.equal(server.of('tools/call').length, 3)
}, { names: ['Ada', 'Grace'] })

scene('somebody is sent to an address, with the name that 2025-11-25 gives it', async ({ client, memory, server }) => {
  assert.equal(said(await client.callTool({ name: 'visit' })), 'Welcome back.')
  assert.deepEqual(memory.heard, ['elicitation https://forms.example/1'])
  assert.deepEqual(server.log, ['visit', 'visit'])
})

scene('a structured result that is no object is one of an object for 2025 (SEP-2106)', async ({ client }) => {
  const { tools } = await client.listTools()
  assert.equal(tools.find(({ name }) => name === 'list_numbers')?.outputSchema?.type, 'object')
  const result = await client.callTool({ name: 'list_numbers' })
  assert.deepEqual(result.structuredContent, { result: [1, 2, 3] })
  assert.equal(said(result), '[1,2,3]')
})

scene('arguments that a tool wants in headers are there (C-21)', async ({ client, server }) => {
  assert.equal(said(await client.callTool({ name: 'mirrored', arguments: { region: ' nördlich', count: 7 } })), ' nördlich 7')
  const { headers } = server.of('tools/call').at(-1) ?? {}
  assert.equal(headers?.['mcp-param-count'], '7')
  assert.match(String(headers?.['mcp-param-region']), /^=\?base64\?.+\?=$/)
})

scene('progress reaches the call that it is about', async ({ call }) => {
  const steps: number[] = []
  await call('count', { onprogress: ({ progress }) => void steps.push(progress) })
  assert.deepEqual(steps, [1, 2, 3])
})

scene('logging/setLevel holds for the requests that follow', async ({ client, memory }) => {
  await client.callTool({ name: 'chat' })
  assert.deepEqual(memory.heard, [])
  await client.setLoggingLevel('info')
  await client.callTool({ name: 'chat' })
  assert.deepEqual(memory.heard, ['log info said info', 'log error said error'])
})

scene('a call that is cancelled ends at the server, as in 2026-07-28: by going away (RS-29)', async ({ client, call, server }) => {
  const leaving = new AbortController()
  const sleeping = call('sleep', { signal: leaving.signal })
  await eventually('the call', () => server.log.length === 1)
  leaving.abort()
  await assert.rejects(sleeping)
  await eventually('the end', () => server.log.includes('woken'))
  assert.equal(server.of('notifications/cancelled').length, 0)
  assert.equal(said(await client.callTool({ name: 'add', arguments: { a: 2, b: 2 } })), '4')
})

scene('the stream of the session tells of lists, and of resources while they are subscribed to', async ({ client, server, memory }) => {
  await eventually('the stream', () => server.of('subscriptions/listen').length === 1)
  await server.updated('note://1')
  await client.subscribeResource({ uri: 'note://1' })
  await server.updated('note://1')
  server.toolsChanged()
  await eventually('both', () => memory.heard.length === 2)
  assert.deepEqual(memory.heard, ['updated note://1', 'tools changed'])
  assert.deepEqual(paramsOf(server.of('subscriptions/listen').at(-1))['notifications'], { toolsListChanged: true, promptsListChanged: true, resourcesListChanged: true, resourceSubscriptions: ['note://1'] })
  await client.unsubscribeResource({ uri: 'note://1' })
  await server.updated('note://1')
  server.toolsChanged()
  await eventually('the list alone', () => memory.heard.length === 3)
  assert.deepEqual(memory.heard.slice(2), ['tools changed'])
})

scene('a server that is said to speak 2026-07-28 is not asked what it speaks', async ({ client, server }) => {
  await client.callTool({ name: 'add', arguments: { a: 1, b: 2 } })
  assert.equal(server.of('initialize').length, 0)
  assert.equal(server.of('server/discover').length, 1)
}, { protocol: '2026-07-28' })
