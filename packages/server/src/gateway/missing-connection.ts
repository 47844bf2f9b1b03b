import { newId } from '../oauth/secret.ts'
import type { StateSealer } from '../keys/seal.ts'
import type { Connections } from '../upstreams/connections.ts'
import type { Call } from './call.ts'
import { McpError } from './error.ts'
import { isObject, type Message } from './message.ts'
import { agreedVersion, declaresUrlElicitation, MODERN_VERSIONS, requestCapabilities, resultOf, SERVER_INFO_KEY, type Revision } from './revisions.ts'

/** The one tool of an upstream whose account the user has not connected. */
export const CONNECT_TOOL = 'connect_account'

const INPUT = 'lanyard_connect'
const PURPOSE = 'mcp connect'
const STATE_PREFIX = 'lanyard.'
const STATE_MS = 3600_000

export interface MissingConnectionDeps {
  readonly connections: Pick<Connections, 'connectUrl'>
  readonly state: StateSealer
  readonly now: () => number
}

/**
 * Answers for an upstream that needs an account which the user has not connected (J3): it shows one tool, and whatever
 * is called is answered with the address where the account is connected.
 *
 * @param lacking the scopes to connect it with, of an account that is connected and does not suffice for a tool or item
 * @returns the result to answer with
 * @throws McpError where the protocol tells it by an error
 */
export function answerUnconnected(deps: MissingConnectionDeps, call: Call, lacking?: readonly string[]): Readonly<Record<string, unknown>> {
  const { operation, revision, upstream, caller } = call
  if (operation.kind === 'open') return opening(call)
  const isMachine = caller.user.kind === 'machine'
  if (operation.kind === 'tools') return resultOf(revision, { tools: isMachine ? [] : [connectTool(upstream.name)] }, true)
  if (operation.kind === 'items' || operation.kind === 'completion') return emptyItems(call)
  if (operation.kind === 'free') return resultOf(revision, {}, false)
  if (operation.kind === 'tasks') return resultOf(revision, { tasks: [] }, false)
  const answersCall = operation.kind === 'tool' && operation.task === undefined
  if (isMachine && answersCall) return resultOf(revision, textResult(noAccount(upstream.name), true), false)
  if (isMachine) throw new McpError('internal_error', noAccount(upstream.name))
  if (operation.kind === 'listen' || operation.kind === 'task' || (operation.kind === 'tool' && !answersCall)) throw new McpError('internal_error', inWords(call, deps, lacking))
  return ask(deps, call, lacking)
}

/** The answer to a list of which the caller may see nothing. */
export function emptyItems({ operation, revision }: Pick<Call, 'operation' | 'revision'>): Readonly<Record<string, unknown>> {
  if (operation.kind === 'completion') return resultOf(revision, { completion: { values: [] } }, false)
  return resultOf(revision, operation.kind === 'items' ? { [operation.list]: [] } : {}, true)
}

/** What the tool answers once there is nothing left to connect. */
export function alreadyConnected({ revision, upstream }: Call): Readonly<Record<string, unknown>> {
  return resultOf(revision, textResult(`Your ${upstream.name} account is connected. List the tools again to see what it offers.`, false), false)
}

function connectTool(name: string): Readonly<Record<string, unknown>> {
  return {
    name: CONNECT_TOOL,
    title: `Connect your ${name} account`,
    description: `${name} needs an account of the user's own, which is not connected yet. Call this tool: it leads the user to the page where it is connected. Then list the tools again.`,
    inputSchema: { type: 'object', properties: {}, additionalProperties: false },
    annotations: { readOnlyHint: true },
  }
}

function opening({ revision, upstream, message, caller }: Call): Readonly<Record<string, unknown>> {
  const capabilities = unconnectedCapabilities(revision)
  const serverInfo = { name: upstream.name, version: '1' }
  const instructions = caller.user.kind === 'machine' ? noAccount(upstream.name) : howToConnect(upstream.name, CONNECT_TOOL)
  if (revision.era === 'modern') return resultOf(revision, { supportedVersions: [...MODERN_VERSIONS], capabilities, instructions, _meta: { [SERVER_INFO_KEY]: serverInfo } }, true)
  return { protocolVersion: agreedVersion(message), capabilities, serverInfo, instructions }
}

/** The stream of a session tells when the account is connected. */
export function unconnectedCapabilities({ era }: Revision): Readonly<Record<string, unknown>> {
  return { tools: era === 'legacy' ? { listChanged: true } : {} }
}

