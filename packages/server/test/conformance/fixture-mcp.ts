// One server of the fixture: what it declares, and all that is registered with it.
import { randomBytes } from 'node:crypto'
import { createRequestStateCodec, McpServer, type RequestStateCodec } from '@modelcontextprotocol/server'
import { registerContents } from './fixture-contents.ts'
import { registerInteraction } from './fixture-interaction.ts'
import { registerTools } from './fixture-tools.ts'

/** What all servers of one fixture share. */
export interface FixtureState {
  /** Whether the tools and prompts that come and go are there. */
  extraTool: boolean
  extraPrompt: boolean
  readonly codec: RequestStateCodec<RoundState>
}

/** What the fixture lets a client carry between two rounds of one call. */
export interface RoundState {
  readonly step: number
}

/** Tells clients that a list is another one now. */
export interface Changed {
  tools(): void
  prompts(): void
}

export function fixtureState(): FixtureState {
  // RS-33: the state of one method is nothing at another.
  const codec = createRequestStateCodec<RoundState>({ key: randomBytes(32), bind: (context) => context.mcpReq.method })
  return { extraTool: false, extraPrompt: false, codec }
}

export function fixtureMcp(state: FixtureState, changed: Changed): McpServer {
  const mcp = new McpServer(
    { name: 'conformance-fixture', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        completions: {},
        logging: {},
      },
      cacheHints: { 'tools/list': { ttlMs: 1000, cacheScope: 'public' }, 'resources/read': { ttlMs: 1000, cacheScope: 'private' } },
      requestState: { verify: (sealed, context) => state.codec.verify(sealed, context) },
    },
  )
  registerTools(mcp, state, changed)
  registerContents(mcp, state)
  registerInteraction(mcp, state)
  return mcp
}
