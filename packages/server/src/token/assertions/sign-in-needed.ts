import type { Approvals } from '../../approval/approvals.ts'
import type { User } from '../../identity/user.ts'
import { OAuthError } from '../../oauth/error.ts'
import type { Policy } from '../../policy/policy.ts'
import type { Authentication, SignInRequirement } from '../../policy/rule.ts'
import { challengeOf } from '../../policy/step-up.ts'
import type { Profile } from '../../upstreams/upstream.ts'
import type { GrantRequest } from '../grants/grant.ts'

export interface SignInNeededOptions {
  readonly policy: Pick<Policy, 'mayReach' | 'restriction'>
  readonly approvals: Pick<Approvals, 'standing'>
  readonly now: () => number
}

interface Proposed {
  readonly user: User
  readonly request: GrantRequest
  readonly profile: Profile
  readonly authentication: Authentication
}

/**
 * Whether the sign-in that an assertion tells of is enough for anything that a token would be for. Where every upstream
 * that the person may reach asks for a better one, a token would only be challenged: the client hears so at once.
 *
 * @throws OAuthError `insufficient_user_authentication` (RFC 9470 §3), as the client's own identity provider would say it
 */
export async function requireSignIn({ policy, approvals, now }: SignInNeededOptions, { user, request, profile, authentication }: Proposed): Promise<void> {
  const { client, context } = request
  const { application } = await approvals.standing(client.id)
  const input = { subject: user.id, groups: user.groups, clientId: client.id, address: context.address, at: now(), authentication, application }
  const reachable = profile.upstreams.map(({ id }) => ({ ...input, upstream: id })).filter((each) => policy.mayReach(each))
  const lacking = reachable.map((each) => policy.restriction(each)).map((decision) => (decision?.effect === 'step-up' ? decision.challenge : undefined))
  const needed = lacking.filter((challenge) => challenge !== undefined)
  if (needed.length === 0 || needed.length < lacking.length) return
  throw notEnough(challengeOf(needed))
}

export function notEnough({ acrValues, maxAge }: SignInRequirement): OAuthError {
  // RFC 9470 §3: in the members that the challenge of a resource has as parameters.
  const members = { ...(acrValues === undefined ? {} : { acr_values: acrValues.join(' ') }), ...(maxAge === undefined ? {} : { max_age: maxAge }) }
  return new OAuthError('insufficient_user_authentication', 'this needs another sign-in, stronger or more recent', { reason: 'the sign-in is too weak or too old', members })
}
