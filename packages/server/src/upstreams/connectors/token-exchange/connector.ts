// Owns access to upstreams whose authorization server exchanges tokens of the person's identity provider for its own
// (RFC 8693): often that provider itself, as Keycloak does for another client of its realm. The person's sign-in here is
// what is exchanged, and ends it.
import type { ProviderTokens } from '../../../identity/provider-tokens.ts'
import { ExchangeRefused, LoginRefused, type IdentityProvider } from '../../../identity/providers/provider.ts'
import type { User } from '../../../identity/user.ts'
import type { Upstream } from '../../upstream.ts'
import { actingFor, RECENT, refusing, signInOf, type ActingDeps } from '../acting-for.ts'
import { ConnectionRefused, CredentialRefused, SignInRequired, type Connector } from '../connector.ts'
import { discovery, type Discovery } from '../oauth/discovery.ts'
import { exchange, type Exchange } from '../oauth/exchange.ts'
import { fitsHeader, type IssuedToken } from '../oauth/possession.ts'
import { serverOfClient, withMethod, type ClientDeps } from '../oauth/registration.ts'
import type { TokenExchangeSettings } from './settings.ts'

export interface TokenExchangeDeps extends ClientDeps, ActingDeps {
  readonly feed: ClientDeps['feed']
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly providerTokens: Pick<ProviderTokens, 'current'>
}

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
/** The kinds of tokens by the names of RFC 8693 §3. */
const TOKEN_TYPES = {
  access_token: 'urn:ietf:params:oauth:token-type:access_token',
  id_token: 'urn:ietf:params:oauth:token-type:id_token',
} as const
/** RFC 6749 §5.2, RFC 9470 §3, and how Keycloak says that the subject token is not good any more. */
const NEEDS_SIGN_IN: ReadonlySet<string> = new Set(['invalid_grant', 'invalid_token', 'login_required', 'interaction_required', 'insufficient_user_authentication'])

/** Of RFC 8693 §2.1, under their own names. */
type Parameters = Readonly<Record<string, string>>

export function tokenExchangeConnector(settings: TokenExchangeSettings, deps: TokenExchangeDeps): Connector {
  const found = discovery(deps.outbound, deps.now)
  const server = exchange(deps.outbound, found, deps.now)
  const tokens = actingFor(deps, {
    name: 'token exchange',
    inWords,
    async ask(user, upstream) {
      const token = await issued(settings, deps, { found, server }, { user, upstream })
      return [token, { connector: settings.type, ...(token.scope === undefined ? {} : { scope: token.scope }) }]
    },
  })
  return {
    perUser: true,
    bySignIn: true,
    credential: tokens.credential,
    refused: refusing(tokens, deps, 'token exchange', found),
  }
}

interface Wanted {
  readonly user: User
  readonly upstream: Upstream
}

/** Whom the upstream's own authorization server is found by, and asked. */
interface There {
  readonly found: Discovery
  readonly server: Exchange
}

async function issued(settings: TokenExchangeSettings, deps: TokenExchangeDeps, there: There, { user, upstream }: Wanted): Promise<IssuedToken> {
  const provider = deps.providers.get(user.provider)
  if (provider === undefined || (settings.identityProvider ?? provider.id) !== provider.id) throw new CredentialRefused('it takes the word of another identity provider than the one that you signed in at: sign in there', 'token exchange: another identity provider')
  const parameters = await requestOf(settings, deps, user)
  return settings.clientId === undefined ? exchangedBy(provider, parameters) : exchangedThere({ ...settings, clientId: settings.clientId }, deps, there, { upstream, parameters })
}

/** RFC 8693 §2.1: what the person's sign-in here brought, for the target that the administrator named. */
async function requestOf({ subjectToken, audience, resource, scopes }: TokenExchangeSettings, { providerTokens }: TokenExchangeDeps, user: User): Promise<Parameters> {
  const held = await providerTokens.current(user.id)
  const token = subjectToken === 'id_token' ? held?.idToken : held?.accessToken
  if (token === undefined) throw new SignInRequired(`token exchange: no ${subjectToken} of the sign-in that is still good`, RECENT)
  return {
    subject_token: token,
    subject_token_type: TOKEN_TYPES[subjectToken],
    requested_token_type: TOKEN_TYPES.access_token,
    ...(audience === undefined ? {} : { audience }),
    ...(resource === undefined ? {} : { resource }),
    ...(scopes === undefined || scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
  }
}

async function exchangedBy(provider: IdentityProvider, parameters: Parameters): Promise<IssuedToken> {
  if (provider.exchange === undefined) throw new CredentialRefused('your identity provider exchanges no tokens; your administrator must use another connector for it', 'token exchange: the identity provider cannot')
  const { token, issuedTokenType, tokenType, expiresAt, scope } = await provider.exchange(parameters)
  // RFC 8693 §2.2.1: what is no access token, or none for a bearer, must not be sent as one.
  if (issuedTokenType !== TOKEN_TYPES.access_token || tokenType !== 'bearer') throw new LoginRefused('it issued something else than a bearer access token')
  if (!fitsHeader(token)) throw new LoginRefused('it issued a token that fits no header')
  return { accessToken: token, ...(expiresAt === undefined ? {} : { expiresAt }), ...(scope === undefined ? {} : { scope }) }
}

async function exchangedThere(settings: TokenExchangeSettings & { readonly clientId: string }, deps: TokenExchangeDeps, { found, server }: There, { upstream, parameters }: { readonly upstream: Upstream; readonly parameters: Parameters }): Promise<IssuedToken> {
  const discovered = await serverOfClient(deps, found, upstream, settings)
  const { resource = discovered.resource } = settings
  const client = withMethod(settings.clientId, settings.clientSecret, discovered.server.token_endpoint_auth_methods_supported)
  return server.grant(
    { upstream, discovered, client },
    {
      type: TOKEN_EXCHANGE,
      parameters: { ...parameters, ...(resource === undefined ? {} : { resource }) },
      // RFC 8693 §2.2.1: what is no access token must not be sent as one. Many servers leave the type out.
      isWanted: ({ issued_token_type: type }) => type === undefined || type === TOKEN_TYPES.access_token,
    },
  )
}

function inWords(error: unknown): unknown {
  if (!(error instanceof LoginRefused || error instanceof ConnectionRefused)) return error
  const code = error instanceof ExchangeRefused ? error.code : /^server: (.+)$/.exec(error.reason)?.[1]
  // A sign-in from now on brings a token that is good again, or proves what was missing.
  if (code !== undefined && NEEDS_SIGN_IN.has(code)) return new SignInRequired(`token exchange: ${error.reason}`, signInOf(error), error)
  return new CredentialRefused('its authorization server gives no token for your sign-in; your administrator finds why in the audit trail', `token exchange: ${error.reason}`, error)
}
