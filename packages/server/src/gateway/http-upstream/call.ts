// The path of one call to an HTTP API: its address read, decided, given a credential, streamed up and down, recorded.
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Recorder } from '../../audit/event.ts'
import type { Access } from '../../oauth/scope.ts'
import type { Connections } from '../../upstreams/connections.ts'
import type { Connectors } from '../../upstreams/connectors/index.ts'
import type { HttpSettings } from '../../upstreams/upstream.ts'
import { StoreUnavailable } from '../../http/errors.ts'
import { callApproval, type CallApprovalDeps } from '../call-approval.ts'
import { EXTERNAL_RULE, externalRefusal, type ExternalDecisionDeps } from '../external-decision.ts'
import type { CallPolicy } from '../call-policy.ts'
import { trace, type Contact } from '../call.ts'
import { Challenge } from '../challenge.ts'
import { McpError } from '../error.ts'
import { noAccount } from '../missing-connection.ts'
import { Stopped, type Answer } from '../exchange.ts'
import type { Forward } from '../forward.ts'
import type { Wanted } from '../elevate.ts'
import { alsoLacking, decide, NEEDS_APPROVAL, permissions, requireScope } from '../permit.ts'
import { lackingScope } from '../step-up.ts'
import { credentialFor, drain } from '../upstream-call.ts'
import { requestBody } from './body.ts'
import { annotationsOf, isSafe } from './method.ts'
import { overridesMethod, ownAddress, repeatsToken, requestHeaders, responseHeaders, type Places } from './headers.ts'
import { below, operationName, pathProblem, type HttpTarget } from '../../http/api-path.ts'
import { CallProblem } from './problem.ts'
import { sendRequest, type ApiRequest } from './send.ts'

export interface ApiCallDeps extends CallApprovalDeps, ExternalDecisionDeps {
  readonly issuer: string
  readonly forward: Forward
  readonly connector: Connectors
  readonly connections: Pick<Connections, 'connectUrl'>
  readonly policy: CallPolicy
  readonly audit: Recorder
}

/** A call, with what policy knows it by. */
interface ApiCall extends Contact {
  readonly http: HttpSettings
  readonly method: Dispatcher.HttpMethod
  readonly target: HttpTarget
  readonly name: string
}

/** Decisions are told in the words of a revision; these are not passed on. */
const LEGACY = { era: 'legacy', version: '' } as const

export async function callApi(deps: ApiCallDeps, request: IncomingMessage, contact: Contact, target: HttpTarget, http: HttpSettings): Promise<void> {
  const call = readCall(request, contact, target, http)
  const rule = await requirePermission(deps, call)
  await requireExternal(deps, call)
  await requireAccess(deps, call)
  const connector = deps.connector(call.upstream)
  const credential = await credentialFor(connector, call).catch((error: unknown) => denied(deps, call, error))
  if (credential === 'connection_required') throw await unconnected(deps, call)
  const body = await requestBody(request, http.maxBodyBytes)
  try {
    const sent = sendRequest(deps.forward, connector, call, credential, outgoing(call, request, body))
    // The record is begun while the API works, and is there before anything of its answer is passed on.
    const recorded = deps.audit.begin({ action: 'call.allowed', outcome: 'success', ...trace(call), tool: shown(call), rule, detail: { method: call.method } })
    const answer = await sent
    await recorded()
    if (answer === 'connection_required') throw await unconnected(deps, call)
    const lacking = await lackingScope(connector, { ...call, operation: { kind: 'tool', name: call.name } }, answer)
    if (lacking !== undefined) throw await drain(answer).then(() => unconnected(deps, call, lacking))
    await deliver(deps, call, answer)
    // Written soon: the caller has the answer, and nothing is taken back of it.
    deps.audit.begin({ action: 'call.finished', outcome: answer.status < 400 ? 'success' : 'failure', ...trace(call), tool: shown(call), detail: { method: call.method, status: answer.status } })
  } catch (error) {
    call.open.stop?.()
    await recordFailure(deps, call, error)
    throw error
  } finally {
    if (body instanceof Readable) body.destroy()
  }
}

