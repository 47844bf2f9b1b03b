// An MCP server that records every request and answers as a test says. By default it behaves, in both eras of the
// protocol: it lists its tools, answers their calls, and gives the sessions of the 2025 revisions.
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Asked {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** The JSON-RPC message; empty when the body is none. */
  readonly message: Readonly<Record<string, unknown>>
  /** Whether whoever asked went away before the answer was complete. */
  readonly left: boolean
}

/** Answers a request; `false` leaves it to the default behaviour. */
export type Script = (asked: Asked, response: ServerResponse) => void | false | Promise<void | false>

export interface Tool {
  readonly name: string
  readonly annotations?: Readonly<Record<string, unknown>>
  readonly [member: string]: unknown
}

export interface McpUpstream {
  readonly url: string
  readonly asked: Asked[]
  /** Answers instead of the default behaviour. */
  script: Script
  tools: readonly Tool[]
  /** The live session identifiers of the 2025 revisions. */
  readonly sessions: Set<string>
  /** Connections that are open. */
  readonly connections: () => number
  /** The calls of tools that were received. */
  calls(): Asked[]
  /** The requests of one JSON-RPC method. */
  of(method: string): Asked[]
  /** Forgets what was asked. */
  forget(): void
  close(): Promise<void>
}

export const TOOLS: readonly Tool[] = [
  { name: 'read_note', description: 'Reads', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } },
  { name: 'write_note', description: 'Writes', inputSchema: { type: 'object' } },
  { name: 'delete_note', description: 'Deletes', inputSchema: { type: 'object' }, annotations: { destructiveHint: true } },
]

export async function mcpUpstream(): Promise<McpUpstream> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const sockets = new Set<unknown>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const upstream: McpUpstream = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    asked: [],
    script: () => false,
    tools: TOOLS,
    sessions: new Set(),
    connections: () => sockets.size,
    calls: () => upstream.of('tools/call'),
    of: (method) => upstream.asked.filter(({ message }) => message['method'] === method),
    forget: () => void upstream.asked.splice(0),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  server.on('request', (request, response) => {
    void answer(upstream, request, response).catch(() => response.destroy())
  })
  return upstream
}

async function answer(upstream: McpUpstream, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const body = Buffer.concat(chunks).toString('utf8')
  const asked = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body, message: parsed(body), left: false }
  response.once('close', () => {
    asked.left = !response.writableFinished
  })
  upstream.asked.push(asked)
  if ((await upstream.script(asked, response)) === false) behave(upstream, asked, response)
}

function parsed(body: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  } catch {
    return {}
  }
}

export function reply(response: ServerResponse, body: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

export function result(asked: Asked, value: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return { jsonrpc: '2.0', id: asked.message['id'], result: value }
}

function behave(upstream: McpUpstream, asked: Asked, response: ServerResponse): void {
  const { message, method, headers } = asked
  const isModern = (headers['mcp-protocol-version'] ?? '') >= '2026'
  const session = headers['mcp-session-id']
  if (method === 'DELETE') {
    upstream.sessions.delete(String(session))
    return void response.writeHead(200).end()
  }
  if (method === 'GET') return void response.writeHead(405).end()
  const opens = message['method'] === 'initialize'
  if (!isModern && !opens && !upstream.sessions.has(String(session))) {
    return reply(response, { jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } }, session === undefined ? 400 : 404)
  }
  if (message['id'] === undefined) return void response.writeHead(202).end()
  if (!opens) return reply(response, outcome(upstream, asked, isModern))
  const id = `session-${upstream.sessions.size + 1}-${Math.random().toString(36).slice(2)}`
  upstream.sessions.add(id)
  const version = (message['params'] as Record<string, unknown> | undefined)?.['protocolVersion']
  reply(response, result(asked, { protocolVersion: version, capabilities: CAPABILITIES, serverInfo: { name: 'notes', version: '1' } }), 200, { 'mcp-session-id': id })
}

const CAPABILITIES = { tools: { listChanged: true }, prompts: {}, resources: { subscribe: true }, completions: {}, tasks: {}, logging: {} }

function outcome(upstream: McpUpstream, asked: Asked, isModern: boolean): Readonly<Record<string, unknown>> {
  const params = (asked.message['params'] ?? {}) as Readonly<Record<string, unknown>>
  const complete = isModern ? { resultType: 'complete' } : {}
  const cached = isModern ? { ttlMs: 60_000, cacheScope: 'public' } : {}
  switch (asked.message['method']) {
    case 'server/discover':
      return result(asked, { ...complete, ...cached, supportedVersions: ['2026-07-28'], capabilities: CAPABILITIES, serverInfo: { name: 'notes', version: '1' } })
    case 'tools/list':
      return result(asked, { ...complete, ...cached, tools: upstream.tools })
    case 'tools/call':
      return result(asked, { ...complete, content: [{ type: 'text', text: JSON.stringify({ ran: params['name'], with: params['arguments'] }) }] })
    case 'prompts/list':
      return result(asked, { ...complete, ...cached, prompts: [{ name: 'a-prompt' }] })
    case 'resources/list':
      return result(asked, { ...complete, ...cached, resources: [{ uri: 'note://1', name: 'one' }] })
    case 'resources/read':
      return result(asked, { ...complete, ...cached, contents: [{ uri: params['uri'], text: 'content' }] })
    case 'ping':
      return result(asked, {})
    default:
      return { jsonrpc: '2.0', id: asked.message['id'], error: { code: -32601, message: 'Method not found' } }
  }
}

/** The text of a server-sent event that carries a message. */
export function event(message: unknown, more = ''): string {
  return `${more}event: message\ndata: ${JSON.stringify(message)}\n\n`
}
