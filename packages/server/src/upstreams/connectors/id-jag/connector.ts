// Owns access to upstreams that trust who signed the person in (ID-JAG, MCP's Enterprise-Managed Authorization): an
// assertion for the upstream's authorization server, from the person's identity provider or from Lanyard itself, becomes
// an access token there.
import { authenticationOf } from '../../../identity/authentication.ts'
import type { ProviderTokens } from '../../../identity/provider-tokens.ts'
import { ExchangeRefused, LoginRefused, ProviderUnavailable, type IdentityProvider } from '../../../identity/providers/provider.ts'
import type { User } from '../../../identity/user.ts'
import type { Authentication } from '../../../policy/rule.ts'
import type { Upstream } from '../../upstream.ts'
import { actingFor, RECENT, refusing, signInOf, type Acting, type ActingDeps } from '../acting-for.ts'
import { ConnectionRefused, CredentialRefused, SignInRequired, type Connector } from '../connector.ts'
import { discovery, type Discovered } from '../oauth/discovery.ts'
import { exchange } from '../oauth/exchange.ts'
import { clientDocumentUrl, serverOfClient, withMethod, type ClientDeps } from '../oauth/registration.ts'
import type { IdJagSettings } from './settings.ts'

/** Makes an assertion of Lanyard's own for a person. */
export type OwnAssertion = (request: { readonly user: User; readonly audience: string; readonly clientId: string; readonly resource: string; readonly scope: readonly string[]; readonly tenant?: string; readonly authentication?: Authentication }) => { readonly assertion: string }

export interface IdJagConnectorDeps extends ClientDeps, ActingDeps {
  readonly feed: ClientDeps['feed']
  readonly issuer: string
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly providerTokens: Pick<ProviderTokens, 'current'>
  /** Absent when this gateway signs none. */
  readonly ownAssertion?: OwnAssertion
}

const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag'
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/

export function idJagConnector(settings: IdJagSettings, deps: IdJagConnectorDeps): Connector {
  const found = discovery(deps.outbound, deps.now)
  const server = exchange(deps.outbound, found, deps.now)
  const ask: Acting['ask'] = async (user, upstream) => {
    const discovered = await serverOfClient(deps, found, upstream, { ...settings, clientId: settings.clientId ?? 'id-jag' })
    const client = withMethod(clientIdOf(settings, deps.issuer, upstream, discovered), settings.clientSecret, discovered.server.token_endpoint_auth_methods_supported)
    const asked = { audience: discovered.server.issuer, resource: discovered.resource ?? upstream.url, scope: settings.scopes ?? discovered.scope }
    const assertion = settings.assertions === 'lanyard' ? await ownAssertion(settings, deps, user, { ...asked, clientId: client.clientId }) : await providersAssertion(deps, user, asked)
    // ID-JAG §4.4, RFC 7523 §2.1. A refresh token is not kept (§4.4.3).
    const token = await server.grant({ upstream, discovered, client }, { type: JWT_BEARER, parameters: { assertion, resource: asked.resource, ...scopeOf(asked.scope) } })
    return [token, { connector: settings.type, issuer: asked.audience, assertion_issuer: settings.assertions, ...(token.scope === undefined ? {} : { scope: token.scope }) }]
  }
  const tokens = actingFor(deps, { name: 'id-jag', inWords, ask })
  return {
    perUser: true,
    bySignIn: true,
    credential: tokens.credential,
    refused: refusing(tokens, deps, 'id-jag', found),
  }
}

/** EMA §5: as an administrator registered Lanyard there, else by the document that it hosts, which every party knows it by. */
function clientIdOf({ clientId }: IdJagSettings, issuer: string, upstream: Upstream, { server }: Discovered): string {
  if (clientId !== undefined) return clientId
  if (server.client_id_metadata_document_supported !== true || !issuer.startsWith('https:')) throw new ConnectionRefused('the authorization server knows no metadata documents: configure clientId and clientSecret')
  return clientDocumentUrl(issuer, upstream.id)
}

interface Asked {
  readonly audience: string
  readonly resource: string
  readonly scope: readonly string[]
}

