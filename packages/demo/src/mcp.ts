import type { IncomingMessage, ServerResponse } from 'node:http'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, type McpServer } from '@modelcontextprotocol/server'

/** Answers MCP requests of every protocol revision with a server made for each of them. */
export function mcpEndpoint(makeServer: () => McpServer): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  const answer = toNodeHandler(createMcpHandler(makeServer))
  // The adapter's own types leave `undefined` out of optional members, which Node's types have.
  return (request, response) => answer(request as Parameters<typeof answer>[0], response)
}
