import { UpstreamUnavailable, type Connector, type Credential } from '../upstreams/connectors/connector.ts'
import type { Call, Contact } from './call.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'
import type { Forward } from './forward.ts'

export type UsableCredential = Exclude<Credential, 'connection_required'>

export interface UpstreamCallDeps {
  readonly forward: Forward
}

/** What is sent: a message of the client, or one of the gateway's own for it. */
export interface Outgoing {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** Milliseconds that the answer may be silent; 0 for a stream. */
  readonly idleMs: number
}

const IDLE_MS = 5 * 60_000
const DRAIN_MS = 2000

/** @returns the credential for the call. @throws McpError while it cannot be refreshed. */
export async function credentialFor(connector: Connector, { caller, upstream }: Contact): Promise<Credential> {
  try {
    return await connector.credential(caller.user.id, upstream)
  } catch (error) {
    if (!(error instanceof UpstreamUnavailable)) throw error
    throw new McpError('unavailable', `${upstream.name} cannot renew your account's access at the moment; try again`, { status: 503, headers: { 'retry-after': '10' }, cause: error, reason: error.message })
  }
}

/**
 * Sends a request with the credential. One that the upstream refuses with 401 was not carried out: it is sent once
 * more with a renewed credential.
 */
export async function sendWithCredential(deps: UpstreamCallDeps, connector: Connector, contact: Contact, credential: UsableCredential, outgoing: Outgoing): Promise<Answer | 'connection_required'> {
  const answer = await send(deps, contact, credential, outgoing)
  if (answer.status !== 401) return answer
  await drain(answer)
  await connector.refused(contact.caller.user.id, contact.upstream, credential.version)
  const renewed = await credentialFor(connector, contact)
  if (renewed === 'connection_required') return renewed
  const again = renewed.version === credential.version ? answer : await send(deps, contact, renewed, outgoing)
  if (again.status !== 401) return again
  again.cancel()
  throw new McpError('unavailable', `${contact.upstream.name} refuses the credential that this gateway has for it`, { status: 502, reason: 'upstream: 401' })
}

/** The credential was refused for good only now: the next call is answered with the way to connect. */
export function accountLost({ upstream }: Contact): McpError {
  return new McpError('unavailable', `${upstream.name} no longer accepts your account's access; try again to connect it`, { status: 503, headers: { 'retry-after': '1' }, reason: 'upstream: the account is not connected' })
}

function send({ forward }: UpstreamCallDeps, contact: Contact, credential: UsableCredential, { headers, ...outgoing }: Outgoing): Promise<Answer> {
  const { upstream, open } = contact
  // P-7, RS-10: the connector's credential and nothing of the caller's; it comes last, so nothing stands above it.
  const request = { ...outgoing, headers: { ...headers, ...credential.headers }, timeoutMs: upstream.timeoutMs }
  return forward.send(upstream, request, open, contact)
}

/** Reads what is left of a short answer, so that its connection can be used again; a long or slow one is left. */
export async function drain(answer: Answer): Promise<void> {
  let size = 0
  const timer = setTimeout(() => answer.cancel(), DRAIN_MS)
  await answer
    .consume((chunk) => {
      size += chunk.length
      if (size > 64 * 1024) throw new Error('too long to be read')
    })
    .catch(() => undefined)
  clearTimeout(timer)
}

/** The request that carries the client's message. */
export function outgoingMessage(call: Call, session: string | undefined): Outgoing {
  return {
    method: 'POST',
    headers: messageHeaders(call, session),
    body: JSON.stringify(call.message.json),
    idleMs: call.operation.kind === 'listen' ? 0 : IDLE_MS,
  }
}

/** A request of the gateway's own in the client's name: same revision, same session. */
export function ownMessage(call: Pick<Call, 'revision' | 'headers'>, session: string | undefined, json: { readonly method: string } & Readonly<Record<string, unknown>>): Outgoing {
  return {
    method: 'POST',
    headers: { ...COMMON, accept: 'application/json, text/event-stream', 'content-type': 'application/json', ...revisionHeaders(call, session), ...(call.revision.era === 'modern' ? { 'mcp-method': json.method } : {}) },
    body: JSON.stringify({ jsonrpc: '2.0', ...json }),
    idleMs: IDLE_MS,
  }
}

/** The request for the stream of a session, or for its end. */
export function outgoingSession(method: 'GET' | 'DELETE', contact: Contact, session: string): Outgoing {
  const version = contact.headers['mcp-protocol-version']
  const last = contact.headers['last-event-id']
  return {
    method,
    headers: {
      ...COMMON,
      accept: 'text/event-stream',
      'mcp-session-id': session,
      ...(typeof version === 'string' ? { 'mcp-protocol-version': version } : {}),
      ...(method === 'GET' && typeof last === 'string' ? { 'last-event-id': last } : {}),
    },
    idleMs: 0,
  }
}

/** Nothing else of a client's headers goes upstream. Answers are looked into, so none may be compressed. */
const COMMON = { 'user-agent': 'lanyard', 'accept-encoding': 'identity' }

function messageHeaders(call: Call, session: string | undefined): Record<string, string> {
  const { headers } = call
  const sent: Record<string, string> = {
    ...COMMON,
    accept: headers.accept ?? 'application/json, text/event-stream',
    'content-type': 'application/json',
    ...revisionHeaders(call, session),
  }
  if (call.revision.era === 'legacy') return sent
  // P-9: parameters that are mirrored in headers are the upstream's to compare.
  for (const [name, value] of Object.entries(headers)) {
    if ((name === 'mcp-method' || name === 'mcp-name' || name.startsWith('mcp-param-')) && typeof value === 'string') sent[name] = value
  }
  return sent
}

function revisionHeaders({ revision, headers }: Pick<Call, 'revision' | 'headers'>, session: string | undefined): Record<string, string> {
  if (revision.era === 'modern') return { 'mcp-protocol-version': revision.version }
  const named = headers['mcp-protocol-version']
  return { ...(typeof named === 'string' ? { 'mcp-protocol-version': named } : {}), ...(session === undefined ? {} : { 'mcp-session-id': session }) }
}
