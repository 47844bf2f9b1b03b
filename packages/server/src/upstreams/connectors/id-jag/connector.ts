// Owns access to upstreams that trust who signed the person in (ID-JAG, MCP's Enterprise-Managed Authorization): an
// assertion for the upstream's authorization server, from the person's identity provider or from Lanyard itself, becomes
// an access token there. Nobody connects anything, and nothing is stored: a token lives for minutes, and in memory.
import type { ChangeFeed } from '../../../audit/change.ts'
import type { Recorder } from '../../../audit/event.ts'
import { remembered } from '../../../audit/remembered.ts'
import type { Outbound } from '../../../http/outbound.ts'
import type { ProviderTokens } from '../../../identity/provider-tokens.ts'
import { ExchangeRefused, LoginRefused, ProviderUnavailable, type IdentityProvider } from '../../../identity/providers/provider.ts'
import type { User, Users } from '../../../identity/user.ts'
import type { Sealer } from '../../../keys/seal.ts'
import { hash } from '../../../oauth/secret.ts'
import type { ConnectionStore } from '../../connection-store.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, CredentialRefused, SignInRequired, UpstreamUnavailable, type Connector, type Credential } from '../connector.ts'
import { discovery, type Discovered } from '../oauth/discovery.ts'
import { clientDocumentUrl, requirePinnedIssuer } from '../oauth/registration.ts'
import type { IdJagSettings, KnownSettings } from './settings.ts'
import { tokenFor, type AccessAnswer } from './token-request.ts'

/** Makes an assertion of Lanyard's own for a person. */
export type OwnAssertion = (request: { readonly user: User; readonly audience: string; readonly clientId: string; readonly resource: string; readonly scope: readonly string[]; readonly tenant?: string }) => { readonly assertion: string }

export interface IdJagConnectorDeps {
  readonly issuer: string
  readonly outbound: Outbound
  readonly sealer: Sealer
  readonly store: ConnectionStore
  readonly users: Users
  readonly providers: ReadonlyMap<string, IdentityProvider>
  readonly providerTokens: Pick<ProviderTokens, 'current'>
  /** Absent when this gateway signs none. */
  readonly ownAssertion?: OwnAssertion
  readonly audit: Recorder
  readonly feed: ChangeFeed
  readonly now: () => number
}

const ID_JAG = 'urn:ietf:params:oauth:token-type:id-jag'
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/
const ID_TOKEN = 'urn:ietf:params:oauth:token-type:id_token'
/** A token is used until this long before it ends, so that no call ends with it. */
const EARLY_MS = 30_000
/** What a server says nothing of is believed for this long. */
const UNKNOWN_LIFETIME_MS = 5 * 60_000
/** An upstream that refuses everything does not have a token made for each call. */
const DOUBT_MS = 30_000
const MAX_HELD = 50_000
/** Where an identity provider only says that the person is needed: a sign-in that is no older than this. */
const RECENT_S = 300

interface Held {
  readonly accessToken: string
  readonly usableUntil: number
}

export function idJagConnector(settings: IdJagSettings, deps: IdJagConnectorDeps): Connector {
  const found = discovery(deps.outbound, deps.now)
  const held = remembered<Held>(deps.feed, ['subject'], MAX_HELD)
  const underWay = new Map<string, Promise<Held>>()
  const doubts = new Map<string, number>()
  const request = async (userId: string, upstream: Upstream): Promise<Held> => {
    const keep = held.asking(userId)
    const discovered = await serverOf(settings, deps, found, upstream)
    const known = await trouble(deps, upstream, async () => ({ ...settings, clientId: clientIdOf(settings, deps.issuer, upstream, discovered) }))
    const answer = await obtain(known, deps, { userId, upstream, discovered, provenance: found.provenance(upstream) })
    const until = answer.expiresAt ?? deps.now() + UNKNOWN_LIFETIME_MS
    const fresh = { accessToken: answer.accessToken, usableUntil: Math.max(until - EARLY_MS, deps.now() + (until - deps.now()) / 2) }
    keep(fresh)
    return fresh
  }
  const once = (userId: string, upstream: Upstream): Promise<Held> => {
    const known = held.get(userId)
    if (known !== undefined && known.usableUntil > deps.now()) return Promise.resolve(known)
    const work = underWay.get(userId) ?? request(userId, upstream).finally(() => underWay.delete(userId))
    underWay.set(userId, work)
    return work
  }
  return {
    perUser: true,
    bySignIn: true,
    async credential(userId, upstream): Promise<Credential> {
      const { accessToken } = await once(userId, upstream)
      return { headers: { authorization: `Bearer ${accessToken}` }, version: hash(accessToken) }
    },
    async refused(userId, upstream, version) {
      const known = held.get(userId)
      if (known === undefined || hash(known.accessToken) !== version || (doubts.get(userId) ?? 0) > deps.now()) return
      if (doubts.size >= MAX_HELD) doubts.clear()
      doubts.set(userId, deps.now() + DOUBT_MS)
      found.doubt(upstream)
      held.asking(userId)({ ...known, usableUntil: 0 })
    },
  }
}

async function serverOf(settings: IdJagSettings, deps: IdJagConnectorDeps, found: ReturnType<typeof discovery>, upstream: Upstream): Promise<Discovered> {
  const discovered = await trouble(deps, upstream, () => found.discover(upstream))
  // C-10: secret and assertions go to the authorization server that they are for, and to no other that the upstream may name.
  if (settings.issuer === undefined) await trouble(deps, upstream, () => requirePinnedIssuer(deps, upstream, settings.clientId ?? 'id-jag', discovered.server.issuer))
  return discovered
}

