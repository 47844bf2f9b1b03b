import type { Upstream } from '../../upstreams/upstream.ts'
import type { Call } from '../call.ts'
import { isObject } from '../message.ts'
import type { Operation } from '../operation.ts'
import type { Outward } from '../outward.ts'
import { outerId, outerName, outerUri } from './names.ts'
import { formatPositions, withPosition } from './positions.ts'
import { sealRequestState, type RequestStateDeps } from './request-state.ts'
import type { TaskNames } from '../tasks/names.ts'
import { toldOfTasks } from '../tasks/outward.ts'

type Json = Readonly<Record<string, unknown>>

export interface OutwardDeps extends RequestStateDeps {
  readonly tasks: TaskNames
}

/** @param operation what the client asked for, in its words */
export function outwardOf(deps: OutwardDeps, call: Omit<Call, 'outward'>, operation: Operation): Outward {
  const { upstream, message: asked } = call
  return {
    operation,
    message: (message) => toldOfTasks(deps.tasks, call, operation, outwardMessage(upstream, message, (own) => sealRequestState(deps, call, own))),
    lines: (lines) => withPosition(lines, (id) => formatPositions({ [upstream.id]: { event: id, ...(asked.id === null ? {} : { call: asked.id }) } })),
  }
}

/**
 * Only the members that make a message: of others a client could make another one.
 *
 * @param seal absent where it is not known which request a `requestState` is of: then there is none
 */
export function outwardMessage(upstream: Upstream, message: Json, seal?: (own: string) => string): Json {
  const { id, method, result, error } = message
  if (typeof method === 'string') return outwardRequest(upstream, message, method)
  if (isObject(result)) return { jsonrpc: '2.0', id, result: outwardResult(upstream, result, seal) }
  if (isObject(error) && isObject(error['data']) && typeof error['data']['uri'] === 'string') {
    return { jsonrpc: '2.0', id, error: { ...error, data: { ...error['data'], uri: outerUri(upstream, error['data']['uri']) } } }
  }
  return { jsonrpc: '2.0', id, error }
}

/** A request or notification of the upstream's own. The client answers by the identifier that it is given here. */
function outwardRequest(upstream: Upstream, message: Json, method: string): Json {
  const { id, params } = message
  const asked = { jsonrpc: '2.0', ...(id === undefined || id === null ? {} : { id: outerId(upstream, id) }), method }
  if (!isObject(params)) return asked
  const { _meta: meta, uri, requestId, messages } = params
  const changed = {
    ...(isObject(meta) && meta['progressToken'] !== undefined ? { _meta: { ...meta, progressToken: outerId(upstream, meta['progressToken']) } } : {}),
    ...(method === 'notifications/resources/updated' && typeof uri === 'string' ? { uri: outerUri(upstream, uri) } : {}),
    ...(method === 'notifications/cancelled' && requestId !== undefined ? { requestId: outerId(upstream, requestId) } : {}),
    ...(Array.isArray(messages) ? { messages: messages.map((each) => withContent(upstream, each)) } : {}),
  }
  return { ...asked, params: { ...params, ...changed } }
}

function outwardResult(upstream: Upstream, result: Json, seal: ((own: string) => string) | undefined): Json {
  const { requestState, content, messages, contents, tools, prompts, resources, resourceTemplates, ...others } = result
  // What came of a task that is over stands within what is told of it.
  const rest = typeof others['taskId'] === 'string' && isObject(others['result']) ? { ...others, result: outwardResult(upstream, others['result'], undefined) } : others
  const items = (list: ItemList, value: unknown): Readonly<Record<string, unknown>> => (value === undefined ? {} : { [list]: Array.isArray(value) ? value.map((each) => outwardItem(upstream, list, each)) : value })
  return {
    ...withApp(upstream, rest),
    ...(content === undefined ? {} : { content: outwardContent(upstream, content) }),
    ...(messages === undefined ? {} : { messages: Array.isArray(messages) ? messages.map((each) => withContent(upstream, each)) : messages }),
    ...(contents === undefined ? {} : { contents: Array.isArray(contents) ? contents.map((each) => withUri(upstream, each)) : contents }),
    ...items('tools', tools),
    ...items('prompts', prompts),
    ...items('resources', resources),
    ...items('resourceTemplates', resourceTemplates),
    ...(typeof requestState === 'string' && seal !== undefined ? { requestState: seal(requestState) } : {}),
  }
}

export type ItemList = 'tools' | 'prompts' | 'resources' | 'resourceTemplates'

/** One entry of a list, by its name in the profile. */
export function outwardItem(upstream: Upstream, list: ItemList, item: unknown): unknown {
  if (!isObject(item)) return item
  if (list === 'resources') return withUri(upstream, item)
  if (list === 'resourceTemplates') return typeof item['uriTemplate'] === 'string' ? { ...item, uriTemplate: outerUri(upstream, item['uriTemplate']) } : item
  const named = typeof item['name'] === 'string' ? { ...item, name: outerName(upstream, item['name']) } : item
  return list === 'tools' ? withApp(upstream, named) : named
}

/** What an application of the chat is shown by (MCP Apps), as it was called before there was an extension, and as ChatGPT calls it. */
const APP_KEYS = ['ui/resourceUri', 'openai/outputTemplate']

/** The page that a tool, or its result, is shown by is a resource of the upstream. */
function withApp(upstream: Upstream, value: Json): Json {
  const { _meta: meta } = value
  if (!isObject(meta)) return value
  const { ui } = meta
  const changed: Record<string, unknown> = {}
  if (isObject(ui) && typeof ui['resourceUri'] === 'string') changed['ui'] = { ...ui, resourceUri: outerUri(upstream, ui['resourceUri']) }
  for (const key of APP_KEYS) if (typeof meta[key] === 'string') changed[key] = outerUri(upstream, meta[key])
  return Object.keys(changed).length === 0 ? value : { ...value, _meta: { ...meta, ...changed } }
}

function withUri(upstream: Upstream, value: unknown): unknown {
  return isObject(value) && typeof value['uri'] === 'string' ? { ...value, uri: outerUri(upstream, value['uri']) } : value
}

function withContent(upstream: Upstream, message: unknown): unknown {
  return isObject(message) ? { ...message, content: outwardContent(upstream, message['content']) } : message
}

/** Content blocks: links to resources and embedded ones are the upstream's, also in the results of tools within them. */
function outwardContent(upstream: Upstream, content: unknown): unknown {
  if (Array.isArray(content)) return content.map((each) => outwardContent(upstream, each))
  if (!isObject(content)) return content
  if (content['type'] === 'resource_link') return withUri(upstream, content)
  if (content['type'] === 'resource') return { ...content, resource: withUri(upstream, content['resource']) }
  return content['type'] === 'tool_result' ? { ...content, content: outwardContent(upstream, content['content']) } : content
}
