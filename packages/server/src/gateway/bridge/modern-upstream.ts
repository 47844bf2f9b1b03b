// An upstream of 2026-07-28, as a client of the 2025 revisions speaks to it: sessions, and what they remember, are the bridge's.
import { unreadable } from '../answers.ts'
import type { Answer } from '../exchange.ts'
import { isObject } from '../message.ts'
import { newId } from '../../oauth/secret.ts'
import type { Outgoing } from '../outgoing.ts'
import { CLIENT_INFO_KEY } from '../revisions.ts'
import { TASKS_EXTENSION } from '../tasks/words.ts'
import { addressOf } from './asking.ts'
import type { BridgeStore, ClientSession, Opening } from './bridge-store.ts'
import type { ClientSessions } from './client-sessions.ts'
import { WrongGeneration } from './generation.ts'
import { messageOf, modernRequest, outcomeOf, paramsOf, type Line } from './line.ts'
import { modernCall, type ModernCallDeps } from './modern-call.ts'
import { modernListen } from './modern-listen.ts'
import { reply } from './outlet.ts'
import { cancelAddress } from './session-words.ts'
import { toInitializeResult, type Json } from './translate.ts'

export interface ModernUpstreamDeps extends ModernCallDeps {
  readonly bridgeStore: BridgeStore
  readonly clientSessions: ClientSessions
  readonly now: () => number
}

const MAX_SUBSCRIPTIONS = 200
const MAX_OPENING = 8192
const MAX_URI = 2048
const REFRESH_MS = 5000
const LEVELS: ReadonlySet<unknown> = new Set(['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'])
const METHOD_NOT_FOUND = { code: -32601, message: 'Method not found' }
const INVALID_PARAMS = -32602

export async function toModernUpstream(deps: ModernUpstreamDeps, line: Line, outgoing: Outgoing): Promise<Answer> {
  const message = messageOf(outgoing)
  if (message['method'] === 'initialize' && message['id'] !== undefined) return initialize(deps, line, message)
  const id = outgoing.headers['mcp-session-id']
  // RS-41
  if (id === undefined) return reply(400, { jsonrpc: '2.0', id: message['id'] ?? null, error: { code: -32600, message: 'Mcp-Session-Id is missing' } })
  const session = await deps.clientSessions.find(line.contact, id)
  if (session === undefined) return reply(404, { jsonrpc: '2.0', id: message['id'] ?? null, error: { code: -32001, message: 'Session not found' } })
  if (outgoing.method === 'GET') return modernListen(deps.clientSessions, line, session)
  if (outgoing.method === 'DELETE') {
    await deps.bridgeStore.endSession(id, deps.now())
    return reply(200, undefined)
  }
  const { method } = message
  if (typeof method !== 'string') return answered(deps, session, message)
  if (message['id'] === undefined) return notified(deps, session, message)
  return request(deps, line, session, { ...message, method })
}

async function initialize(deps: ModernUpstreamDeps, line: Line, message: Json): Promise<Answer> {
  const given = openingOf(paramsOf(message))
  const id = newId('req')
  const introduction = { capabilities: given.capabilities, more: { [CLIENT_INFO_KEY]: given.clientInfo } }
  const outcome = await outcomeOf(await line.send(modernRequest({ id, method: 'server/discover' }, introduction)), id, line.contact.upstream)
  if (outcome.kind === 'failure') return outcome.answer
  if (outcome.kind === 'error') throw new WrongGeneration(unreadable(line.contact.upstream, 'no server/discover'))
  const result = toInitializeResult(outcome.result, paramsOf(message)['protocolVersion'])
  const session = await deps.clientSessions.begin(line.contact, { ...given, version: String(result['protocolVersion']), tells: tellsOf(result['capabilities']) })
  return reply(200, { jsonrpc: '2.0', id: message['id'], result }, { 'mcp-session-id': session })
}

