import type { Call } from '../call.ts'
import { isObject } from '../message.ts'
import { permissions, type Permissions } from '../permit.ts'
import { mayHear, type Owner, type TaskDeps, type TaskNames } from './names.ts'

type Json = Readonly<Record<string, unknown>>

/** Of the tasks that an upstream lists, those that this person began here with this application, and may still hear of (RS-43). */
export async function listedTasks({ tasks, policy }: TaskDeps, call: Call, given: unknown): Promise<readonly Json[]> {
  const all = objectsIn(given)
  await tasks.learn(call, call.upstream, all.map(({ taskId }) => taskId))
  return ownTasks(tasks, { owner: call, upstream: call.upstream, permitted: permissions(policy, call) }, all)
}

export interface Hearer {
  readonly owner: Owner
  readonly upstream: Call['upstream']
  readonly permitted: Permissions
}

/** The same, of those whose names this node has learned. */
export function ownTasks(tasks: TaskNames, hearer: Hearer, given: unknown): readonly Json[] {
  return objectsIn(given).flatMap((task) => {
    const name = heardName(tasks, hearer, task['taskId'])
    return name === undefined ? [] : [{ ...task, taskId: name }]
  })
}

/** What the client calls a task that it may hear of. */
export function heardName(tasks: TaskNames, { owner, upstream, permitted }: Hearer, own: unknown): string | undefined {
  const name = tasks.known(owner, upstream, own)
  const task = tasks.open(owner, name)
  return task !== undefined && mayHear(permitted, task) ? name : undefined
}

function objectsIn(given: unknown): readonly Json[] {
  return Array.isArray(given) ? given.filter(isObject) : []
}
