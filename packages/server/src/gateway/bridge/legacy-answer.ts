// What becomes of a 2025 upstream's response for a client of 2026-07-28.
import { isObject } from '../message.ts'
import { conclude, type Question, type State } from './legacy-state.ts'
import { ASKING_METHODS, missingCapability, toModernError, toModernResult, URL_ELICITATION_REQUIRED, type Json } from './translate.ts'

/** So many questions at once, and no larger answer for somebody who may not come back. */
export const MAX_QUESTIONS = 32
const MAX_KEPT = 1024 * 1024
const METHOD_NOT_FOUND = -32601
const MISSING_CAPABILITY = -32021

export function respond(state: State, message: Json): void {
  if (state.over) return
  if (state.seat === undefined) {
    const isLarge = JSON.stringify(message).length > MAX_KEPT
    state.outcome = isLarge ? { error: { code: -32603, message: 'The answer came while nobody waited, and is too large to be kept' } } : message
    return
  }
  const { seat: chair } = state
  const { status, body } = finalOf(state, message)
  conclude(state)
  chair.finish({ jsonrpc: '2.0', id: chair.id, ...body }, status)
}

function finalOf(state: State, { result, error }: Json): { readonly status: number; readonly body: Json } {
  const { method } = state.message
  if (isObject(result) && method === 'tools/list') state.tools.learn(state.line.contact, result['tools'])
  if (isObject(result)) return { status: 200, body: { result: toModernResult(method, result) } }
  const given = isObject(error) ? error : {}
  if (given['code'] === URL_ELICITATION_REQUIRED && ASKING_METHODS.has(method)) return sendElsewhere(state, given['data'])
  // RS-20
  return { status: given['code'] === METHOD_NOT_FOUND ? 404 : 200, body: { error: toModernError(given) } }
}

/** 2025-11-25 refuses a call until somebody has been at an address; in 2026-07-28 that is a question, and the call is made again. */
function sendElsewhere(state: State, data: unknown): { readonly status: number; readonly body: Json } {
  const { line, message, introduced, tickets } = state
  const elicitations: unknown[] = isObject(data) && Array.isArray(data['elicitations']) ? data['elicitations'].slice(0, MAX_QUESTIONS) : []
  const questions = elicitations.filter((each) => isObject(each)).map((each, index) => [`question-${index + 1}`, toQuestion({ id: 0, method: 'elicitation/create', params: { mode: 'url', ...each } })] as const)
  const missing = missingCapability({ elicitation: { url: {} } }, introduced.capabilities)
  if (missing !== undefined) return { status: 400, body: { error: { code: MISSING_CAPABILITY, message: 'The client cannot be sent to an address', data: { requiredCapabilities: missing } } } }
  if (questions.length === 0) return { status: 200, body: { error: { code: -32603, message: `${line.contact.upstream.name} gave an answer that cannot be used` } } }
  return { status: 200, body: { result: inputRequired(Object.fromEntries(questions), tickets.seal(line.contact, message, introduced.params, {})) } }
}

export function inputRequired(inputRequests: Json, requestState: string): Json {
  return { resultType: 'input_required', inputRequests, requestState }
}

/** C-30: an address goes on as it is; the name that 2025-11-25 gives it is nothing to 2026-07-28. */
export function toQuestion({ method, params }: Question): Json {
  const { elicitationId: _name, _meta: _, task: _task, ...given } = isObject(params) ? params : {}
  return { method, ...(method === 'roots/list' ? {} : { params: given }) }
}
