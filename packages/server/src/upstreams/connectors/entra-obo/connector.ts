// Access to what trusts Entra ID, in the name of whoever signed in by it: with the refresh token of that sign-in, or on
// their behalf by another app registration. Nobody connects anything, and nothing is stored. Tokens can be refused at any
// time (continuous access evaluation): they are used until the upstream says no, and what it demands then is asked for.
import type { ChangeFeed } from '../../../audit/change.ts'
import type { Recorder } from '../../../audit/event.ts'
import { remembered } from '../../../audit/remembered.ts'
import { claimsRequest } from '../../../identity/entra/claims-request.ts'
import { entraClient, EntraRefused, isClaims, type EntraClient, type EntraDeps } from '../../../identity/entra/client.ts'
import { tenantOf, tokenEndpointOf } from '../../../identity/entra/tenant.ts'
import type { ProviderTokens } from '../../../identity/provider-tokens.ts'
import { LoginRefused, ProviderUnavailable, SignInNeeded } from '../../../identity/providers/provider.ts'
import type { User, Users } from '../../../identity/user.ts'
import { hash } from '../../../oauth/secret.ts'
import type { SignInRequirement } from '../../../policy/rule.ts'
import type { Upstream } from '../../upstream.ts'
import { CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector } from '../connector.ts'
import { challengeParameters } from '../oauth/discovery.ts'
import type { EntraOboSettings } from './settings.ts'

