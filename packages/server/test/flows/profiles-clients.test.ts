// Profiles with real clients of both protocol eras in front of real servers: two that speak both, and two that speak one
// each, so that one endpoint is whole for either kind of client.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport, type OAuthClientProvider } from '@modelcontextprotocol/client'
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { OAuthClientProvider as ProviderV1 } from '@modelcontextprotocol/sdk/client/auth.js'
import { ElicitRequestSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { startFixture, type Fixture } from '../conformance/fixture-server.ts'
import { eventually } from '../support/eventually.ts'
import { recorded, startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider, type MemoryProvider } from '../support/oauth-clients.ts'
import { connectV1, connectV2, type Era } from '../support/sdk-clients.ts'
import { variants } from '../support/variants.ts'

interface Connected {
  readonly client: Client
  /** What the client was told by itself. */
  readonly told: string[]
}

/** The SDK's version 2, signed in, as a person's client that answers whatever it is asked. */
async function connect(url: string, provider: MemoryProvider, era: Era): Promise<Connected> {
  if (provider.tokens() === undefined) await connectV2(url, provider, era).then((first) => first.close())
  const capabilities = { elicitation: { form: {} }, sampling: {}, roots: { listChanged: true } }
  const client = new Client({ name: 'profile', version: '1.0.0' }, { capabilities, versionNegotiation: { mode: era === 'modern' ? { pin: '2026-07-28' } : 'legacy' } })
  client.setRequestHandler('elicitation/create', () => ({ action: 'accept' as const, content: { name: 'Ada', email: 'ada@example.com', username: 'ada', ok: true, color: 'blue' } }))
  client.setRequestHandler('sampling/createMessage', () => ({ role: 'assistant' as const, model: 'm', content: { type: 'text' as const, text: 'sampled' } }))
  client.setRequestHandler('roots/list', () => ({ roots: [{ uri: 'file:///root', name: 'root' }] }))
  const told: string[] = []
  client.setNotificationHandler('notifications/tools/list_changed', () => void told.push('tools'))
  client.setNotificationHandler('notifications/prompts/list_changed', () => void told.push('prompts'))
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider: provider as unknown as OAuthClientProvider }))
  return { client, told }
}

const textOf = (result: unknown): string => ((result as { content?: { text?: string }[] }).content ?? []).map((part) => part.text ?? '').join('\n')

