// Besides the bridge, the only place that knows how the protocol's revisions differ: 2026-07-28 has no sessions and says everything in each
// request; the revisions of 2025 begin with `initialize`.
import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import { McpError } from './error.ts'
import { isObject, type Message } from './message.ts'

export interface Revision {
  readonly era: 'modern' | 'legacy'
  readonly version: string
}

export const MODERN_VERSIONS: readonly string[] = ['2026-07-28']
export const LEGACY_VERSIONS: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26']
/** RS-41: what a request means that names no version. */
const UNNAMED_VERSION = '2025-03-26'

const META = 'io.modelcontextprotocol/'
export const VERSION_KEY = `${META}protocolVersion`
export const CAPABILITIES_KEY = `${META}clientCapabilities`
export const CLIENT_INFO_KEY = `${META}clientInfo`
export const LOG_LEVEL_KEY = `${META}logLevel`
export const SERVER_INFO_KEY = `${META}serverInfo`
export const SUBSCRIPTION_KEY = `${META}subscriptionId`

/** What 2026-07-28 removed. */
const REMOVED: ReadonlySet<string> = new Set(['initialize', 'ping', 'logging/setLevel', 'resources/subscribe', 'resources/unsubscribe', 'tasks/result', 'tasks/list'])
/** What 2025 does not have, and an upstream of both generations might take all the same. */
const ADDED: ReadonlySet<string> = new Set(['tasks/update'])

/** What `Mcp-Name` repeats, by method (SEP-2243). */
export const NAMED: Readonly<Record<string, 'name' | 'uri' | 'taskId'>> = { 'tools/call': 'name', 'prompts/get': 'name', 'resources/read': 'uri', 'tasks/get': 'taskId', 'tasks/update': 'taskId', 'tasks/cancel': 'taskId' }

/**
 * Finds the revision of a message: its `_meta` says it; headers only have to agree (P-8).
 *
 * @throws McpError when headers and body differ (RS-18), a version is not served (RS-19), or a member is missing (RS-21).
 */
export function revisionOf(headers: IncomingHttpHeaders, message: Message): Revision {
  const named = header(headers, 'mcp-protocol-version')
  const meta = isObject(message.params['_meta']) ? message.params['_meta'] : {}
  if (VERSION_KEY in meta) return modern(headers, message, meta, named)
  if (named !== undefined && isModern(named)) {
    if (message.method === 'initialize') throw mismatch('initialize belongs to the revisions before the one that MCP-Protocol-Version names')
    if (message.kind === 'request') throw invalidParams(`params._meta lacks ${VERSION_KEY}`)
    requireServed(named)
    requireMethodHeader(headers, message)
    return { era: 'modern', version: named }
  }
  return legacy(message, named)
}

function modern(headers: IncomingHttpHeaders, message: Message, meta: Readonly<Record<string, unknown>>, named: string | undefined): Revision {
  const version = meta[VERSION_KEY]
  if (typeof version !== 'string') throw invalidParams(`${VERSION_KEY} must be a string`)
  if (!isModern(version)) {
    // A 2025 revision in `_meta` claims nothing: such a client speaks by its headers.
    if (named !== undefined && named !== version) throw mismatch(`MCP-Protocol-Version is ${printable(named)}, the body says ${printable(version)}`)
    return legacy(message, version)
  }
  if (message.kind === 'request') {
    if (named === undefined) throw mismatch('MCP-Protocol-Version is missing')
    if (!isObject(meta[CAPABILITIES_KEY])) throw invalidParams(`params._meta lacks ${CAPABILITIES_KEY}`)
  }
  if (named !== undefined && named !== version) throw mismatch(`MCP-Protocol-Version is ${printable(named)}, the body says ${printable(version)}`)
  requireServed(version)
  requireMethodHeader(headers, message)
  requireNameHeader(headers, message)
  return { era: 'modern', version }
}

function legacy(message: Message, named: string | undefined): Revision {
  if (named !== undefined && !LEGACY_VERSIONS.includes(named) && message.method !== 'initialize') {
    throw new McpError('invalid_request', `MCP-Protocol-Version ${printable(named)} is not served; ${LEGACY_VERSIONS.join(', ')} are`, { status: 400 })
  }
  return { era: 'legacy', version: named ?? UNNAMED_VERSION }
}

export function isModern(version: string): boolean {
  return version >= '2026'
}

