import type { Asked, Call } from '../call.ts'
import { McpError } from '../error.ts'
import { isObject, withParams, type Message } from '../message.ts'
import type { Operation } from '../operation.ts'
import { permissions } from '../permit.ts'
import { encodeHeader } from '../revisions.ts'
import { mayHear, type Task, type TaskDeps } from './names.ts'
import { taskOutward } from './outward.ts'
import { inward, knowsTasks, mayBegin, TASKS_EXTENSION } from './words.ts'

/**
 * The task that a message is about.
 *
 * @returns undefined for one that is not this caller's, which is like one that does not exist (RS-43)
 * @throws McpError for a client that does not say that it knows tasks (RS-21), whatever it asks of whichever
 */
export function taskOf({ tasks }: Pick<TaskDeps, 'tasks'>, asked: Asked): Task | undefined {
  if (asked.operation.kind !== 'task') return undefined
  if (!knowsTasks(asked)) throw new McpError('missing_capability', 'Missing required client capability', { status: 400, data: { requiredCapabilities: { extensions: { [TASKS_EXTENSION]: {} } } } })
  return tasks.open(asked, asked.operation.name)
}

/** Each message about a task is decided about like the call that began it. */
export function operationOn({ own, tool }: Task): Operation {
  return tool === undefined ? { kind: 'task', name: own } : { kind: 'tool', name: tool, task: own }
}

/** A message for the only upstream of a profile, in which tasks alone have other names than the client's. */
export function withTasks(deps: TaskDeps, given: Call): Call | 'nobody' {
  const call = { ...given, message: inUpstreamsWords(deps, given) }
  const { operation, message, headers } = call
  if (operation.kind === 'task') {
    const task = taskOf(deps, call)
    if (task === undefined) return 'nobody'
    const name = headers['mcp-name'] === undefined ? {} : { 'mcp-name': encodeHeader(task.own) }
    return told(deps, { ...call, message: withParams(message, { taskId: task.own }), operation: operationOn(task), headers: { ...headers, ...name } }, operation)
  }
  const filter = operation.kind === 'listen' ? message.params['notifications'] : undefined
  if (isObject(filter) && 'taskIds' in filter) return told(deps, { ...call, message: withParams(message, { notifications: { ...filter, taskIds: heardOf(deps, call, filter['taskIds']) } }) }, operation)
  return mayBegin(call) ? told(deps, call, operation) : call
}

function told({ tasks }: TaskDeps, call: Call, operation: Operation): Call {
  return { ...call, outward: taskOutward(tasks, call, operation) }
}

/** What a message says of the task that it belongs to, as this upstream knows it. */
export function inUpstreamsWords({ tasks }: Pick<TaskDeps, 'tasks'>, call: Call): Message {
  return inward(call.message, (name) => {
    const task = tasks.open(call, name)
    return task?.upstream.id === call.upstream.id ? task.own : undefined
  })
}

/** Of the tasks that a client wants to hear of, those of this upstream that it may. */
export function heardOf(deps: TaskDeps, call: Call, names: unknown): readonly string[] {
  const permitted = permissions(deps.policy, call)
  return (Array.isArray(names) ? names : []).flatMap((name) => {
    const task = deps.tasks.open(call, name)
    return task?.upstream.id === call.upstream.id && mayHear(permitted, task) ? [task.own] : []
  })
}
