// The MCP server behind the gateway when the official suite runs: everything that its scenarios ask for, by their names,
// in both protocol eras. Requests of 2026-07-28 get a server each; those of the 2025 revisions have sessions.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { randomUUID } from 'node:crypto'
import { toNodeHandler } from '@modelcontextprotocol/node'
import {
  createMcpHandler,
  hostHeaderValidationResponse,
  isLegacyRequest,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
  WebStandardStreamableHTTPServerTransport,
  type EventStore,
  type JSONRPCMessage,
} from '@modelcontextprotocol/server'
import { fixtureMcp, fixtureState } from './fixture-mcp.ts'

const HOUSEKEEPING_MS = 20

export interface Fixture {
  readonly url: string
  close(): Promise<void>
}

/** @param only one generation of the protocol, where the other is not served */
export async function startFixture(only?: 'modern' | 'legacy'): Promise<Fixture> {
  const state = fixtureState()
  const modern = createMcpHandler(() => fixtureMcp(state, { tools: () => modern.notify.toolsChanged(), prompts: () => modern.notify.promptsChanged() }), { legacy: 'reject' })
  const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>()

  const legacy = async (request: Request): Promise<Response> => {
    const id = request.headers.get('mcp-session-id')
    const known = id === null ? undefined : sessions.get(id)
    if (known !== undefined) return known.handleRequest(request)
    // RS-41: a session that ended is not found; only a new one needs no name.
    if (id !== null) return Response.json({ jsonrpc: '2.0', error: { code: -32001, message: 'Session not found' }, id: null }, { status: 404 })
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: eventsInMemory(),
      retryInterval: HOUSEKEEPING_MS,
      onsessioninitialized: (started) => void sessions.set(started, transport),
      onsessionclosed: (ended) => void sessions.delete(ended),
    })
    const mcp = fixtureMcp(state, { tools: () => mcp.sendToolListChanged(), prompts: () => mcp.sendPromptListChanged() })
    await mcp.connect(transport)
    return transport.handleRequest(request)
  }

  const answer = toNodeHandler({
    async fetch(request) {
      const refused = hostHeaderValidationResponse(request, localhostAllowedHostnames()) ?? originValidationResponse(request, localhostAllowedOrigins())
      if (refused !== undefined) return refused
      const isLegacy = only === undefined ? await isLegacyRequest(request) : only === 'legacy'
      return isLegacy ? legacy(request) : modern.fetch(request)
    },
  })
  const server = createServer((request, response) => void answer(request as Parameters<typeof answer>[0], response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    async close() {
      await Promise.all([modern.close(), ...[...sessions.values()].map((transport) => transport.close())])
      server.close()
      server.closeAllConnections()
    },
  }
}

/** What a client that lost its stream can ask for again. */
function eventsInMemory(): EventStore {
  const events: { readonly stream: string; readonly message: JSONRPCMessage }[] = []
  return {
    storeEvent: async (stream, message) => String(events.push({ stream, message })),
    getStreamIdForEventId: async (id) => events[Number(id) - 1]?.stream,
    async replayEventsAfter(last, { send }) {
      const stream = events[Number(last) - 1]?.stream ?? ''
      for (let index = Number(last); index < events.length; index += 1) {
        const event = events[index]
        // The first event of a stream carries no message: it only gives the client an id to come back with.
        if (event?.stream === stream && 'jsonrpc' in event.message) await send(String(index + 1), event.message)
      }
      return stream
    },
  }
}
