// Owns access to upstreams whose authorization server exchanges tokens of the person's identity provider for its own
// (RFC 8693): often that provider itself, as Keycloak does for another client of its realm. Nobody connects anything, and
// nothing is stored: the person's sign-in here is what is exchanged, and ends it.
import type { ChangeFeed } from '../../../audit/change.ts'
import type { Recorder } from '../../../audit/event.ts'
import type { Outbound } from '../../../http/outbound.ts'
import type { ProviderTokens } from '../../../identity/provider-tokens.ts'
import { ExchangeRefused, LoginRefused, ProviderUnavailable, type IdentityProvider } from '../../../identity/providers/provider.ts'
import type { User, Users } from '../../../identity/user.ts'
import type { ConnectionStore } from '../../connection-store.ts'
import type { Sealer } from '../../../keys/seal.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector } from '../connector.ts'
import { heldTokens, type ShortLivedToken } from '../held-tokens.ts'
import { discovery, type Discovery } from '../oauth/discovery.ts'
import { requirePinnedIssuer } from '../oauth/registration.ts'
import { exchangeThere, TOKEN_TYPES, type Parameters } from './request.ts'
import type { TokenExchangeSettings } from './settings.ts'

export interface TokenExchangeDeps {
  readonly outbound: Outbound
  readonly sealer: Sealer
  readonly store: ConnectionStore
  readonly users: Users
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly providerTokens: Pick<ProviderTokens, 'current'>
  readonly audit: Recorder
  readonly feed: ChangeFeed
  readonly now: () => number
}

/** Where a server only says that the person is needed: a sign-in that is no older than this, in seconds. */
const RECENT_S = 300
/** RFC 6749 §5.2, RFC 9470 §3, and how Keycloak says that the subject token is not good any more. */
const NEEDS_SIGN_IN: ReadonlySet<string> = new Set(['invalid_grant', 'invalid_token', 'login_required', 'interaction_required', 'insufficient_user_authentication'])

export function tokenExchangeConnector(settings: TokenExchangeSettings, deps: TokenExchangeDeps): Connector {
  const found = discovery(deps.outbound, deps.now)
  const tokens = heldTokens(deps, (userId, upstream) => obtain(settings, deps, found, { userId, upstream }))
  return {
    perUser: true,
    bySignIn: true,
    credential: tokens.credential,
    async refused(userId, upstream, version) {
      if (settings.clientId !== undefined) found.doubt(upstream)
      await tokens.refused(userId, upstream, version)
    },
  }
}

interface Wanted {
  readonly userId: string
  readonly upstream: Upstream
}

async function obtain(settings: TokenExchangeSettings, deps: TokenExchangeDeps, found: Discovery, { userId, upstream }: Wanted): Promise<ShortLivedToken> {
  const user = await deps.users.find(userId)
  if (user === undefined || user.disabled || user.kind === 'machine') throw new CredentialRefused('it acts for people alone', 'token exchange: no person')
  try {
    const provider = deps.providers.get(user.provider)
    if (provider === undefined || (settings.identityProvider ?? provider.id) !== provider.id) throw new CredentialRefused('it takes the word of another identity provider than the one that you signed in at', 'token exchange: another identity provider')
    const parameters = await requestOf(settings, deps, user)
    const token = settings.clientId === undefined ? await exchangedBy(provider, parameters) : await exchangedThere(settings, deps, found, upstream, parameters)
    const detail = { connector: settings.type, ...(token.scope === undefined ? {} : { scope: token.scope }) }
    await deps.audit.record({ action: 'connection.refreshed', outcome: 'success', subject: userId, upstream: upstream.id, detail })
    return token
  } catch (error) {
    throw await told(deps, user, upstream, error)
  }
}

/** RFC 8693 §2.1: what the person's sign-in here brought, for the target that the administrator named. */
async function requestOf({ subjectToken, audience, resource, scopes }: TokenExchangeSettings, { providerTokens }: TokenExchangeDeps, user: User): Promise<Parameters> {
  const held = await providerTokens.current(user.id)
  const token = subjectToken === 'id_token' ? held?.idToken : held?.accessToken
  if (token === undefined) throw new SignInRequired(`token exchange: no ${subjectToken} of the sign-in that is still good`, { maxAge: RECENT_S })
  return {
    subject_token: token,
    subject_token_type: TOKEN_TYPES[subjectToken],
    requested_token_type: TOKEN_TYPES.access_token,
    ...(audience === undefined ? {} : { audience }),
    ...(resource === undefined ? {} : { resource }),
    ...(scopes === undefined || scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
  }
}

async function exchangedBy(provider: IdentityProvider, parameters: Parameters): Promise<ShortLivedToken> {
  if (provider.exchange === undefined) throw new CredentialRefused('your identity provider exchanges no tokens', 'token exchange: the identity provider cannot')
  const { token, issuedTokenType, tokenType, expiresAt, scope } = await provider.exchange(parameters)
  // RFC 8693 §2.2.1: what is no access token, or none for a bearer, must not be sent as one.
  if (issuedTokenType !== TOKEN_TYPES.access_token || tokenType !== 'bearer') throw new LoginRefused('it issued something else than a bearer access token')
  if (!/^[\x21-\x7e]+$/.test(token)) throw new LoginRefused('it issued a token that fits no header')
  return { accessToken: token, ...(expiresAt === undefined ? {} : { expiresAt }), ...(scope === undefined ? {} : { scope }) }
}

async function exchangedThere(settings: TokenExchangeSettings, deps: TokenExchangeDeps, found: Discovery, upstream: Upstream, parameters: Parameters): Promise<ShortLivedToken> {
  const { clientId = '', clientSecret, issuer } = settings
  const discovered = await found.discover(upstream)
  // C-10: secret and tokens go to the authorization server that they are for, and to no other that the upstream may name.
  if (issuer === undefined) await requirePinnedIssuer(deps, upstream, clientId, discovered.server.issuer)
  const { resource = discovered.resource } = settings
  const asked = { ...parameters, ...(resource === undefined ? {} : { resource }) }
  const party = { clientId, ...(clientSecret === undefined ? {} : { clientSecret }), discovered, outbound: deps.outbound, provenance: found.provenance(upstream), now: deps.now }
  return exchangeThere(party, asked)
}

/** What a refusal means for the person, recorded. */
async function told({ audit }: TokenExchangeDeps, user: User, upstream: Upstream, error: unknown): Promise<unknown> {
  if (error instanceof ProviderUnavailable) return new UpstreamUnavailable(error.message, { cause: error })
  const reason = error instanceof LoginRefused || error instanceof ConnectionRefused || error instanceof SignInRequired || error instanceof CredentialRefused ? error.reason : undefined
  if (reason === undefined) return error
  await audit.record({ action: 'connection.failed', outcome: 'failure', subject: user.id, upstream: upstream.id, reason })
  if (error instanceof SignInRequired || error instanceof CredentialRefused) return error
  const code = error instanceof ExchangeRefused ? error.code : /^server: (.+)$/.exec(reason)?.[1]
  // A sign-in from now on brings a token that is good again, or proves what was missing.
  const signIn = error instanceof ExchangeRefused && Object.keys(error.signIn).length > 0 ? error.signIn : { maxAge: RECENT_S }
  if (code !== undefined && NEEDS_SIGN_IN.has(code)) return new SignInRequired(`token exchange: ${reason}`, signIn, error)
  return new CredentialRefused('its authorization server gives no token for your sign-in', `token exchange: ${reason}`, error)
}
