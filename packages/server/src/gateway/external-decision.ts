import type { ExternalPolicy } from '../policy/external.ts'
import { dataClassesOf } from '../upstreams/data-classes.ts'
import type { CallPolicy } from './call-policy.ts'
import type { Call, Contact } from './call.ts'
import { McpError } from './error.ts'
import type { Operation } from './operation.ts'
import type { Verdict } from './permit.ts'

export interface ExternalDecisionDeps {
  readonly policy: CallPolicy
  /** Absent when there is none: then nobody waits. */
  readonly external?: ExternalPolicy
}

/** The rule that a denial of it is recorded under. */
export const EXTERNAL_RULE = 'external'

export type Refused = { readonly told: string; readonly reason: string }

/**
 * What the decision point of somebody else says of one use of an upstream, or of any use of it; undefined when it does
 * not mind. Lists are not its business: what is in them is asked about when it is used.
 */
export async function externalRefusal({ policy, external }: ExternalDecisionDeps, contact: Pick<Contact, 'caller' | 'upstream' | 'address'>, operation: Operation | undefined): Promise<Refused | undefined> {
  if (external === undefined || (operation !== undefined && operation.kind !== 'tool' && operation.kind !== 'item')) return undefined
  const { caller, upstream, address } = contact
  const common = { subject: caller.user.id, groups: caller.user.groups, clientId: caller.clientId, application: caller.standing.application, upstream: upstream.id, address, authentication: caller.authentication }
  const about = operation === undefined ? {} : operation.kind === 'tool'
    ? { tool: operation.name, toolFacts: { annotations: policy.annotations?.(contact, operation.name), dataClasses: dataClassesOf(upstream, operation.name) } }
    : { item: { type: operation.what, name: operation.name } }
  const answer = await external.ask({ ...common, ...about })
  if (answer === 'allow') return undefined
  if (answer === 'deny') return { told: 'Your organization does not allow this', reason: 'the external decision point denies it' }
  return { told: 'It cannot be found out at the moment whether your organization allows this; try again', reason: 'the external decision point gives no answer' }
}

/** What becomes of a call that our own rules allow, once what its upstream says of it is known. */
export async function afterExternal(deps: ExternalDecisionDeps, call: Call, allowed: Verdict): Promise<Verdict> {
  const refused = await externalRefusal(deps, call, call.operation.kind === 'task' ? undefined : call.operation)
  return refused === undefined ? allowed : { kind: 'denied', rule: EXTERNAL_RULE, reason: refused.reason, error: new McpError('unavailable', refused.told) }
}
