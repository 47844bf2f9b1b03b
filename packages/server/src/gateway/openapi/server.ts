// Owns the MCP server that stands for an HTTP API: it answers in this process what other upstreams answer over the
// network, in both generations of the protocol, so that whoever sends to an upstream need not know of it.
import type { Upstream } from '../../upstreams/upstream.ts'
import { callApproval, type CallApprovalDeps } from '../call-approval.ts'
import type { CallPolicy } from '../call-policy.ts'
import type { Contact } from '../call.ts'
import { Challenge } from '../challenge.ts'
import { McpError } from '../error.ts'
import { type Answer, type UpstreamRequest } from '../exchange.ts'
import type { Forward } from '../forward.ts'
import { operationName } from '../../http/api-path.ts'
import { annotationsOf } from '../http-upstream/method.ts'
import { isObject, parseExactly } from '../message.ts'
import type { OpenCall } from '../open-calls.ts'
import { permissions } from '../permit.ts'
import { LEGACY_VERSIONS, MODERN_VERSIONS, resultOf as resultOfRevision, SERVER_INFO_KEY, type Revision } from '../revisions.ts'
import type { ApiCatalogue, ToolSet } from './catalogue.ts'
import { DocumentError, type Json } from './document.ts'
import { memoryAnswer } from './memory-answer.ts'
import { addressOf, ArgumentError, requestOf } from './request.ts'
import { failed, resultOf } from './result.ts'
import type { ApiTool } from './tool.ts'

export interface ApiServerDeps {
  readonly forward: Forward
  readonly apis: ApiCatalogue
  readonly policy: CallPolicy
  readonly approvals: CallApprovalDeps['approvals']
}

const IDLE_MS = 60_000

/** Sends what is for an HTTP API to the server here, and everything else on. */
export function withApiServers(deps: ApiServerDeps): Forward {
  return {
    send: (upstream, request, call, contact) => (upstream.http === undefined || request.path !== undefined ? deps.forward.send(upstream, request, call, contact) : answer({ ...deps, contact }, upstream, request, call)),
  }
}

interface Asked extends ApiServerDeps {
  readonly contact: Contact | undefined
}

/** One message to the server. */
interface Incoming {
  readonly method: string
  readonly id: unknown
  readonly params: Json
  readonly revision: Revision
}

async function answer(deps: Asked, upstream: Upstream, request: UpstreamRequest, open: OpenCall): Promise<Answer> {
  if (request.method !== 'POST' || typeof request.body !== 'string') return memoryAnswer(405, undefined)
  const message = parseExactly(request.body)
  if (!isObject(message) || typeof message['method'] !== 'string' || message['id'] === undefined) return memoryAnswer(202, undefined)
  const named = request.headers['mcp-protocol-version'] ?? ''
  const incoming: Incoming = { method: message['method'], id: message['id'], params: isObject(message['params']) ? message['params'] : {}, revision: { era: MODERN_VERSIONS.includes(named) ? 'modern' : 'legacy', version: named } }
  const tell = (body: Json, status = 200): Answer => memoryAnswer(status, { jsonrpc: '2.0', id: incoming.id, ...body })
  try {
    if (incoming.method === 'tools/call') return await call(deps, upstream, request, open, incoming, tell)
    const result = await ANSWERS.get(incoming.method)?.(deps, upstream, incoming)
    return result === undefined ? tell({ error: { code: -32601, message: 'Method not found' } }, incoming.revision.era === 'modern' ? 404 : 200) : tell({ result })
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error
    throw new McpError('unavailable', `the OpenAPI document of ${upstream.name} cannot be used at the moment; tell your administrator`, { status: 503, headers: { 'retry-after': '30' }, reason: `document: ${error.message}`, cause: error })
  }
}

type Respond = (deps: ApiServerDeps, upstream: Upstream, incoming: Incoming) => Promise<Json> | Json

const CAPABILITIES = { tools: {} }

const ANSWERS: ReadonlyMap<string, Respond> = new Map<string, Respond>([
  ['initialize', (_deps, upstream, { params }) => ({ protocolVersion: LEGACY_VERSIONS.includes(String(params['protocolVersion'])) ? params['protocolVersion'] : LEGACY_VERSIONS[0], capabilities: CAPABILITIES, serverInfo: infoOf(upstream) })],
  ['server/discover', (_deps, upstream, { revision }) => resultOfRevision(revision, { supportedVersions: [...MODERN_VERSIONS], capabilities: CAPABILITIES, _meta: { [SERVER_INFO_KEY]: infoOf(upstream) } }, true)],
  ['ping', () => ({})],
  ['tools/list', async ({ apis }, upstream, { revision, params }) => resultOfRevision(revision, page(await apis.tools(upstream), params['cursor']), true)],
])

