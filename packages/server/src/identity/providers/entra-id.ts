// Microsoft Entra ID over the generic relying party. A person is `oid` in `tid`: `sub` is another one for each app
// registration, and addresses are the tenant's administrators' to write (docs/decisions/013-entra-subject.md).
import type { JWTPayload } from 'jose'
import type { IdentityTokens } from '../user.ts'
import { claimsRequest } from '../entra/claims-request.ts'
import { asLoginRefused, entraClient, EntraRefused, type EntraClient, type EntraCredential, type EntraDeps } from '../entra/client.ts'
import { graphGroups } from '../entra/graph-groups.ts'
import { isIssuer, issuerOf, issuerOfTenant, issues, keysOf, mayKeySign, tenantOf, tenantOfClaims, tokenEndpointOf, GUID, type EntraTenants } from '../entra/tenant.ts'
import { listOf } from './oidc-claims.ts'
import { oidcProvider, type OidcDeps, type OidcSettings } from './oidc.ts'
import { LoginRefused, SignInNeeded, type IdentityProvider, type KnownIdentity, type RedeemedToken, type TokenRequest } from './provider.ts'

export interface EntraIdSettings extends OidcSettings {
  readonly entra: EntraTenants & {
    readonly credential: EntraCredential
    readonly graphUrl: string
    /** With whose token Graph is asked for the groups of people who are in very many. */
    readonly overage: 'delegated' | 'application'
  }
}

export type EntraIdDeps = OidcDeps & EntraDeps

/** The authentication contexts that a sign-in satisfied: kept for policies to ask for. */
const CONTEXTS = 'acrs'

export function entraIdProvider(settings: EntraIdSettings, deps: EntraIdDeps): IdentityProvider {
  const { entra, clientId } = settings
  const app = entraClient({ clientId, credential: entra.credential }, deps)
  const graph = graphGroups({ ...deps, graphUrl: entra.graphUrl })
  const oidc: OidcSettings = { ...settings, groupsClaim: 'groups', rolesClaim: 'roles', claims: [...new Set([...(settings.claims ?? []), CONTEXTS])] }
  const provider = oidcProvider(oidc, deps, {
    isIssuer: isIssuer(entra),
    issuerOf: (claims) => issuerOf(entra, claims),
    issues: issues(entra),
    keysOf: (issuer) => keysOf(entra, issuer),
    mayKeySign: mayKeySign(entra),
    isOverage,
    authentication: async (server, _client, body) => {
      for (const [name, value] of Object.entries(await app.parameters(server.token_endpoint ?? ''))) body.set(name, value)
    },
    asks: ({ demanded, acrValues, claims }) => ({ acr_values: undefined, claims: claimsRequest(demanded, { ...(acrValues === undefined ? {} : { acrValues }), ...(claims === undefined ? {} : { claims }) }) }),
    tokenParameters: { claims: claimsRequest() },
    readClaims: (claims) => readClaims(settings, claims),
    profile: async (claims, accessToken) => (isOverage(claims) ? { groups: await graph.groups(`${claims.iss} ${claims.sub}`, () => graphToken(entra, app, claims, accessToken)) } : {}),
    // A refresh that needs the person is one that the tenant's policy no longer allows without them.
    ends: (error) => error === 'interaction_required' || error === 'login_required' || error === 'consent_required',
  })
  return {
    ...provider,
    redeem: (tokens, known, request, keep) => redeem({ entra, app, refresh: provider.refresh }, { tokens, known, request }, keep),
    async groupsOf({ issuer: iss, subject: sub }, token) {
      const ask = async () => graphToken(entra, app, { iss, sub }, entra.overage === 'delegated' ? await onBehalfOf(entra, app, iss, token) : '')
      return listOf({ iss, sub, groups: await graph.groups(`${iss} ${sub}`, ask) }, 'groups')
    },
  }
}

