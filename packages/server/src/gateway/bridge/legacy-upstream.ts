// An upstream of the 2025 revisions, as a client of 2026-07-28 speaks to it: the session is the bridge's.
import type { Answer } from '../exchange.ts'
import { isObject } from '../message.ts'
import type { Outgoing } from '../outgoing.ts'
import { resultOf } from '../revisions.ts'
import { mismatchedParam } from './header-params.ts'
import { introduced, type Introduced } from './introduced.ts'
import { legacyCall } from './legacy-call.ts'
import type { LegacyCallDeps, Request } from './legacy-state.ts'
import { legacyListen } from './legacy-listen.ts'
import { messageOf, paramsOf, type Line } from './line.ts'
import { reply } from './outlet.ts'
import type { Ticket } from './parking.ts'
import { notWaiting } from './relay.ts'
import { ask, type UpstreamSession } from './upstream-session.ts'
import { toDiscoverResult, type Json } from './translate.ts'

const MODERN = { era: 'modern', version: '' } as const
const INVALID_PARAMS = -32602
const HEADER_MISMATCH = -32020

export async function toLegacyUpstream(deps: LegacyCallDeps, line: Line, outgoing: Outgoing): Promise<Answer> {
  const message = messageOf(outgoing)
  const { id, method } = message
  // 2026-07-28 has no notification of a client's that 2025 would have to hear: who goes away cancels.
  if (typeof method !== 'string' || id === undefined) return reply(202, undefined)
  const given = introduced(paramsOf(message))
  const request = { ...message, method }
  const { requestState } = paramsOf(message)
  const ticket = requestState === undefined ? undefined : deps.tickets.open(line.contact, request, given.params, requestState)
  // RS-33
  if (requestState !== undefined && ticket === undefined) return reply(200, { jsonrpc: '2.0', id, error: { code: INVALID_PARAMS, message: 'Invalid or expired requestState' } })
  if (ticket !== undefined) return comeBack(deps, line, request, given, ticket)
  return begin(deps, line, request, given, outgoing.headers)
}

async function begin(deps: LegacyCallDeps, line: Line, message: Request, given: Introduced, headers?: Outgoing['headers']): Promise<Answer> {
  const opened = await deps.sessions.of(line, given)
  if ('refused' in opened) return reply(opened.refused.status, undefined, opened.refused.headers)
  if (message.method === 'server/discover') return reply(200, { jsonrpc: '2.0', id: message['id'], result: toDiscoverResult(opened.initialized) })
  if (message.method === 'subscriptions/listen') return legacyListen(deps.sessions, line, opened, message)
  const mismatch = message.method === 'tools/call' && headers !== undefined ? await mismatchOf(deps, line, opened, given, headers) : undefined
  if (mismatch !== undefined) return reply(400, { jsonrpc: '2.0', id: message['id'], error: { code: HEADER_MISMATCH, message: `Bad Request: ${mismatch} is not the argument of the body` } })
  return legacyCall(deps, line, opened, message, given)
}

/** RS-18, P-8: no upstream of 2025 compares the headers that repeat arguments. */
async function mismatchOf({ tools }: LegacyCallDeps, line: Line, session: UpstreamSession, { params }: Introduced, headers: Outgoing['headers']): Promise<string | undefined> {
  const { name, arguments: given } = params
  if (typeof name !== 'string') return undefined
  const facts = await tools.facts(line.contact, name, (cursor) => ask(session, 'tools/list', cursor))
  return mismatchedParam(facts.headers, given, headers)
}

function comeBack(deps: LegacyCallDeps, line: Line, message: Request, given: Introduced, { node, park, round }: Ticket): Promise<Answer> {
  const { inputResponses } = paramsOf(message)
  const responses = isObject(inputResponses) ? inputResponses : {}
  if (park === undefined || round === undefined) {
    const declined = Object.values(responses).some((response) => isObject(response) && response['action'] !== 'accept')
    return declined ? Promise.resolve(reply(200, { jsonrpc: '2.0', id: message['id'], ...refused(message) })) : begin(deps, line, message, given)
  }
  const parked = deps.parking.take(park, round)
  if (parked !== undefined) return parked.resume(line, message, given, responses)
  if (node !== undefined && node !== deps.relay.node) return deps.relay.pass(line, { park, round }, { id: message['id'], params: given.params }, responses)
  return Promise.resolve(reply(200, notWaiting(message['id'])))
}

function refused({ method }: Request): Json {
  const text = 'The user declined what the server asks for'
  return method === 'tools/call' ? { result: resultOf(MODERN, { content: [{ type: 'text', text }], isError: true }, false) } : { error: { code: -32603, message: text } }
}