/** @throws CallProblem for what could mean another thing to the API than to policy, or to this gateway's other callers */
function readCall(request: IncomingMessage, contact: Contact, target: HttpTarget, http: HttpSettings): ApiCall {
  const problem = pathProblem(target, http)
  if (problem !== undefined) throw new CallProblem(400, `${problem}: this gateway passes on addresses in their canonical form alone`)
  if (overridesMethod(request.headers, target.query)) throw new CallProblem(400, 'a request must have the method that it means: overrides are not passed on')
  if (repeatsToken(request.headers, request.url ?? '')) throw new CallProblem(400, 'an access token belongs into the Authorization header alone')
  if (/websocket/i.test(request.headers.upgrade ?? '')) throw new CallProblem(501, 'WebSockets are not passed on')
  const { method = 'GET' } = request
  return { ...contact, http, method, target, name: operationName(method, target.path) }
}

/** Decides as about a tool of that name, annotated as its method says. @returns the rule that decided @throws Challenge, McpError or CallProblem */
async function requirePermission(deps: ApiCallDeps, call: ApiCall): Promise<string> {
  const permitted = permissions(deps.policy, call)
  const annotations = annotationsOf(call.method)
  const decision = permitted.tool(call.name, annotations)
  if (decision.allow) return decision.rule
  const approval = decision.effect === 'approval' ? await callApproval(deps, call, call.name) : undefined
  if (approval === 'approved') return decision.rule
  if (approval !== undefined) {
    await recordDenial(deps, call, NEEDS_APPROVAL, decision.rule)
    throw new CallProblem(403, approval.told)
  }
  const verdict = decide({ kind: 'tool', name: call.name }, { ...permitted, tool: () => decision, lacksAnnotations: () => false }, LEGACY)
  const told = verdict.kind === 'denied' ? alsoLacking(call, verdict, accessOf(call.method)) : undefined
  await recordDenial(deps, call, told?.reason ?? 'no rule allows it', decision.rule)
  // What another sign-in or an administrator would open is told as everywhere; what no rule allows is no secret, as addresses are guessed.
  if (told?.error instanceof Challenge || told?.reason !== undefined || permitted.unapproved === true) throw told?.error
  throw new CallProblem(403, `No rule of your administrator lets you use ${call.name} here with this application`)
}

/** @throws CallProblem */
async function requireExternal(deps: ApiCallDeps, call: ApiCall): Promise<void> {
  const refused = await externalRefusal(deps, call, { kind: 'tool', name: call.name })
  if (refused === undefined) return
  await recordDenial(deps, call, refused.reason, EXTERNAL_RULE)
  throw new CallProblem(403, refused.told)
}

/** Another sign-in or a wider scope for a call, in the words of the audit trail and for the person. */
export function wantedOf({ method = 'GET' }: Pick<IncomingMessage, 'method'>, { path }: HttpTarget, { upstream }: Pick<Contact, 'upstream'>): Pick<Wanted<Contact, void>, 'named' | 'use'> {
  const tool = shown({ name: operationName(method, path) })
  return { named: { tool, detail: { method } }, use: `${tool} of ${upstream.name}` }
}

function accessOf(method: string): Access {
  return isSafe(method) ? 'read' : 'write'
}

/** RS-8, RS-45: what only reads needs `read`; that a token is too narrow is recorded. @throws Challenge or McpError */
async function requireAccess(deps: ApiCallDeps, call: ApiCall): Promise<void> {
  try {
    requireScope(call, accessOf(call.method))
  } catch (error) {
    await denied(deps, call, error)
  }
}

