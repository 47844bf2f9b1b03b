// The whole product with the fixture behind it, and a person who signed in.
import { connectV2 } from '../support/sdk-clients.ts'
import { startGateway, type RunningGateway } from '../support/gateway.ts'
import { memoryProvider } from '../support/oauth-clients.ts'
import { startFixture, type Fixture } from './fixture-server.ts'
import { startForwarder, type Forwarder } from './forwarder.ts'

export interface House {
  readonly gateway: RunningGateway
  readonly fixture: Fixture
  /** The gateway's own address of the fixture: an upstream alone keeps its names. */
  readonly resource: string
  readonly forwarder: Forwarder
  /** The same for fixtures that speak one generation of the protocol alone. */
  readonly bridged: Readonly<Record<'modern' | 'legacy', Forwarder>>
  close(): Promise<void>
}

export async function openHouse(): Promise<House> {
  const fixture = await startFixture()
  const only = { modern: await startFixture('modern'), legacy: await startFixture('legacy') }
  const gateway = await startGateway({
    config: {
      upstreams: [
        { id: 'fixture', name: 'Fixture', url: fixture.url, connector: { type: 'none' } },
        { id: 'modern', name: 'Modern fixture', url: only.modern.url, connector: { type: 'none' } },
        { id: 'legacy', name: 'Legacy fixture', url: only.legacy.url, connector: { type: 'none' } },
      ],
      rules: [{ id: 'everything', effect: 'allow', groups: ['engineering'], upstreams: ['fixture', 'modern', 'legacy'], tools: ['*'] }],
    },
  })
  const resource = `${gateway.issuer}/mcp/fixture`
  const forwardTo = async (address: string): Promise<Forwarder> => startForwarder(address, await signIn(address))
  const forwarder = await forwardTo(resource)
  const bridged = { modern: await forwardTo(`${gateway.issuer}/mcp/modern`), legacy: await forwardTo(`${gateway.issuer}/mcp/legacy`) }
  return {
    gateway,
    fixture,
    resource,
    forwarder,
    bridged,
    async close() {
      for (const each of [forwarder, bridged.modern, bridged.legacy]) each.close()
      await gateway.close()
      await Promise.all([fixture, only.modern, only.legacy].map((each) => each.close()))
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
