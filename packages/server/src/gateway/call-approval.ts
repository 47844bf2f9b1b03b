import type { Approvals } from '../approval/approvals.ts'
import type { Call, Contact } from './call.ts'
import { McpError } from './error.ts'
import { NEEDS_APPROVAL, type Verdict } from './permit.ts'

export interface CallApprovalDeps {
  readonly approvals: Pick<Approvals, 'call'>
}

/** What is no tool is approved as rules speak of it: all at once. */
export const NO_TOOL = '*'

/** Whether an administrator approved this call for this person from this application; what else the caller is told. */
export async function callApproval({ approvals }: CallApprovalDeps, { caller, profile, upstream, address }: Contact, tool: string): Promise<'approved' | { readonly told: string }> {
  const answer = await approvals.call({ clientId: caller.clientId, person: caller.user, upstream: upstream.id, tool, resource: profile.resource, address })
  if (answer.kind === 'approved') return 'approved'
  if (answer.kind === 'refused') return { told: `Your administrator has refused this: ${answer.reason}` }
  if (answer.kind === 'too many') return { told: 'Too many of your calls wait for your administrator already' }
  return { told: 'Your administrator must approve this first; the request is with them. Try again when they did' }
}

/** A call that a rule leaves to an administrator asks for it, and goes on once they approved. */
export async function afterApproval(deps: CallApprovalDeps, call: Contact & Pick<Call, 'operation'>, verdict: Verdict): Promise<Verdict> {
  if (verdict.kind !== 'denied' || verdict.reason !== NEEDS_APPROVAL) return verdict
  // A task is what became of a call that was approved.
  if (call.operation.kind === 'tool' && call.operation.task !== undefined) return { kind: 'allowed', rule: verdict.rule }
  const approval = await callApproval(deps, call, call.operation.kind === 'tool' ? call.operation.name : NO_TOOL)
  return approval === 'approved' ? { kind: 'allowed', rule: verdict.rule } : { ...verdict, error: new McpError('unavailable', approval.told) }
}
