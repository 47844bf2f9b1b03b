import { assess, judge, type Standing } from '../approval/approval.ts'
import type { Approvals } from '../approval/approvals.ts'
import type { Cutoffs } from '../audit/change.ts'
import type { AuditEvent } from '../audit/event.ts'
import { EVERY_SCOPE, type ScopeMapping } from '../identity/scope-mapping.ts'
import type { Recheck } from '../identity/sign-in.ts'
import type { User, Users } from '../identity/user.ts'
import { OAuthError, type OAuthErrorCode } from '../oauth/error.ts'
import type { Policy } from '../policy/policy.ts'
import { isFor, isWithin, reachOf } from '../upstreams/profile.ts'
import type { Profiles } from '../upstreams/upstream.ts'
import { trace, type Granted, type GrantRequest, type Hold } from './grants/grant.ts'
import type { TokenStore } from './token-store.ts'

export interface SubjectCheckOptions {
  readonly store: Pick<TokenStore, 'revokeGrant'>
  readonly users: Users
  readonly recheck: Recheck
  readonly scopes?: ScopeMapping
  readonly approvals: Pick<Approvals, 'standing'>
  readonly cutoffs: Cutoffs
  readonly policy: Pick<Policy, 'mayReach'>
  readonly profiles: Pick<Profiles, 'byResource'>
  readonly now: () => number
}

/** Checks that the person behind a grant is still there and may still reach the resource. @returns what of a scope they may still hold @throws OAuthError */
export type SubjectCheck = (request: GrantRequest, granted: Omit<Granted, 'issue'>) => Promise<Hold>

export function subjectCheck(options: SubjectCheckOptions): SubjectCheck {
  const { users, recheck, cutoffs } = options
  return async (request, granted) => {
    const { authorization } = granted
    if (!cutoffs.fresh) throw new OAuthError('temporarily_unavailable', 'please try again in a moment', { reason: 'this node does not know what was revoked', retryAfter: 5 })
    const { id: grantId, userId, clientId } = authorization
    if (cutoffs.isCut({ userId, clientId, grantId, kid: '', issuedAt: granted.grantedAt })) throw await ended(options, request, granted, 'revoked')
    // Before the user is read: the identity provider may have named other groups just now.
    const state = granted.recheck ? await recheck.recheck(userId) : 'active'
    const user = await users.find(userId)
    if (user === undefined) throw await ended(options, request, granted, 'unknown user')
    if (user.disabled) throw await ended(options, request, granted, 'user disabled')
    if (state === 'ended') throw await ended(options, request, granted, 'ended by the identity provider')
    const profile = granted.isElsewhere === true ? undefined : options.profiles.byResource(authorization.resource)
    const standing = await options.approvals.standing(clientId)
    if (granted.isElsewhere === true || profile?.scopes !== undefined) requireNotRefused(standing, user, granted)
    if (granted.isElsewhere === true) return (scope) => scope
    // D06: what it reaches now, nobody approved. The client comes back with the person, who sees what is new.
    if (profile !== undefined && authorization.reach !== undefined && !isWithin(reachOf(profile), authorization.reach)) throw refused('the profile has grown since it was approved')
    const usable = profile !== undefined && isFor(profile, user) ? profile : undefined
    const { address } = request.context
    const isApproved = (upstream: string): boolean => judge(standing, { upstream, access: 'read' }, user.groups).kind === 'approved'
    const reachable = usable !== undefined && (usable.scopes !== undefined || usable.upstreams.some(({ id }) => isApproved(id) && options.policy.mayReach({ subject: userId, groups: user.groups, clientId, upstream: id, address, application: standing.application })))
    // Rules and profiles come and go with the configuration: the grant stays, for the day when they allow it again.
    if (!reachable) throw refused('policy allows nothing of the resource', granted.refusals?.resource)
    const hold: Hold = (scope) => (options.scopes ?? EVERY_SCOPE).narrow(user, scope)
    if (hold(granted.scope).length === 0) throw refused('the person may hold none of the scopes', granted.refusals?.scope)
    return hold
  }
}

/** What reaches no upstream of this gateway asks no more of administrators than that they did not refuse the application altogether. */
function requireNotRefused(standing: Standing, { groups }: User, { refusals }: Pick<Granted, 'refusals'>): void {
  const whole = assess(standing, [], groups)
  if (whole.kind === 'refused') throw refused(`refused by an administrator: ${whole.reason}`, refusals?.resource)
}

/** For good: a user who is enabled again, or made anew, signs in again. */
async function ended(options: SubjectCheckOptions, request: GrantRequest, { authorization }: Pick<Granted, 'authorization'>, reason: string): Promise<OAuthError> {
  const event: AuditEvent = { action: 'token.revoked', outcome: 'success', reason, ...trace(request, authorization) }
  await options.store.revokeGrant(authorization.id, Math.floor(options.now() / 1000), [event])
  return refused(reason)
}

/** RFC 6749 §5.2: clients sign in again on it, and the person then reads why. */
function refused(reason: string, code: OAuthErrorCode = 'invalid_grant'): OAuthError {
  return new OAuthError(code, 'the authorization is no longer valid', { reason })
}
