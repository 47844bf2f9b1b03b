// Two MCP servers with the same tools, each of one protocol generation alone: the official SDK's version 1, with sessions,
// and version 2 for 2026-07-28. What happens to them is written down.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { acceptedContent, createMcpHandler, createRequestStateCodec, fromJsonSchema, inputRequired, inputResponse, McpServer as ModernServer, type ServerContext } from '@modelcontextprotocol/server'
import { McpServer as LegacyServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { CreateMessageResultSchema, ElicitResultSchema, ListRootsResultSchema, UrlElicitationRequiredError } from '@modelcontextprotocol/sdk/types.js'
import * as z from 'zod'

export interface Request {
  readonly method: string
  readonly headers: IncomingMessage['headers']
  readonly message: Readonly<Record<string, unknown>>
}

export interface EraServer {
  readonly url: string
  /** Every HTTP request, in order. */
  readonly requests: Request[]
  /** What the tools did, in their own words. */
  readonly log: string[]
  /** Sessions that live; empty for a server that has none. */
  readonly sessions: ReadonlySet<string>
  /** Forgets all sessions, as after a restart. */
  forget(): void
  of(method: string): Request[]
  /** Tells whoever listens that a resource, or the list of tools, has changed. */
  updated(uri: string): Promise<void>
  toolsChanged(): void
  close(): Promise<void>
}

/** The parameters of a request that was made. */
export function paramsOf(request: Request | undefined): Readonly<Record<string, unknown>> {
  return (request?.message['params'] ?? {}) as Readonly<Record<string, unknown>>
}

const NAME = z.object({ name: z.string() })
const text = (value: string): { content: { type: 'text'; text: string }[] } => ({ content: [{ type: 'text', text: value }] })
const FORM = { type: 'object' as const, properties: { name: { type: 'string' as const } }, required: ['name'] }
const SUM = { a: z.number(), b: z.number() }

async function serve(answer: (request: IncomingMessage, response: ServerResponse, body: unknown) => Promise<void> | void): Promise<{ url: string; requests: Request[]; stop: () => Promise<void> }> {
  const requests: Request[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body: unknown = chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'))
      requests.push({ method: request.method ?? '', headers: request.headers, message: (body ?? {}) as Request['message'] })
      void Promise.resolve(answer(request, response, body)).catch(() => response.destroy())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    requests,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Speaks the 2025 revisions: whoever comes without a session, or says 2026-07-28, is refused. */
export async function legacyServer(): Promise<EraServer> {
  const log: string[] = []
  const sessions = new Map<string, { readonly transport: StreamableHTTPServerTransport; readonly mcp: LegacyServer; readonly watched: Set<string> }>()
  const { url, requests, stop } = await serve(async (request, response, body) => {
    const id = request.headers['mcp-session-id']
    const known = typeof id === 'string' ? sessions.get(id) : undefined
    if (known !== undefined) return known.transport.handleRequest(request, response, body)
    if (id !== undefined || (body as Request['message'] | undefined)?.['method'] !== 'initialize') {
      response.writeHead(id === undefined ? 400 : 404, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message: 'Bad Request: no valid session' } }))
      return undefined
    }
    const watched = new Set<string>()
    const mcp = legacyTools(log, watched)
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (started) => void sessions.set(started, { transport, mcp, watched }),
      onsessionclosed: (ended) => void sessions.delete(ended),
    })
    await mcp.connect(transport)
    return transport.handleRequest(request, response, body)
  })
  return {
    url,
    requests,
    log,
    get sessions() {
      return new Set(sessions.keys())
    },
    forget: () => sessions.clear(),
    of: (method) => requests.filter(({ message }) => message['method'] === method),
    async updated(uri) {
      for (const { mcp, watched } of sessions.values()) if (watched.has(uri)) await mcp.server.sendResourceUpdated({ uri })
    },
    toolsChanged() {
      for (const { mcp } of sessions.values()) mcp.sendToolListChanged()
    },
    async close() {
      for (const { transport } of sessions.values()) await transport.close()
      await stop()
    },
  }
}

