// Owns the decision for a reverse proxy in front of somebody else's MCP server: who calls, whether they may, and with
// which credential. The request itself never comes here; what its body says is known by its headers or not at all.
import { hash as digest, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { AuditEvent, Recorder } from '../audit/event.ts'
import { addressBucket, type ClientAddress } from '../http/address.ts'
import { StoreUnavailable } from '../http/errors.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import { newReference } from '../http/router.ts'
import type { Connections } from '../upstreams/connections.ts'
import type { Connectors } from '../upstreams/connectors/index.ts'
import { isFor } from '../upstreams/profile.ts'
import type { ProtectedServer, ProtectedServers } from '../upstreams/protected-servers.ts'
import { issuedToken, type Authenticate, type Target } from './authenticate.ts'
import { afterApproval, type CallApprovalDeps } from './call-approval.ts'
import type { CallPolicy } from './call-policy.ts'
import { trace, type Contact } from './call.ts'
import { Challenge, sendChallenge } from './challenge.ts'
import { elevate, type ElevateDeps } from './elevate.ts'
import { McpError } from './error.ts'
import { EXTERNAL_RULE, externalRefusal, type ExternalDecisionDeps } from './external-decision.ts'
import { forwardedRequest, type ForwardedRequest } from './forwarded-request.ts'
import { noAccount } from './missing-connection.ts'
import type { OpenCalls } from './open-calls.ts'
import type { Operation } from './operation.ts'
import { alsoLacking, decide, NEEDS_APPROVAL, NOT_APPROVED, permissions, requireScope, stepUp, type Denied, type Permissions } from './permit.ts'
import { decodeHeader, MODERN_VERSIONS } from './revisions.ts'
import { credentialFor } from './upstream-call.ts'

export interface ForwardAuthDeps extends ExternalDecisionDeps, CallApprovalDeps, ElevateDeps {
  readonly issuer: string
  /** Absent when no proxy asks. */
  readonly protectedServers?: ProtectedServers
  /** Whether the other end of a connection is a proxy whose word is believed. */
  readonly isProxy?: (socketAddress: string | undefined) => boolean
  /** What proxies prove themselves with, besides their address; absent when that is enough. */
  readonly proxyKey?: string | undefined
  /** Whether a `Host` is one of the gateway's own. */
  readonly servesHost: (host: string | undefined) => boolean
  readonly clientAddress: ClientAddress
  readonly authenticate: Authenticate
  readonly policy: CallPolicy
  readonly connector: Connectors
  readonly connections: Pick<Connections, 'connectUrl'>
  readonly open: Pick<OpenCalls, 'open' | 'done'>
  readonly audit: Recorder
  /** A guard against floods of refusals from one network. */
  readonly flood: RateLimit
  readonly log: (line: Readonly<Record<string, unknown>>) => void
  readonly now: () => number
}

/** Why a proxy is to refuse: 403, as nginx knows no other refusal. The message is for the client. */
class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly rule: string | undefined
  constructor(message: string, rule?: string) {
    super(message)
    this.rule = rule
  }
}

/** A decision that is used for longer than this was made for something else. */
const DECISION_MS = 60_000

export function isForwardAuth(url = ''): boolean {
  return /^\/forward-auth(?:[/?]|$)/.test(url)
}

/** Answers the question of a proxy: 200 with the headers to send on, 401 and 403 as the client is to see them. */
export async function answerForwardAuth(deps: ForwardAuthDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const address = deps.clientAddress(request.socket.remoteAddress, text(request.headers['x-forwarded-for']))
  let server: ProtectedServer | undefined
  try {
    const asked = askedBy(deps, request)
    server = serverOf(deps, asked)
    if (server === undefined) throw new Refusal('no protected server is asked for, or not in one way alone')
    const caller = await deps.authenticate(request, server.profile, address, askedFor(server, asked))
    const open = deps.open.open({ issued: issuedToken(caller), endsAt: deps.now() + DECISION_MS })
    try {
      const [upstream] = server.profile.upstreams
      if (upstream === undefined) throw new Refusal('nothing is behind this')
      const contact: Contact = { caller, profile: server.profile, upstream, headers: request.headers, response, open, address }
      const headers = await allowed(deps, server, asked, contact)
      response.writeHead(200, { ...headers, 'cache-control': 'no-store', 'content-length': '0' }).end()
    } finally {
      deps.open.done(open)
    }
  } catch (error) {
    await refuseUnknown(deps, error, address, server)
    tell(deps, response, error, server)
  }
}

/** RFC 9449 §4.3: what a proof is made for is the request that the client sent, not the proxy's question. */
function askedFor({ profile }: ProtectedServer, { method, place }: ForwardedRequest): Target {
  return { method, url: place === undefined ? profile.resource : new URL(place.path, profile.resource).href }
}

