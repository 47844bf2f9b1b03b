import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Connector } from '../../upstreams/connectors/connector.ts'
import type { Contact } from '../call.ts'
import type { Answer } from '../exchange.ts'
import type { Forward } from '../forward.ts'
import { credentialHeaders, drain, withNonce, withRenewals, type UsableCredential } from '../upstream-call.ts'
import { CallProblem } from './problem.ts'

/** One request to an API, without a credential. */
export interface ApiRequest {
  readonly method: Dispatcher.HttpMethod
  /** Path and query, below the base or not: whoever builds it has seen to it that it is. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | Readable | undefined
}

const IDLE_MS = 5 * 60_000

/**
 * Sends a request with the connector's credential. What the API refuses with 401 was not carried out: it is sent again
 * with a renewed credential, where its body is still at hand.
 *
 * @throws McpError when the credential is refused, CallProblem when this request cannot be repeated
 */
export function sendRequest(forward: Forward, connector: Connector, contact: Contact, credential: UsableCredential, request: ApiRequest): Promise<Answer | 'connection_required'> {
  const renewable = (): void => {
    if (request.body instanceof Readable) throw gone(contact)
  }
  return withRenewals(connector, contact, credential, (current) => send(forward, contact, current, request), renewable)
}

async function send(forward: Forward, contact: Contact, credential: UsableCredential, { method, path, headers, body }: ApiRequest): Promise<Answer> {
  const { upstream, open } = contact
  const url = `${new URL(upstream.url).origin}${path}`
  const ask = (): Promise<Answer> => {
    // P-7, RS-10: the connector's credential and nothing of the caller's; it comes last, so nothing stands above it.
    const all = { ...headers, ...credentialHeaders(credential, method, url) }
    return forward.send(upstream, { method, path, headers: all, ...(body === undefined ? {} : { body }), timeoutMs: upstream.timeoutMs, idleMs: IDLE_MS }, open)
  }
  if (credential.possession === undefined) return ask()
  if (!(body instanceof Readable)) return withNonce(credential.possession, ask)
  const answer = await ask()
  // RFC 9449 §9: not the credential was refused. The next request has the nonce.
  if (!credential.possession.learn(answer.status, answer.headers)) return answer
  await drain(answer)
  throw gone(contact)
}

/** A body that is gone cannot be sent again. */
function gone({ upstream }: Contact): CallProblem {
  return new CallProblem(503, `${upstream.name} asked for a renewed credential while the body was on its way; send the request again`, { headers: { 'retry-after': '1' }, reason: 'upstream: 401 to a body that is gone' })
}
