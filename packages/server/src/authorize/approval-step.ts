import { assess, needsOf, type Assessment, type Need } from '../approval/approval.ts'
import type { Approvals } from '../approval/approvals.ts'
import { OAuthError } from '../oauth/error.ts'
import type { Step } from './step.ts'
import { waitingPage } from './waiting-page.ts'

export interface ApprovalStepDeps {
  readonly issuer: string
  readonly approvals: Pick<Approvals, 'standingOf' | 'ask' | 'used'>
  readonly now: () => number
}

/** What administrators decided about this request, as the store has it now. */
export async function approvalOf({ approvals }: ApprovalStepDeps, { pending, client, signedIn, upstreams }: Step): Promise<Assessment> {
  const needs = needsOf(pending.request.scope, upstreams.map(({ id }) => id))
  return assess(await approvals.standingOf(client), needs, signedIn.user.groups)
}

/**
 * Puts the request into the administrators' queue. Only what its person approved comes here: a link that leads somebody
 * astray asks for nothing. @returns undefined when too much of theirs waits already
 */
export async function waitForApproval(deps: ApprovalStepDeps, step: Step, needs: readonly Need[], { since, still }: { readonly since: number; readonly still: boolean }): Promise<Response | undefined> {
  const { pending, client, signedIn, context } = step
  const { resource } = pending.request
  const asked = await deps.approvals.ask({ client, person: signedIn.user, needs, resource, reference: pending.reference, address: context.address, since })
  if (asked.kind === 'too many') return undefined
  return waitingPage(step, needs, { issuer: deps.issuer, now: deps.now(), still })
}

export function tooManyWaiting(): OAuthError {
  return new OAuthError('access_denied', 'too many of your applications wait for your administrator already', { reason: 'too many requests wait' })
}

export function refusedByAdministrator(reason: string): OAuthError {
  return new OAuthError('access_denied', reason, { reason: `refused by an administrator: ${reason}` })
}