function legacyTools(log: string[], watched: Set<string>): LegacyServer {
  const mcp = new LegacyServer({ name: 'legacy', version: '1' }, { capabilities: { logging: {}, tools: { listChanged: true }, resources: { subscribe: true, listChanged: true } }, instructions: 'Be kind.' })
  mcp.registerTool('add', { inputSchema: SUM, outputSchema: { sum: z.number() }, annotations: { readOnlyHint: true } }, ({ a, b }) => ({ ...text(String(a + b)), structuredContent: { sum: a + b } }))
  mcp.registerTool('ask', {}, async (extra) => {
    const answer = await extra.sendRequest({ method: 'elicitation/create', params: { message: 'Who?', requestedSchema: FORM } }, ElicitResultSchema)
    log.push(`asked: ${JSON.stringify(answer)}`)
    return text(answer.action === 'accept' ? `Hello, ${String(answer.content?.['name'])}` : answer.action)
  })
  // Without a word on which call it belongs to: on the stream of the session.
  mcp.registerTool('ask_aside', {}, async () => {
    const answer = await mcp.server.elicitInput({ message: 'Who?', requestedSchema: FORM })
    log.push(`asked aside: ${JSON.stringify(answer)}`)
    return text(`Hello, ${String(answer.content?.['name'])}`)
  })
  mcp.registerTool('think', {}, async (extra) => {
    const { content } = await extra.sendRequest({ method: 'sampling/createMessage', params: { messages: [{ role: 'user', content: { type: 'text', text: 'Think' } }], maxTokens: 9 } }, CreateMessageResultSchema)
    return text(`I think ${content.type === 'text' ? content.text : content.type}`)
  })
  mcp.registerTool('where', {}, async (extra) => text((await extra.sendRequest({ method: 'roots/list' }, ListRootsResultSchema)).roots.map(({ uri }) => uri).join(' ')))
  mcp.registerTool('ask_three', {}, async (extra) => {
    const [who, thought] = await Promise.all([
      extra.sendRequest({ method: 'elicitation/create', params: { message: 'Who?', requestedSchema: FORM } }, ElicitResultSchema),
      extra.sendRequest({ method: 'sampling/createMessage', params: { messages: [], maxTokens: 9 } }, CreateMessageResultSchema),
    ])
    const again = await extra.sendRequest({ method: 'elicitation/create', params: { message: 'And who else?', requestedSchema: FORM } }, ElicitResultSchema)
    return text([who.content?.['name'], thought.content.type === 'text' ? thought.content.text : '', again.content?.['name']].join(' '))
  })
  mcp.registerTool('visit', { inputSchema: { been: z.boolean().optional() } }, () => {
    log.push('visit')
    if (log.filter((line) => line === 'visit').length > 1) return text('Welcome back.')
    throw new UrlElicitationRequiredError([{ mode: 'url', message: 'Please sign the form', url: 'https://forms.example/1', elicitationId: 'form-1' }])
  })
  mcp.registerTool('count', {}, async (extra) => {
    const progressToken = extra._meta?.progressToken
    for (const progress of [1, 2, 3]) if (progressToken !== undefined) await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, progress, total: 3 } })
    return text('counted')
  })
  mcp.registerTool('chat', {}, async (extra) => {
    for (const level of ['debug', 'info', 'error'] as const) await mcp.server.sendLoggingMessage({ level, data: `said ${level}` })
    await extra.sendNotification({ method: 'notifications/message', params: { level: 'error', data: 'said by the way' } })
    // What comes on the stream of the session is about a call that is still there.
    await delay(200)
    return text('said')
  })
  mcp.registerTool('sleep', {}, async ({ signal, requestId }) => {
    log.push(`asleep ${requestId}`)
    await delay(60_000, undefined, { signal }).catch(() => log.push('woken'))
    return text('slept')
  })
  mcp.registerResource('note', 'note://1', {}, () => ({ contents: [{ uri: 'note://1', text: 'content' }] }))
  mcp.registerPrompt('greet', {}, () => ({ messages: [{ role: 'user', content: { type: 'text', text: 'Hello' } }] }))
  mcp.server.setRequestHandler(z.object({ method: z.literal('resources/subscribe'), params: z.object({ uri: z.string() }) }) as never, (request: { params: { uri: string } }) => {
    watched.add(request.params.uri)
    return {}
  })
  mcp.server.setRequestHandler(z.object({ method: z.literal('resources/unsubscribe'), params: z.object({ uri: z.string() }) }) as never, (request: { params: { uri: string } }) => {
    watched.delete(request.params.uri)
    return {}
  })
  return mcp
}

/** Speaks 2026-07-28 and nothing before it. */
export async function modernServer(): Promise<EraServer> {
  const log: string[] = []
  const codec = createRequestStateCodec<{ step: number }>({ key: new Uint8Array(32).fill(7), bind: (context) => context.mcpReq.method })
  const handler = createMcpHandler(() => modernTools(log, codec), { legacy: 'reject' })
  const answer = toNodeHandler(handler)
  const { url, requests, stop } = await serve((request, response, body) => answer(request as Parameters<typeof answer>[0], response, body))
  return {
    url,
    requests,
    log,
    sessions: new Set(),
    forget: () => undefined,
    of: (method) => requests.filter(({ message }) => message['method'] === method),
    updated: async (uri) => handler.notify.resourceUpdated(uri),
    toolsChanged: () => handler.notify.toolsChanged(),
    async close() {
      await handler.close()
      await stop()
    },
  }
}

