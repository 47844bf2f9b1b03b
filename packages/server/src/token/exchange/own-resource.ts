import type { Authorization } from '../../authorize/authorization.ts'
import { OAuthError } from '../../oauth/error.ts'
import { canonicalResource, type Resource } from '../../oauth/resource.ts'
import { askedScope, resourceScopes, scopeIncludes } from '../../oauth/scope.ts'
import { newId } from '../../oauth/secret.ts'
import type { Params } from '../../http/params.ts'
import type { Approvals } from '../../approval/approvals.ts'
import { baselineOf, isFor } from '../../upstreams/profile.ts'
import type { Profile, Profiles } from '../../upstreams/upstream.ts'
import type { Granted, GrantRequest } from '../grants/grant.ts'
import { startGrant } from '../grants/start.ts'
import type { ExchangeTarget } from '../grants/token-exchange.ts'
import { TOKEN_TYPE } from '../grants/token-type.ts'
import type { TokenLifetimes } from '../issue.ts'
import type { TokenStore } from '../token-store.ts'
import type { CompiledExchangeRule } from './rules.ts'
import type { ExchangeSubject } from './subject.ts'

export interface OwnResourceOptions {
  readonly store: Pick<TokenStore, 'startGrant'>
  readonly profiles: Pick<Profiles, 'byResource'>
  readonly approvals: Pick<Approvals, 'used'>
  readonly lifetimes: Pick<TokenLifetimes, 'accessToken'>
  readonly now: () => number
}

/** An access token of Lanyard for one of its resources. */
export function ownResource(options: OwnResourceOptions): ExchangeTarget {
  const find = (params: Params): Profile | undefined => {
    const resource = targetOf(params)
    return resource === undefined ? undefined : options.profiles.byResource(resource)
  }
  return {
    accepts: (params) => asksAccessToken(params) && find(params) !== undefined,
    async authorize(request, subject) {
      const profile = find(request.params)
      if (profile === undefined) throw refusedTarget('no such resource')
      return exchange(options, request, subject, profile)
    },
  }
}

export function asksAccessToken(params: Params): boolean {
  const type = params.get('requested_token_type')
  return type === undefined || type === TOKEN_TYPE.access
}

/** RFC 8693 §2.1: `resource` says where, `audience` whom; here both are the address of a resource, and one alone. */
export function targetOf(params: Params): Resource | undefined {
  const named = new Set([...params.all('resource'), ...params.all('audience')].map((value) => canonicalResource(value)))
  const [resource] = named
  return named.size === 1 ? resource : undefined
}

async function exchange({ store, approvals, lifetimes, now }: OwnResourceOptions, request: GrantRequest, subject: ExchangeSubject, profile: Profile): Promise<Granted> {
  const { user, authentication, parents, actor } = subject
  // What has scopes of its own (the administrators' API) is reached by a sign-in alone; for whom a profile is not, it does not exist.
  if (profile.scopes !== undefined || !isFor(profile, user)) throw refusedTarget('the resource is not for this person, or not for exchange')
  const rules = subject.rules.filter(({ isTarget }) => isTarget(profile.resource))
  if (rules.length === 0) throw refusedTarget('no rule of the administrator names the resource')
  const at = Math.floor(now() / 1000)
  const authorization: Authorization = {
    id: newId('grt'),
    userId: user.id,
    clientId: request.client.id,
    resource: profile.resource,
    scope: exchangedScope(request.params, subject, { profile, rules }),
    ...authentication,
    // RFC 8693 §2.2.1: it never outlives what it came of.
    expiresAt: Math.min(at + lifetimes.accessToken, subject.expiresAt),
    ...(parents === undefined ? {} : { parents }),
    ...(actor === undefined ? {} : { actor }),
  }
  await approvals.used(request.client)
  const detail = { subject_kind: subject.kind, exchange_rule: rules.map(({ rule }) => rule.id) }
  const granted = startGrant(store, request, { authorization, at, issuedTokenType: TOKEN_TYPE.access, detail })
  return { ...granted, refusals: { resource: 'invalid_target', scope: 'invalid_scope' } }
}

interface Bounds {
  readonly profile: Profile
  readonly rules: readonly CompiledExchangeRule[]
}

/**
 * RFC 6749 §3.3, RFC 8693 §5: what is asked for, of what exists at the resource, within the subject token and within a rule.
 * Who asks for nothing in particular gets what of the baseline lies within these bounds.
 *
 * @throws OAuthError `invalid_scope`
 */
function exchangedScope(params: Params, subject: ExchangeSubject, { profile, rules }: Bounds): readonly string[] {
  const asked = askedScope(params.get('scope'))
  if (asked === undefined) throw new OAuthError('invalid_scope', 'the scope is malformed')
  const known = resourceScopes(profile.upstreams.map(({ id }) => id))
  const isWithin = (scope: string): boolean => {
    const allowed = rules.some(({ rule }) => rule.scopes === undefined || scopeIncludes(rule.scopes, scope))
    return known.includes(scope) && allowed && (subject.scope === undefined || scopeIncludes(subject.scope, scope))
  }
  const scope = asked.length === 0 ? unasked(baselineOf(profile).filter(isWithin), known.filter(isWithin)) : asked
  if (scope.length === 0 || !scope.every(isWithin)) throw new OAuthError('invalid_scope', 'the scope is more than the subject token has, or than this exchange allows', { reason: 'token exchange: wider scope' })
  return scope
}

/** Of the baseline what may be had; where nothing of it may, all that may, without what another one of them includes. */
function unasked(baseline: readonly string[], possible: readonly string[]): readonly string[] {
  if (baseline.length > 0) return baseline
  return possible.filter((each) => !possible.some((other) => other !== each && scopeIncludes([other], each)))
}

/** RFC 8693 §2.2.2. */
export function refusedTarget(reason: string): OAuthError {
  return new OAuthError('invalid_target', 'no token for this target can be had in exchange for this one', { reason: `token exchange: ${reason}` })
}