function scopeOf(scope: readonly string[]): Readonly<Record<string, string>> {
  return scope.length === 0 ? {} : { scope: scope.join(' ') }
}

async function ownAssertion({ tenant }: IdJagSettings, deps: IdJagConnectorDeps, user: User, asked: Asked & { readonly clientId: string }): Promise<string> {
  if (deps.ownAssertion === undefined) throw new Error('the gateway has no keys for assertions')
  const authentication = await newestSignIn(deps, user)
  return deps.ownAssertion({ user, ...asked, ...(authentication === undefined ? {} : { authentication }), ...(tenant === undefined ? {} : { tenant }) }).assertion
}

/** How the person signed in last, in the words of a token of that sign-in that is still good: without them, no sign-in would ever be strong enough there. */
async function newestSignIn({ providers, providerTokens }: IdJagConnectorDeps, user: User): Promise<Authentication | undefined> {
  try {
    const idToken = (await providerTokens.current(user.id))?.idToken
    const claims = idToken === undefined ? undefined : await providers.get(user.provider)?.present?.(idToken, 'id_token')
    // It is the person's own, of this sign-in, whoever it is presented for.
    return claims?.issuer === user.issuer && claims.subject === user.subject ? authenticationOf(claims) : undefined
  } catch (error) {
    // Lanyard vouches for who somebody is without anybody else's help.
    if (error instanceof ProviderUnavailable || error instanceof LoginRefused) return undefined
    throw error
  }
}

/** The request as Okta has it: an ID token that the person's sign-in here brought, by the client that Lanyard is there. */
async function providersAssertion(deps: IdJagConnectorDeps, user: User, { audience, resource, scope }: Asked): Promise<string> {
  const provider = deps.providers.get(user.provider)
  if (provider?.exchange === undefined) throw new CredentialRefused('you did not sign in with an identity provider that vouches for you there: sign in with one that does', 'id-jag: no identity provider')
  const idToken = (await deps.providerTokens.current(user.id))?.idToken
  if (idToken === undefined) throw new SignInRequired('id-jag: no ID token that is still good', RECENT)
  const { token, issuedTokenType } = await provider.exchange({
    requested_token_type: ID_JAG,
    subject_token: idToken,
    subject_token_type: ID_TOKEN,
    audience,
    resource,
    ...scopeOf(scope),
  })
  // Whatever it calls the type of the token: an access token of its own is worth nothing elsewhere, and must not be sent there.
  if (issuedTokenType !== ID_JAG || !JWT.test(token)) throw new LoginRefused('it issued something else than an ID-JAG')
  return token
}

/** What the identity provider says no to, or the upstream's side. */
function inWords(error: unknown): unknown {
  if (error instanceof ExchangeRefused) return needsSignIn(error) ?? new CredentialRefused(`your identity provider does not let you use it${error.interaction === undefined ? '; its administrator can' : `; it says more at ${error.interaction}`}`, `id-jag: ${error.reason}`, error)
  if (error instanceof LoginRefused) return new CredentialRefused('your identity provider did not vouch for you there; your administrator finds why in the audit trail', `id-jag: ${error.reason}`, error)
  if (!(error instanceof ConnectionRefused)) return error
  // RFC 9470 §3: the sign-in that the assertion tells of is not enough there.
  if (error.reason === 'server: insufficient_user_authentication') return new SignInRequired(`id-jag: ${error.reason}`, signInOf(error), error)
  return new CredentialRefused('its authorization server does not take the word of your identity provider; your administrator finds why in the audit trail', `id-jag: ${error.reason}`, error)
}

/** RFC 9470, ID-JAG §7.2: a stronger or newer sign-in would help; what it must be like, where the provider says so. */
function needsSignIn(error: ExchangeRefused): SignInRequired | undefined {
  const { code, interaction, reason } = error
  const helps = code === 'insufficient_user_authentication' || code === 'login_required' || (code === 'interaction_required' && interaction === undefined) || code === 'invalid_grant'
  return helps ? new SignInRequired(`id-jag: ${reason}`, signInOf(error)) : undefined
}
