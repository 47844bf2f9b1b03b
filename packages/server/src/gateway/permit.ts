// The one place where it is decided what a caller may do: for what is called and for what is listed alike.
import { judge } from '../approval/approval.ts'
import { scopeAllows, type Access } from '../oauth/scope.ts'
import type { Decision, Policy } from '../policy/policy.ts'
import { offers } from '../upstreams/profile.ts'
import type { Call, Contact } from './call.ts'
import { Challenge } from './challenge.ts'
import { McpError } from './error.ts'
import type { Operation } from './operation.ts'
import { notFound, type Revision } from './revisions.ts'

export interface Permissions {
  /** Whether any rule lets the caller use anything here. */
  reach(): boolean
  tool(name: string): Decision
  /** Set when no administrator approved the application here. */
  readonly unapproved?: true
  /** For what is no tool: only rules for every tool speak of it. */
  everything(): Decision
}

/** What the profile leaves out of an upstream: no rule is asked about it. */
const NOT_OFFERED: Decision = { allow: false, rule: 'profile' }
/** Nor about an application that no administrator approved here. */
const NOT_APPROVED: Decision = { allow: false, rule: 'approval' }

export function permissions(policy: Pick<Policy, 'decide' | 'mayReach'>, { caller, profile, upstream, address }: Contact): Permissions {
  const input = { subject: caller.user.id, groups: caller.user.groups, clientId: caller.clientId, upstream: upstream.id, address }
  if (!isApproved({ caller, upstream }, 'read')) return { unapproved: true, reach: () => false, tool: () => NOT_APPROVED, everything: () => NOT_APPROVED }
  return {
    reach: () => policy.mayReach(input),
    tool: (tool) => (offers(profile, upstream.id, tool) ? policy.decide({ ...input, tool }) : NOT_OFFERED),
    everything: () => (offers(profile, upstream.id) ? policy.decide(input) : NOT_OFFERED),
  }
}

function isApproved({ caller, upstream }: Pick<Contact, 'caller' | 'upstream'>, access: Access): boolean {
  return judge(caller.standing, { upstream: upstream.id, access }, caller.user.groups).kind === 'approved'
}

/** What was decided about an operation: `empty` lists are answered without asking the upstream. */
export type Verdict = { readonly kind: 'allowed' | 'empty'; readonly rule?: string } | { readonly kind: 'denied'; readonly rule: string; readonly error: McpError }

/** Decides by policy. What is denied answers as if it did not exist. */
export function decide(operation: Operation, permitted: Permissions, revision: Revision): Verdict {
  const decision = decisionOn(operation, permitted)
  if (decision?.allow === true) return { kind: 'allowed', rule: decision.rule }
  if (permitted.unapproved === true) return { kind: 'denied', rule: NOT_APPROVED.rule, error: unapproved() }
  if (!permitted.reach()) return { kind: 'denied', rule: 'default', error: new McpError('unavailable', 'No rule of your administrator lets you use this with this application', { status: 404 }) }
  if (decision === undefined) return { kind: 'allowed' }
  if (operation.kind === 'items' || operation.kind === 'completion') return { kind: 'empty', rule: decision.rule }
  return { kind: 'denied', rule: decision.rule, error: hidden(operation, revision) }
}

const OF_EVERYTHING: ReadonlySet<Operation['kind']> = new Set(['items', 'item', 'completion'])

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
  return new McpError('invalid_params', 'these notifications are not available')
}

/** RS-8, RS-9: one challenge with all that the operation needs; `write` includes `read`. @throws Challenge */
export function requireScope({ caller, upstream }: Call, access: Access): void {
  if (!isApproved({ caller, upstream }, access)) throw unapproved()
  if (scopeAllows(caller.scope, access, upstream.id)) return
  const wanted = `mcp.${access}`
  throw new Challenge('insufficient_scope', `this needs the scope ${wanted}`, [wanted])
}
