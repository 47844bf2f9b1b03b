import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

interface Message {
  readonly id?: string | number
  readonly method?: string
  readonly params?: {
    readonly protocolVersion?: string
    readonly name?: string
    readonly arguments?: { readonly text?: string; readonly bytes?: number; readonly events?: number }
    readonly _meta?: Readonly<Record<string, unknown>>
  }
}

const TOOLS = ['echo', 'large', 'progress'].map((name) => ({ name, description: `The tool ${name}`, inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } }))
/** Twenty tools of a usual size, of which a quarter is for nobody. */
const WIDE = Array.from({ length: 20 }, (_, index) => ({
  name: `${index % 4 === 3 ? 'hidden' : 'tool'}_${index}`,
  description: `Looks after the ${index}th kind of thing: finds those that match, in the order in which they were made, and says of each who made it and when. `.repeat(2),
  inputSchema: { type: 'object', properties: Object.fromEntries(['query', 'limit', 'owner', 'since'].map((name) => [name, { type: name === 'limit' ? 'integer' : 'string', description: `The ${name} that is asked for` }])), required: ['query'] },
  annotations: { readOnlyHint: true },
}))
const INFO = { capabilities: { tools: { listChanged: true } }, serverInfo: { name: 'echo', version: '1' } }
const EVENTS_PER_SECOND = 5000

const sessions = new Set<string>()
/** What is open and silent, until there is news. */
const streams = new Map<ServerResponse, Readonly<Record<string, unknown>>>()

/** Answers one request in the era that it speaks, for the account that it came from. */
export function answerMcp(request: IncomingMessage, response: ServerResponse, body: string, account: string, tools: readonly object[] = TOOLS): void {
  if (request.method === 'DELETE') return void response.writeHead(sessions.delete(String(request.headers['mcp-session-id'])) ? 200 : 404).end()
  if (request.method === 'GET' && sessions.has(String(request.headers['mcp-session-id']))) return hold(response, {})
  if (request.method !== 'POST') return void response.writeHead(405, { allow: 'POST' }).end()
  const message = JSON.parse(body) as Message
  const isModern = (request.headers['mcp-protocol-version'] ?? '') >= '2026'
  if (message.method === 'initialize') return open(response, message)
  if (!isModern && !sessions.has(String(request.headers['mcp-session-id']))) return json(response, { jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } }, 404)
  if (message.id === undefined) return void response.writeHead(202).end()
  if (message.method === 'subscriptions/listen') return listen(response, message)
  const complete = isModern ? { resultType: 'complete' } : {}
  const cached = isModern ? { ...complete, ttlMs: 300_000, cacheScope: 'public' } : {}
  if (message.method === 'tools/call') return call(response, message, account, complete)
  const result = message.method === 'tools/list' ? { ...cached, tools } : message.method === 'server/discover' ? { ...cached, ...INFO, supportedVersions: ['2026-07-28'] } : {}
  json(response, { jsonrpc: '2.0', id: message.id, result })
}

function open(response: ServerResponse, { id, params }: Message): void {
  const session = randomUUID()
  sessions.add(session)
  json(response, { jsonrpc: '2.0', id, result: { protocolVersion: params?.protocolVersion, ...INFO } }, 200, { 'mcp-session-id': session })
}

/** The same with other tools, and slower. */
export function answerWide(request: IncomingMessage, response: ServerResponse, body: string, delayMs: number): void {
  setTimeout(() => answerMcp(request, response, body, 'nobody', WIDE), delayMs)
}

/** RS-31: the stream says first what it is about, and each of its messages which request it belongs to. */
function listen(response: ServerResponse, { id }: Message): void {
  const meta = { 'io.modelcontextprotocol/subscriptionId': id }
  hold(response, { _meta: meta })
  response.write(event({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: { _meta: meta, notifications: { toolsListChanged: true } } }))
}

function hold(response: ServerResponse, params: Readonly<Record<string, unknown>>): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).flushHeaders()
  streams.set(response, params)
  response.once('close', () => streams.delete(response))
}

/** Tells everybody who listens that the tools are others now. @returns how many those are */
export function tellAll(): number {
  for (const [response, params] of streams) response.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params }))
  return streams.size
}

function call(response: ServerResponse, message: Message, account: string, complete: object): void {
  const { name, arguments: given = {} } = message.params ?? {}
  const answer = (text: string): string => JSON.stringify({ jsonrpc: '2.0', id: message.id, result: { ...complete, content: [{ type: 'text', text }] } })
  if (name === 'large') return large(response, answer('@'), given.bytes ?? 0)
  if (name === 'progress') return progress(response, message, given.events ?? 0, answer('done'))
  send(response, answer(`${account}: ${given.text ?? ''}`))
}

const buffers = new Map<number, Buffer>()

/** One buffer for all answers of a size: what this process holds is no business of the subject in front of it. */
function large(response: ServerResponse, frame: string, bytes: number): void {
  const filling = buffers.get(bytes) ?? Buffer.alloc(bytes, 'x')
  buffers.set(bytes, filling)
  const [head = '', tail = ''] = frame.split('@')
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': head.length + bytes + tail.length })
  response.write(head)
  response.write(filling)
  response.end(tail)
}

/** Notifications at a steady pace, each a piece of its own, then the result. */
function progress(response: ServerResponse, { params }: Message, events: number, result: string): void {
  const progressToken = params?._meta?.['progressToken']
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  const startedAt = performance.now()
  let sent = 0
  const timer = setInterval(() => {
    const due = Math.min(events, Math.floor(((performance.now() - startedAt) / 1000) * EVENTS_PER_SECOND))
    for (; sent < due; sent += 1) {
      response.write(event({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken, progress: sent + 1, total: events, message: 'step by step' } }))
    }
    if (sent < events) return
    clearInterval(timer)
    response.end(`event: message\ndata: ${result}\n\n`)
  }, 5)
  response.once('close', () => clearInterval(timer))
}

function event(message: object): string {
  return `event: message\ndata: ${JSON.stringify(message)}\n\n`
}

function json(response: ServerResponse, body: object, status = 200, headers: Readonly<Record<string, string>> = {}): void {
  send(response, JSON.stringify(body), status, headers)
}

function send(response: ServerResponse, body: string, status = 200, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers }).end(body)
}
