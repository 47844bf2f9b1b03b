import type { Profile, Upstream } from '../../upstreams/upstream.ts'
import type { Asked, Call } from '../call.ts'
import { McpError } from '../error.ts'
import { isObject, withParams, type Message } from '../message.ts'
import { isOwnState } from '../missing-connection.ts'
import type { Operation } from '../operation.ts'
import { encodeHeader, notFound } from '../revisions.ts'
import { begunAt } from '../session.ts'
import type { TaskDeps } from '../tasks/names.ts'
import { inUpstreamsWords, operationOn, taskOf, withTasks } from '../tasks/resolve.ts'
import { innerId, innerName, innerUri, type Inner } from './names.ts'
import { outwardOf, type OutwardDeps } from './outward.ts'
import { openRequestState } from './request-state.ts'

/**
 * Finds the upstream that a message is for, and says it in the upstream's words: name or address, `Mcp-Name`,
 * `requestState`, tasks and the identifiers of the upstream's own requests together.
 *
 * @returns `all` for what concerns every upstream of a profile of several, `nobody` for a name that none of them can have
 * @throws McpError for what answers or goes on with nothing that was asked here
 */
export function resolve(deps: ResolveDeps, asked: Asked): Call | 'all' | 'nobody' {
  const [only, ...others] = asked.profile.upstreams
  if (only !== undefined && others.length === 0) return withTasks(deps, { ...asked, upstream: only })
  const { message } = asked
  if (message.kind === 'response') return callTo(deps, asked, answered(asked), { message: (id) => ({ ...message, json: { ...message.json, id } }) })
  if (message.method === 'notifications/progress') {
    const found = innerId(asked.profile, message.params['progressToken'])
    return found === undefined ? 'all' : callTo(deps, asked, found, { message: (progressToken) => withParams(message, { progressToken }) })
  }
  return named(deps, asked)
}

export interface ResolveDeps extends OutwardDeps, TaskDeps {}

interface Words<Name> {
  readonly message: (name: Name) => Message
  readonly operation?: (name: Name) => Operation
}

function answered({ message, profile }: Asked): Inner<unknown> {
  const found = innerId(profile, message.json['id'])
  if (found === undefined) throw new McpError('invalid_request', 'this answers nothing that was asked', { status: 400 })
  return found
}

function named(deps: ResolveDeps, asked: Asked): Call | 'all' | 'nobody' {
  const { operation, message, profile } = asked
  if (operation.kind === 'tool') {
    const found = innerName(profile, operation.name)
    if (found === undefined) return 'nobody'
    return callTo(deps, asked, found, { message: (name) => withParams(message, { name }), operation: (name) => ({ kind: 'tool', name }) })
  }
  if (operation.kind === 'item') {
    const { what } = operation
    const [find, field] = what === 'prompt' ? ([innerName, 'name'] as const) : ([innerUri, 'uri'] as const)
    const found = find(profile, operation.name)
    if (found === undefined) return 'nobody'
    return callTo(deps, asked, found, { message: (name) => withParams(message, { [field]: name }), operation: (name) => ({ kind: 'item', what, name }) })
  }
  if (operation.kind === 'task') {
    const task = taskOf(deps, asked)
    if (task === undefined) return 'nobody'
    return callTo(deps, asked, { upstream: task.upstream, name: task.own }, { message: (taskId) => withParams(message, { taskId }), operation: () => operationOn(task) })
  }
  if (operation.kind !== 'completion') return 'all'
  const { ref } = message.params
  const [found, field] = referred(profile, ref)
  if (found === undefined || !isObject(ref)) throw new McpError('invalid_params', 'params.ref names nothing that is here')
  return callTo(deps, asked, found, { message: (name) => withParams(message, { ref: { ...ref, [field]: name } }) })
}

function referred(profile: Profile, ref: unknown): [Inner<string> | undefined, 'name' | 'uri'] {
  const { type, name, uri } = isObject(ref) ? ref : {}
  if (type === 'ref/prompt' && typeof name === 'string') return [innerName(profile, name), 'name']
  return [type === 'ref/resource' && typeof uri === 'string' ? innerUri(profile, uri) : undefined, 'uri']
}

function callTo<Name>(deps: ResolveDeps, asked: Asked, { upstream, name }: Inner<Name>, words: Words<Name>): Call {
  const operation = words.operation?.(name) ?? asked.operation
  const said = { ...toUpstream(asked, upstream), message: words.message(name), operation }
  const call = { ...said, message: inUpstreamsWords(deps, said) }
  const { requestState } = call.message.params
  const message = typeof requestState === 'string' && !isOwnState(requestState) ? withParams(call.message, { requestState: openRequestState(deps, call, requestState) }) : call.message
  const own = 'name' in operation && call.headers['mcp-name'] !== undefined ? { headers: { ...call.headers, 'mcp-name': encodeHeader(operation.kind === 'tool' ? (operation.task ?? operation.name) : operation.name) } } : {}
  const resolved = { ...call, message, ...own }
  return { ...resolved, outward: outwardOf(deps, resolved, asked.operation) }
}

/** The same message, for one upstream of the profile: it hears the revision that it agreed to in this session. */
export function toUpstream(asked: Asked, upstream: Upstream): Call {
  const version = asked.session === undefined ? undefined : begunAt(asked.session, upstream)?.version
  return { ...asked, upstream, ...(version === undefined ? {} : { headers: { ...asked.headers, 'mcp-protocol-version': version } }) }
}

/** H06: what is hidden and what does not exist answer alike, by the name that the client used. */
export function hiddenFrom({ outward, operation, revision }: Asked & Partial<Pick<Call, 'outward'>>): McpError {
  const named = outward?.operation ?? operation
  if (named.kind === 'tool') return notFound(revision, 'tool', named.name)
  if (named.kind === 'item') return notFound(revision, named.what, named.name)
  if (named.kind === 'task') return notFound(revision, 'task', named.name)
  return new McpError('invalid_params', 'nothing of this name is here')
}

/** An error about one thing of an upstream, in the client's words. */
export function asToldOutside(call: Call, error: McpError): McpError {
  return call.outward !== undefined && (error.code === 'invalid_params' || error.code === 'resource_not_found') ? hiddenFrom(call) : error
}
