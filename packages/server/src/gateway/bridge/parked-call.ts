// A call whose client has gone to ask somebody: it waits here until the client comes back, for a while.
import { issuedToken } from '../authenticate.ts'
import { drain } from '../drain.ts'
import { McpError } from '../error.ts'
import type { Answer } from '../exchange.ts'
import { isObject } from '../message.ts'
import { newId } from '../../oauth/secret.ts'
import type { Introduced } from './introduced.ts'
import { inputRequired, respond, toQuestion } from './legacy-answer.ts'
import { cancel, takeSeat, unregister, type Request, type State } from './legacy-state.ts'
import { legacyRequest, ownOpen, type Line } from './line.ts'
import { reply } from './outlet.ts'
import { PARKED_MS } from './parking.ts'
import type { Seat } from './seat.ts'
import type { Json } from './translate.ts'

/** Ends the client's request with what the upstream asks; the upstream's own goes on waiting, for a while. */
export function park(state: State): void {
  const { seat: chair, line, message, introduced, questions } = state
  if (chair === undefined || state.over || questions.size === 0) return
  const { caller } = line.contact
  if (!state.parking.has(caller.user.id)) return refusePlace(state, chair)
  const round = newId('rnd')
  try {
    keep(state, round)
  } catch {
    return refusePlace(state, chair)
  }
  state.unhold ??= state.relay.hold(state.park, line.contact.upstream, (...back) => resumeElsewhere(state, ...back), () => cancel(state, 'gone'))
  state.seat = undefined
  const asked = Object.fromEntries([...questions].map(([key, question]) => [key, toQuestion(question)]))
  chair.finish({ jsonrpc: '2.0', id: chair.id, result: inputRequired(asked, state.tickets.seal(line.contact, message, introduced.params, { node: state.relay.node, park: state.park, round })) })
}

/** Keeps the call for whoever comes back with the ticket of this round, until it has waited too long or what it was made with is revoked. @throws McpError for one too many */
function keep(state: State, round: string): void {
  const { caller } = state.line.contact
  state.registered = state.openCalls.open({ issued: issuedToken(caller), endsAt: Number.MAX_SAFE_INTEGER })
  state.registered.stop = () => cancel(state, 'revoked')
  state.timer = setTimeout(() => cancel(state, 'expired'), PARKED_MS).unref()
  state.parking.put(state.park, round, caller.user.id, { resume: (...back) => resume(state, round, ...back), cancel: () => cancel(state, 'closing') })
}

function refusePlace(state: State, chair: Seat): void {
  state.seat = undefined
  cancel(state, 'gone')
  chair.finish({ jsonrpc: '2.0', id: chair.id, error: { code: -32000, message: 'Too many calls of yours wait for an answer to a question; answer one of them first, or try again later' } }, 429)
}

/** The client is back: its answers go to the upstream, and it waits for what becomes of them. */
async function resume(state: State, round: string, line: Line, message: Request, introduced: Introduced, responses: Json): Promise<Answer> {
  unregister(state)
  try {
    for (const [key, { id }] of state.questions) {
      const given = responses[key]
      // The bare result, and nothing around it: everything else is no answer, and asked again.
      if (!isObject(given) || 'method' in given || 'result' in given) continue
      const sent = await line.send(legacyRequest({ id, result: given }, state.session.name), ownOpen(line.contact))
      await drain(sent)
      if (sent.status === 401) return parkAgain(state, round, sent)
      if (sent.status < 200 || sent.status > 299) throw new McpError('unavailable', `${line.contact.upstream.name} did not take the answer (${sent.status})`, { status: 502, reason: `upstream: ${sent.status}` })
      state.questions.delete(key)
    }
  } catch (error) {
    cancel(state, 'gone')
    throw error
  }
  state.message = message
  state.introduced = introduced
  state.session.line = line
  const chair = takeSeat(state, line)
  if (state.outcome !== undefined) respond(state, state.outcome)
  else if (state.questions.size > 0) setImmediate(() => park(state))
  return chair.answer
}

/** The client came back to another node, which checked who it is: the call goes on with what this node has. */
function resumeElsewhere(state: State, round: string, message: Json, responses: Json): Promise<Answer> | undefined {
  if (state.parking.take(state.park, round) === undefined) return undefined
  // The newest credential is that of whoever used the session last.
  const { line } = state.session
  const contact = { ...line.contact, open: ownOpen(line.contact) }
  return resume(state, round, { ...line, contact }, { ...message, method: state.message.method }, state.introduced, responses)
}

/** The credential was refused: the call waits for the same request with another one. */
function parkAgain(state: State, round: string, { headers }: Answer): Answer {
  const { 'www-authenticate': challenge } = headers
  keep(state, round)
  return reply(401, undefined, typeof challenge === 'string' ? { 'www-authenticate': challenge } : {})
}
