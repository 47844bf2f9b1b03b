import { McpError } from './error.ts'
import { isObject, type Message } from './message.ts'
import { hasMethod, unknownMethodStatus, type Revision } from './revisions.ts'

/** What a message asks for, as far as a decision depends on it. */
export type Operation =
  /** `task` is the upstream's own name of a task that a call of the tool began, where a message is about that. */
  | { readonly kind: 'tool'; readonly name: string; readonly task?: string }
  /** A task of which it is not known which tool began it. */
  | { readonly kind: 'task'; readonly name: string }
  /** A list of which a caller sees what they may use. */
  | { readonly kind: 'tools' }
  /** The start of a conversation: what the upstream can do. */
  | { readonly kind: 'open' }
  /** A list of prompts or resources: all or none of it. */
  | { readonly kind: 'items'; readonly list: 'prompts' | 'resources' | 'resourceTemplates' }
  /** One prompt or resource. */
  | { readonly kind: 'item'; readonly what: 'prompt' | 'resource'; readonly name: string }
  | { readonly kind: 'completion' }
  /** The caller's own tasks. */
  | { readonly kind: 'tasks' }
  | { readonly kind: 'listen'; readonly resources: boolean }
  /** Nothing that a decision is about: ping, log level, notifications, answers to the upstream's own requests. */
  | { readonly kind: 'free' }

/** Characters of a name: more than any tool may have (pinning-refusals.ts), with that of its upstream before it. */
const MAX_NAME = 512

type Read = (params: Readonly<Record<string, unknown>>) => Operation

const task: Read = (params) => ({ kind: 'task', name: text(params, 'taskId') })
const item = (what: 'prompt' | 'resource', field: 'name' | 'uri'): Read => (params) => ({ kind: 'item', what, name: text(params, field) })

/** Every method that the gateway knows. One that it does not know cannot be decided about, and goes nowhere. */
const METHODS: ReadonlyMap<string, Read> = new Map<string, Read>([
  ['initialize', () => ({ kind: 'open' })],
  ['server/discover', () => ({ kind: 'open' })],
  ['ping', () => ({ kind: 'free' })],
  ['logging/setLevel', () => ({ kind: 'free' })],
  ['tools/call', (params) => ({ kind: 'tool', name: text(params, 'name') })],
  ['tools/list', () => ({ kind: 'tools' })],
  ['prompts/list', () => ({ kind: 'items', list: 'prompts' })],
  ['prompts/get', item('prompt', 'name')],
  ['resources/list', () => ({ kind: 'items', list: 'resources' })],
  ['resources/templates/list', () => ({ kind: 'items', list: 'resourceTemplates' })],
  ['resources/read', item('resource', 'uri')],
  ['resources/subscribe', item('resource', 'uri')],
  ['resources/unsubscribe', item('resource', 'uri')],
  ['tasks/list', () => ({ kind: 'tasks' })],
  ['tasks/get', task],
  ['tasks/result', task],
  ['tasks/update', task],
  ['tasks/cancel', task],
  ['completion/complete', () => ({ kind: 'completion' })],
  ['subscriptions/listen', (params) => ({ kind: 'listen', resources: namesResources(params['notifications']) })],
])

/** @throws McpError for a method that the gateway does not know (RS-20), or that lacks what a decision needs. */
export function operationOf(message: Message, revision: Revision): Operation {
  // JSON-RPC 2.0 §4.1: a request without an identifier looks like a notification, and an upstream may carry it out.
  if (message.kind === 'notification' && !message.method.startsWith('notifications/')) throw new McpError('invalid_request', 'this method needs an id', { status: 400 })
  if (message.kind !== 'request') return { kind: 'free' }
  const read = hasMethod(revision, message.method) ? METHODS.get(message.method) : undefined
  if (read === undefined) throw new McpError('method_not_found', 'Method not found', { status: unknownMethodStatus(revision) })
  return read(message.params)
}

function text(params: Readonly<Record<string, unknown>>, field: string): string {
  const value = params[field]
  if (typeof value !== 'string') throw new McpError('invalid_params', `params.${field} must be a string`)
  // H05: nothing has such a name, and no column of PostgreSQL holds it.
  if ((field === 'name' && value.length > MAX_NAME) || value.includes('\0')) throw new McpError('invalid_params', `params.${field} is nothing's name`)
  return value
}

function namesResources(filter: unknown): boolean {
  if (!isObject(filter)) return false
  return filter['resourcesListChanged'] === true || (Array.isArray(filter['resourceSubscriptions']) && filter['resourceSubscriptions'].length > 0)
}
