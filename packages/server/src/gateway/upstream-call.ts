import { CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector, type Credential, type Possession } from '../upstreams/connectors/connector.ts'
import type { Bridge } from './bridge/bridge.ts'
import type { Call, Contact } from './call.ts'
import { Challenge } from './challenge.ts'
import { drain } from './drain.ts'
import { McpError } from './error.ts'
import type { Answer, UpstreamRequest } from './exchange.ts'
import type { Forward } from './forward.ts'
import type { Line } from './bridge/line.ts'
import type { OpenCall } from './open-calls.ts'
import type { Outgoing } from './outgoing.ts'

export { drain } from './drain.ts'
export type { Outgoing } from './outgoing.ts'

export type UsableCredential = Exclude<Credential, 'connection_required'>

export interface UpstreamCallDeps {
  readonly forward: Forward
  /** Stands between a client and an upstream of different protocol generations. */
  readonly bridge: Bridge
}

const IDLE_MS = 5 * 60_000
/** A second one is for a credential that was overtaken while it was renewed. */
const MAX_RENEWALS = 2

/** @returns the credential for the call. @throws McpError while it cannot be refreshed, Challenge when it takes another sign-in. */
export function credentialFor(connector: Connector, contact: Contact): Promise<Credential> {
  return inWords(contact, connector.credential(contact.caller.user.id, contact.upstream))
}

/** @returns what takes the place of a credential that the upstream answered with 401. @throws as `credentialFor` */
async function renewedAfter(connector: Connector, contact: Contact, { version }: UsableCredential, { headers }: Answer): Promise<Credential> {
  await inWords(contact, connector.refused(contact.caller.user.id, contact.upstream, version, [headers['www-authenticate'] ?? []].flat().join(', ')))
  return credentialFor(connector, contact)
}

async function inWords<T>({ upstream }: Contact, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    // RFC 9470: whoever issues the credential asks for it, so that the person does what a rule of ours would have them do.
    if (error instanceof SignInRequired) throw new Challenge('insufficient_user_authentication', `${upstream.name} needs another sign-in, stronger or more recent`, undefined, error.signIn)
    if (error instanceof CredentialRefused) throw new McpError('unavailable', `${upstream.name} cannot be used in your name: ${error.message}`, { status: 502, cause: error, reason: error.reason })
    if (!(error instanceof UpstreamUnavailable)) throw error
    throw new McpError('unavailable', `${upstream.name} cannot renew your account's access at the moment; try again`, { status: 503, headers: { 'retry-after': '10' }, cause: error, reason: error.message })
  }
}

/** Sends a request with the credential, or those that take its place. */
export function sendWithCredential(deps: UpstreamCallDeps, connector: Connector, contact: Contact, credential: UsableCredential, outgoing: Outgoing): Promise<Answer | 'connection_required'> {
  return withRenewals(connector, contact, credential, (current) => send(deps, contact, current, outgoing))
}

/**
 * What the upstream refuses with 401 was not carried out: it is sent again with a renewed credential, as long as the connector
 * has another. What is refused for want of another sign-in may be that of the credential or, after it was renewed, of the person.
 *
 * @param renewable throws for a request that cannot be sent again
 */
export async function withRenewals(connector: Connector, contact: Contact, credential: UsableCredential, sending: (credential: UsableCredential) => Promise<Answer>, renewable = (): void => undefined): Promise<Answer | 'connection_required'> {
  let current = credential
  for (let renewals = 0; ; renewals += 1) {
    const answer = await sending(current)
    if (answer.status !== 401) return answer
    await drain(answer)
    const renewed = await renewedAfter(connector, contact, current, answer)
    if (renewed === 'connection_required') return renewed
    if (renewed.version === current.version || renewals === MAX_RENEWALS) throw new McpError('unavailable', `${contact.upstream.name} refuses the credential that this gateway has for it`, { status: 502, reason: 'upstream: 401' })
    renewable()
    current = renewed
  }
}

/** The credential was refused for good only now: the next call is answered with the way to connect. */
export function accountLost({ upstream }: Contact): McpError {
  return new McpError('unavailable', `${upstream.name} no longer accepts your account's access; try again to connect it`, { status: 503, headers: { 'retry-after': '1' }, reason: 'upstream: the account is not connected' })
}

async function send(deps: UpstreamCallDeps, contact: Contact, credential: UsableCredential, outgoing: Outgoing): Promise<Answer> {
  const { bridge } = deps
  if (!bridge.isSame(contact.upstream, outgoing)) return bridge.send(lineTo(deps, contact, credential), outgoing)
  const answer = await sendPlain(deps, contact, credential, outgoing, contact.open)
  return answer.status < 400 ? answer : bridge.doubt(lineTo(deps, contact, credential), outgoing, answer)
}

function lineTo(deps: UpstreamCallDeps, contact: Contact, credential: UsableCredential): Line {
  return { contact, send: (request, open = contact.open) => sendPlain(deps, contact, credential, request, open) }
}

function sendPlain({ forward }: UpstreamCallDeps, contact: Contact, credential: UsableCredential, { headers, ...outgoing }: Outgoing, open: OpenCall): Promise<Answer> {
  const { upstream } = contact
  // P-7, RS-10: the connector's credential and nothing of the caller's; it comes last, so nothing stands above it.
  // A server may keep back the first line of a session's stream until there is something to tell.
  const timeoutMs = outgoing.method === 'GET' ? 0 : upstream.timeoutMs
  const send = (more?: Pick<UpstreamRequest, 'prove'>): Promise<Answer> => forward.send(upstream, { ...outgoing, headers: { ...headers, ...credentialHeaders(credential, outgoing.method, upstream.url) }, timeoutMs, ...more }, open, contact)
  return credential.possession === undefined ? send() : withNonce(credential.possession, () => send({ prove: (method, url) => credentialHeaders(credential, method, url) }))
}

/** RFC 9449 §9: what was refused for want of a nonce that the answer brought is asked once more. */
export async function withNonce(possession: Possession, send: () => Promise<Answer>): Promise<Answer> {
  const answer = await send()
  if (!possession.learn(answer.status, answer.headers)) return answer
  await drain(answer)
  const again = await send()
  // RFC 9449 §8.2: a nonce may be good for one request; that for the next comes with each answer.
  possession.learn(again.status, again.headers)
  return again
}

/** What a request carries of a credential; of one that is bound to a key, also the proof for this request. */
export function credentialHeaders({ headers, possession }: UsableCredential, method: string, url: string): Readonly<Record<string, string>> {
  return possession === undefined ? headers : { ...headers, dpop: possession.prove(method, url, Date.now()) }
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