/** What a machine is told, which cannot connect one. */
export function noAccount(name: string): string {
  return `${name} is used with an account of a person's own, which a machine does not have.`
}

/** What the instructions of a server say whose account is missing. */
export function howToConnect(name: string, tool: string): string {
  return `The user's ${name} account is not connected yet: call ${tool} first.`
}

/** Sends the user to the connect page: by the protocol's own way where the client knows one, else in words. */
function ask(deps: MissingConnectionDeps, call: Call, lacking: readonly string[] | undefined): Readonly<Record<string, unknown>> {
  const { revision, upstream, caller, operation } = call
  const text = lacking === undefined ? `Connect your ${upstream.name} account to go on.` : `${upstream.name} needs more permissions of your account for this. Connect it again to go on.`
  const sent = sendToUrl(deps, call, text, () => deps.connections.connectUrl(caller.user.id, upstream, lacking))
  if (sent instanceof McpError) throw sent
  if (sent !== undefined) return sent
  if (operation.kind === 'tool') return resultOf(revision, textResult(inWords(call, deps, lacking), true), false)
  throw new McpError('internal_error', inWords(call, deps, lacking))
}

/** Sends the user to a page, where the client can. @returns a result, or the error that says it; undefined where it cannot */
export function sendToUrl({ state: sealer, now }: Pick<MissingConnectionDeps, 'state' | 'now'>, call: Call, text: string, page: () => string): Readonly<Record<string, unknown>> | McpError | undefined {
  const { revision, upstream, caller, message, session } = call
  const isAsking = call.operation.kind !== 'tool' || call.operation.task === undefined
  if (isAsking && revision.era === 'modern' && declaresUrlElicitation(requestCapabilities(message)) && !isDeclined(message)) {
    const state = sealer.seal(PURPOSE, [caller.user.id, upstream.id], {}, now() + STATE_MS)
    // MRTR: the client retries the same call when the user has been there.
    return { resultType: 'input_required', inputRequests: { [INPUT]: { method: 'elicitation/create', params: { mode: 'url', message: text, url: page() } } }, requestState: `${STATE_PREFIX}${state}` }
  }
  if (revision.era === 'legacy' && session?.urlElicitation === true && revision.version >= '2025-11-25') {
    return new McpError('url_elicitation_required', text, { data: { elicitations: [{ mode: 'url', elicitationId: newId('eli'), message: text, url: page() }] } })
  }
  return undefined
}

function inWords({ upstream, caller }: Call, deps: MissingConnectionDeps, lacking: readonly string[] | undefined): string {
  const fact = lacking === undefined ? `Your ${upstream.name} account is not connected.` : `${upstream.name} needs more permissions of your account for this.`
  return `${fact} Open ${deps.connections.connectUrl(caller.user.id, upstream, lacking)} in a browser, connect it, then try again.`
}

function textResult(text: string, isError: boolean): Readonly<Record<string, unknown>> {
  return { content: [{ type: 'text', text }], ...(isError ? { isError } : {}) }
}

/** Whether a `requestState` is the gateway's own. */
export function isOwnState(state: string): boolean {
  return state.startsWith(STATE_PREFIX)
}

/** Whether a call is the retry of one that sent the user to a page. */
export function bringsOwnState({ message }: Pick<Call, 'message'>): boolean {
  const { requestState } = message.params
  return typeof requestState === 'string' && isOwnState(requestState)
}

function isDeclined({ params }: Message): boolean {
  const answers = params['inputResponses']
  const answer = isObject(answers) ? answers[INPUT] : undefined
  return isObject(answer) && answer['action'] !== 'accept'
}

/** Takes out of a retried call what the gateway itself had asked for: the upstream knows nothing of it. */
export function withoutOwnInput(deps: MissingConnectionDeps, call: Call): Message {
  const { message, caller, upstream } = call
  const { requestState, inputResponses, ...rest } = message.params
  const sealed = typeof requestState === 'string' && isOwnState(requestState) ? requestState.slice(STATE_PREFIX.length) : undefined
  if (sealed === undefined) return message
  // RS-33: one that was changed, or is another user's, ends here.
  if (deps.state.open(PURPOSE, [caller.user.id, upstream.id], sealed, deps.now()) === undefined) throw new McpError('invalid_params', 'Invalid or expired requestState')
  const others = isObject(inputResponses) ? Object.fromEntries(Object.entries(inputResponses).filter(([name]) => name !== INPUT)) : {}
  const params = { ...rest, ...(Object.keys(others).length === 0 ? {} : { inputResponses: others }) }
  return { ...message, params, json: { ...message.json, params } }
}
