// What a request is for, once it is known whose it is: what its client asked for, what it was told at the resource to
// come back with, and what the person granted to it before.
import type { ScopeMapping } from '../identity/scope-mapping.ts'
import type { User } from '../identity/user.ts'
import { formatScope, resourceScopes, scopeIncludes } from '../oauth/scope.ts'
import { challengeOf } from '../policy/step-up.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'
import type { AuthorizationRequest, AuthorizeStore, PendingRequest } from './authorize-store.ts'
import { requirementOf } from './sign-in-again.ts'
import type { StepUp, StepUpStore } from './step-up-store.ts'

/** How long after a challenge a request of the same client is the answer to it: clients of MCP pass on no more than the scope. */
const ANSWER_MS = 10 * 60_000

export interface WantedDeps {
  readonly profiles: Pick<Profiles, 'byResource'>
  readonly store: Pick<AuthorizeStore, 'grantsOf'>
  readonly stepUps: Pick<StepUpStore, 'findAsked'>
  readonly scopes: ScopeMapping
  readonly now: () => number
}

/**
 * RFC 9470 §3 tells a client to pass on what it was told, and those that do not know it do not: so it is added here.
 * Grants unite: whoever asks for more than before may do what they might before as well, once the person has seen and
 * approved all of it (D06). Whoever asks for less gets less.
 */
export async function wantedOf(deps: WantedDeps, pending: PendingRequest, user: User): Promise<PendingRequest> {
  const userId = user.id
  const { request } = pending
  const { clientId, resource } = request
  const [told, grants] = await Promise.all([deps.stepUps.findAsked({ userId, clientId, resource }, deps.now() - ANSWER_MS), deps.store.grantsOf(userId, deps.now())])
  const granted = grants.filter((grant) => grant.clientId === clientId && grant.resource === resource).flatMap(({ scope }) => scope)
  const known = knownScopes(deps.profiles.byResource(resource))
  const asked = [...new Set([...request.scope, ...(told?.scope ?? [])])]
  const isMore = asked.some((scope) => !scopeIncludes(granted, scope))
  const scope = [...new Set([...asked, ...(isMore ? granted : [])])].filter((each) => request.scope.includes(each) || known.has(each))
  return { ...pending, request: { ...request, ...proofOf(request, told), scope: deps.scopes.narrow(user, scope) } }
}

function proofOf(request: AuthorizationRequest, told: StepUp | undefined): Pick<AuthorizationRequest, 'acrValues' | 'maxAge' | 'claims' | 'demanded'> {
  if (told === undefined) return {}
  const { acrValues, maxAge, claims, demanded } = challengeOf([requirementOf(request), told.requirement])
  return {
    ...(acrValues === undefined ? {} : { acrValues: formatScope(acrValues) }),
    ...(maxAge === undefined ? {} : { maxAge }),
    ...(claims === undefined ? {} : { claims }),
    ...(demanded === undefined ? {} : { demanded }),
  }
}

function knownScopes(profile: Profile | undefined): ReadonlySet<string> {
  if (profile === undefined) return new Set()
  return new Set(profile.scopes ?? resourceScopes(profile.upstreams.map(({ id }) => id)))
}