/** No more than is sent with every request without harm. */
function openingOf({ capabilities, clientInfo }: Json): Pick<Opening, 'capabilities' | 'clientInfo'> {
  // Tasks are not carried over: 2026-07-28 has them otherwise.
  const { tasks: _tasks, extensions, ...others } = isObject(capabilities) ? capabilities : {}
  const known = isObject(extensions) ? { ...others, extensions: Object.fromEntries(Object.entries(extensions).filter(([name]) => name !== TASKS_EXTENSION)) } : others
  const named = isObject(clientInfo) && typeof clientInfo['name'] === 'string' && typeof clientInfo['version'] === 'string' ? clientInfo : { name: 'unknown', version: '0' }
  const whole = { capabilities: known, clientInfo: named }
  if (Buffer.byteLength(JSON.stringify(whole)) <= MAX_OPENING) return whole
  return { capabilities: {}, clientInfo: { name: 'unknown', version: '0' } }
}

function tellsOf(capabilities: unknown): readonly string[] {
  const given = isObject(capabilities) ? capabilities : {}
  const lists = ['tools', 'prompts', 'resources'].filter((name) => isObject(given[name]) && given[name]['listChanged'] === true)
  return isObject(given['resources']) && given['resources']['subscribe'] === true ? [...lists, 'subscribe'] : lists
}

/** The client's answer to a question, for whichever node asked it. */
async function answered({ mailbox }: ModernUpstreamDeps, session: ClientSession, { id, result, error }: Json): Promise<Answer> {
  const address = addressOf(id)
  if (address !== undefined) await mailbox.post(address, { session: session.id, id, ...(result === undefined ? {} : { result }), ...(error === undefined ? {} : { error }) })
  return reply(202, undefined)
}

/** What a 2025 client tells; all but one thing is nothing that 2026-07-28 can be told. */
async function notified({ mailbox }: ModernUpstreamDeps, session: ClientSession, message: Json): Promise<Answer> {
  const { requestId } = paramsOf(message)
  const isCancelled = message['method'] === 'notifications/cancelled' && (typeof requestId === 'string' || typeof requestId === 'number')
  if (isCancelled) await mailbox.post(cancelAddress(session.id, requestId), {})
  return reply(202, undefined)
}

async function request(deps: ModernUpstreamDeps, line: Line, session: ClientSession, message: Json & { readonly method: string }): Promise<Answer> {
  const say = (members: Json): Answer => reply(200, { jsonrpc: '2.0', id: message['id'], ...members })
  const { level, uri } = paramsOf(message)
  switch (message.method) {
    case 'ping':
      return say({ result: {} })
    case 'logging/setLevel':
      if (!LEVELS.has(level) || typeof level !== 'string') return say({ error: { code: INVALID_PARAMS, message: 'level is none' } })
      await deps.bridgeStore.setLevel(session.id, level, deps.now())
      await deps.clientSessions.refresh(session.id)
      return say({ result: {} })
    case 'resources/subscribe':
    case 'resources/unsubscribe':
      if (!session.opening.tells.includes('subscribe')) return say({ error: METHOD_NOT_FOUND })
      if (typeof uri !== 'string' || uri.length > MAX_URI) return say({ error: { code: INVALID_PARAMS, message: 'uri is none that can be subscribed to' } })
      return say(await subscription(deps, session, message.method, uri))
    default:
      return modernCall(deps, line, session, message)
  }
}

async function subscription({ bridgeStore, clientSessions, now }: ModernUpstreamDeps, { id }: ClientSession, method: string, uri: string): Promise<Json> {
  if (method === 'resources/unsubscribe') await bridgeStore.unsubscribe(id, uri, now())
  else if (!(await bridgeStore.subscribe(id, uri, MAX_SUBSCRIPTIONS, now()))) return { error: { code: -32000, message: 'too many subscriptions in this session' } }
  // When the client hears that it is subscribed, the stream on this node is.
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, REFRESH_MS)))
  await Promise.race([clientSessions.refresh(id), late])
  clearTimeout(timer)
  return { result: {} }
}
