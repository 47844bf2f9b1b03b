import type { Upstream } from '../../upstreams/upstream.ts'
import { kindOf, messages, readResponse, type Change } from '../answers.ts'
import type { Asked, Call } from '../call.ts'
import { failureOf, METHOD_NOT_FOUND } from '../deliver.ts'
import { McpError } from '../error.ts'
import { isObject, withParams } from '../message.ts'
import { permissions } from '../permit.ts'
import { resultOf, unknownMethodStatus } from '../revisions.ts'
import { formatEvent } from '../sse.ts'
import { nameHeard } from '../tasks/outward.ts'
import { heardOf } from '../tasks/resolve.ts'
import { withNames, type NameOf } from '../tasks/words.ts'
import { drain, outgoingMessage, sendWithCredential } from '../upstream-call.ts'
import { acknowledgement, SUBSCRIPTION_ID, type Filter } from './acknowledgement.ts'
import { lineTo } from './ask.ts'
import type { ProfileDeps } from './deps.ts'
import { contributions, each, parts } from './each.ts'
import { followAll, type Opened } from './follow.ts'
import { innerUri, outerUri } from './names.ts'
import { outwardMessage } from './outward.ts'

/** Answers `subscriptions/listen` with what all upstreams have to say, as one stream (RS-32). */
export async function listen(deps: ProfileDeps, asked: Asked, upstreams: readonly Upstream[]): Promise<void> {
  const { response, message } = asked
  const wanted = message.params['notifications']
  if (!isObject(wanted)) throw new McpError('invalid_params', 'params.notifications must be an object')
  const calls = parts(asked, upstreams).map((call) => ({ ...call, message: withParams(message, { notifications: filterFor(deps, call, wanted) }) }))
  const opened = await each(deps, asked, calls, (call) => openListening(deps, call))
  const live = contributions(opened).filter(({ value }) => value !== 'never')
  if (live.length === 0) throw new McpError('method_not_found', 'Method not found', { status: unknownMethodStatus(asked.revision) })
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' }).flushHeaders()
  const acknowledged = acknowledgement(response, message.id, live.map(({ upstream }) => upstream))
  await followAll(calls, opened.map((outcome) => ('value' in outcome ? outcome.value : 'later')), {
    open: (call) => (acknowledged.isEmpty(call.upstream) ? Promise.resolve('never' as const) : openListening(deps, call)),
    changeOf: (upstream) => changeOf(deps, calls.find((call) => call.upstream === upstream) ?? { ...asked, upstream }, (honored) => acknowledged.by(upstream, honored)),
    missed: (upstream) => acknowledged.changed(upstream),
    silent: (upstream) => acknowledged.silent(upstream),
    write: (text) => acknowledged.write(text),
  })
  const end = resultOf(asked.revision, { _meta: { [SUBSCRIPTION_ID]: message.id } }, false)
  response.end(formatEvent({ data: JSON.stringify({ jsonrpc: '2.0', id: message.id, result: end }), lines: ['event: message'] }))
}

/** Of what the client wants to hear, what this upstream can say and the caller may know. */
function filterFor(deps: ProfileDeps, call: Call, wanted: Filter): Filter {
  const { resourcesListChanged, resourceSubscriptions, taskIds, ...others } = wanted
  const tasks = heardOf(deps, call, taskIds)
  const rest = { ...others, ...(tasks.length === 0 ? {} : { taskIds: tasks }) }
  if (!permissions(deps.policy, call).everything().allow) return rest
  const uris = (Array.isArray(resourceSubscriptions) ? resourceSubscriptions : []).flatMap((uri) => {
    const found = typeof uri === 'string' ? innerUri(call.profile, uri) : undefined
    return found?.upstream === call.upstream ? [found.name] : []
  })
  return { ...rest, ...(resourcesListChanged === undefined ? {} : { resourcesListChanged }), ...(uris.length === 0 ? {} : { resourceSubscriptions: uris }) }
}

async function openListening(deps: ProfileDeps, call: Call): Promise<Opened> {
  const filter = call.message.params['notifications']
  if (!isObject(filter) || !Object.values(filter).some((value) => value !== false)) return 'never'
  const line = await lineTo(deps, call)
  if (line === undefined) return 'later'
  const answer = await sendWithCredential(deps, line.connector, call, line.credential, outgoingMessage(call, line.session))
  if (answer === 'connection_required') return 'later'
  if (answer.status === 200 && kindOf(answer) === 'events') return answer
  if (kindOf(answer) !== 'json') throw await failureOf(answer, call.upstream)
  const { error } = await readResponse(answer, call.message.id, call.upstream)
  await drain(answer)
  if (isObject(error) && error['code'] === METHOD_NOT_FOUND) return 'never'
  throw new McpError('unavailable', `${call.upstream.name} does not let itself be listened to at the moment`, { status: 502, reason: `upstream: ${answer.status} to listen` })
}

/** Each upstream acknowledges and ends by itself: to the client there is one subscription. */
function changeOf({ kept, tasks }: Pick<ProfileDeps, 'kept' | 'tasks'>, call: Call, acknowledge: (honored: Filter) => void): Change {
  const { upstream } = call
  const nameOf: NameOf = (own) => nameHeard(tasks, call, own)
  const change = messages(upstream, (message) => {
    kept.heard(upstream.id, message)
    return withNames(outwardMessage(upstream, message), nameOf)
  })
  return {
    data(text) {
      if (text.includes('notifications/subscriptions/acknowledged')) {
        acknowledge(honoredIn(upstream, text, nameOf))
        return undefined
      }
      const passed = change.data(text)
      return typeof passed === 'string' && !('method' in (JSON.parse(passed) as object)) ? undefined : passed
    },
  }
}

function honoredIn(upstream: Upstream, text: string, nameOf: NameOf): Filter {
  const message: unknown = JSON.parse(text)
  const params = isObject(message) && isObject(message['params']) ? message['params'] : {}
  const honored = isObject(params['notifications']) ? params['notifications'] : {}
  const { resourceSubscriptions: uris, taskIds: tasks } = honored
  return { ...honored, ...(Array.isArray(tasks) ? { taskIds: tasks.flatMap((own) => nameOf(own) ?? []) } : {}), ...(Array.isArray(uris) ? { resourceSubscriptions: uris.map((uri) => (typeof uri === 'string' ? outerUri(upstream, uri) : uri)) } : {}) }
}
