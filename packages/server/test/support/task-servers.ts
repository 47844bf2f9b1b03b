// Servers that work on something for longer than a request: the official SDK's with the experimental tasks of 2025-11-25,
// and one for the extension of 2026-07-28, which no SDK has yet. Either keeps all tasks in one place, for whoever knows
// their names: so does a real one where everybody comes with the same account.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import { InMemoryTaskMessageQueue, InMemoryTaskStore, type CreateTaskRequestHandlerExtra, type TaskStore } from '@modelcontextprotocol/sdk/experimental/tasks'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { ElicitResultSchema } from '@modelcontextprotocol/sdk/types.js'

type Json = Readonly<Record<string, unknown>>

export interface TaskServer {
  readonly url: string
  /** What was asked: JSON-RPC messages, in order. */
  readonly asked: Json[]
  /** The server's own names of the tasks that were named in requests, by method. */
  named(method: string): unknown[]
  close(): Promise<void>
}

const FORM = { type: 'object' as const, properties: { name: { type: 'string' as const } }, required: ['name'] }
const link = (text: string) => ({ content: [{ type: 'text' as const, text }, { type: 'resource_link' as const, uri: 'ui://report', name: 'report' }] })

/** The SDK's server of 2025-11-25: `survey` asks for a name while it works, `erase` is a tool that only some may use. */
export async function legacyTaskServer(): Promise<TaskServer> {
  const store = new InMemoryTaskStore()
  // One place for all sessions, as where a service's own account is used.
  const shared: TaskStore = {
    createTask: (params, id, request) => store.createTask(params, id, request),
    getTask: (taskId) => store.getTask(taskId),
    storeTaskResult: (taskId, status, result) => store.storeTaskResult(taskId, status, result),
    getTaskResult: (taskId) => store.getTaskResult(taskId),
    updateTaskStatus: (taskId, status, message) => store.updateTaskStatus(taskId, status, message),
    listTasks: (cursor) => store.listTasks(cursor),
  }
  const sessions = new Map<string, StreamableHTTPServerTransport>()
  const server = await serve(async (request, response, body) => {
    const id = request.headers['mcp-session-id']
    const known = typeof id === 'string' ? sessions.get(id) : undefined
    if (known !== undefined) return known.handleRequest(request, response, body)
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (started) => void sessions.set(started, transport) })
    await legacyTools(shared).connect(transport)
    return transport.handleRequest(request, response, body)
  })
  return {
    ...server,
    async close() {
      for (const transport of sessions.values()) await transport.close()
      store.cleanup()
      await server.close()
    },
  }
}

function legacyTools(taskStore: TaskStore): McpServer {
  const mcp = new McpServer({ name: 'slow', version: '1' }, { capabilities: { tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } }, taskStore, taskMessageQueue: new InMemoryTaskMessageQueue() })
  mcp.registerTool('quick', {}, () => link('at once'))
  for (const name of ['survey', 'erase']) {
    mcp.experimental.tasks.registerToolTask(name, { execution: { taskSupport: 'optional' } }, {
      async createTask(extra) {
        const task = await extra.taskStore.createTask({ ttl: 60_000, pollInterval: 20 })
        void work(extra, task.taskId).catch(() => undefined)
        return { task }
      },
      getTask: (extra) => extra.taskStore.getTask(extra.taskId),
      getTaskResult: async (extra) => (await extra.taskStore.getTaskResult(extra.taskId)) as ReturnType<typeof link>,
    })
  }
  return mcp
}

async function work(extra: CreateTaskRequestHandlerExtra, taskId: string): Promise<void> {
  await extra.taskStore.updateTaskStatus(taskId, 'input_required')
  const options = { timeout: 20_000, relatedTask: { taskId } }
  const answer = await extra.sendRequest({ method: 'elicitation/create', params: { message: 'Who?', requestedSchema: FORM } }, ElicitResultSchema, options)
  await extra.taskStore.updateTaskStatus(taskId, 'working')
  await extra.taskStore.storeTaskResult(taskId, 'completed', link(`Hello, ${String(answer.content?.['name'])}`))
}

const EXTENSION = 'io.modelcontextprotocol/tasks'
const CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities'
const SUBSCRIPTION = 'io.modelcontextprotocol/subscriptionId'

interface ModernTask {
  readonly taskId: string
  readonly arguments: unknown
  status: 'working' | 'input_required' | 'completed' | 'cancelled'
  name?: string
}

