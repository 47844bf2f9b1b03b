// A small MCP server that knows nothing of OAuth: the proxy in front of it says who calls. It listens where nobody but
// that proxy reaches it, and takes the proxy's key as the proof of it.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, McpServer, type McpServerFactory } from '@modelcontextprotocol/server'
import * as z from 'zod'

const KEY = process.env['NOTES_KEY'] ?? ''
if (KEY === '') throw new Error('NOTES_KEY is not set')

const notes = new Map([['welcome', 'Welcome.']])

const makeServer: McpServerFactory = ({ requestInfo }) => {
  const server = new McpServer({ name: 'notes', version: '1.0.0' })
  const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] })
  const header = (name: string): string => requestInfo?.headers.get(name) ?? 'none'
  server.registerTool('whoami', { description: 'Says who calls, as the proxy told it', annotations: { readOnlyHint: true } }, () =>
    text(['x-lanyard-subject', 'x-lanyard-groups', 'x-lanyard-scope', 'authorization'].map((name) => `${name}: ${header(name)}`).join('\n')),
  )
  server.registerTool('list_notes', { description: 'Lists the titles of all notes', annotations: { readOnlyHint: true } }, () => text([...notes.keys()].join('\n')))
  server.registerTool('write_note', { description: 'Writes a note', inputSchema: z.object({ title: z.string(), text: z.string() }) }, ({ title, text: body }) => {
    notes.set(title, body)
    return text(`wrote ${title}`)
  })
  server.registerTool('delete_note', { description: 'Deletes a note', inputSchema: z.object({ title: z.string() }), annotations: { destructiveHint: true } }, ({ title }) =>
    text(notes.delete(title) ? `deleted ${title}` : `there is no note ${title}`),
  )
  return server
}

type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void>

function endpoint(legacy: 'reject' | 'stateless'): Answer {
  const answer = toNodeHandler(createMcpHandler(makeServer, { legacy }))
  // The adapter's own types leave `undefined` out of optional members, which Node's types have.
  return (request, response) => answer(request as Parameters<typeof answer>[0], response)
}

const ENDPOINTS: ReadonlyMap<string, Answer> = new Map([
  // The revision 2026-07-28 alone: the SDK compares its headers with the body, so that rules about single tools hold.
  ['/mcp', endpoint('reject')],
  // Every revision: what a request is about, its headers do not prove.
  ['/any/mcp', endpoint('stateless')],
])

const server = createServer((request, response) => {
  const answer = ENDPOINTS.get(request.url ?? '')
  if (request.headers['x-notes-key'] !== KEY) response.writeHead(401).end('This server is reached through its proxy alone.\n')
  else if (answer === undefined) response.writeHead(404).end()
  else answer(request, response).catch(() => response.destroy())
})
server.listen(Number(process.env['PORT'] ?? 8091), '127.0.0.1', () => console.log(`MCP server: http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`))
