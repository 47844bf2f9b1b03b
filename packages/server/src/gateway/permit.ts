// The one place where it is decided what a caller may do: for what is called and for what is listed alike.
import { judge } from '../approval/approval.ts'
import { formatScope, scopeAllows, type Access } from '../oauth/scope.ts'
import type { Decision } from '../policy/policy.ts'
import type { ToolAnnotations, ToolFacts } from '../policy/rule.ts'
import { dataClassesOf } from '../upstreams/data-classes.ts'
import { offers } from '../upstreams/profile.ts'
import type { CallPolicy } from './call-policy.ts'
import type { Call, Contact } from './call.ts'
import { marked } from './catalogue.ts'
import { Challenge } from './challenge.ts'
import { McpError } from './error.ts'
import type { Operation } from './operation.ts'
import { notFound, type Revision } from './revisions.ts'

export interface Permissions {
  /** Whether any rule lets the caller use anything here. */
  reach(): boolean
  /** @param annotations what its upstream says of it, where it says so now */
  tool(name: string, annotations?: ToolAnnotations): Decision
  /** What holds a tool of an HTTP API back by its address, however it is named and offered. */
  address(name: string, annotations: ToolAnnotations): Decision | undefined
  /** Whether a rule looks at what the tool is annotated with, and nobody knows: the upstream must be asked first. */
  lacksAnnotations?(name: string): boolean
  /** Set when no administrator approved the application here. */
  readonly unapproved?: true
  /** For what is no tool: only rules for every tool speak of it. */
  everything(): Decision
  /** For what may be anything: rules for single tools speak of it as well. */
  all?(): Decision
}

/** What the profile leaves out of an upstream: no rule is asked about it. */
const NOT_OFFERED: Decision = { allow: false, effect: 'deny', rule: 'profile' }
/** Nor about an application that no administrator approved here. */
export const NOT_APPROVED: Decision = { allow: false, effect: 'deny', rule: 'approval' }

export function permissions(policy: CallPolicy, contact: Contact): Permissions {
  const { caller, profile, upstream, address } = contact
  const input = { subject: caller.user.id, groups: caller.user.groups, clientId: caller.clientId, upstream: upstream.id, address, application: caller.standing.application, at: policy.now?.(), authentication: caller.authentication }
  const factsOf = (tool: string, annotations = policy.annotations?.(contact, tool)): ToolFacts => ({ annotations: annotations && marked(upstream, tool, annotations), dataClasses: dataClassesOf(upstream, tool) })
  if (!isApproved({ caller, upstream }, 'read')) return { unapproved: true, reach: () => false, tool: () => NOT_APPROVED, address: () => NOT_APPROVED, everything: () => NOT_APPROVED }
  return {
    reach: () => policy.mayReach(input),
    tool: (tool, annotations) => (offers(profile, upstream.id, tool) ? policy.decide({ ...input, tool, toolFacts: factsOf(tool, annotations) }) : NOT_OFFERED),
    address: (tool, annotations) => policy.restriction({ ...input, tool, toolFacts: factsOf(tool, annotations) }),
    lacksAnnotations: (tool) => policy.asksAnnotations?.(upstream.id) === true && policy.annotations?.(contact, tool) === undefined,
    everything: () => (offers(profile, upstream.id) ? policy.decide(input) : NOT_OFFERED),
    all: () => (offers(profile, upstream.id) && policy.decideAll !== undefined ? policy.decideAll(input) : NOT_OFFERED),
  }
}

function isApproved({ caller, upstream }: Pick<Contact, 'caller' | 'upstream'>, access: Access): boolean {
  return judge(caller.standing, { upstream: upstream.id, access }, caller.user.groups).kind === 'approved'
}

/** Why a call is denied that an administrator may still approve. */
export const NEEDS_APPROVAL = 'approval'

/** What was decided about an operation: `empty` lists are answered without asking the upstream. */
export type Verdict =
  | { readonly kind: 'allowed' | 'empty'; readonly rule?: string }
  /** It is decided once the upstream was asked what the tool is annotated with. */
  | { readonly kind: 'later'; readonly rule?: undefined }
  | Denied

export interface Denied {
  readonly kind: 'denied'
  readonly rule: string
  readonly error: McpError | Challenge
  readonly reason?: string
}