for (const variant of variants()) {
  describe(`profiles with real clients on ${variant.name}`, () => {
    let fixtures: readonly Fixture[]
    let gateway: RunningGateway
    const providers = new Map<string, MemoryProvider>()
    before(async () => {
      fixtures = await Promise.all([startFixture(), startFixture(), startFixture('legacy'), startFixture('modern')])
      const ids = ['left', 'right', 'old', 'new']
      gateway = await startGateway({
        ...variant,
        config: {
          upstreams: ids.map((id, index) => ({ id, name: `The ${id} one`, url: fixtures[index]?.url, connector: { type: 'none' } })),
          profiles: [{ id: 'both', name: 'Both', upstreams: ['right', 'left'] }, { id: 'mixed', name: 'Mixed', upstreams: ['old', 'new'] }],
          rules: [{ id: 'all', effect: 'allow', groups: ['engineering'], tools: ['*'] }, { id: 'no-errors', effect: 'deny', upstreams: ['left'], tools: ['test_error_handling'] }],
        },
      })
    })
    after(async () => {
      await gateway.close()
      await Promise.all(fixtures.map((fixture) => fixture.close()))
    })

    const connected = async (profile: string, era: Era): Promise<Connected> => {
      const provider = providers.get(profile) ?? memoryProvider()
      providers.set(profile, provider)
      return connect(`${gateway.issuer}/mcp/${profile}`, provider, era)
    }

    for (const [profile, [first, second]] of [['both', ['right', 'left']], ['mixed', ['old', 'new']]] as const) {
      for (const era of ['modern', 'legacy'] as const) {
        test(`${profile}, ${era}: tools, prompts, resources, templates and completions of both, each at its own (P-14)`, async () => {
          const { client } = await connected(profile, era)
          const { tools } = await client.listTools()
          const names = tools.map(({ name }) => name)
          assert.ok(names.indexOf(`${first}__test_simple_text`) < names.indexOf(`${second}__test_simple_text`))
          assert.equal(new Set(names).size, names.length)
          assert.equal(names.includes('left__test_error_handling'), false)
          assert.equal(client.getServerVersion()?.name, 'lanyard')
          for (const id of [first, second]) {
            assert.match(textOf(await client.callTool({ name: `${id}__test_simple_text`, arguments: {} })), /simple text response/)
            const embedded = await client.callTool({ name: `${id}__test_embedded_resource`, arguments: {} })
            const [block] = embedded.content as { type: string; resource: { uri: string } }[]
            assert.match(block?.resource.uri ?? '', new RegExp(`^lanyard:${id}/test://`))
            const { resources } = await client.listResources()
            assert.ok(resources.some(({ uri }) => uri === `lanyard:${id}/test://static-text`))
            const { contents } = await client.readResource({ uri: `lanyard:${id}/test://static-text` })
            assert.deepEqual(contents.map(({ uri }) => uri), [`lanyard:${id}/test://static-text`])
            const { resourceTemplates } = await client.listResourceTemplates()
            const template = resourceTemplates.find(({ uriTemplate }) => uriTemplate.startsWith(`lanyard:${id}/`))?.uriTemplate ?? ''
            const expanded = await client.readResource({ uri: template.replace('{id}', '7') })
            assert.match(JSON.stringify(expanded.contents), /Data for ID: 7/)
            const completion = await client.complete({ ref: { type: 'ref/resource', uri: template }, argument: { name: 'id', value: '' } })
            assert.deepEqual(completion.completion.values, ['1', '2', '3'])
            assert.ok((await client.listPrompts()).prompts.some(({ name }) => name === `${id}__test_prompt_with_arguments`))
            const prompt = await client.getPrompt({ name: `${id}__test_prompt_with_arguments`, arguments: { arg1: 'a', arg2: 'b' } })
            assert.match(JSON.stringify(prompt.messages), /a/)
            await recorded(gateway, ({ action, upstream, tool }) => action === 'call.allowed' && upstream === id && tool === 'test_simple_text')
          }
          await client.close()
        })

        test(`${profile}, ${era}: upstreams ask for input, for a model and for roots, several times and with state (RS-33)`, async () => {
          const { client } = await connected(profile, era)
          for (const id of [first, second]) {
            const call = async (tool: string, args = {}): Promise<string> => textOf(await client.callTool({ name: `${id}__${tool}`, arguments: args }))
            assert.match(await call('test_elicitation', { message: 'Who?' }), /action=accept/)
            assert.match(await call('test_sampling', { prompt: 'x' }), /LLM response: sampled/)
            assert.equal(await call('test_input_required_result_list_roots'), 'Roots: file:///root')
            assert.equal(await call('test_input_required_result_request_state'), 'state-ok')
            assert.equal(await call('test_input_required_result_multi_round'), 'Both questions are answered.')
          }
          await client.close()
        })

        test(`${profile}, ${era}: progress reaches who asked, and a call can be cancelled (RS-29)`, async () => {
          const { client } = await connected(profile, era)
          for (const id of [first, second]) {
            const progress: number[] = []
            await client.callTool({ name: `${id}__test_tool_with_progress`, arguments: {} }, { onprogress: (step) => void progress.push(step.progress) })
            assert.deepEqual(progress, [0, 50, 100])
            const gone = new AbortController()
            const cancelled = client.callTool({ name: `${id}__test_reconnection`, arguments: {} }, { signal: gone.signal })
            gone.abort()
            await assert.rejects(cancelled)
            assert.match(textOf(await client.callTool({ name: `${id}__test_simple_text`, arguments: {} })), /simple/)
          }
          await client.close()
        })
      }
    }

    test('both, modern: one subscription hears of both upstreams (RS-32)', async () => {
      const { client, told } = await connected('both', 'modern')
      const subscription = await client.listen({ toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: ['lanyard:left/test://watched-resource'] })
      assert.deepEqual(subscription.honoredFilter, { toolsListChanged: true, promptsListChanged: true, resourceSubscriptions: ['lanyard:left/test://watched-resource'] })
      await client.callTool({ name: 'left__test_trigger_tool_change', arguments: {} })
      await eventually('the change of tools', () => told.includes('tools'))
      await client.callTool({ name: 'right__test_trigger_prompt_change', arguments: {} })
      await eventually('the change of prompts', () => told.includes('prompts'))
      const { prompts } = await client.listPrompts()
      assert.deepEqual(prompts.filter(({ name }) => name.endsWith('extra_prompt')).map(({ name }) => name), ['right__extra_prompt'])
      await subscription.close()
      await client.close()
    })

    test('both, legacy: the stream of the session hears of both upstreams', async () => {
      const { client, told } = await connected('both', 'legacy')
      // The client opens its stream by itself, and does not say when it is there.
      await eventually('the change of prompts', async () => {
        await client.callTool({ name: 'left__test_trigger_prompt_change', arguments: {} })
        return told.includes('prompts')
      })
      await client.callTool({ name: 'right__test_trigger_tool_change', arguments: {} })
      await eventually('the change of tools', () => told.includes('tools'))
      await client.subscribeResource({ uri: 'lanyard:left/test://watched-resource' })
      await client.setLoggingLevel('debug')
      await client.ping()
      await client.close()
    })

    test('SDK 1 has the same profile', async () => {
      const provider = memoryProvider()
      const url = `${gateway.issuer}/mcp/both`
      await connectV1(url, provider).then((first) => first.close())
      const client = new ClientV1({ name: 'profile', version: '1.0.0' }, { capabilities: { elicitation: {} } })
      client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept' as const, content: { username: 'ada', email: 'a@example.com' } }))
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, () => undefined)
      await client.connect(new TransportV1(new URL(url), { authProvider: provider as unknown as ProviderV1 }))
      const { tools } = await client.listTools()
      assert.ok(tools.some(({ name }) => name === 'left__test_simple_text') && tools.some(({ name }) => name === 'right__test_simple_text'))
      assert.match(textOf(await client.callTool({ name: 'right__test_elicitation', arguments: { message: 'Who?' } })), /action=accept/)
      await client.close()
    })
  })
}