/** @throws LoginRefused */
function readClaims({ entra, acrValues }: EntraIdSettings, claims: JWTPayload): JWTPayload {
  const tid = tenantOfClaims(entra, claims)
  const { oid, acrs, xms_edov: verified } = claims
  if (typeof oid !== 'string' || !GUID.test(oid)) throw new LoginRefused('oid is missing: the scope profile brings it')
  // An access token says how its client proved itself. One of a person names what the client may do for them; whether one is of an app, `idtyp` says only where the API asked for that.
  if ((claims['azpacr'] ?? claims['appidacr']) !== undefined && claims['scp'] === undefined) throw new LoginRefused('it is of an application, not of a person')
  const { email_verified: _unknown, acr: _level, ...rest } = claims
  const contexts = Array.isArray(acrs) ? acrs.filter((value): value is string => typeof value === 'string') : []
  const context = acrValues?.find((value) => contexts.includes(value)) ?? contexts[0]
  return {
    ...rest,
    iss: issuerOfTenant(entra, tid),
    sub: oid,
    // Whatever a tenant's administrator wrote there; the optional claim alone says that the domain is the tenant's.
    ...(verified === true || verified === 1 || verified === '1' ? { email_verified: true } : {}),
    ...(context === undefined ? {} : { acr: context }),
  }
}

/** More than 200 groups are told by reference (`_claim_names`); `hasgroups` says the same in few words. */
function isOverage(claims: JWTPayload): boolean {
  const names = claims['_claim_names']
  const elsewhere = typeof names === 'object' && names !== null && Object.hasOwn(names, 'groups')
  return claims['groups'] === undefined && (elsewhere || claims['hasgroups'] === true || claims['hasgroups'] === 'true')
}

async function graphToken(entra: EntraIdSettings['entra'], app: EntraClient, claims: JWTPayload, accessToken: string): Promise<{ token: string; path: 'me' | `users/${string}` }> {
  if (entra.overage === 'delegated') return { token: accessToken, path: 'me' }
  const endpoint = tokenEndpointOf(entra, tenantOf(claims.iss ?? '') ?? '')
  const { accessToken: token } = await app.token(endpoint, { grant_type: 'client_credentials', scope: `${entra.graphUrl}/.default` }).catch((error: unknown) => {
    throw asLoginRefused(error)
  })
  return { token, path: `users/${claims.sub ?? ''}` }
}

/** A token that somebody presents is none for Graph. One that is for this app can be exchanged for one; no other can. @throws LoginRefused, ProviderUnavailable */
async function onBehalfOf(entra: EntraIdSettings['entra'], app: EntraClient, issuer: string, assertion: string): Promise<string> {
  const form = { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', requested_token_use: 'on_behalf_of', assertion, scope: `${entra.graphUrl}/User.Read` }
  const { accessToken } = await app.token(tokenEndpointOf(entra, tenantOf(issuer) ?? ''), form).catch((error: unknown) => {
    if (!(error instanceof EntraRefused)) throw error
    throw new LoginRefused(`the person is in more groups than the token holds, and Graph cannot be asked on their behalf (${error.reason}): set groupOverage to application, or let the app registration put only groups that are assigned to it into tokens`, error)
  })
  return accessToken
}

interface Redeemer {
  readonly entra: EntraTenants
  readonly app: EntraClient
  readonly refresh: IdentityProvider['refresh']
}

interface Redeeming {
  readonly tokens: IdentityTokens
  readonly known: KnownIdentity
  readonly request: TokenRequest
}

/** Refresh tokens are good for every resource that the app was consented to; each request is for one. */
async function redeem({ entra, app, refresh }: Redeemer, { tokens, known, request }: Redeeming, keep: (tokens: IdentityTokens) => Promise<void>): Promise<RedeemedToken | 'ended'> {
  const tid = tenantOf(known.issuer)
  if (tokens.refreshToken === undefined || tid === undefined) throw new LoginRefused('there is no refresh token')
  const form = { grant_type: 'refresh_token', refresh_token: tokens.refreshToken, scope: request.scopes.join(' '), claims: claimsRequest(request.claims) }
  try {
    const { refreshToken, ...token } = await app.token(tokenEndpointOf(entra, tid), form)
    // The newer one lives longer; the one before may be good no more.
    if (refreshToken !== undefined && refreshToken !== tokens.refreshToken) await keep({ ...tokens, refreshToken })
    return token
  } catch (error) {
    if (!(error instanceof EntraRefused)) throw error
    if (error.isInteractive) throw new SignInNeeded(error.reason, error.claims)
    // The same is said of a person who is not assigned to the resource. Whether the sign-in has ended, it alone tells.
    if (error.code === 'invalid_grant' && !error.lacksConsent && (await refresh?.(tokens, known, keep)) === undefined) return 'ended'
    throw new LoginRefused(error.reason, error)
  }
}
