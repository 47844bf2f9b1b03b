// What a request is for, whether a browser comes with it or not: a resource and a scope of it.
import type { Params } from '../http/params.ts'
import { OAuthError } from '../oauth/error.ts'
import { canonicalResource } from '../oauth/resource.ts'
import { askedScope, resourceScopes } from '../oauth/scope.ts'
import { baselineOf } from '../upstreams/profile.ts'
import { onlyProfile } from '../upstreams/profiles.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'

/**
 * RFC 8707 §2, AS-29: one resource that exists here; old clients that name none mean the only one there is.
 *
 * @throws OAuthError `invalid_target`
 */
export function requestedProfile(params: Params, profiles: Pick<Profiles, 'byResource' | 'all'>): Profile {
  const named = new Set(params.all('resource').map((value) => canonicalResource(value)))
  if (named.size > 1) throw new OAuthError('invalid_target', 'name one resource')
  const [resource] = named
  const profile = named.size === 0 ? onlyProfile(profiles) : resource === undefined ? undefined : profiles.byResource(resource)
  if (profile !== undefined) return profile
  throw new OAuthError('invalid_target', named.size === 0 ? 'resource is missing: name the address of the MCP server' : 'there is no such resource here')
}

/**
 * RFC 6749 §3.3: scopes that exist at the resource.
 *
 * @param unasked what whoever names none asks for
 * @throws OAuthError `invalid_scope`
 */
export function requestedScope(params: Params, profile: Profile, unasked = baselineOf(profile)): readonly string[] {
  const wanted = askedScope(params.get('scope'))
  if (wanted === undefined) throw new OAuthError('invalid_scope', 'the scope is malformed')
  if (wanted.length === 0) return unasked
  const known = profile.scopes ?? resourceScopes(profile.upstreams.map(({ id }) => id))
  if (wanted.every((scope) => known.includes(scope))) return wanted
  throw new OAuthError('invalid_scope', `these scopes do not exist here; the known ones are ${known.join(', ')}`, { reason: 'unknown scope' })
}
