// The path of one message: read once, decided, given a credential, forwarded as policy saw it, recorded.
import type { IncomingMessage } from 'node:http'
import type { AuditAction, Recorder } from '../audit/event.ts'
import { StoreUnavailable } from '../http/errors.ts'
import type { Access } from '../oauth/scope.ts'
import type { Policy } from '../policy/policy.ts'
import type { Connector } from '../upstreams/connectors/connector.ts'
import type { Connectors } from '../upstreams/connectors/index.ts'
import type { Rewrite } from './answers.ts'
import { trace, type Call, type Contact } from './call.ts'
import { afterApproval, type CallApprovalDeps } from './call-approval.ts'
import { deliver, respond } from './deliver.ts'
import { Challenge } from './challenge.ts'
import type { Catalogue } from './catalogue.ts'
import { McpError } from './error.ts'
import { Stopped, type Answer } from './exchange.ts'
import type { LateSessions } from './late-session.ts'
import { isObject, parseMessage, readBody, type Message } from './message.ts'
import { alreadyConnected, answerUnconnected, CONNECT_TOOL, emptyItems, withoutOwnInput, type MissingConnectionDeps } from './missing-connection.ts'
import { operationOf, type Operation } from './operation.ts'
import { decide, permissions, requireScope, type Permissions, type Verdict } from './permit.ts'
import { declaresUrlElicitation, notFound, revisionOf } from './revisions.ts'
import type { SessionRequestDeps } from './session-requests.ts'
import { upstreamSessionId, type SessionState } from './session.ts'
import { lackingScope } from './step-up.ts'
import { catalogueKey, pinnedList, visibleCapabilities, visibleTools, type ToolAccess } from './tools.ts'
import { credentialFor, drain, outgoingMessage, sendWithCredential, type UsableCredential } from './upstream-call.ts'

export interface PostDeps extends MissingConnectionDeps, SessionRequestDeps, CallApprovalDeps {
  readonly catalogue: Catalogue
  readonly toolAccess: ToolAccess
  readonly connector: Connectors
  readonly policy: Pick<Policy, 'decide' | 'mayReach'>
  readonly lateSessions: LateSessions
  readonly audit: Recorder
}

/** @param tellId is told the identifier of the request as soon as it is known: errors carry it. */
export async function post(deps: PostDeps, request: IncomingMessage, contact: Contact, tellId: (id: Message['id']) => void): Promise<void> {
  const message = parseMessage(await readBody(request))
  if (message.kind === 'request') tellId(message.id)
  const revision = revisionOf(request.headers, message)
  const operation = operationOf(message, revision)
  const sessionId = revision.era === 'legacy' && message.method !== 'initialize' ? contact.headers['mcp-session-id'] : undefined
  const session = typeof sessionId === 'string' ? deps.sessions.open(sessionId, contact.caller, contact.profile) : undefined
  const call: Call = { ...contact, message, revision, operation, session }
  if (operation.kind === 'listen') deps.open.becomeStream(contact.open, contact.caller)

  const permitted = permissions(deps.policy, contact)
  const verdict = await afterApproval(deps, call, decide(operation, permitted, revision))
  if (verdict.kind === 'denied') {
    await recordDenial(deps, call, verdict.rule)
    throw verdict.error
  }
  if (verdict.kind === 'empty') return respond(call, emptyItems(call))

  const connector = deps.connector(contact.upstream)
  const credential = await credentialFor(connector, contact)
  if (credential === 'connection_required') return unconnected(deps, call)
  await pass(deps, { ...call, message: withoutOwnInput(deps, call) }, { connector, credential, permitted, verdict })
}

interface Passage {
  readonly connector: Connector
  readonly credential: UsableCredential
  readonly permitted: Permissions
  readonly verdict: Verdict
}

async function pass(deps: PostDeps, call: Call, passage: Passage): Promise<void> {
  const { connector, credential, verdict } = passage
  const session = await deps.lateSessions.upstreamSession(call, connector, credential)
  if ((await requireAccess(deps, call, passage, session)) === 'answered') return
  try {
    const sent = sendWithCredential(deps, connector, call, credential, outgoingMessage(call, session))
    // The record is begun while the upstream works, and is there before anything of its answer is passed on.
    const recorded = beginRecord(deps, call, verdict)
    const answer = await sent
    await recorded()
    if (answer === 'connection_required') return await unconnected(deps, call)
    const lacking = await lackingScope(connector, call, answer)
    if (lacking !== undefined) return await drain(answer).then(() => unconnected(deps, call, lacking))
    await deliver(call, answer, rewriteFor(deps, call, passage), sessionHeader(deps, call, answer))
  } catch (error) {
    call.open.stop?.()
    await recordFailure(deps, call, error)
    throw error
  }
}

/** Checks the scope that the operation needs, which for a tool depends on what the upstream says of it. */
async function requireAccess(deps: PostDeps, call: Call, { connector, credential, verdict }: Passage, session: string | undefined): Promise<'answered' | 'go on'> {
  const { operation, revision } = call
  if (operation.kind === 'item' || operation.kind === 'items' || operation.kind === 'completion') await checkScope(deps, call, 'read')
  if (operation.kind !== 'tool') return 'go on'
  const access = await deps.toolAccess(call, operation.name, { connector, credential, session })
  if (access !== undefined) {
    await checkScope(deps, call, access)
    return 'go on'
  }
  if (operation.name === CONNECT_TOOL && connector.perUser) {
    respond(call, alreadyConnected(call))
    return 'answered'
  }
  await recordDenial(deps, call, verdict.rule ?? 'default', 'unknown tool')
  throw notFound(revision, 'tool', operation.name)
}

