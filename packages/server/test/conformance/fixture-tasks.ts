// What the official suite wants to find behind the tasks extension of 2026-07-28: a server by hand, as no SDK has it yet.
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { serve, type TaskServer } from '../support/task-servers.ts'

type Json = Readonly<Record<string, unknown>>

const EXTENSION = 'io.modelcontextprotocol/tasks'
const REQUIRED = { requiredCapabilities: { extensions: { [EXTENSION]: {} } } }
const FORM = { type: 'object', properties: { name: { type: 'string' }, confirm: { type: 'boolean' } } }
const ask = (message: string): Json => ({ method: 'elicitation/create', params: { message, requestedSchema: FORM } })
const text = (value: string, more: Json = {}): Json => ({ content: [{ type: 'text', text: value }], ...more })

interface Task {
  readonly taskId: string
  readonly createdAt: string
  status: string
  pending: Json
  outcome: Json
}

/** What becomes of a task: it changes it, and says when it is over. */
type Work = (task: Task, args: Json) => Promise<void>

const complete = (task: Task, result: Json): void => void Object.assign(task, { status: 'completed', outcome: { result } })
const parked = (questions: Json): Work => async (task) => void Object.assign(task, { status: 'input_required', pending: questions })

const WORK: Readonly<Record<string, Work>> = {
  async slow_compute(task, { seconds, label }) {
    await delay(Number(seconds ?? 0) * 1000, undefined, { ref: false })
    if (task.status === 'working') complete(task, text(`computed ${String(label)}`))
  },
  async failing_job(task) {
    await delay(1000, undefined, { ref: false })
    if (task.status === 'working') complete(task, text('failed', { isError: true }))
  },
  async protocol_error_job(task) {
    Object.assign(task, { status: 'failed', outcome: { error: { code: -32603, message: 'Internal error' } } })
  },
  confirm_delete: parked({ confirm: ask('Delete it?') }),
  multi_input: parked({ first: ask('One?'), second: ask('Two?') }),
  async test_tool_with_task(task, { user_name: name }) {
    complete(task, text(`Hello, ${String(name)}`))
  },
}

class Refused extends Error {
  readonly status: number
  readonly error: Json
  constructor(code: number, message: string, status = 200, data?: Json) {
    super(message)
    this.status = status
    this.error = { code, message, ...(data === undefined ? {} : { data }) }
  }
}

export function startTasksFixture(): Promise<TaskServer> {
  const tasks = new Map<string, Task>()
  return serve((request, response, body) => {
    const { id, method, params = {} } = body as { readonly id?: unknown; readonly method: string; readonly params?: Json }
    const say = (status: number, members: Json): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id, ...members }))
    if (id === undefined) return void response.writeHead(202).end()
    return answer(tasks, request, method, params).then((result) => say(200, { result }), (error: unknown) => {
      if (!(error instanceof Refused)) throw error
      say(error.status, { error: error.error })
    })
  })
}

async function answer(tasks: Map<string, Task>, request: IncomingMessage, method: string, params: Json): Promise<Json> {
  requireHeaders(request, method, params)
  const declared = (params['_meta'] as { readonly [name: string]: { readonly extensions?: Json } } | undefined)?.['io.modelcontextprotocol/clientCapabilities']?.extensions?.[EXTENSION] !== undefined
  const cached = { ttlMs: 0, cacheScope: 'private' }
  if (method === 'server/discover') return { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {}, extensions: { [EXTENSION]: {} } }, ...cached }
  if (method === 'tools/list') return { resultType: 'complete', tools: ['greet', ...Object.keys(WORK)].map((name) => ({ name, inputSchema: { type: 'object' } })), ...cached }
  if (method === 'tools/call') return call(tasks, params, declared)
  if (!['tasks/get', 'tasks/update', 'tasks/cancel'].includes(method)) throw new Refused(-32601, 'Method not found', 404)
  if (!declared) throw new Refused(-32021, 'Missing required client capability', 400, REQUIRED)
  const task = tasks.get(String(params['taskId']))
  if (task === undefined) throw new Refused(-32602, `Task not found: ${String(params['taskId'])}`)
  if (method === 'tasks/get') return { resultType: 'complete', ...told(task) }
  if (method === 'tasks/cancel') cancel(task)
  else answered(task, params['inputResponses'] as Json)
  return { resultType: 'complete' }
}

/** SEP-2243: headers say what the body says. */
function requireHeaders({ headers }: IncomingMessage, method: string, params: Json): void {
  const named = method === 'tools/call' ? params['name'] : method.startsWith('tasks/') && method !== 'tasks/list' && method !== 'tasks/result' ? params['taskId'] : undefined
  if (headers['mcp-method'] !== method || (named !== undefined && headers['mcp-name'] !== named)) throw new Refused(-32020, 'Header mismatch', 400)
}

async function call(tasks: Map<string, Task>, params: Json, declared: boolean): Promise<Json> {
  const name = String(params['name'])
  const args = (params['arguments'] ?? {}) as Json
  if (name === 'greet') return { resultType: 'complete', ...text(`Hello, ${String(args['name'])}!`) }
  const work = WORK[name]
  if (work === undefined) throw new Refused(-32602, `Unknown tool: ${name}`)
  if (!declared && name !== 'slow_compute') throw new Refused(-32021, 'Missing required client capability', 400, REQUIRED)
  const given = (params['inputResponses'] as { readonly user_name?: { readonly content?: Json } } | undefined)?.user_name?.content
  if (name === 'test_tool_with_task' && given === undefined) return { resultType: 'input_required', inputRequests: { user_name: ask('Who are you?') }, requestState: 'asked' }
  const task: Task = { taskId: randomUUID(), createdAt: new Date().toISOString(), status: 'working', pending: {}, outcome: {} }
  const done = work(task, given === undefined ? args : { ...args, user_name: Object.values(given)[0] })
  if (!declared) {
    await done
    return { resultType: 'complete', ...(task.outcome['result'] as Json) }
  }
  tasks.set(task.taskId, task)
  // What is over at once is told of with the next question.
  return { resultType: 'task', ...told({ ...task, status: 'working', outcome: {} }) }
}

function told({ taskId, status, createdAt, pending, outcome }: Task): Json {
  return { taskId, status, createdAt, lastUpdatedAt: new Date().toISOString(), ttlMs: 60_000, pollIntervalMs: 100, ...(status === 'input_required' ? { inputRequests: pending } : {}), ...outcome }
}

function cancel(task: Task): void {
  if (['working', 'input_required'].includes(task.status)) task.status = 'cancelled'
}

function answered(task: Task, responses: Json): void {
  task.pending = Object.fromEntries(Object.entries(task.pending).filter(([key]) => !(key in responses)))
  if (task.status === 'input_required' && Object.keys(task.pending).length === 0) complete(task, text('done'))
}
