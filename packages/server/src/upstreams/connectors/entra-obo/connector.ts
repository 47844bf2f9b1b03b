// Access to what trusts Entra ID, in the name of whoever signed in by it: with the refresh token of that sign-in, or on
// their behalf by another app registration. Tokens can be refused at any time (continuous access evaluation): they are used
// until the upstream says no, and what it demands then is asked for.
import { remembered } from '../../../audit/remembered.ts'
import { claimsRequest } from '../../../identity/entra/claims-request.ts'
import { entraClient, EntraRefused, isClaims, type EntraDeps } from '../../../identity/entra/client.ts'
import { tenantOf, tokenEndpointOf } from '../../../identity/entra/tenant.ts'
import type { ProviderTokens } from '../../../identity/provider-tokens.ts'
import { LoginRefused, SignInNeeded } from '../../../identity/providers/provider.ts'
import type { User } from '../../../identity/user.ts'
import type { SignInRequirement } from '../../../policy/rule.ts'
import { actingFor, RECENT, type ActingDeps } from '../acting-for.ts'
import { CredentialRefused, SignInRequired, type Connector } from '../connector.ts'
import { challengeParameters } from '../oauth/discovery.ts'
import type { IssuedToken } from '../oauth/possession.ts'
import type { EntraOboSettings } from './settings.ts'

export interface EntraOboDeps extends EntraDeps, ActingDeps {
  readonly now: ActingDeps['now']
  readonly providerTokens: Pick<ProviderTokens, 'redeem'>
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
/** How long a demand is asked for that nothing came of. */
const DEMAND_MS = 10 * 60_000
const MAX_DEMANDS = 20_000

interface Demand {
  readonly claims: string
  readonly until: number
}

export function entraObo(settings: EntraOboSettings, deps: EntraOboDeps): Connector {
  const { now } = deps
  // What was demanded of a sign-in is not asked of the next one: perhaps it was for just that, on another node.
  const demands = remembered<Demand | undefined>(deps.feed, ['user', 'subject'], MAX_DEMANDS)
  const issue = issuer(settings, deps)
  const tokens = actingFor(deps, {
    name: settings.type,
    inWords,
    async ask(user) {
      const demand = demands.get(user.id)
      const demanded = demand !== undefined && demand.until > now() ? demand.claims : undefined
      const token = await issue(user, demanded)
      // A demand that was met is forgotten.
      if (demands.get(user.id) === demand) demands.asking(user.id)(undefined)
      return [token, { connector: settings.type, scope: [...settings.scopes], ...(settings.app === undefined ? {} : { app: settings.app.clientId }), ...(demanded === undefined ? {} : { demanded: true }) }]
    },
  })
  return {
    perUser: true,
    bySignIn: true,
    credential: tokens.credential,
    async refused(userId, _upstream, version, challenge = '') {
      const claims = demandOf(challenge)
      if (tokens.refused(userId, version, claims) === 'discarded' && claims !== undefined) demands.asking(userId)({ claims, until: now() + DEMAND_MS })
    },
  }
}

/**
 * A claims challenge: the header has in base64 what a request has as JSON. An upstream says what its access token must be
 * like, and nothing of what Lanyard is told at the sign-in.
 */
function demandOf(challenge: string): string | undefined {
  const parameters = challengeParameters(challenge)
  const claims = parameters.get('error') === 'insufficient_claims' ? Buffer.from(parameters.get('claims') ?? '', 'base64').toString('utf8') : ''
  if (!isClaims(claims)) return undefined
  const { access_token: token } = JSON.parse(claims) as { readonly access_token?: object }
  return token === undefined ? undefined : JSON.stringify({ access_token: token })
}

/** How a token for the scopes is had: by the sign-in's own refresh token, or on the person's behalf. */
function issuer({ app, scopes, provider }: EntraOboSettings, deps: EntraOboDeps): (user: User, demanded: string | undefined) => Promise<IssuedToken> {
  const redeemed = async (userId: string, wanted: readonly string[], demanded: string | undefined): Promise<IssuedToken> => {
    const token = await deps.providerTokens.redeem(userId, { scopes: wanted, ...(demanded === undefined ? {} : { claims: demanded }) })
    if (token === undefined) throw new SignInNeeded('there is no refresh token that is still good')
    return token
  }
  const client = app && entraClient(app, deps)
  return async (user, demanded) => {
    if (user.provider !== provider.id) throw new CredentialRefused('you did not sign in by the Entra ID that it trusts: sign in there', 'entra-obo: another identity provider')
    if (app === undefined || client === undefined) return redeemed(user.id, scopes, demanded)
    // The assertion is a token of the person for this very app: one for anything else is refused.
    const { accessToken: assertion } = await redeemed(user.id, [app.scope], demanded)
    const endpoint = tokenEndpointOf(provider, tenantOf(user.issuer) ?? '')
    return client.token(endpoint, { grant_type: JWT_BEARER, requested_token_use: 'on_behalf_of', assertion, scope: scopes.join(' '), claims: claimsRequest(demanded) })
  }
}

function inWords(error: unknown): unknown {
  if (error instanceof SignInNeeded) return new SignInRequired(`entra-obo: ${error.reason}`, requirementOf(error.claims), error)
  if (error instanceof EntraRefused && error.isInteractive) return new SignInRequired(`entra-obo: ${error.reason}`, requirementOf(error.claims), error)
  if (error instanceof EntraRefused || error instanceof LoginRefused) return new CredentialRefused('Entra ID does not let this gateway use it as you; an administrator of the tenant can', `entra-obo: ${error.reason}`, error)
  return error
}

/** What the next sign-in is asked for: as it was demanded, and what of it can be told to others. */
function requirementOf(claims: string | undefined): SignInRequirement {
  if (claims === undefined) return RECENT
  const { access_token: token } = JSON.parse(claims) as { readonly access_token?: { readonly acrs?: { readonly value?: unknown; readonly values?: unknown } } }
  const contexts = [token?.acrs?.value ?? [], token?.acrs?.values ?? []].flat().filter((value): value is string => typeof value === 'string' && /^[\w-]{1,32}$/.test(value))
  return { ...(contexts.length === 0 ? {} : { acrValues: contexts }), demanded: claims }
}
