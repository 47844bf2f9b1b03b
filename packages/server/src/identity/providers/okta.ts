// Okta. What it does otherwise than the specifications and most providers:
// - The org's own authorization server (`https://example.okta.com`) and custom ones (`…/oauth2/default`) are different
//   issuers: a token of one is worth nothing at another. Well-known documents are below the path of the issuer.
// - The org's server tells groups for the scope `groups`; a custom one knows no such scope unless somebody made it, refuses
//   the whole request for it, and tells groups by a claim of its own. Either tells none until somebody configured a filter,
//   and more than a hundred matching groups fail the sign-in.
// - Access tokens of the org's server are for Okta alone, and signed by a key that is not published.
// - `sub` of an ID token is the person's identifier; `sub` of an access token is their login, which may change, and their
//   identifier is `uid`; the client is `cid`.
// - A refresh token is rotated where the application is set so, and the old one is good for up to a minute more.
import type { JWTPayload } from 'jose'
import { oidcProvider, type OidcDeps, type OidcSettings } from './oidc.ts'
import type { IdentityProvider } from './provider.ts'

/** What can be asked for there (Okta, "Step-up authentication using ACR values"). */
export const OKTA_ACR_VALUES = ['urn:okta:loa:1fa:any', 'urn:okta:loa:1fa:pwd', 'urn:okta:loa:2fa:any', 'urn:okta:loa:2fa:any:ifpossible', 'phr', 'phrh'] as const

/** Whether an issuer is the org's own authorization server. */
export function isOrgServer(issuer: string): boolean {
  return new URL(issuer).pathname === '/'
}

export function oktaScopes(issuer: string): readonly string[] {
  return ['openid', 'profile', 'email', 'offline_access', ...(isOrgServer(issuer) ? ['groups'] : [])]
}

export function okta(settings: OidcSettings, deps: OidcDeps): IdentityProvider {
  return oidcProvider(settings, deps, { readClaims: subjectById })
}

/** Access tokens name the login as `sub`, and ID tokens the identifier: one person must be one user. */
function subjectById(claims: JWTPayload): JWTPayload {
  const { uid, cid } = claims
  return typeof uid === 'string' && cid !== undefined ? { ...claims, sub: uid } : claims
}
