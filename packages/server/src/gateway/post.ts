// The path of one message: read once, resolved to its upstream, decided, given a credential, forwarded as policy saw it,
// recorded.
import type { IncomingMessage } from 'node:http'
import type { Access } from '../oauth/scope.ts'
import type { Connector } from '../upstreams/connectors/connector.ts'
import { kindOf, type Rewrite } from './answers.ts'
import { askForMore, type AskForMoreDeps } from './ask-for-more.ts'
import { trace, type Asked, type Call, type Visit } from './call.ts'
import { afterApproval, type CallApprovalDeps } from './call-approval.ts'
import { Challenge } from './challenge.ts'
import { deliver, leaveOpen, respond } from './deliver.ts'
import { McpError } from './error.ts'
import type { Answer } from './exchange.ts'
import { isLostSession, sendInSession } from './late-session.ts'
import { shownTools } from './listing.ts'
import { afterExternal, type ExternalDecisionDeps } from './external-decision.ts'
import { parseMessage, readBody, type Message } from './message.ts'
import { alreadyConnected, answerUnconnected, CONNECT_TOOL, emptyItems, withoutOwnInput } from './missing-connection.ts'
import { operationOf } from './operation.ts'
import { alsoLacking, decide, permissions, type Denied, type Permissions, type Verdict } from './permit.ts'
import { aggregate } from './profile/aggregate.ts'
import { asToldOutside, hiddenFrom, resolve } from './profile/resolve.ts'
import { beginRecord, checkScope, failureRecord, named, orFailure, recordDenial, recordFailure } from './record.ts'
import { revisionOf } from './revisions.ts'
import type { SessionRequestDeps } from './session-requests.ts'
import { beginning, stateOf, upstreamSessionId } from './session.ts'
import { lackingScope } from './step-up.ts'
import { listedTasks } from './tasks/list.ts'
import { visibleCapabilities, type Line, type ToolAccess } from './tools.ts'
import { credentialFor, drain, type UsableCredential } from './upstream-call.ts'

export interface PostDeps extends SessionRequestDeps, AskForMoreDeps, CallApprovalDeps, ExternalDecisionDeps {
  readonly toolAccess: ToolAccess
}

/** @param tellId is told the identifier of the request as soon as it is known: errors carry it. */
export async function post(deps: PostDeps, request: IncomingMessage, visit: Visit, tellId: (id: Message['id']) => void): Promise<void> {
  const message = parseMessage(await readBody(request))
  if (message.kind === 'request') tellId(message.id)
  const revision = revisionOf(request.headers, message)
  const operation = operationOf(message, revision)
  const sessionId = revision.era === 'legacy' && message.method !== 'initialize' ? visit.headers['mcp-session-id'] : undefined
  const session = typeof sessionId === 'string' ? deps.sessions.open(sessionId, visit.caller, visit.profile) : undefined
  const asked: Asked = { ...visit, message, revision, operation, session }
  if (operation.kind === 'listen') deps.open.becomeStream(visit.open, visit.caller)

  // A message for one upstream goes on in that upstream's words; what concerns all of a profile is asked of each.
  const call = resolve(deps, asked)
  if (call === 'all') return aggregate(deps, asked)
  if (call === 'nobody') {
    await recordDenial(deps, asked, 'default', 'no upstream of this name')
    throw hiddenFrom(asked)
  }
  await postTo(deps, call).catch((error: unknown) => askForMore(deps, call, error, (renewed) => postTo(deps, renewed)))
}

/** The way of a message from the decision about it on. */
async function postTo(deps: PostDeps, call: Call): Promise<void> {
  const permitted = permissions(deps.policy, call)
  const verdict = await afterApproval(deps, call, decide(call.operation, permitted, call.revision))
  if (verdict.kind === 'denied') {
    if (await isConnecting(deps, call, verdict, permitted)) return unconnected(deps, call)
    throw await refused(deps, call, await withScope(deps, call, verdict))
  }
  if (verdict.kind === 'empty') return respond(call, emptyItems(call))

  const connector = deps.connector(call.upstream)
  const credential = await orFailure(deps, call, credentialFor(connector, call))
  if (credential === 'connection_required') return unconnected(deps, call)
  await pass(deps, { ...call, message: withoutOwnInput(deps, call) }, { connector, credential, permitted, verdict })
}

/** J3: the tool that leads to a missing account is the gateway's own. Whoever may use anything there may call it, unless a rule is about it. */
async function isConnecting(deps: PostDeps, call: Call, { rule }: Verdict, permitted: Permissions): Promise<boolean> {
  const { operation, upstream } = call
  if (operation.kind !== 'tool' || operation.name !== CONNECT_TOOL || rule !== 'default' || !permitted.reach()) return false
  const connector = deps.connector(upstream)
  return connector.perUser && (await credentialFor(connector, call)) === 'connection_required'
}

/** Whoever must sign in again is told of the scope that they lack in the same breath, where it is known which the operation needs. */
async function withScope(deps: PostDeps, call: Call, verdict: Denied): Promise<Denied> {
  return verdict.error instanceof Challenge ? alsoLacking(call, verdict, await neededAccess(deps, call)) : verdict
}

async function neededAccess(deps: PostDeps, call: Call): Promise<Access | undefined> {
  const { operation, upstream } = call
  if (operation.kind !== 'tool') return operation.kind === 'item' || operation.kind === 'completion' ? 'read' : undefined
  const connector = deps.connector(upstream)
  try {
    const credential = await credentialFor(connector, call)
    if (credential === 'connection_required') return undefined
    const session = await deps.lateSessions.upstreamSession(call, connector, credential)
    return await accessTo(deps, call, operation.name, { connector, credential, session })
  } catch (error) {
    // What the upstream does not say now is found out after the sign-in.
    if (error instanceof McpError) return undefined
    throw error
  }
}

