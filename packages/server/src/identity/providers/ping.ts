// Ping Identity: PingOne and PingFederate. What they do otherwise than the specifications and most providers:
// - PingOne's issuer is an environment: `https://auth.pingone.eu/{environment}/as`, by region, without a trailing slash;
//   PingFederate's is its base URL, or one of its virtual issuers.
// - PingOne tells groups where the application maps an attribute to `Group Names`; PingFederate tells what its access token
//   and ID token mappings say, from Active Directory as distinguished names (`CN=engineering,OU=Groups,DC=corp`).
// - PingFederate knows the scope `offline_access` only where somebody made it, and refuses requests for what it does not
//   know; there a refresh token comes with the grant type that the client was given.
// - Authentication contexts are names of policies or contracts (`Multi_Factor`): they are the administrator's.
import { oidcProvider, type OidcDeps, type OidcSettings } from './oidc.ts'
import type { IdentityProvider } from './provider.ts'

/** Whether an issuer is an environment of PingOne. */
export function isPingOne(issuer: string): boolean {
  const { hostname, pathname } = new URL(issuer)
  return /(?:^|\.)pingone\.(?:com|eu|ca|asia|sg|com\.au)$/.test(hostname) || /^\/[0-9a-f-]{36}\/as$/.test(pathname)
}

export function pingScopes(issuer: string): readonly string[] {
  return ['openid', 'profile', 'email', ...(isPingOne(issuer) ? ['offline_access'] : [])]
}

export function ping(settings: OidcSettings, deps: OidcDeps): IdentityProvider {
  return oidcProvider(settings, deps)
}