/** @throws Refusal for whoever is no proxy, and for what does not come the proxy's own way */
function askedBy({ isProxy, proxyKey, issuer, servesHost }: ForwardAuthDeps, request: IncomingMessage): ForwardedRequest {
  if (isProxy?.(request.socket.remoteAddress) !== true) throw new Refusal('only a trusted proxy may ask here')
  // Whoever reaches the gateway by its public name came through a proxy as well, and says what they like.
  if (!isLoopback(issuer) && servesHost(request.headers.host)) throw new Refusal('proxies ask at an address of this gateway that is not its public name')
  const asked = forwardedRequest(request)
  if (asked === undefined) throw new Refusal('what is asked for cannot be read in one way alone')
  // A proxy in front of the gateway itself would bring anybody's question here, under whatever name they like.
  if (proxyKey !== undefined && !isSame(text(request.headers['x-lanyard-proxy-key']) ?? asked.key ?? '', proxyKey)) throw new Refusal('the key of the proxies is missing or wrong')
  return asked
}

function isSame(given: string, expected: string): boolean {
  return timingSafeEqual(digest('sha256', given, 'buffer'), digest('sha256', expected, 'buffer'))
}

/** The server that the proxy's configuration names and the one that the request is for must be one. */
function serverOf({ protectedServers: servers }: ForwardAuthDeps, { place, resource }: ForwardedRequest): ProtectedServer | undefined {
  const named = resource === undefined ? undefined : servers?.byResource(resource)
  const found = place === undefined ? named : servers?.at(place.host, place.path)
  return resource === undefined || named === found ? found : undefined
}

/** @returns the headers for the proxy to send on. @throws Challenge, Refusal, McpError */
function allowed(deps: ForwardAuthDeps, server: ProtectedServer, asked: ForwardedRequest, contact: Contact): Promise<Record<string, string>> {
  const operation = server.validatesHeaders ? operationOf(asked.method, contact.headers) : undefined
  const tool = operation?.kind === 'tool' ? operation.name.slice(0, 256) : undefined
  const named = { ...(tool === undefined ? {} : { tool }), detail: { by: 'forward-auth', server: server.id } }
  const again = (asking: Contact): Promise<Record<string, string>> => allow(deps, asking, operation, named)
  const { name } = contact.upstream
  return again(contact).catch((error: unknown) => elevate(deps, contact, { named, use: tool === undefined ? name : `${tool} of ${name}`, again }, error))
}

async function allow(deps: ForwardAuthDeps, contact: Contact, operation: Operation | undefined, named: Pick<AuditEvent, 'tool' | 'detail'>): Promise<Record<string, string>> {
  const described = { ...trace(contact), ...named }
  try {
    if (!isFor(contact.profile, contact.caller.user)) throw new Refusal('this is not there for you')
    const rule = await requirePermission(deps, contact, operation)
    const refused = await externalRefusal(deps, contact, operation)
    if (refused !== undefined) throw new Refusal(refused.told, EXTERNAL_RULE)
    const credential = await credentialFor(deps.connector(contact.upstream), contact)
    if (credential === 'connection_required') throw new Refusal(unconnected(deps, contact))
    await deps.audit.record({ action: 'call.allowed', outcome: 'success', ...described, ...(rule === undefined ? {} : { rule }) })
    // RS-10: the header that held the caller's token is always there to be written over.
    return { authorization: '', ...identity(contact), ...credential.headers }
  } catch (error) {
    if (error instanceof Refusal || error instanceof Challenge || error instanceof McpError) {
      const rule = error instanceof Refusal && error.rule !== undefined ? { rule: error.rule } : {}
      await deps.audit.record({ action: 'call.denied', outcome: 'failure', ...described, ...rule, reason: error instanceof McpError ? error.reason : error.message })
    }
    throw error
  }
}

function unconnected({ connections }: ForwardAuthDeps, { upstream, caller }: Contact): string {
  if (caller.user.kind === 'machine') return noAccount(upstream.name)
  return `${upstream.name} needs an account of yours that is not connected: open ${connections.connectUrl(caller.user.id, upstream)}`
}

/**
 * Decides by policy, and by the scope of the token. What the request is about is known when the server compares its
 * headers with its body (P-10, P-11, P-20); else it may be anything, and so must be what the caller may do.
 *
 * @returns the rule that allows it
 */
async function requirePermission(deps: ForwardAuthDeps, contact: Contact, operation: Operation | undefined): Promise<string | undefined> {
  const permitted = permissions(deps.policy, contact)
  if (operation === undefined) return requireAll(contact, permitted)
  const verdict = await afterApproval(deps, { ...contact, operation }, decide(operation, permitted, { era: 'modern', version: MODERN_VERSIONS[0] ?? '' }))
  // What a server says of its tools never passes here: what no administrator marked may write.
  const access = operation.kind !== 'tool' ? undefined : contact.upstream.readOnlyTools.includes(operation.name) ? 'read' : 'write'
  if (verdict.kind === 'denied') throw refusalOf(alsoLacking(contact, verdict, access))
  if (verdict.kind !== 'allowed') throw new Refusal('what a rule has to know of this tool is not known here', verdict.rule)
  if (access !== undefined) requireScope(contact, access)
  return verdict.rule
}

