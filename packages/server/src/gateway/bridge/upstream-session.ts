// A session at an upstream of the 2025 revisions, which clients of 2026-07-28 share as long as they are the same person's,
// with the same application and the same abilities: they know nothing of it.
import { isObject } from '../message.ts'
import { newId } from '../../oauth/secret.ts'
import { legacyRequest, outcomeOf, ownOpen, tell, type Line, type SessionName } from './line.ts'
import type { SessionStream } from './session-stream.ts'
import { capabilityFor, missingCapability, type Json } from './translate.ts'

/** A call in flight, as far as its session has to know. */
export interface InFlight {
  /** Whether its result may ask the client. */
  readonly asks: boolean
  /** Whether its client wants to hear what the upstream logs. */
  readonly logs: boolean
  response(message: Json): void
  notification(message: Json): void
  question(message: Json): void
  /** The upstream does not want an answer to its question any more. */
  withdraw(id: unknown): void
}

export interface UpstreamSession {
  readonly name: SessionName
  /** What the upstream said at the beginning. */
  readonly initialized: Json
  readonly capabilities: Json
  /** By the identifier that the request has at the upstream. */
  readonly calls: Map<string, InFlight>
  readonly listeners: Set<(message: Json) => void>
  /** How many listeners want to hear of a resource. */
  readonly uris: Map<string, number>
  /** The way to the upstream that was used last: with the newest credential. */
  line: Line
  stream: SessionStream | undefined
  /** Whether the upstream has no stream of the session. */
  streamless: boolean
  level: string | undefined
  usedAt: number
  /** Whether the upstream has forgotten it, or it was given up here. */
  over: boolean
}

const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency']
const NO_SUCH_METHOD = { code: -32601, message: 'Method not found' }
const NOBODY = { code: -32603, message: 'There is no call that this belongs to' }

/** Hands a message of the upstream to whom it is for. @param from the call on whose stream it came */
export function route(session: UpstreamSession, message: Json, from?: InFlight): void {
  const { id, method } = message
  if (typeof method !== 'string') {
    if (typeof id === 'string') session.calls.get(id)?.response(message)
    return
  }
  if (id !== undefined) return question(session, message, from)
  const params = isObject(message['params']) ? message['params'] : {}
  if (method === 'notifications/progress') return session.calls.get(String(params['progressToken']))?.notification(message)
  if (method === 'notifications/message') return (from ?? only(session, ({ logs }) => logs))?.notification(message)
  if (method === 'notifications/cancelled') {
    for (const call of session.calls.values()) call.withdraw(params['requestId'])
    return
  }
  for (const hear of session.listeners) hear(message)
}

/** RS-31, RS-34: a question goes to the client of the call that it belongs to, when that can be asked; else it is refused here. */
function question(session: UpstreamSession, message: Json, from: InFlight | undefined): void {
  const { id, method } = message
  if (method === 'ping') return answer(session, { id, result: {} })
  const needed = capabilityFor({ method, params: message['params'] })
  if (needed === undefined || missingCapability(needed, session.capabilities) !== undefined) return answer(session, { id, error: NO_SUCH_METHOD })
  const call = from ?? only(session, ({ asks }) => asks)
  if (call?.asks !== true) return answer(session, { id, error: NOBODY })
  call.question(message)
}

/** What comes on the stream of the session says not which call it is about: it is clear when there is one alone. */
function only({ calls }: UpstreamSession, test: (call: InFlight) => boolean): InFlight | undefined {
  const found = [...calls.values()].filter(test)
  return found.length === 1 ? found[0] : undefined
}

export function answer(session: UpstreamSession, message: Json): void {
  tell(session.line, legacyRequest(message, session.name))
}

/** The request's own words in 2025: what the bridge asks by itself. @returns undefined when it is refused */
export async function ask(session: UpstreamSession, method: string, params: Json): Promise<Json | undefined> {
  const id = newId('req')
  const outcome = await outcomeOf(await session.line.send(legacyRequest({ id, method, params }, session.name), ownOpen(session.line.contact)), id, session.line.contact.upstream)
  if (outcome.kind === 'failure') outcome.answer.cancel()
  return outcome.kind === 'result' ? outcome.result : undefined
}

/** Makes the upstream log as much as the client of a call wants; each call passes on no more than that. */
export async function ensureLevel(session: UpstreamSession, level: string | undefined): Promise<void> {
  const { capabilities } = session.initialized
  if (level === undefined || !isObject(capabilities) || !isObject(capabilities['logging'])) return
  if (session.level !== undefined && LEVELS.indexOf(session.level) <= LEVELS.indexOf(level)) return
  session.level = level
  await ask(session, 'logging/setLevel', { level })
}

export function isAtLeast(given: unknown, level: string | undefined): boolean {
  return level !== undefined && LEVELS.indexOf(String(given)) >= LEVELS.indexOf(level)
}
