// Where in a message tasks are named: 2025-11-25 has them in the protocol, 2026-07-28 as the extension
// `io.modelcontextprotocol/tasks`.
import type { Call } from '../call.ts'
import { isObject, type Message } from '../message.ts'
import { requestCapabilities } from '../revisions.ts'

type Json = Readonly<Record<string, unknown>>

export const TASKS_EXTENSION = 'io.modelcontextprotocol/tasks'
const RELATED = 'io.modelcontextprotocol/related-task'
/** What an upstream tells of a task by itself, in either generation. */
const TOLD: ReadonlySet<unknown> = new Set(['notifications/tasks/status', 'notifications/tasks'])
const ACKNOWLEDGED = 'notifications/subscriptions/acknowledged'

/** Whether the answer to a call may be a task: only for whoever asks for one, or knows them (RS-43). */
export function mayBegin({ operation, revision, message }: Pick<Call, 'operation' | 'revision' | 'message'>): boolean {
  if (operation.kind !== 'tool' || operation.task !== undefined) return false
  return revision.era === 'legacy' ? isObject(message.params['task']) : declaresTasks(requestCapabilities(message))
}

/** Whether a client says that it knows tasks; one of 2025 says so by asking for one. */
export function knowsTasks({ revision, message }: Pick<Call, 'revision' | 'message'>): boolean {
  return revision.era === 'legacy' || declaresTasks(requestCapabilities(message))
}

function declaresTasks(capabilities: unknown): boolean {
  const extensions = isObject(capabilities) ? capabilities['extensions'] : undefined
  return isObject(extensions) && isObject(extensions[TASKS_EXTENSION])
}

/** What the client calls a task; undefined for one that it has not heard of. */
export type NameOf = (own: unknown) => string | undefined

/** A task that begins with this result, as its upstream tells of it; undefined for any other result. */
export function begun(result: unknown): Json | undefined {
  if (!isObject(result)) return undefined
  if (result['resultType'] === 'task') return result
  return isObject(result['task']) && 'taskId' in result['task'] && !('content' in result) ? result['task'] : undefined
}

/** The tasks that a message of an upstream names. */
export function mentioned({ method, params, result }: Json): readonly unknown[] {
  const said = typeof method === 'string' ? params : result
  if (!isObject(said)) return []
  const { _meta: meta, taskId, tasks } = said
  const related = isObject(meta) && isObject(meta[RELATED]) ? [meta[RELATED]['taskId']] : []
  const listed: unknown[] = Array.isArray(tasks) ? tasks : []
  return [...related, ...(typeof method !== 'string' || TOLD.has(method) ? [taskId] : []), ...listed.flatMap((task) => (isObject(task) ? [task['taskId']] : []))]
}

/** Whether a message tells of a task, and of none of these, by the upstream's own names. */
export function tellsOfOthers({ method, params }: Json, owns: unknown): boolean {
  return TOLD.has(method) && !(Array.isArray(owns) && isObject(params) && owns.includes(params['taskId']))
}

/**
 * A message of an upstream with the names that the client knows.
 *
 * @returns undefined for what it tells of a task that the client has not heard of
 */
export function withNames(message: Json, nameOf: NameOf): Json | undefined {
  const { method, params, result } = message
  if (typeof method === 'string') return isObject(params) ? inRequest({ ...message, method }, params, nameOf) : message
  return isObject(result) ? { ...message, result: inResult(result, nameOf) } : message
}

function inRequest(message: Json & { readonly method: string }, params: Json, nameOf: NameOf): Json | undefined {
  const related = withRelated(params, (own) => nameOf(own) ?? own)
  if (TOLD.has(message.method)) {
    const name = nameOf(params['taskId'])
    return name === undefined ? undefined : { ...message, params: { ...withResult(related, nameOf), taskId: name } }
  }
  const { notifications } = params
  if (message.method === ACKNOWLEDGED && isObject(notifications) && Array.isArray(notifications['taskIds'])) {
    return { ...message, params: { ...related, notifications: { ...notifications, taskIds: notifications['taskIds'].flatMap((own) => nameOf(own) ?? []) } } }
  }
  return related === params ? message : { ...message, params: related }
}

function inResult(result: Json, nameOf: NameOf): Json {
  const { task, taskId } = result
  const related = withRelated(result, (own) => nameOf(own) ?? own)
  if (typeof taskId === 'string') return { ...withResult(related, nameOf), taskId: nameOf(taskId) ?? taskId }
  return isObject(task) && typeof task['taskId'] === 'string' ? { ...related, task: { ...task, taskId: nameOf(task['taskId']) ?? task['taskId'] } } : related
}

/** What came of a task that is over stands within it in 2026-07-28. */
function withResult(task: Json, nameOf: NameOf): Json {
  return isObject(task['result']) ? { ...task, result: withRelated(task['result'], (own) => nameOf(own) ?? own) } : task
}

/** Params or a result, with what it says of the task that it belongs to. @param change gives undefined for what is not to be said */
function withRelated(members: Json, change: (id: unknown) => unknown): Json {
  const { _meta: meta } = members
  if (!isObject(meta) || !isObject(meta[RELATED])) return members
  const { [RELATED]: related, ...rest } = meta
  const id = change(related['taskId'])
  return { ...members, _meta: id === undefined ? rest : { ...rest, [RELATED]: { ...related, taskId: id } } }
}

/**
 * A message of the client with the names that the upstream knows. In a request, a task that is not the client's own to name
 * is none: the upstream could answer into it. An answer or notification may be about a task of the client's own.
 */
export function inward(message: Message, ownOf: (name: unknown) => string | undefined): Message {
  const change = (name: unknown): unknown => ownOf(name) ?? (message.kind === 'request' ? undefined : name)
  const params = withRelated(message.params, change)
  if (params !== message.params) return { ...message, params, json: { ...message.json, params } }
  const { result } = message.json
  const changed = isObject(result) ? withRelated(result, change) : result
  return changed === result ? message : { ...message, json: { ...message.json, result: changed } }
}
