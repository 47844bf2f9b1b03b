import type { IncomingMessage, ServerResponse } from 'node:http'
import { McpError } from './error.ts'

const ALLOWED_HEADERS = 'Authorization, Content-Type, Accept, Last-Event-ID, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, DPoP'
const EXPOSED_HEADERS = 'WWW-Authenticate, Mcp-Session-Id, Retry-After, DPoP-Nonce, X-Lanyard-Step-Up'
/** P-9: arguments that are repeated in headers have the names that their tools say. */
const MIRRORED = /^mcp-param-[!#$%&'*+\-.^_`|~0-9a-z]{1,100}$/i

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
  const mirrored = (request.headers['access-control-request-headers'] ?? '').split(',').map((name) => name.trim()).filter((name) => MIRRORED.test(name))
  response.writeHead(204, { 'access-control-allow-methods': 'POST, GET, DELETE', 'access-control-allow-headers': [ALLOWED_HEADERS, ...mirrored].join(', '), 'access-control-max-age': '600' }).end()
  return 'answered'
}