/** Decides by policy. What is denied answers as if it did not exist. */
export function decide(operation: Operation, permitted: Permissions, revision: Revision): Verdict {
  const decision = decisionOn(operation, permitted)
  if (decision?.allow === true) return { kind: 'allowed', rule: decision.rule }
  if (permitted.unapproved === true) return { kind: 'denied', rule: NOT_APPROVED.rule, error: unapproved() }
  if (!permitted.reach()) return { kind: 'denied', rule: 'default', error: new McpError('unavailable', 'No rule of your administrator lets you use this with this application', { status: 404 }) }
  if (decision === undefined) return { kind: 'allowed' }
  if (operation.kind === 'tool' && decision.rule !== NOT_OFFERED.rule && permitted.lacksAnnotations?.(operation.name) === true) return { kind: 'later' }
  // What a step-up or an approval would open is listed: whoever uses it is told what to do.
  if (decision.effect !== 'deny') return operation.kind === 'items' ? { kind: 'allowed', rule: decision.rule } : lacking(decision)
  if (operation.kind === 'items' || operation.kind === 'completion') return { kind: 'empty', rule: decision.rule }
  return { kind: 'denied', rule: decision.rule, error: hidden(operation, revision) }
}

/** What is not denied and not allowed yet, and how it can be. */
function lacking(decision: Decision): Denied {
  const { effect, rule } = decision
  if (effect === 'step-up') return stepUp(decision)
  return { kind: 'denied', rule, reason: NEEDS_APPROVAL, error: new McpError('unavailable', 'An administrator must approve this first. Ask your administrator, and try again when they did') }
}

/** RFC 9470 §3: what the next sign-in must be like, for this call and no less than it. */
export function stepUp({ rule, challenge }: Pick<Decision, 'rule' | 'challenge'>): Denied {
  return { kind: 'denied', rule, reason: 'step-up', error: new Challenge('insufficient_user_authentication', 'this needs another sign-in, stronger or more recent', undefined, challenge) }
}

const OF_EVERYTHING: ReadonlySet<Operation['kind']> = new Set(['items', 'item', 'task', 'completion'])

function decisionOn(operation: Operation, permitted: Permissions): Decision | undefined {
  if (operation.kind === 'tool') return permitted.tool(operation.name)
  const asksEverything = OF_EVERYTHING.has(operation.kind) || (operation.kind === 'listen' && operation.resources)
  return asksEverything ? permitted.everything() : undefined
}

function unapproved(): McpError {
  return new McpError('unavailable', 'Your administrator has not approved this application for this; connect it again to ask for it', { status: 403 })
}

function hidden(operation: Operation, revision: Revision): McpError {
  if (operation.kind === 'tool') return notFound(revision, 'tool', operation.name)
  if (operation.kind === 'item') return notFound(revision, operation.what, operation.name)
  if (operation.kind === 'task') return notFound(revision, 'task', operation.name)
  return new McpError('invalid_params', 'these notifications are not available')
}

/** RS-8, RS-9: one challenge with all that the operation needs; `write` includes `read`. @throws Challenge or McpError */
export function requireScope(contact: Pick<Call, 'caller' | 'upstream'>, access: Access): void {
  const refused = scopeRefusal(contact, access)
  if (refused !== undefined) throw refused
}

function scopeRefusal({ caller, upstream }: Pick<Call, 'caller' | 'upstream'>, access: Access): Challenge | McpError | undefined {
  if (!isApproved({ caller, upstream }, access)) return unapproved()
  if (scopeAllows(caller.scope, access, upstream.id)) return undefined
  const wanted = [`mcp.${access}`, `mcp.${upstream.id}.${access}`].find((scope) => caller.mayHold?.(scope) ?? true)
  // Nobody is sent to ask for what they cannot get: that would never end.
  if (wanted === undefined) return new McpError('unavailable', `This needs the scope mcp.${upstream.id}.${access}, which your administrator has not given you`, { status: 403 })
  return new Challenge('insufficient_scope', `this needs the scope ${wanted}`, [wanted])
}

/**
 * RFC 9470 §3: a challenge for another sign-in names the scope that lacks as well, so that one authorization brings both.
 * Nobody signs in for what they cannot get afterwards.
 *
 * @param access what the operation needs, where it is known
 */
export function alsoLacking(contact: Pick<Call, 'caller' | 'upstream'>, denied: Denied, access: Access | undefined): Denied {
  const { error } = denied
  if (access === undefined || !(error instanceof Challenge)) return denied
  const missing = scopeRefusal(contact, access)
  if (missing instanceof McpError) return { ...denied, reason: missing.message, error: missing }
  return missing === undefined ? denied : { ...denied, error: new Challenge(error.error, `${error.message}, and the scope ${formatScope(missing.scope ?? [])}`, missing.scope, error.signIn) }
}
