import type { Upstream } from '../../upstreams/upstream.ts'
import type { Asked, Call } from '../call.ts'
import { respond } from '../deliver.ts'
import { decide, permissions } from '../permit.ts'
import { resultOf } from '../revisions.ts'
import { listedTasks } from '../tasks/list.ts'
import { ask, lineTo } from './ask.ts'
import { openCursor, sealCursor } from './cursor.ts'
import type { ProfileDeps } from './deps.ts'
import { contributions, each, parts } from './each.ts'
import { at, within } from './lists.ts'
import { ownMeta } from './own-meta.ts'

type Json = Readonly<Record<string, unknown>>

interface Part {
  readonly tasks: readonly Json[]
  readonly nextCursor?: string
}

/** Answers `tasks/list` with what the caller began at all upstreams, page by page the next one of each that has more. */
export async function listTasks(deps: ProfileDeps, asked: Asked, reachable: readonly Upstream[]): Promise<void> {
  const cursors = openCursor(deps, asked, 'tasks', asked.message.params['cursor'])
  const upstreams = await within(deps, asked, cursors === undefined ? reachable : reachable.filter(({ id }) => cursors.has(id)))
  const outcomes = await each(deps, asked, parts(asked, upstreams), (call) => page(deps, at(call, cursors)))
  const pages = contributions(outcomes)
  const next = new Map(pages.flatMap(({ upstream, value }) => (value.nextCursor === undefined ? [] : [[upstream.id, value.nextCursor] as const])))
  const more = next.size === 0 ? {} : { nextCursor: sealCursor(deps, asked, 'tasks', next) }
  respond(asked, resultOf(asked.revision, { tasks: pages.flatMap(({ value }) => value.tasks), ...more, ...ownMeta(asked.revision, asked.profile, outcomes) }, false))
}

async function page(deps: ProfileDeps, call: Call): Promise<Part> {
  const line = await lineTo(deps, call)
  const reply = line === undefined ? undefined : await ask(deps, call, line, decide(call.operation, permissions(deps.policy, call), call.revision))
  if (reply?.result === undefined) return { tasks: [] }
  const { tasks, nextCursor } = reply.result
  return { tasks: await listedTasks(deps, call, tasks), ...(typeof nextCursor === 'string' ? { nextCursor } : {}) }
}
