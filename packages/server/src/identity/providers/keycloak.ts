// Keycloak. What it does otherwise than the specifications and most providers (observed at 26.7.3):
// - The issuer is the realm: `https://sso.example.com/realms/corp`, or with `/auth` before it on old installations.
// - Roles of the realm (`realm_access.roles`) and of clients (`resource_access.{client}.roles`) stand in the access token
//   alone, until somebody switches that on for ID tokens. The ID token's `at_hash` vouches for the access token.
// - Groups are told where a mapper says so, by path (`/engineering/platform`) or by name.
// - Without the scope `offline_access` a refresh token ends with the person's session at Keycloak, after half an hour idle.
import { decodeJwt, errors } from 'jose'
import type { Claims } from './oidc-claims.ts'
import { oidcProvider, type OidcDeps, type OidcSettings } from './oidc.ts'
import { LoginRefused, type IdentityProvider } from './provider.ts'

export function keycloak(settings: OidcSettings, deps: OidcDeps): IdentityProvider {
  return oidcProvider(settings, deps, {
    readClaims: (claims) => ({ ...claims, ...groupsIn(claims, settings.groupsClaim), ...rolesIn(claims, settings) }),
    profile: async (claims, accessToken) => besides(claims, accessToken, settings),
  })
}

type Members = Readonly<Record<string, unknown>>

/** What the access token says of groups and roles, where the ID token says nothing of them. */
function besides(claims: Claims, accessToken: string, settings: OidcSettings): Members {
  const { clientId, groupsClaim, rolesClaim } = settings
  const access = read(accessToken)
  if (access['sub'] !== claims.sub || access['iss'] !== claims.iss || access['azp'] !== clientId) throw new LoginRefused('the access token is of somebody else, or for another client')
  const roles = rolesClaim === undefined || claims[rolesClaim] !== undefined ? {} : { [rolesClaim]: [], ...rolesIn(access, settings) }
  const email = claims['email'] === undefined && typeof access['email'] === 'string' ? { email: access['email'], email_verified: access['email_verified'] } : {}
  return { ...(claims[groupsClaim] === undefined ? groupsIn(access, groupsClaim) : {}), ...roles, ...email }
}

/** Roles of the realm by name, those of this client by name as well: of other clients they say nothing here. */
function rolesIn(claims: Members, { clientId, rolesClaim }: OidcSettings): Members {
  if (rolesClaim === undefined || claims[rolesClaim] !== undefined || (claims['realm_access'] ?? claims['resource_access']) === undefined) return {}
  const resources = claims['resource_access']
  const own = isMembers(resources) && Object.hasOwn(resources, clientId) ? resources[clientId] : undefined
  return { [rolesClaim]: [...new Set([claims['realm_access'], own].flatMap((access) => (isMembers(access) && Array.isArray(access['roles']) ? access['roles'] : [])))] }
}

/** `/engineering` and `engineering` are one group, however the mapper tells it. */
function groupsIn(claims: Members, groupsClaim: string): Members {
  const groups = claims[groupsClaim]
  return Array.isArray(groups) ? { [groupsClaim]: groups.map((group: unknown) => (typeof group === 'string' ? group.replace(/^\//, '') : group)) } : {}
}

function read(accessToken: string): Members {
  try {
    return decodeJwt(accessToken)
  } catch (error) {
    if (error instanceof errors.JOSEError) throw new LoginRefused('the access token is none of Keycloak')
    throw error
  }
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