/** RS-45: that a token is too narrow is recorded, so that the wider one that follows can be understood. */
async function checkScope(deps: PostDeps, call: Call, access: Access): Promise<void> {
  try {
    requireScope(call, access)
  } catch (error) {
    if (error instanceof Challenge) await deps.audit.record({ action: 'call.denied', outcome: 'failure', ...trace(call), ...named(call), reason: error.message })
    throw error
  }
}

/** Answers for an account that is missing; a session of the 2025 revisions begins all the same. */
async function unconnected(deps: PostDeps, call: Call, lacking?: readonly string[]): Promise<void> {
  const asked = call.operation.kind === 'tool' || call.operation.kind === 'item'
  const reason = lacking === undefined ? 'the account is not connected' : 'the account is connected without a scope that this needs'
  if (asked) await deps.audit.record({ action: 'call.denied', outcome: 'failure', ...trace(call), ...named(call), reason })
  const result = answerUnconnected(deps, call, lacking)
  const header = call.message.method === 'initialize' ? { 'mcp-session-id': deps.sessions.seal(call.caller, call.profile, { ...stateOf(call), initialize: beginning(call.message) }) } : {}
  respond(call, result, header)
}

/** What a session remembers of `initialize`: no more than a header can carry. */
function beginning({ params }: Message): Readonly<Record<string, unknown>> {
  const { protocolVersion, capabilities, clientInfo } = params
  const whole = { protocolVersion, capabilities, clientInfo }
  if (Buffer.byteLength(JSON.stringify(whole)) <= 2048) return whole
  const version = typeof protocolVersion === 'string' ? protocolVersion.slice(0, 20) : ''
  return { protocolVersion: version, capabilities: {}, clientInfo: { name: 'unknown', version: '0' } }
}

function stateOf({ message }: Call): SessionState {
  return { urlElicitation: declaresUrlElicitation(message.params['capabilities']) }
}

/** A session begins with the answer to `initialize`, also where the upstream has none: it says what the client can do. */
function sessionHeader(deps: PostDeps, call: Call, answer: Answer): Readonly<Record<string, string>> {
  if (call.message.method !== 'initialize' || call.revision.era !== 'legacy') return {}
  const upstream = upstreamSessionId(answer, call.upstream)
  return { 'mcp-session-id': deps.sessions.seal(call.caller, call.profile, { ...stateOf(call), ...(upstream === undefined ? {} : { upstream }) }) }
}

function rewriteFor(deps: PostDeps, call: Call, { connector, permitted }: Passage): Rewrite | undefined {
  if (call.operation.kind === 'open') return (result) => visibleCapabilities(result, permitted, call.revision)
  if (call.operation.kind !== 'tools') return undefined
  const show = (result: Readonly<Record<string, unknown>>, page: readonly unknown[]): Readonly<Record<string, unknown>> => {
    const visible = visibleTools(result, permitted, call.revision)
    const isWhole = call.message.params['cursor'] === undefined && result['nextCursor'] === undefined && Array.isArray(result['tools'])
    deps.catalogue[isWhole ? 'replace' : 'learn'](catalogueKey(call, connector), visible.tools, page)
    return visible.result
  }
  return (result) => {
    const page: unknown[] = Array.isArray(result['tools']) ? result['tools'] : []
    const pinned = pinnedList(deps.pinning, call.upstream, result)
    return pinned instanceof Promise ? pinned.then((admitted) => show(admitted, page)) : show(pinned, page)
  }
}

function named({ operation, message }: Call): { tool?: string; detail?: { method: string } } {
  if (operation.kind === 'tool') return { tool: operation.name.slice(0, 256) }
  return operation.kind === 'item' ? { detail: { method: message.method } } : {}
}

function recordDenial(deps: PostDeps, call: Call, rule: string, reason = 'no rule allows it'): Promise<void> {
  return deps.audit.record({ action: 'call.denied', outcome: 'failure', ...trace(call), ...named(call), rule, reason })
}

/** Calls are recorded one by one, conversations by their beginning; what decides nothing is not. */
function beginRecord(deps: PostDeps, call: Call, { rule }: Verdict): () => Promise<void> {
  const action = RECORDED[call.operation.kind]
  if (action === undefined) return () => Promise.resolve()
  const detail = call.operation.kind === 'open' ? { detail: clientOf(call) } : {}
  return deps.audit.begin({ action, outcome: 'success', ...trace(call), ...named(call), ...(rule === undefined ? {} : { rule }), ...detail })
}

const RECORDED: Readonly<Partial<Record<Operation['kind'], AuditAction>>> = { tool: 'call.allowed', item: 'call.allowed', tools: 'list.filtered', open: 'session.opened' }

/** RS-24: what a client says of itself is written down and believed by nobody. */
function clientOf({ message, revision }: Call): { version: string; client: string } {
  const given = message.params['clientInfo'] ?? (isObject(message.params['_meta']) ? message.params['_meta']['io.modelcontextprotocol/clientInfo'] : undefined)
  const name = isObject(given) && typeof given['name'] === 'string' ? given['name'] : ''
  return { version: revision.version, client: name.slice(0, 80) }
}

async function recordFailure(deps: PostDeps, call: Call, error: unknown): Promise<void> {
  // What the store does not take it does not take a moment later either, and the caller waits.
  if (error instanceof StoreUnavailable) return
  const gone = error instanceof Stopped
  if (gone && call.operation.kind !== 'tool') return
  const reason = gone ? `ended: ${call.open.ended ?? 'stopped'}` : error instanceof McpError ? error.reason : 'fault'
  await deps.audit.record({ action: 'call.finished', outcome: 'failure', ...trace(call), ...named(call), reason })
}