/** 2026-07-28 by the letter: headers, the extension declared with each request, `tasks/update`, notifications. */
export async function modernTaskServer(): Promise<TaskServer> {
  const tasks = new Map<string, ModernTask>()
  return serve((request, response, body) => {
    const { id, method, params } = body as { readonly id?: unknown; readonly method: string; readonly params: Json }
    const say = (members: Json, status = 200): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id, ...members }))
    const complete = (members: Json): void => say({ result: { resultType: 'complete', ...members } })
    // RS-40: what does not say 2026-07-28 of itself is of another revision.
    if ((params['_meta'] as Json | undefined)?.[CAPABILITIES] === undefined) return say({ error: { code: -32022, message: 'Unsupported protocol version', data: { supported: ['2026-07-28'] } } }, 400)
    const extensions = ((params['_meta'] as Json)[CAPABILITIES] as { readonly extensions?: Json }).extensions
    if (method === 'server/discover') return complete({ supportedVersions: ['2026-07-28'], capabilities: { tools: {}, extensions: { [EXTENSION]: {} } }, ttlMs: 0, cacheScope: 'private' })
    if (method === 'tools/list') return complete({ tools: ['survey', 'erase'].map((name) => ({ name, inputSchema: { type: 'object' } })), ttlMs: 0, cacheScope: 'private' })
    if (method === 'subscriptions/listen') return listen(request, response, { id, tasks, wanted: (params['notifications'] as { readonly taskIds?: readonly string[] }).taskIds })
    if (method === 'tools/call') {
      if (extensions?.[EXTENSION] === undefined) return complete(link('at once'))
      const task: ModernTask = { taskId: randomUUID(), arguments: params['arguments'], status: 'working' }
      tasks.set(task.taskId, task)
      return say({ result: { resultType: 'task', ...told(task) } })
    }
    if (extensions?.[EXTENSION] === undefined) return say({ error: { code: -32021, message: 'Missing capability', data: { requiredCapabilities: { extensions: { [EXTENSION]: {} } } } } }, 400)
    if (request.headers['mcp-name'] !== params['taskId'] || request.headers['mcp-method'] !== method) return say({ error: { code: -32020, message: 'Header mismatch' } }, 400)
    const task = tasks.get(String(params['taskId']))
    if (task === undefined) return say({ error: { code: -32602, message: `Task not found: ${String(params['taskId'])}` } })
    if (method === 'tasks/cancel') {
      task.status = 'cancelled'
      return complete({})
    }
    if (method === 'tasks/update') {
      const { who } = params['inputResponses'] as { readonly who: { readonly content: { readonly name: string } } }
      task.status = 'completed'
      task.name = who.content.name
      return complete({})
    }
    if (task.status === 'working') task.status = 'input_required'
    return complete(told(task))
  })
}

function told(task: ModernTask): Json {
  const { taskId, status, name } = task
  const inputRequests = { who: { method: 'elicitation/create', params: { message: 'Who?', requestedSchema: FORM } } }
  return { taskId, status, createdAt: '2026-11-25T00:00:00Z', lastUpdatedAt: '2026-11-25T00:00:00Z', ttlMs: null, ...(status === 'input_required' ? { inputRequests } : {}), ...(status === 'completed' ? { result: link(`Hello, ${String(name)}`) } : {}) }
}

function listen(request: IncomingMessage, response: ServerResponse, { id, tasks, wanted = [] }: { readonly id: unknown; readonly tasks: ReadonlyMap<string, ModernTask>; readonly wanted: readonly string[] | undefined }): void {
  const known = wanted.filter((taskId) => tasks.has(taskId))
  const event = (method: string, params: Json): string => `event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', method, params: { ...params, _meta: { [SUBSCRIPTION]: id } } })}\n\n`
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(event('notifications/subscriptions/acknowledged', { notifications: { taskIds: known } }))
  // A careless server tells everybody of all tasks.
  const timer = setInterval(() => {
    for (const task of tasks.values()) response.write(event('notifications/tasks', told(task)))
  }, 50)
  request.once('close', () => clearInterval(timer))
  response.once('close', () => clearInterval(timer))
}

export async function serve(answer: (request: IncomingMessage, response: ServerResponse, body: unknown) => Promise<void> | void): Promise<TaskServer> {
  const asked: Json[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body: unknown = chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'))
      if (body !== undefined) asked.push(body as Json)
      void Promise.resolve()
        .then(() => answer(request, response, body))
        .catch(() => response.destroy())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    asked,
    named: (method) => asked.filter((message) => message['method'] === method).map((message) => (message['params'] as Json | undefined)?.['taskId']),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
