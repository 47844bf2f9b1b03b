// An MCP server without any protection of its own, as companies run them inside: team notes.
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { McpServer } from '@modelcontextprotocol/server'
import * as z from 'zod'
import { mcpEndpoint } from './mcp.ts'
import { announce } from './process.ts'

const notes = new Map([
  ['welcome', 'Welcome to the demo company. Everybody may read and write notes.'],
  ['on-call', 'Alice is on call this week.'],
])

function notesServer(): McpServer {
  const server = new McpServer({ name: 'notes', version: '1.0.0' })
  const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] })
  server.registerTool('list_notes', { description: 'Lists the titles of all notes', annotations: { readOnlyHint: true } }, () => text([...notes.keys()].join('\n')))
  server.registerTool(
    'read_note',
    { description: 'Reads one note', inputSchema: z.object({ title: z.string() }), annotations: { readOnlyHint: true } },
    ({ title }) => text(notes.get(title) ?? `there is no note ${title}`),
  )
  server.registerTool(
    'write_note',
    { description: 'Writes a note', inputSchema: z.object({ title: z.string(), text: z.string() }), annotations: { readOnlyHint: false } },
    ({ title, text: body }) => {
      notes.set(title, body)
      return text(`wrote ${title}`)
    },
  )
  server.registerTool(
    'delete_note',
    { description: 'Deletes a note', inputSchema: z.object({ title: z.string() }), annotations: { destructiveHint: true } },
    ({ title }) => text(notes.delete(title) ? `deleted ${title}` : `there is no note ${title}`),
  )
  return server
}

const answer = mcpEndpoint(notesServer)
const server = createServer((request, response) => void answer(request, response))
server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1', () => announce(`http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`))