/** What no rule allows is told without more; what another sign-in or an administrator would open, with how. */
function refusalOf({ rule, reason, error }: Denied): Error {
  // Of what is denied for a scope that nobody gave, what lacks is told as well.
  if (error instanceof Challenge || (reason !== undefined && reason === error.message)) return error
  return new Refusal(reason === NEEDS_APPROVAL || rule === NOT_APPROVED.rule ? error.message : 'no rule of your administrator lets you use this', rule)
}

function requireAll(contact: Contact, permitted: Permissions): string {
  const decision = permitted.all?.()
  if (decision?.effect === 'step-up') throw refusalOf(alsoLacking(contact, stepUp(decision), 'write'))
  if (decision?.allow !== true) throw new Refusal('no rule of your administrator lets you use all of this, and less cannot be told apart here', decision?.rule)
  requireScope(contact, 'write')
  return decision.rule
}

/** What a request is about as far as a server that compares its headers lets them say; undefined for what may be anything. */
function operationOf(method: string, headers: IncomingHttpHeaders): Operation | undefined {
  const [version, called, named] = ['mcp-protocol-version', 'mcp-method', 'mcp-name'].map((name) => text(headers[name]))
  if (method !== 'POST' || called === undefined || !MODERN_VERSIONS.includes(version ?? '')) return undefined
  if (called === 'tools/list') return { kind: 'tools' }
  if (called === 'server/discover') return { kind: 'open' }
  if (called.startsWith('notifications/')) return { kind: 'free' }
  // A comma may be where a proxy joined two headers.
  const name = called === 'tools/call' && named !== undefined && !named.includes(',') ? decodeHeader(named) : undefined
  return name === undefined ? undefined : { kind: 'tool', name }
}

/** Who calls, for the server behind. All of them are always there: none that a client sent stands in the place of one that is missing. */
function identity({ caller: { user, clientId, scope, expiresAt } }: Contact): Record<string, string> {
  return {
    'x-lanyard-user': user.id,
    'x-lanyard-subject': printable(user.subject),
    'x-lanyard-name': printable(user.name ?? ''),
    'x-lanyard-email': printable(user.email ?? ''),
    'x-lanyard-groups': user.groups.map((group) => printable(group).replaceAll(',', '%2C')).join(','),
    'x-lanyard-client': printable(clientId),
    'x-lanyard-scope': scope.join(' '),
    // Seconds since the epoch: when a stream that it opened is to end, as nobody asks again before.
    'x-lanyard-expires': String(expiresAt),
  }
}

/** RFC 9110 §5.5: what is no printable ASCII, and the percent sign, as RFC 3986 §2.1 encodes it. */
function printable(value: string): string {
  return value.toWellFormed().replace(/[^\x20-\x7e]|%/gu, (character) => encodeURIComponent(character))
}

/** Records what was refused before it was known who calls; a flood does not write the audit trail full. */
async function refuseUnknown({ audit, flood }: ForwardAuthDeps, error: unknown, address: string, server: ProtectedServer | undefined): Promise<void> {
  if (!(error instanceof Refusal) || server !== undefined || !flood(addressBucket(address)).allowed) return
  await audit.record({ action: 'call.denied', outcome: 'failure', address, reason: error.message, detail: { by: 'forward-auth' } }).catch(() => undefined)
}

function tell({ issuer, log }: ForwardAuthDeps, response: ServerResponse, error: unknown, server: ProtectedServer | undefined): void {
  if (response.headersSent || response.destroyed) response.destroy()
  else if (error instanceof Challenge && server !== undefined) sendChallenge(response, error, issuer, server.profile)
  else if (error instanceof Refusal) sendProblem(response, 403, 'access_denied', error.message)
  else if (error instanceof McpError) sendMcpProblem(response, error)
  else if (error instanceof StoreUnavailable) sendProblem(response, 503, 'temporarily_unavailable', 'this cannot be decided at the moment; try again', { 'retry-after': '5' })
  else {
    const reference = newReference()
    log({ level: 'error', reference, route: '/forward-auth', error: error instanceof Error ? error.stack : 'not an error' })
    sendProblem(response, 500, 'server_error', `something went wrong in the gateway; the reference is ${reference}`)
  }
}

function sendProblem(response: ServerResponse, status: number, error: string, description: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers }).end(JSON.stringify({ error, error_description: description }))
}

function sendMcpProblem(response: ServerResponse, { status, message, headers }: McpError): void {
  if (status === 200 || status === 403) sendProblem(response, 403, 'access_denied', message, headers)
  else sendProblem(response, status, 'temporarily_unavailable', message, headers)
}

/** An address that nobody else reaches is no public name. */
function isLoopback(issuer: string): boolean {
  const { hostname } = new URL(issuer)
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

function text(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value
}
