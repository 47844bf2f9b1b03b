// A gateway as most are built: a server object of the SDK towards the client, a client object towards the upstream, one
// of each per session; in the stateless revision a server per request, and one client for all of them.
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, isLegacyRequest, Server, WebStandardStreamableHTTPServerTransport, type Progress } from '@modelcontextprotocol/server'
import { announce } from '../program.ts'

const upstream = new URL(process.argv[2] ?? '')
const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>()
let shared: Promise<Client> | undefined

async function upstreamClient(era: 'modern' | 'legacy'): Promise<Client> {
  const client = new Client({ name: 'sdk-gateway', version: '1' }, { versionNegotiation: { mode: era === 'modern' ? { pin: '2026-07-28' } : 'legacy' } })
  await client.connect(new StreamableHTTPClientTransport(upstream))
  return client
}

function gatewayServer(client: Client | Promise<Client>): Server {
  const server = new Server({ name: 'sdk-gateway', version: '1' }, { capabilities: { tools: {} } })
  server.setRequestHandler('tools/list', async () => (await client).listTools())
  server.setRequestHandler('tools/call', async ({ params }, context) => {
    const token = context.mcpReq._meta?.progressToken
    if (token === undefined) return (await client).callTool({ name: params.name, arguments: params.arguments ?? {} })
    const onprogress = (progress: Progress): void =>
      void context.mcpReq.notify({ method: 'notifications/progress', params: { ...progress, progressToken: token } })
    return (await client).callTool({ name: params.name, arguments: params.arguments ?? {} }, { onprogress })
  })
  return server
}

const modern = createMcpHandler(
  () => {
    shared ??= upstreamClient('modern')
    return gatewayServer(shared)
  },
  { legacy: 'reject' },
)

async function legacy(request: Request): Promise<Response> {
  const id = request.headers.get('mcp-session-id')
  const known = id === null ? undefined : sessions.get(id)
  if (known !== undefined) return known.handleRequest(request)
  if (id !== null) return Response.json({ jsonrpc: '2.0', error: { code: -32001, message: 'Session not found' }, id: null }, { status: 404 })
  const transport = new WebStandardStreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (started) => void sessions.set(started, transport) })
  await gatewayServer(await upstreamClient('legacy')).connect(transport)
  return transport.handleRequest(request)
}

const answer = toNodeHandler({ fetch: async (request) => ((await isLegacyRequest(request)) ? legacy(request) : modern.fetch(request)) })
const server = createServer((request, response) => void answer(request as Parameters<typeof answer>[0], response))
server.listen(0, '127.0.0.1', () => announce({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp` }))