/** What the caller is told of a denial, once it is recorded. */
async function refused(deps: PostDeps, call: Call, { rule, reason, error }: Denied): Promise<Error> {
  await recordDenial(deps, call, rule, reason)
  return error instanceof McpError ? asToldOutside(call, error) : error
}

interface Passage {
  readonly connector: Connector
  readonly credential: UsableCredential
  readonly permitted: Permissions
  readonly verdict: Verdict
}

async function pass(deps: PostDeps, call: Call, passage: Passage): Promise<void> {
  const { connector, credential } = passage
  const session = await orFailure(deps, call, deps.lateSessions.upstreamSession(call, connector, credential))
  const verdict = await requireAccess(deps, call, passage, session)
  if (verdict === 'answered') return
  try {
    const sent = sendInSession(deps, call, { connector, credential, session })
    // The record is begun while the upstream works, and is there before anything of its answer is passed on.
    const recorded = beginRecord(deps, call, verdict)
    const answer = await sent
    await recorded()
    if (answer === 'connection_required') return await unconnected(deps, call)
    const lacking = await lackingScope(connector, call, answer)
    if (lacking !== undefined) return await drain(answer).then(() => unconnected(deps, call, lacking))
    if (isSilent(call, answer)) return leaveOpen(call, answer, failureRecord(deps, call))
    await deliver(call, answer, rewriteFor(deps, call, passage), sessionHeader(deps, call, answer))
  } catch (error) {
    call.open.stop?.()
    await recordFailure(deps, call, error)
    throw error
  }
}

/** Whether it is a stream that may say nothing for hours, in the upstream's own words. */
function isSilent({ operation, outward }: Call, answer: Answer): boolean {
  return operation.kind === 'listen' && outward === undefined && answer.status === 200 && kindOf(answer) === 'events'
}

/** Checks the scope that the operation needs, which for a tool depends on what the upstream says of it, as rules may. @returns the last word of policy */
async function requireAccess(deps: PostDeps, call: Call, { connector, credential, permitted, verdict }: Passage, session: string | undefined): Promise<'answered' | Verdict> {
  const { operation } = call
  if (operation.kind === 'item' || operation.kind === 'items' || operation.kind === 'tasks' || operation.kind === 'completion') await checkScope(deps, call, 'read')
  if (operation.kind === 'task') await checkScope(deps, call, 'write')
  if (operation.kind !== 'tool') return settled(deps, call, verdict)
  const access = await orFailure(deps, call, accessTo(deps, call, operation.name, { connector, credential, session }))
  if (access !== undefined) {
    await checkScope(deps, call, access)
    const last = deps.policy.asksAnnotations?.(call.upstream.id) === true ? await afterApproval(deps, call, decide(operation, permitted, call.revision)) : verdict
    return settled(deps, call, last)
  }
  if (operation.name === CONNECT_TOOL && (connector.connect !== undefined || connector.bySignIn === true)) {
    respond(call, alreadyConnected(call))
    return 'answered'
  }
  await recordDenial(deps, call, verdict.rule ?? 'default', 'unknown tool')
  throw hiddenFrom(call)
}

async function accessTo(deps: PostDeps, call: Call, tool: string, line: Line): Promise<Access | undefined> {
  try {
    return await deps.toolAccess(call, tool, line)
  } catch (error) {
    if (!(error instanceof McpError) || !isLostSession(call, line.session, error.status)) throw error
    return deps.toolAccess(call, tool, { ...line, session: await deps.lateSessions.again(call, line.connector, line.credential, line.session) })
  }
}

/** The verdict that a call goes on with, once a decision point of somebody else has nothing against it. @throws what the caller is told */
async function settled(deps: PostDeps, call: Call, own: Verdict): Promise<Verdict> {
  const verdict = own.kind === 'allowed' && deps.external !== undefined ? await afterExternal(deps, call, own) : own
  if (verdict.kind === 'denied') throw await refused(deps, call, verdict)
  return verdict
}

/** Answers for an account that is missing; a session of the 2025 revisions begins all the same. */
async function unconnected(deps: PostDeps, call: Call, lacking?: readonly string[]): Promise<void> {
  const asked = call.operation.kind === 'tool' || call.operation.kind === 'item'
  const reason = lacking === undefined ? 'the account is not connected' : 'the account is connected without a scope that this needs'
  if (asked) await deps.audit.record({ action: 'call.denied', outcome: 'failure', ...trace(call), ...named(call), reason })
  const result = answerUnconnected(deps, call, lacking)
  const header = call.message.method === 'initialize' ? { 'mcp-session-id': deps.sessions.seal(call.caller, call.profile, { ...stateOf(call.message), initialize: beginning(call.message) }) } : {}
  respond(call, result, header)
}

/** A session begins with the answer to `initialize`, also where the upstream has none: it says what the client can do. */
function sessionHeader(deps: PostDeps, call: Call, answer: Answer): Readonly<Record<string, string>> {
  if (call.message.method !== 'initialize' || call.revision.era !== 'legacy') return {}
  const upstream = upstreamSessionId(answer, call.upstream)
  return { 'mcp-session-id': deps.sessions.seal(call.caller, call.profile, { ...stateOf(call.message), ...(upstream === undefined ? {} : { upstream }) }) }
}

function rewriteFor(deps: PostDeps, call: Call, passage: Passage): Rewrite | undefined {
  if (call.operation.kind === 'open') return (result) => visibleCapabilities(result, passage.permitted, call.revision)
  if (call.operation.kind === 'tasks') return async (result) => ({ ...result, tasks: await listedTasks(deps, call, result['tasks']) })
  return call.operation.kind === 'tools' ? (result) => shownTools(deps, call, passage, result) : undefined
}
