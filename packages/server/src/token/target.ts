// What a grant that begins at the token endpoint is for: a resource and a scope of it.
import type { Params } from '../http/params.ts'
import { OAuthError } from '../oauth/error.ts'
import { canonicalResource } from '../oauth/resource.ts'
import { parseScope, resourceScopes } from '../oauth/scope.ts'
import { onlyProfile } from '../upstreams/profiles.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'

/** Scopes that clients add by habit: accepted, and without effect here. */
const IGNORED_SCOPES = new Set(['openid', 'profile', 'email', 'offline_access'])

/**
 * RFC 8707 §2: one resource that exists here; who names none means the only one there is.
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
 * RFC 6749 §3.3: who names no scope asks for all that the resource has; what of it they get, others decide.
 *
 * @throws OAuthError `invalid_scope`
 */
export function requestedScope(params: Params, profile: Profile): readonly string[] {
  const requested = parseScope(params.get('scope') ?? '')
  if (requested === undefined) throw new OAuthError('invalid_scope', 'the scope is malformed')
  const wanted = requested.filter((scope) => !IGNORED_SCOPES.has(scope))
  if (wanted.length === 0) return profile.scopes ?? ['mcp.read', 'mcp.write']
  const known = profile.scopes ?? resourceScopes(profile.upstreams.map(({ id }) => id))
  if (wanted.every((scope) => known.includes(scope))) return wanted
  throw new OAuthError('invalid_scope', `these scopes do not exist here; the known ones are ${known.join(', ')}`, { reason: 'unknown scope' })
}
