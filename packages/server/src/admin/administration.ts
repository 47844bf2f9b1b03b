import { canonicalResource, type Resource } from '../oauth/resource.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'

/** The scope of an access token for the JSON API. */
export const ADMIN_SCOPE = 'admin'

/** The JSON API as a protected resource: there for members of these groups alone, and for nobody when there are none. */
export interface Administration {
  readonly resource: Resource
  readonly groups: readonly string[]
}

export function administration(issuer: string, groups: readonly string[]): Administration {
  const resource = canonicalResource(`${issuer}/api`)
  if (resource === undefined) throw new Error(`${issuer} is no issuer`)
  return { resource, groups }
}

export function isAdministrator({ groups }: Administration, user: { readonly groups: readonly string[] }): boolean {
  return groups.some((group) => user.groups.includes(group))
}

/**
 * The profiles with the JSON API among what tokens can be asked for. It is no MCP server, so no other look-up finds it;
 * for whom it is not, it does not exist.
 */
export function withAdministration(profiles: Profiles, { resource, groups }: Administration): Profiles {
  const profile: Profile = { id: 'api', name: 'Administration', upstreams: [], resource, groups, scopes: [ADMIN_SCOPE] }
  return { ...profiles, byResource: (wanted) => (wanted === resource ? profile : profiles.byResource(wanted)) }
}