/** That a call does not go on is recorded with why. @throws it */
async function denied(deps: ApiCallDeps, call: ApiCall, error: unknown): Promise<never> {
  if (error instanceof Challenge || error instanceof McpError) await recordDenial(deps, call, error instanceof McpError ? error.reason : error.message)
  throw error
}

function outgoing({ upstream, method, target }: ApiCall, request: IncomingMessage, body: ApiRequest['body']): ApiRequest {
  const { 'content-length': length } = request.headers
  const headers = requestHeaders(request.headers)
  // RFC 9112 §6.3: a stream whose length is known is sent with it, another one in chunks.
  if (body !== undefined && length !== undefined) headers['content-length'] = length
  return { method, path: `${below(new URL(upstream.url), target.path)}${target.query}`, headers, body }
}

/** The account is missing, or lacks what this needs: where it is connected, a person must see. */
async function unconnected(deps: ApiCallDeps, call: ApiCall, lacking?: readonly string[]): Promise<CallProblem> {
  const { upstream, caller } = call
  const reason = lacking === undefined ? 'the account is not connected' : 'the account is connected without a scope that this needs'
  await recordDenial(deps, call, reason)
  if (caller.user.kind === 'machine') return new CallProblem(403, noAccount(upstream.name), { reason })
  const url = deps.connections.connectUrl(caller.user.id, upstream, lacking)
  const fact = lacking === undefined ? `Your ${upstream.name} account is not connected.` : `${upstream.name} needs more permissions of your account for this.`
  // Not 401: another token of this gateway's would not help, and clients would ask for one without end.
  return new CallProblem(403, `${fact} Open the connect_url in a browser, connect it, then try again.`, { members: { connect_url: url }, reason })
}

async function deliver({ issuer }: ApiCallDeps, { upstream, target, response, method }: ApiCall, answer: Answer): Promise<void> {
  const base = new URL(upstream.url)
  const places: Places = { asked: new URL(`${base.origin}${below(base, target.path)}${target.query}`), base: base.href.replace(/\/+$/, ''), own: `${issuer}/http/${upstream.id}` }
  const { status, headers } = answer
  if (status === 407 || status > 599) {
    await drain(answer)
    throw new CallProblem(502, `${upstream.name} failed (${status})`, { reason: `upstream: ${status}` })
  }
  const { location } = headers
  const moved = location === undefined ? undefined : ownAddress(location, places)
  if (status >= 300 && status < 400 && location !== undefined && moved === undefined) {
    await drain(answer)
    throw new CallProblem(502, `${upstream.name} points to an address outside of it, which is not passed on`, { reason: 'upstream: redirect outside' })
  }
  response.writeHead(status, { ...responseHeaders(headers, places), ...(moved === undefined ? {} : { location: moved }) })
  // The first bytes of a stream may come much later; what has a length is here soon, and goes in one packet.
  if (method !== 'HEAD' && headers['content-length'] === undefined) response.flushHeaders()
  await answer.pipe(response)
}

/** What the audit trail calls it: never the query, which holds arguments. */
function shown({ name }: Pick<ApiCall, 'name'>): string {
  return name.slice(0, 256)
}

async function recordDenial(deps: ApiCallDeps, call: ApiCall, reason: string, rule?: string): Promise<void> {
  await deps.audit.record({ action: 'call.denied', outcome: 'failure', ...trace(call), tool: shown(call), ...(rule === undefined ? {} : { rule }), reason, detail: { method: call.method } })
}

async function recordFailure(deps: ApiCallDeps, call: ApiCall, error: unknown): Promise<void> {
  // What the store does not take it does not take a moment later either, and the caller waits.
  if (error instanceof StoreUnavailable) return
  const known = error instanceof McpError || error instanceof CallProblem
  const reason = error instanceof Stopped ? `ended: ${call.open.ended ?? error.message}` : known ? error.reason : 'broken off'
  await deps.audit.record({ action: 'call.finished', outcome: 'failure', ...trace(call), tool: shown(call), reason, detail: { method: call.method } })
}
