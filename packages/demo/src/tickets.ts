// An MCP server with its own OAuth authorization server and accounts: the ticket tracker. Lanyard needs each user's own
// account here, and gets it by the same discovery that any MCP client uses.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { McpServer } from '@modelcontextprotocol/server'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as z from 'zod'
import { mcpEndpoint } from './mcp.ts'
import { personById } from './people.ts'
import { announce } from './process.ts'
import { startProvider } from './provider.ts'

const SCOPE = 'tickets.read tickets.write'
const tickets = [
  { id: 1, title: 'The coffee machine is broken', assignee: 'alice' },
  { id: 2, title: 'Renew the certificate', assignee: 'alice' },
  { id: 3, title: 'Call the customer back', assignee: 'bob' },
]

function ticketServer(account: string): McpServer {
  const server = new McpServer({ name: 'tickets', version: '1.0.0' })
  const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] })
  server.registerTool('my_tickets', { description: 'Lists the tickets assigned to you', annotations: { readOnlyHint: true } }, () =>
    text(
      tickets
        .filter((ticket) => ticket.assignee === account)
        .map((ticket) => `#${ticket.id} ${ticket.title}`)
        .join('\n') || 'no tickets',
    ),
  )
  server.registerTool('create_ticket', { description: 'Creates a ticket assigned to you', inputSchema: z.object({ title: z.string() }) }, ({ title }) => {
    const ticket = { id: tickets.length + 1, title, assignee: account }
    tickets.push(ticket)
    return text(`created #${ticket.id} for ${personById(account)?.name ?? account}`)
  })
  return server
}

async function protectedResource(request: IncomingMessage, response: ServerResponse, issuer: string): Promise<boolean> {
  const path = new URL(request.url ?? '/', issuer).pathname
  const resource = `${issuer}/mcp`
  if (path === '/.well-known/oauth-protected-resource/mcp') {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ resource, authorization_servers: [issuer], scopes_supported: SCOPE.split(' ') }))
    return true
  }
  if (path !== '/mcp') return false
  const account = await accountOf(request, issuer, resource)
  if (account === undefined) {
    response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${issuer}/.well-known/oauth-protected-resource/mcp", scope="${SCOPE}"` })
    response.end()
    return true
  }
  await mcpEndpoint(() => ticketServer(account))(request, response)
  return true
}

let keys: ReturnType<typeof createRemoteJWKSet> | undefined

async function accountOf(request: IncomingMessage, issuer: string, resource: string): Promise<string | undefined> {
  const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1]
  if (token === undefined) return undefined
  keys ??= createRemoteJWKSet(new URL(`${issuer}/jwks`))
  try {
    return (await jwtVerify(token, keys, { issuer, audience: resource, typ: 'at+jwt' })).payload.sub
  } catch {
    return undefined
  }
}

const provider = await startProvider({
  name: 'Tickets',
  port: Number(process.env['PORT'] ?? 0),
  clients: [],
  registration: true,
  resource: (issuer) => ({ url: `${issuer}/mcp`, scope: SCOPE }),
  otherwise: protectedResource,
})
announce(`${provider.issuer}/mcp`)
