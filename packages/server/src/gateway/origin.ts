import type { IncomingMessage, ServerResponse } from 'node:http'
import { McpError } from './error.ts'

const ALLOWED_HEADERS = 'Authorization, Content-Type, Accept, Last-Event-ID, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name'
const EXPOSED_HEADERS = 'WWW-Authenticate, Mcp-Session-Id, Retry-After'

/**
 * Refuses requests that a page of an unknown origin sends (RS-12), and answers preflights of the known ones.
 *
 * @throws McpError 403
 */
export function checkOrigin(origins: ReadonlySet<string>, request: IncomingMessage, response: ServerResponse): 'answered' | 'go on' {
  response.setHeader('x-content-type-options', 'nosniff')
  const { origin } = request.headers
  if (origin === undefined) return 'go on'
  if (!origins.has(origin)) throw new McpError('invalid_request', 'this origin may not call', { status: 403 })
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader('vary', 'Origin')
  response.setHeader('access-control-expose-headers', EXPOSED_HEADERS)
  if (request.method !== 'OPTIONS') return 'go on'
  response.writeHead(204, { 'access-control-allow-methods': 'POST, GET, DELETE', 'access-control-allow-headers': ALLOWED_HEADERS, 'access-control-max-age': '600' }).end()
  return 'answered'
}