/** EMA §5: as an administrator registered Lanyard there, else by the document that it hosts, which every party knows it by. */
function clientIdOf({ clientId }: IdJagSettings, issuer: string, upstream: Upstream, { server }: Discovered): string {
  if (clientId !== undefined) return clientId
  if (server.client_id_metadata_document_supported !== true || !issuer.startsWith('https:')) throw new ConnectionRefused('the authorization server knows no metadata documents: configure clientId and clientSecret')
  return clientDocumentUrl(issuer, upstream.id)
}

interface Target {
  readonly userId: string
  readonly upstream: Upstream
  readonly discovered: Discovered
  readonly provenance: ReturnType<ReturnType<typeof discovery>['provenance']>
}

async function obtain(settings: KnownSettings, deps: IdJagConnectorDeps, target: Target): Promise<AccessAnswer> {
  const { userId, upstream, discovered } = target
  const { server, resource = upstream.url } = discovered
  const scope = settings.scopes ?? discovered.scope
  const user = await deps.users.find(userId)
  if (user === undefined || user.disabled || user.kind === 'machine') throw new CredentialRefused('it acts for people alone', 'id-jag: no person')
  const asked = { audience: server.issuer, resource, scope }
  const assertion = settings.assertions === 'lanyard' ? ownAssertion(settings, deps, user, asked) : await providersAssertion(deps, user, upstream, asked)
  const answer = await trouble(deps, upstream, () => tokenFor({ ...deps, ...target, settings }, { assertion, resource, scope }), user)
  const detail = { connector: settings.type, issuer: server.issuer, assertion_issuer: settings.assertions, ...(answer.scope === undefined ? {} : { scope: answer.scope }) }
  await deps.audit.record({ action: 'connection.refreshed', outcome: 'success', subject: userId, upstream: upstream.id, detail })
  return answer
}

interface Asked {
  readonly audience: string
  readonly resource: string
  readonly scope: readonly string[]
}

function ownAssertion(settings: KnownSettings, deps: IdJagConnectorDeps, user: User, asked: Asked): string {
  if (deps.ownAssertion === undefined) throw new Error('the gateway has no keys for assertions')
  return deps.ownAssertion({ user, ...asked, clientId: settings.clientId, ...(settings.tenant === undefined ? {} : { tenant: settings.tenant }) }).assertion
}

/** The request as Okta has it: an ID token that the person's sign-in here brought, by the client that Lanyard is there. */
async function providersAssertion(deps: IdJagConnectorDeps, user: User, upstream: Upstream, { audience, resource, scope }: Asked): Promise<string> {
  const provider = deps.providers.get(user.provider)
  if (provider?.exchange === undefined) throw new CredentialRefused('you did not sign in with an identity provider that vouches for you there', 'id-jag: no identity provider')
  try {
    const idToken = (await deps.providerTokens.current(user.id))?.idToken
    if (idToken === undefined) throw new SignInRequired('id-jag: no ID token that is still good', { maxAge: RECENT_S })
    const { token, issuedTokenType } = await provider.exchange({
      requested_token_type: ID_JAG,
      subject_token: idToken,
      subject_token_type: ID_TOKEN,
      audience,
      resource,
      ...(scope.length === 0 ? {} : { scope: scope.join(' ') }),
    })
    // Whatever it calls the type of the token: an access token of its own is worth nothing elsewhere, and must not be sent there.
    if (issuedTokenType !== ID_JAG || !JWT.test(token)) throw new LoginRefused('it issued something else than an ID-JAG')
    return token
  } catch (error) {
    throw await told(deps, user, upstream, error)
  }
}

/** What an identity provider's refusal means for the person, recorded. */
async function told({ audit }: IdJagConnectorDeps, user: User, upstream: Upstream, error: unknown): Promise<unknown> {
  if (error instanceof ProviderUnavailable) return new UpstreamUnavailable(error.message, { cause: error })
  if (error instanceof SignInRequired) return error
  if (!(error instanceof LoginRefused)) return error
  await audit.record({ action: 'connection.failed', outcome: 'failure', subject: user.id, upstream: upstream.id, reason: error.reason })
  if (!(error instanceof ExchangeRefused)) return new CredentialRefused('your identity provider did not vouch for you there', `id-jag: ${error.reason}`, error)
  return needsSignIn(error) ?? new CredentialRefused(`your identity provider does not let you use it${error.interaction === undefined ? '' : `; it says more at ${error.interaction}`}`, `id-jag: ${error.reason}`, error)
}

/** RFC 9470, ID-JAG §7.2: a stronger or newer sign-in would help; what it must be like, where the provider says so. */
function needsSignIn({ code, signIn, interaction, reason }: ExchangeRefused): SignInRequired | undefined {
  const helps = code === 'insufficient_user_authentication' || code === 'login_required' || (code === 'interaction_required' && interaction === undefined) || code === 'invalid_grant'
  return helps ? new SignInRequired(`id-jag: ${reason}`, Object.keys(signIn).length === 0 ? { maxAge: RECENT_S } : signIn) : undefined
}

/** What the upstream's side refuses, in words for the person, and recorded. */
async function trouble<T>(deps: IdJagConnectorDeps, upstream: Upstream, work: () => Promise<T>, user?: User): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof SignInRequired) await record(deps, upstream, error.reason, user)
    if (!(error instanceof ConnectionRefused)) throw error
    await record(deps, upstream, error.reason, user)
    throw new CredentialRefused('its authorization server does not take the word of your identity provider', `id-jag: ${error.reason}`, error)
  }
}

async function record({ audit }: IdJagConnectorDeps, upstream: Upstream, reason: string, user?: User): Promise<void> {
  await audit.record({ action: 'connection.failed', outcome: 'failure', ...(user === undefined ? {} : { subject: user.id }), upstream: upstream.id, reason })
}
