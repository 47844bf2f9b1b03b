// The whole product with the fixture behind it, and a person who signed in.
import { connectV2 } from '../support/sdk-clients.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { startFixture, type Fixture } from './fixture-server.ts'
import { startTasksFixture } from './fixture-tasks.ts'
import { startForwarder, type Forwarder } from './forwarder.ts'

export interface House {
  readonly gateway: RunningGateway
  readonly fixture: Fixture
  /** The gateway's own address of the fixture: an upstream alone keeps its names. */
  readonly resource: string
  readonly forwarder: Forwarder
  /** The same for fixtures that speak one generation of the protocol alone. */
  readonly bridged: Readonly<Record<'modern' | 'legacy', Forwarder>>
  /** The tasks extension: a fixture of its own, and the way to it through the gateway. */
  readonly tasks: { readonly fixture: string; readonly forwarder: Forwarder }
  close(): Promise<void>
}

export async function openHouse(): Promise<House> {
  const fixture = await startFixture()
  const only = { modern: await startFixture('modern'), legacy: await startFixture('legacy') }
  const slow = await startTasksFixture()
  const gateway = await startGateway({
    config: {
      upstreams: [
        { id: 'fixture', name: 'Fixture', url: fixture.url, connector: { type: 'none' } },
        { id: 'modern', name: 'Modern fixture', url: only.modern.url, connector: { type: 'none' } },
        { id: 'legacy', name: 'Legacy fixture', url: only.legacy.url, connector: { type: 'none' } },
        { id: 'slow', name: 'Tasks fixture', url: slow.url, connector: { type: 'none' } },
      ],
      rules: [{ id: 'everything', effect: 'allow', groups: ['engineering'], upstreams: ['fixture', 'modern', 'legacy', 'slow'], tools: ['*'] }],
    },
  })
  const resource = `${gateway.issuer}/mcp/fixture`
  const forwardTo = async (address: string): Promise<Forwarder> => startForwarder(address, await signIn(address))
  const forwarder = await forwardTo(resource)
  const bridged = { modern: await forwardTo(`${gateway.issuer}/mcp/modern`), legacy: await forwardTo(`${gateway.issuer}/mcp/legacy`) }
  const tasks = { fixture: slow.url, forwarder: await forwardTo(`${gateway.issuer}/mcp/slow`) }
  return {
    gateway,
    fixture,
    resource,
    forwarder,
    bridged,
    tasks,
    async close() {
      for (const each of [forwarder, bridged.modern, bridged.legacy, tasks.forwarder]) each.close()
      await gateway.close()
      await Promise.all([fixture, only.modern, only.legacy, slow].map((each) => each.close()))
    },
  }
}

/** Registers a client, signs alice in, and takes the token. */
async function signIn(resource: string): Promise<string> {
  const provider = memoryProvider()
  const client = await connectV2(resource, provider, 'modern')
  await client.close()
  const token = provider.tokens()?.access_token
  if (token === undefined) throw new Error('no token was issued')
  return token
}