const MAX_PAGE = 4 * 1024 * 1024

/** Most lists are one page, as many clients read no other; a very long one is read in pieces. @throws McpError for a cursor that none gave */
function page({ tools }: ToolSet, cursor: unknown = '0'): Json {
  const first = typeof cursor === 'string' && /^\d{1,6}$/.test(cursor) ? Number(cursor) : tools.length
  if (first > 0 && first >= tools.length) throw new McpError('invalid_params', 'Invalid cursor')
  let size = 0
  let next = first
  while (next < tools.length && (next === first || size < MAX_PAGE)) size += JSON.stringify(tools[next++]?.definition).length
  return { tools: tools.slice(first, next).map(({ definition }) => definition), ...(next < tools.length ? { nextCursor: String(next) } : {}) }
}

function infoOf({ id, name }: Upstream): Json {
  return { name: id, title: name, version: '1' }
}

async function call(deps: Asked, upstream: Upstream, request: UpstreamRequest, open: OpenCall, { params, revision }: Incoming, tell: (body: Json, status?: number) => Answer): Promise<Answer> {
  const set = await deps.apis.tools(upstream)
  const tool = set.byName.get(String(params['name']))
  if (tool === undefined) return tell({ error: { code: -32602, message: 'Unknown tool' } })
  const given = params['arguments'] ?? {}
  const made = isObject(given) ? write(tool, set, given) : 'arguments must be an object'
  if (typeof made === 'string') return tell({ result: resultOfRevision(revision, failed(made), false) })
  await checkAddress(deps, made.method, made.path)
  const base = new URL(upstream.url)
  const path = addressOf(base, made)
  // RFC 9449 §7: a proof is for one request, and so not the one of the message.
  const credential = { ...credentialOf(request.headers), ...request.prove?.(made.method, `${base.origin}${path}`) }
  const api = await deps.forward.send(upstream, { method: made.method, path, headers: { ...made.headers, ...credential }, ...(made.body === undefined ? {} : { body: made.body }), timeoutMs: request.timeoutMs, idleMs: IDLE_MS }, open)
  // What is about the credential is for whoever sent it: it is renewed, or connected anew with more.
  if (api.status === 401 || (api.status === 403 && lacksScope(api))) return api
  return tell({ result: resultOfRevision(revision, await resultOf(tool, api, upstream), false) })
}

function write(tool: ApiTool, set: ToolSet, given: Json): ReturnType<typeof requestOf> | string {
  try {
    return requestOf(tool.operation, given, set.files.get(tool.operation.name) ?? new Set())
  } catch (error) {
    if (error instanceof ArgumentError) return error.message
    throw error
  }
}

/**
 * What restricts an address holds whichever way the operation is called, and asks for the same.
 *
 * @throws McpError or Challenge
 */
async function checkAddress({ policy, approvals, contact }: Asked, method: string, path: string): Promise<void> {
  if (contact === undefined) throw new McpError('internal_error', 'who calls is not known', { status: 500 })
  const name = operationName(method, path)
  const held = permissions(policy, contact).address(name, annotationsOf(method))
  if (held === undefined) return
  if (held.effect === 'step-up') throw new Challenge('insufficient_user_authentication', 'this needs another sign-in, stronger or more recent', undefined, held.challenge)
  const approval = held.effect === 'approval' ? await callApproval({ approvals }, contact, name) : undefined
  if (approval === 'approved') return
  throw new McpError(approval === undefined ? 'invalid_params' : 'unavailable', approval?.told ?? `No rule of your administrator lets you use ${name}`, { reason: `${held.effect} by ${held.rule}` })
}

function lacksScope({ headers }: Answer): boolean {
  return [headers['www-authenticate'] ?? []].flat().some((value) => value.includes('insufficient_scope'))
}

/** What the request carries besides what every message does is the connector's credential. */
function credentialOf(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !/^(?:accept|accept-encoding|content-type|user-agent|last-event-id|mcp-.*)$/.test(name)))
}
