// Owns what a profile of several upstreams adds to the way of one message: whose it is and in which words (resolve.ts),
// and the one answer to what is asked of all of them. It decides nothing by itself: each upstream is asked for what the
// caller may use of it, as if it were alone.
import type { Upstream } from '../../upstreams/upstream.ts'
import type { Asked } from '../call.ts'
import { respond } from '../deliver.ts'
import { McpError } from '../error.ts'
import { decide, permissions } from '../permit.ts'
import { recordDenial } from '../record.ts'
import { resultOf } from '../revisions.ts'
import { broadcast } from './broadcast.ts'
import type { ProfileDeps } from './deps.ts'
import { introduce } from './discovery.ts'
import { list } from './lists.ts'
import { listen } from './listen.ts'
import { listTasks } from './tasks.ts'

/** Answers what concerns all upstreams of the profile. */
export async function aggregate(deps: ProfileDeps, asked: Asked): Promise<void> {
  const { operation, message, revision } = asked
  const upstreams = await reachable(deps, asked)
  if (operation.kind === 'tools') return list(deps, asked, upstreams, 'tools')
  if (operation.kind === 'items') return list(deps, asked, upstreams, operation.list)
  if (operation.kind === 'tasks') return listTasks(deps, asked, upstreams)
  if (operation.kind === 'open') return introduce(deps, asked, upstreams)
  if (operation.kind === 'listen') return listen(deps, asked, upstreams)
  // What is asked of nobody in particular is answered here; what tells something is told to all who are listening.
  if (message.method !== 'ping') await broadcast(deps, asked, upstreams)
  respond(asked, resultOf(revision, {}, false))
}

/** The upstreams of which the caller may use anything. @throws McpError when there are none, as for an upstream alone */
async function reachable(deps: ProfileDeps, asked: Asked): Promise<readonly Upstream[]> {
  const { upstreams } = asked.profile
  const reached = upstreams.filter((upstream) => permissions(deps.policy, { ...asked, upstream }).reach())
  const [first] = upstreams
  if (reached.length > 0 || first === undefined) return reached
  const verdict = decide(asked.operation, permissions(deps.policy, { ...asked, upstream: first }), asked.revision)
  if (verdict.kind !== 'denied') throw new McpError('internal_error', 'nothing is here')
  await recordDenial(deps, asked, verdict.rule)
  throw verdict.error
}