export interface EntraOboDeps extends EntraDeps {
  readonly users: Users
  readonly providerTokens: Pick<ProviderTokens, 'redeem'>
  readonly audit: Recorder
  readonly feed: Pick<ChangeFeed, 'subscribe'>
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const EARLY_MS = 60_000
/** How long a demand is asked for that nothing came of. */
const DEMAND_MS = 10 * 60_000
/** An upstream that refuses everything does not have a token made for each call. */
const DOUBT_MS = 30_000
const MAX_HELD = 20_000
/** Where Entra ID only says that the person is needed: a sign-in that is no older than this. */
const RECENT_S = 300

interface Held {
  readonly accessToken: string
  readonly usableUntil: number
}

export function entraObo(settings: EntraOboSettings, deps: EntraOboDeps): Connector {
  const { now } = deps
  const app = settings.app === undefined ? undefined : entraClient(settings.app, deps)
  const held = remembered<Held>(deps.feed, ['subject'], MAX_HELD)
  const demands = new Map<string, { readonly claims: string; readonly until: number }>()
  const refusals = new Map<string, { readonly claims: string | undefined; readonly until: number }>()
  const underWay = new Map<string, Promise<Held>>()
  // What was demanded of a sign-in is not asked of the next one: perhaps it was for just that, on another node.
  deps.feed.subscribe(({ kind, key }) => {
    if (kind !== 'user' && kind !== 'subject') return
    demands.delete(key)
    refusals.delete(key)
  })

  const obtain = async (userId: string, upstream: Upstream): Promise<Held> => {
    const keep = held.asking(userId)
    const demand = demands.get(userId)
    const demanded = demand !== undefined && demand.until > now() ? demand.claims : undefined
    const { accessToken, expiresAt } = await tokenFor(settings, deps, app, { userId, upstream, demanded })
    const fresh: Held = { accessToken, usableUntil: expiresAt - EARLY_MS }
    // A demand that was met is forgotten.
    if (demands.get(userId) === demand) demands.delete(userId)
    keep(fresh)
    return fresh
  }
  const current = (userId: string, upstream: Upstream): Promise<Held> => {
    const known = held.get(userId)
    if (known !== undefined && known.usableUntil > now()) return Promise.resolve(known)
    const work = underWay.get(userId) ?? obtain(userId, upstream).finally(() => underWay.delete(userId))
    underWay.set(userId, work)
    return work
  }
  return {
    perUser: true,
    bySignIn: true,
    async credential(userId, upstream) {
      const { accessToken } = await current(userId, upstream)
      return { headers: { authorization: `Bearer ${accessToken}` }, version: hash(accessToken) }
    },
    async refused(userId, _upstream, version, challenge = '') {
      const known = held.get(userId)
      if (known === undefined || hash(known.accessToken) !== version) return
      const claims = demandOf(challenge)
      const before = refusals.get(userId)
      // The token before it was refused a moment ago, in the same words: this one was made for just that.
      if (before !== undefined && before.claims === claims && before.until > now()) return
      if (refusals.size >= MAX_HELD) refusals.clear()
      refusals.set(userId, { claims, until: now() + DOUBT_MS })
      if (demands.size >= MAX_HELD) demands.clear()
      if (claims !== undefined) demands.set(userId, { claims, until: now() + DEMAND_MS })
      held.asking(userId)({ ...known, usableUntil: 0 })
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

interface Wanted {
  readonly userId: string
  readonly upstream: Upstream
  readonly demanded: string | undefined
}

async function tokenFor(settings: EntraOboSettings, deps: EntraOboDeps, app: EntraClient | undefined, wanted: Wanted): Promise<{ accessToken: string; expiresAt: number }> {
  const { userId, upstream, demanded } = wanted
  const user = await deps.users.find(userId)
  if (user === undefined || user.disabled || user.kind === 'machine') throw new CredentialRefused('it acts for people alone', 'entra-obo: no person')
  if (user.provider !== settings.provider.id) throw new CredentialRefused('you did not sign in by the Entra ID that it trusts', 'entra-obo: another identity provider')
  try {
    const token = await (app === undefined || settings.app === undefined ? redeemed(deps, wanted, settings.scopes) : onBehalfOf({ ...settings, app: settings.app }, deps, app, { ...wanted, user }))
    const detail = { connector: settings.type, scope: [...settings.scopes], ...(settings.app === undefined ? {} : { app: settings.app.clientId }), ...(demanded === undefined ? {} : { demanded: true }) }
    await deps.audit.record({ action: 'connection.refreshed', outcome: 'success', subject: userId, upstream: upstream.id, detail })
    return token
  } catch (error) {
    const told = inWords(error)
    if (told instanceof CredentialRefused || told instanceof SignInRequired) await deps.audit.record({ action: 'connection.failed', outcome: 'failure', subject: userId, upstream: upstream.id, reason: told.reason })
    throw told
  }
}

async function redeemed({ providerTokens }: EntraOboDeps, { userId, demanded }: Wanted, scopes: readonly string[]): Promise<{ accessToken: string; expiresAt: number }> {
  const token = await providerTokens.redeem(userId, { scopes, ...(demanded === undefined ? {} : { claims: demanded }) })
  if (token === undefined) throw new SignInNeeded('there is no refresh token that is still good')
  return token
}

/** The assertion is a token of the person for this very app: one for anything else is refused. */
async function onBehalfOf(settings: EntraOboSettings & { readonly app: NonNullable<EntraOboSettings['app']> }, deps: EntraOboDeps, app: EntraClient, wanted: Wanted & { readonly user: User }): Promise<{ accessToken: string; expiresAt: number }> {
  const { accessToken: assertion } = await redeemed(deps, wanted, [settings.app.scope])
  const endpoint = tokenEndpointOf(settings.provider, tenantOf(wanted.user.issuer) ?? '')
  return app.token(endpoint, { grant_type: JWT_BEARER, requested_token_use: 'on_behalf_of', assertion, scope: settings.scopes.join(' '), claims: claimsRequest(wanted.demanded) })
}

function inWords(error: unknown): unknown {
  if (error instanceof ProviderUnavailable) return new UpstreamUnavailable(error.message, { cause: error })
  if (error instanceof SignInNeeded) return new SignInRequired(`entra-obo: ${error.reason}`, requirementOf(error.claims), error)
  if (error instanceof EntraRefused && error.isInteractive) return new SignInRequired(`entra-obo: ${error.reason}`, requirementOf(error.claims), error)
  if (error instanceof EntraRefused || error instanceof LoginRefused) return new CredentialRefused('Entra ID does not let this gateway use it as you; an administrator of the tenant can', `entra-obo: ${error.reason}`, error)
  return error
}

/** What the next sign-in is asked for: as it was demanded, and what of it can be told to others. */
function requirementOf(claims: string | undefined): SignInRequirement {
  if (claims === undefined) return { maxAge: RECENT_S }
  const { access_token: token } = JSON.parse(claims) as { readonly access_token?: { readonly acrs?: { readonly value?: unknown; readonly values?: unknown } } }
  const contexts = [token?.acrs?.value ?? [], token?.acrs?.values ?? []].flat().filter((value): value is string => typeof value === 'string' && /^[\w-]{1,32}$/.test(value))
  return { ...(contexts.length === 0 ? {} : { acrValues: contexts }), demanded: claims }
}
