// An identity provider that issues ID-JAGs: its keys are served, and its assertions made before they are needed.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { assertingProvider } from '../../packages/server/test/support/id-jag.ts'
import type { Secret } from '../load/job.ts'
import { AGENT, type Lanyard } from './lanyard.ts'

export interface Assertions {
  readonly issuer: string
  readonly jwksUri: string
  /** Good ones for a person whom rules let in, each to be presented once. */
  mint(lanyard: Pick<Lanyard, 'issuer' | 'resource'>, count: number): readonly Secret[]
  close(): Promise<void>
}

export async function startAssertions(): Promise<Assertions> {
  const issuer = 'https://assertions.example'
  const provider = await assertingProvider(issuer, { sub: 'alice', client_id: AGENT.id, groups: ['engineering'], scope: 'mcp.read' })
  const server = createServer((_request, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(provider.jwks)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    issuer,
    jwksUri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`,
    mint: (lanyard, count) => Array.from({ length: count }, () => ({ value: provider.assertion(Date.now(), { claims: { aud: lanyard.issuer, resource: lanyard.resource } }) })),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
