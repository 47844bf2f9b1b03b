import type { Upstream } from '../../upstreams/upstream.ts'
import type { Asked, Call } from '../call.ts'
import { respond } from '../deliver.ts'
import { isObject, withParams } from '../message.ts'
import { CONNECT_TOOL, howToConnect, noAccount, unconnectedCapabilities } from '../missing-connection.ts'
import { decide, permissions } from '../permit.ts'
import { agreedVersion, MODERN_VERSIONS, resultOf } from '../revisions.ts'
import { beginning, stateOf, upstreamSessionId, type UpstreamSession } from '../session.ts'
import { visibleCapabilities } from '../tools.ts'
import { ask, lineTo } from './ask.ts'
import type { ProfileDeps } from './deps.ts'
import { contributions, each, parts } from './each.ts'
import { outerName } from './names.ts'
import { ownMeta, serverInfoOf } from './own-meta.ts'

type Json = Readonly<Record<string, unknown>>

/** What one upstream says of itself. */
interface Introduction {
  readonly capabilities: Json
  readonly instructions: string | undefined
  readonly ttlMs: number
  /** Set when a session of a 2025 revision began there. */
  readonly begun?: UpstreamSession
}

/** Sessions of more upstreams than fit into the one identifier begin later. */
const MAX_SESSIONS = 3500

/** Answers `initialize` and `server/discover`: what all upstreams can do for this caller, in Lanyard's name (P-18: for nobody else). */
export async function introduce(deps: ProfileDeps, given: Asked, upstreams: readonly Upstream[]): Promise<void> {
  const asked = withoutClientTasks(given)
  const outcomes = await each(deps, asked, parts(asked, upstreams), (call) => introduction(deps, call))
  const known = contributions(outcomes)
  const result = {
    capabilities: known.reduce<Json>((all, { value }) => unite(all, value.capabilities), { tools: {} }),
    ...instructionsOf(known),
    ...ownMeta(asked.revision, asked.profile, outcomes),
  }
  if (asked.revision.era === 'modern') {
    const ttlMs = known.length < outcomes.length ? 0 : Math.min(...known.map(({ value }) => value.ttlMs))
    respond(asked, { ...resultOf(asked.revision, { supportedVersions: [...MODERN_VERSIONS], ...result }, true), ttlMs })
    return
  }
  const state = { ...stateOf(asked.message), initialize: beginning(asked.message), upstreams: fitting(known) }
  respond(asked, { protocolVersion: agreedVersion(asked.message), serverInfo: serverInfoOf(asked.profile), ...result }, { 'mcp-session-id': deps.sessions.seal(asked.caller, asked.profile, state) })
}

async function introduction(deps: ProfileDeps, call: Call): Promise<Introduction> {
  const { upstream, revision, message } = call
  const permitted = permissions(deps.policy, call)
  const line = await lineTo(deps, call)
  const reply = line === undefined ? undefined : await ask(deps, call, line, decide(call.operation, permitted, revision))
  if (reply === undefined) return { capabilities: unconnectedCapabilities(revision), instructions: call.caller.user.kind === 'machine' ? noAccount(upstream.name) : howToConnect(upstream.name, outerName(upstream, CONNECT_TOOL)), ttlMs: 0 }
  const { capabilities, instructions, ttlMs, protocolVersion } = visibleCapabilities(reply.result ?? {}, permitted, revision)
  const session = revision.era === 'legacy' ? upstreamSessionId(reply.answer, upstream) : undefined
  const version = typeof protocolVersion === 'string' && /^[\w.-]{1,20}$/.test(protocolVersion) && protocolVersion !== agreedVersion(message) ? protocolVersion : undefined
  return {
    capabilities: isObject(capabilities) ? capabilities : {},
    instructions: typeof instructions === 'string' && instructions !== '' ? instructions : undefined,
    ttlMs: typeof ttlMs === 'number' && ttlMs > 0 ? ttlMs : 0,
    begun: { ...(session === undefined ? {} : { session }), ...(version === undefined ? {} : { version }) },
  }
}

/** What a client works on for one upstream, another one must not ask for: none is told that this client can be given tasks. */
function withoutClientTasks(asked: Asked): Asked {
  const { capabilities } = asked.message.params
  if (!isObject(capabilities) || !('tasks' in capabilities)) return asked
  const { tasks: _tasks, ...others } = capabilities
  return { ...asked, message: withParams(asked.message, { capabilities: others }) }
}

/** All members of both; of what both have, what either can do. */
function unite(one: Json, other: Json): Json {
  const united: Record<string, unknown> = { ...one }
  for (const [name, value] of Object.entries(other)) {
    const before = united[name]
    united[name] = isObject(before) && isObject(value) ? unite(before, value) : before === true ? true : value
  }
  return united
}

type Known = readonly { readonly upstream: Upstream; readonly value: Introduction }[]

function instructionsOf(known: Known): { readonly instructions?: string } {
  const texts = known.flatMap(({ upstream, value }) => (value.instructions === undefined ? [] : [`# ${upstream.name} (${outerName(upstream, '*')})\n\n${value.instructions}`]))
  return texts.length === 0 ? {} : { instructions: texts.join('\n\n') }
}

function fitting(known: Known): Readonly<Record<string, UpstreamSession>> {
  const upstreams: Record<string, UpstreamSession> = {}
  let size = 0
  for (const { upstream, value } of known) {
    if (value.begun === undefined) continue
    size += upstream.id.length + JSON.stringify(value.begun).length + 4
    if (size <= MAX_SESSIONS) upstreams[upstream.id] = value.begun
  }
  return upstreams
}
