import { newId } from '../../oauth/secret.ts'
import { isObject } from '../message.ts'
import type { ClientSession } from './bridge-store.ts'
import type { Mailbox } from './mailbox.ts'
import type { Seat } from './seat.ts'
import { capabilityFor, missingCapability, type Json } from './translate.ts'

/** A question could not be put to the client, or was not answered: the call ends with these words. */
export class Unanswered extends Error {
  override readonly name = 'Unanswered'
}

/** People answer, not programs. */
const ANSWER_MS = 600_000
const KEEP_ALIVE_MS = 20_000
const MAX_QUESTIONS = 32
const ADDRESS = /^(ask_[A-Za-z0-9_-]{22})\.\d{1,3}$/

/** Where the answer to a question of the gateway's goes; undefined for what it did not ask. */
export function addressOf(id: unknown): string | undefined {
  return typeof id === 'string' ? ADDRESS.exec(id)?.[1] : undefined
}

/**
 * Puts the questions of an `input_required` result to a client of 2025, as requests on the stream of its call, and
 * waits for all answers; they may come to another node.
 *
 * @throws Unanswered
 */
export async function askClient(deps: { readonly mailbox: Mailbox }, session: ClientSession, seat: Seat, questions: Json, signal: AbortSignal): Promise<Json> {
  const entries = Object.entries(questions)
  if (entries.length > MAX_QUESTIONS) throw new Unanswered('The server asks too much at once')
  const asked = entries.map(([key, question]) => [key, questionOf(key, question, session)] as const)
  const token = newId('ask')
  const answers: Record<string, unknown> = {}
  const open = new Map(asked.map(([key], index) => [`${token}.${index}`, key]))
  const done = Promise.withResolvers<Json>()
  const leave = deps.mailbox.wait(token, (note) => {
    const { session: from, id, result, error } = note
    const key = typeof id === 'string' && from === session.id ? open.get(id) : undefined
    if (key === undefined || typeof id !== 'string') return
    open.delete(id)
    if (!isObject(result) || 'method' in result || 'result' in result) return done.reject(new Unanswered(`${key}: ${isObject(error) && typeof error['message'] === 'string' ? error['message'] : 'the client did not answer'}`))
    answers[key] = result
    if (open.size === 0) done.resolve(answers)
  })
  const stop = (): void => done.reject(new Unanswered('the call has ended'))
  const timer = setTimeout(() => done.reject(new Unanswered('nobody answered in time')), ANSWER_MS)
  const alive = setInterval(() => seat.comment(), KEEP_ALIVE_MS)
  signal.addEventListener('abort', stop)
  try {
    for (const [index, [, question]] of asked.entries()) seat.tell({ jsonrpc: '2.0', id: `${token}.${index}`, ...question })
    if (asked.length === 0) done.resolve(answers)
    return await done.promise
  } catch (error) {
    for (const requestId of open.keys()) if (!signal.aborted) seat.tell({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId, reason: 'the call has ended' } })
    throw error
  } finally {
    clearTimeout(timer)
    clearInterval(alive)
    signal.removeEventListener('abort', stop)
    leave()
  }
}

/** RS-34: nothing that the client did not declare. */
function questionOf(key: string, question: unknown, { opening }: ClientSession): Json {
  const { method, params } = isObject(question) ? question : {}
  const needed = capabilityFor({ method, params })
  if (needed === undefined) throw new Unanswered(`The server asks for ${key} in a way that is not known`)
  if (missingCapability(needed, opening.capabilities) !== undefined) throw new Unanswered(`The server asks for ${key}, which this client cannot do (${String(method)})`)
  const given = isObject(params) ? params : {}
  // 2025-11-25 names the address that somebody is sent to; 2026-07-28 has no such name.
  const named = given['mode'] === 'url' && !('elicitationId' in given) ? { elicitationId: newId('eli') } : {}
  return { method, ...(isObject(params) || method !== 'roots/list' ? { params: { ...given, ...named } } : {}) }
}