/** RS-19: the client chooses another of the versions. */
function requireServed(version: string): void {
  if (MODERN_VERSIONS.includes(version)) return
  throw new McpError('unsupported_version', `Unsupported protocol version: ${printable(version)}`, {
    status: 400,
    data: { supported: [...MODERN_VERSIONS], requested: printable(version) },
  })
}

function requireMethodHeader(headers: IncomingHttpHeaders, { kind, method }: Message): void {
  const named = header(headers, 'mcp-method')
  if (named === undefined && kind === 'request') throw mismatch('Mcp-Method is missing')
  if (named !== undefined && named !== method) throw mismatch('Mcp-Method is not the method of the body')
}

function requireNameHeader(headers: IncomingHttpHeaders, { kind, method, params }: Message): void {
  const field = Object.hasOwn(NAMED, method) ? NAMED[method] : undefined
  const value = field === undefined ? undefined : params[field]
  if (kind !== 'request' || typeof value !== 'string') return
  const named = header(headers, 'mcp-name')
  if (named === undefined) throw mismatch('Mcp-Name is missing')
  if (decodeHeader(named) !== value) throw mismatch(`Mcp-Name is not params.${field} of the body`)
}

/** SEP-2243: what a header cannot carry, or could be read as what it is not, stands in it as `=?base64?…?=`. */
export function encodeHeader(value: string): string {
  const plain = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !/^=\?base64\?.*\?=$/i.test(value)
  return plain ? value : `=?base64?${Buffer.from(value, 'utf8').toString('base64')}?=`
}

/** SEP-2243: what a header cannot carry stands in it as `=?base64?…?=`. @returns undefined when that is malformed. */
export function decodeHeader(value: string): string | undefined {
  const encoded = /^=\?base64\?(.*)\?=$/i.exec(value)?.[1]
  if (encoded === undefined) return value
  const bytes = Buffer.from(encoded, 'base64')
  const exact = bytes.toString('base64') === encoded && isUtf8(bytes)
  return exact ? bytes.toString('utf8') : undefined
}

function header(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value.trim() : undefined
}

/** RS-20: the modern revision says it by the status as well. */
export function unknownMethodStatus({ era }: Revision): number {
  return era === 'modern' ? 404 : 200
}

/** RS-20: a method that the revision has no more is as unknown as any other, whatever its parameters are. */
export function hasMethod({ era }: Revision, method: string): boolean {
  return !(era === 'legacy' ? ADDED : REMOVED).has(method)
}

/** What a hidden thing and one that does not exist both answer. */
export function notFound({ era }: Revision, what: 'tool' | 'prompt' | 'resource' | 'task', name: string): McpError {
  // Names of tasks are long, and say nothing.
  if (what === 'task') return new McpError('invalid_params', 'Task not found')
  if (what === 'tool') return new McpError('invalid_params', `Unknown tool: ${name}`)
  if (what === 'prompt') return new McpError('invalid_params', `Unknown prompt: ${name}`)
  return new McpError(era === 'modern' ? 'invalid_params' : 'resource_not_found', `Resource not found: ${name}`, { data: { uri: name } })
}

/** Whether the client of this request can be sent to an address (RS-34: only what it declared). */
export function declaresUrlElicitation(capabilities: unknown): boolean {
  return isObject(capabilities) && isObject(capabilities['elicitation']) && isObject(capabilities['elicitation']['url'])
}

/** The capabilities that a modern request declares for itself. */
export function requestCapabilities({ params }: Message): unknown {
  return isObject(params['_meta']) ? params['_meta'][CAPABILITIES_KEY] : undefined
}

/** The revision that an `initialize` of the gateway's own agrees to. */
export function agreedVersion({ params }: Message): string {
  const wanted = params['protocolVersion']
  return typeof wanted === 'string' && LEGACY_VERSIONS.includes(wanted) ? wanted : (LEGACY_VERSIONS[0] ?? UNNAMED_VERSION)
}

/** What every result of a revision carries besides its own members (RS-26 for those that may be cached). */
export function resultOf({ era }: Revision, members: Readonly<Record<string, unknown>>, cacheable: boolean): Readonly<Record<string, unknown>> {
  if (era === 'legacy') return members
  return { resultType: 'complete', ...members, ...(cacheable ? { ttlMs: 0, cacheScope: 'private' } : {}) }
}

function mismatch(message: string): McpError {
  return new McpError('header_mismatch', `Bad Request: ${message}`, { status: 400 })
}

function invalidParams(message: string): McpError {
  return new McpError('invalid_params', `Invalid params: ${message}`, { status: 400 })
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 40)
}
