import { unreadable } from '../answers.ts'
import type { Call } from '../call.ts'
import { isObject } from '../message.ts'
import type { Operation } from '../operation.ts'
import type { Outward } from '../outward.ts'
import type { Permissions } from '../permit.ts'
import { heardName, ownTasks } from './list.ts'
import type { TaskNames } from './names.ts'
import { begun, mayBegin, mentioned, withNames, type NameOf } from './words.ts'

type Json = Readonly<Record<string, unknown>>

type Told = ReturnType<Outward['message']>

function after(waiting: unknown, say: () => Json | undefined): Told {
  return waiting instanceof Promise ? waiting.then(say) : say()
}

/** @param operation what the client asked for, in its words */
export function taskOutward(tasks: TaskNames, call: Omit<Call, 'outward'>, operation: Operation): Outward {
  return { operation, message: (message) => toldOfTasks(tasks, call, operation, message), lines: (lines) => lines }
}

/** A message of the upstream, with its tasks as this client knows them. */
export function toldOfTasks(tasks: TaskNames, call: Omit<Call, 'outward'>, operation: Operation, message: Json): Told {
  const own = ownTask(call.operation)
  const nameOf: NameOf = (id) => (own !== undefined && id === own && operation.kind === 'task' ? operation.name : operation.kind === 'listen' ? nameHeard(tasks, call, id) : tasks.known(call, call.upstream, id))
  if (own !== undefined && isObject(message['error'])) return { ...message, error: withName(message['error'], own, nameOf) }
  const task = own === undefined && call.operation.kind === 'tool' ? begun(message['result']) : undefined
  if (task === undefined) return withNames(message, nameOf)
  // RS-43: never to a client that did not say it knows them.
  if (!mayBegin(call)) throw unreadable(call.upstream, 'a task that nobody asked for')
  const named = tasks.name(call, { upstream: call.upstream, own: task['taskId'], ...(call.operation.kind === 'tool' ? { tool: call.operation.name } : {}) }, task['ttl'] ?? task['ttlMs'])
  return after(named, () => withNames(message, nameOf))
}

/** RS-32: nobody hears of other tasks than those that they wanted to hear of and may, whatever the upstream tells. */
export function nameHeard(tasks: TaskNames, { message, ...call }: Pick<Call, 'caller' | 'profile' | 'revision' | 'upstream' | 'message'>, id: unknown): string | undefined {
  const filter = message.params['notifications']
  const wanted: unknown = isObject(filter) ? filter['taskIds'] : undefined
  return Array.isArray(wanted) && wanted.includes(id) ? tasks.known(call, call.upstream, id) : undefined
}

/** The upstream's name for the task that an operation is about. */
function ownTask(operation: Operation): string | undefined {
  if (operation.kind === 'tool') return operation.task
  return operation.kind === 'task' ? operation.name : undefined
}

/** Errors say which task they are about. */
function withName(error: Json, own: string, nameOf: NameOf): Json {
  const { message } = error
  return typeof message === 'string' ? { ...error, message: message.replaceAll(own, () => nameOf(own) ?? '') } : error
}

/** The same on the stream of a session, where it is not known which call an answer is to. */
export function toldInSession(tasks: TaskNames, { caller, profile, upstream }: Pick<Call, 'caller' | 'profile' | 'upstream'>, permitted: Permissions, message: Json): Told {
  const owner = { caller, profile, revision: { era: 'legacy' } } as const
  const hearer = { owner, upstream, permitted }
  const { result } = message
  const task = begun(result)
  const learned = task === undefined ? tasks.learn(owner, upstream, mentioned(message)) : tasks.name(owner, { upstream, own: task['taskId'] }, task['ttl'])
  return after(learned, () => {
    const seen = isObject(result) && Array.isArray(result['tasks']) && !('content' in result) ? { ...message, result: { ...result, tasks: ownTasks(tasks, hearer, result['tasks']) } } : message
    return withNames(seen, (id) => heardName(tasks, hearer, id))
  })
}
