import type { Decision, Policy } from '../policy/policy.ts'
import type { ToolAnnotations } from '../policy/rule.ts'
import type { Catalogue } from './catalogue.ts'
import type { Contact } from './call.ts'

/** Policy with what the data plane knows besides: the hour, and what upstreams say of their tools. */
export interface CallPolicy extends Pick<Policy, 'decide' | 'mayReach' | 'restriction'>, Partial<Pick<Policy, 'asksAnnotations' | 'decideAll'>> {
  /** Milliseconds since the epoch. */
  readonly now?: () => number
  annotations?(contact: Pick<Contact, 'upstream' | 'caller'>, tool: string): ToolAnnotations | undefined
}

const DENIED: Decision = { allow: false, effect: 'deny', rule: 'default' }

export function callPolicy(policy: Pick<Policy, 'decide' | 'mayReach' | 'restriction'> & Partial<Pick<Policy, 'asksAnnotations' | 'decideAll'>>, catalogue: Catalogue, now: () => number): CallPolicy {
  return {
    decide: (input) => policy.decide(input),
    mayReach: (input) => policy.mayReach(input),
    restriction: (input) => policy.restriction(input),
    ...(policy.decideAll === undefined ? {} : { decideAll: (input) => policy.decideAll?.(input) ?? DENIED }),
    asksAnnotations: (upstream) => policy.asksAnnotations?.(upstream) === true,
    now,
    // Whose account sees tools of its own, sees these.
    annotations: ({ upstream, caller }, tool) => catalogue.annotations(`${upstream.id} ${caller.user.id}`, tool) ?? catalogue.annotations(upstream.id, tool),
  }
}