function modernTools(log: string[], codec: ReturnType<typeof createRequestStateCodec<{ step: number }>>): ModernServer {
  const mcp = new ModernServer(
    { name: 'modern', version: '2' },
    {
      capabilities: { logging: {}, tools: { listChanged: true }, resources: { subscribe: true, listChanged: true } },
      instructions: 'Be kind.',
      cacheHints: { 'tools/list': { ttlMs: 60_000, cacheScope: 'public' } },
      requestState: { verify: (sealed, context) => codec.verify(sealed, context) },
    },
  )
  mcp.registerTool('add', { inputSchema: z.object(SUM), outputSchema: z.object({ sum: z.number() }), annotations: { readOnlyHint: true } }, ({ a, b }) => ({ ...text(String(a + b)), structuredContent: { sum: a + b } }))
  mcp.registerTool('list_numbers', { outputSchema: z.array(z.number()) }, () => ({ content: [], structuredContent: [1, 2, 3] }))
  mcp.registerTool('ask', {}, (context) => {
    const answer = inputResponse(context.mcpReq.inputResponses, 'who')
    if (answer.kind !== 'elicit') return inputRequired({ inputRequests: { who: inputRequired.elicit({ message: 'Who?', requestedSchema: NAME }) } })
    log.push(`asked: ${JSON.stringify({ action: answer.action, ...(answer.action === 'accept' ? { content: answer.content } : {}) })}`)
    return text(answer.action === 'accept' ? `Hello, ${String(answer.content?.['name'])}` : answer.action)
  })
  mcp.registerTool('think', {}, (context) => {
    const answer = inputResponse(context.mcpReq.inputResponses, 'thought')
    if (answer.kind !== 'sampling') return inputRequired({ inputRequests: { thought: inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: 'Think' } }], maxTokens: 9 }) } })
    const [content] = [answer.result.content].flat()
    return text(`I think ${content?.type === 'text' ? content.text : ''}`)
  })
  mcp.registerTool('where', {}, (context) => {
    const answer = inputResponse(context.mcpReq.inputResponses, 'roots')
    return answer.kind === 'roots' ? text(answer.roots.map(({ uri }) => uri).join(' ')) : inputRequired({ inputRequests: { roots: inputRequired.listRoots() } })
  })
  mcp.registerTool('ask_three', {}, (context) => askThree(context, codec))
  mcp.registerTool('visit', {}, (context) => {
    const answer = inputResponse(context.mcpReq.inputResponses, 'form')
    log.push('visit')
    return answer.kind === 'elicit' ? text('Welcome back.') : inputRequired({ inputRequests: { form: inputRequired.elicitUrl({ message: 'Please sign the form', url: 'https://forms.example/1' }) } })
  })
  mcp.registerTool('count', {}, async (context) => {
    const progressToken = context.mcpReq._meta?.progressToken
    for (const progress of [1, 2, 3]) if (progressToken !== undefined) await context.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 3 } })
    return text('counted')
  })
  mcp.registerTool('chat', {}, async (context) => {
    for (const level of ['debug', 'info', 'error'] as const) await context.mcpReq.log(level, `said ${level}`)
    return text('said')
  })
  mcp.registerTool('sleep', {}, async (context) => {
    log.push('asleep')
    await delay(60_000, undefined, { signal: context.mcpReq.signal }).catch(() => log.push('woken'))
    return text('slept')
  })
  mcp.registerTool('mirrored', { inputSchema: fromJsonSchema<{ region: string; count?: number }>(MIRRORED) }, ({ region, count }) => text(`${region} ${count ?? 0}`))
  mcp.registerResource('note', 'note://1', {}, () => ({ contents: [{ uri: 'note://1', text: 'content' }] }))
  mcp.registerPrompt('greet', {}, () => ({ messages: [{ role: 'user', content: { type: 'text', text: 'Hello' } }] }))
  return mcp
}

const MIRRORED = { type: 'object', properties: { region: { type: 'string', 'x-mcp-header': 'Region' }, count: { type: 'integer', 'x-mcp-header': 'Count' } }, required: ['region'] }

async function askThree(context: ServerContext, codec: ReturnType<typeof createRequestStateCodec<{ step: number }>>): Promise<ReturnType<typeof text> | ReturnType<typeof inputRequired>> {
  const responses = context.mcpReq.inputResponses
  const step = context.mcpReq.requestState<{ step: number; who?: string }>()?.step ?? 0
  const elicit = (message: string): ReturnType<typeof inputRequired.elicit> => inputRequired.elicit({ message, requestedSchema: NAME })
  if (step === 0) {
    const thought = inputRequired.createMessage({ messages: [], maxTokens: 9 })
    return inputRequired({ inputRequests: { who: elicit('Who?'), thought }, requestState: await codec.mint({ step: 1 }, context) })
  }
  if (step === 1) {
    const thought = inputResponse(responses, 'thought')
    const [content] = thought.kind === 'sampling' ? [thought.result.content].flat() : []
    const said = [acceptedContent(responses, 'who', NAME)?.name, content?.type === 'text' ? content.text : '']
    return inputRequired({ inputRequests: { again: elicit(`And who else? (${said.join(' ')})`) }, requestState: await codec.mint({ step: 2 }, context) })
  }
  return text(String(acceptedContent(responses, 'again', NAME)?.name))
}
