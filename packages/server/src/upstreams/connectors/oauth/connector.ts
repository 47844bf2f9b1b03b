import { createHash } from 'node:crypto'
import { parseScope } from '../../../oauth/scope.ts'
import { hash, newSecret } from '../../../oauth/secret.ts'
import type { OAuthCredential, Vault } from '../../../vault/credential.ts'
import type { ConnectionKey, PendingRevocation } from '../../connection-store.ts'
import { credentialOf, pendingRevocation } from '../../revocation.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, type ConnectionAttempt, type ConnectionStart, type Connector } from '../connector.ts'
import { discovery, type Discovery } from './discovery.ts'
import { exchange, type Exchange, type GrantEnded, type Party } from './exchange.ts'
import { notGiven, offlineParameters, withheld, withoutUnknown } from './offline.ts'
import { connectionRedirectUri, upstreamClient, type ClientDeps, type RegistrationDeps } from './registration.ts'
import { credentialCache } from './credential-cache.ts'
import { requestedScope, widerScope } from './scope.ts'
import { atSlack, scopeParameter } from './slack.ts'

const ATTEMPT_MS = 10 * 60_000

export interface OAuthConnectorDeps extends ClientDeps {
  readonly issuer: string
  readonly vault: Vault
}

/** Each user's own account, by OAuth: Lanyard is the client of the upstream's authorization server. */
export interface OAuthConnector extends Required<Omit<Connector, 'bySignIn'>> {
  /**
   * Revokes a credential whose connection was ended.
   *
   * @returns why that can never be done, or undefined when it is done.
   * @throws UpstreamUnavailable, ConnectionRefused: another try may help.
   */
  revoke(upstream: Upstream, revocation: PendingRevocation): Promise<string | undefined>
}

/** What an attempt keeps, sealed, between the two halves of the flow. */
interface AttemptSecrets {
  readonly codeVerifier: string
  readonly issuer: string
  readonly clientId: string
  readonly requested: string
}

export function oauthConnector(deps: OAuthConnectorDeps): OAuthConnector {
  const found = discovery(deps.outbound, deps.now)
  const server = exchange(deps.outbound, found, deps.now)
  const registration: RegistrationDeps = { ...deps, discovery: found }
  const party = async (upstream: Upstream): Promise<Party> => {
    const discovered = withoutUnknown(upstream, atSlack(upstream, await found.discover(upstream)))
    return { upstream, discovered, client: await upstreamClient(registration, upstream, discovered) }
  }
  /** The party that an attempt was begun with, perhaps on another node. */
  const sameParty = async (upstream: Upstream, secrets: AttemptSecrets): Promise<Party> => {
    if ((await found.discover(upstream)).server.issuer !== secrets.issuer) found.doubt(upstream)
    const at = await party(upstream)
    // RFC 9700 §4.4: the server that answers must be the one that was asked, as it was then.
    if (at.discovered.server.issuer !== secrets.issuer || at.client.clientId !== secrets.clientId) throw new ConnectionRefused('the authorization server changed meanwhile')
    return at
  }
  const credentials = credentialCache({
    ...deps,
    prepare: async (upstream) => {
      const at = await party(upstream)
      return (credential) => refreshAt(deps, server, at, credential)
    },
    orphaned: (key, credential) => revokeOrphan(deps, key, credential),
  })

  return {
    perUser: true,
    credential: credentials.credential,
    async refused(userId, upstream, version) {
      found.doubt(upstream)
      await credentials.refused(userId, upstream, version)
    },
    stepUp: (userId, upstream, lacking) => moreScope(deps, found, { userId, upstream }, lacking),
    asks: async (upstream) => parseScope(requestedScope(upstream, await found.discover(upstream))) ?? [],
    connect: async (start) => beginAttempt(deps, await party(start.upstream), start),
    async finish(callback, attempt) {
      const secrets = JSON.parse(attempt.secrets) as AttemptSecrets
      const at = await sameParty(attempt.upstream, secrets)
      const asked = { state: attempt.state, codeVerifier: secrets.codeVerifier, redirectUri: connectionRedirectUri(deps.issuer, attempt.upstream.id) }
      const credential = await server.redeem(at, callback, asked).catch(async (error: unknown) => {
        await forgetIfUnknown(deps, at, error)
        throw error
      })
      return storeCredential(deps, attempt, { ...credential, requested: secrets.requested }, notGiven(attempt.upstream, at.discovered, secrets.requested, credential))
    },
    async revoke(upstream, revocation) {
      const credential = credentialOf(deps.sealer, revocation)
      const at = await party(upstream)
      const other = otherParty(at, credential)
      if (other !== undefined) return other.ended
      if (at.discovered.server.revocation_endpoint === undefined) return 'the authorization server revokes nothing'
      if (credential.refreshToken !== undefined) await server.revoke(at, credential.refreshToken, 'refresh_token')
      await server.revoke(at, credential.accessToken, 'access_token')
      return undefined
    },
  }
}

/** What a call lacks, as far as asking the person for it may bring it. */
async function moreScope({ store, vault }: OAuthConnectorDeps, found: Discovery, { userId, upstream }: Pick<ConnectionStart, 'userId' | 'upstream'>, lacking: readonly string[]): Promise<readonly string[] | undefined> {
  const record = await store.find({ userId, upstream: upstream.id })
  if (record?.state !== 'active') return undefined
  const credential = vault.open(userId, upstream.id, record.credential)
  const discovered = await found.discover(upstream).catch(() => undefined)
  return (discovered && withheld(upstream, discovered, credential, lacking)) ?? widerScope(upstream, credential, lacking)
}

/** C-9, C-10: a credential is sent to the issuer that it came from, by the client that it was issued to, and no other. */
function otherParty({ discovered, client }: Party, credential: OAuthCredential): GrantEnded | undefined {
  if (discovered.server.issuer !== credential.issuer) return { ended: 'the upstream has another authorization server now' }
  return client.clientId === credential.clientId ? undefined : { ended: 'Lanyard is another client at the upstream now' }
}

async function refreshAt(deps: OAuthConnectorDeps, server: Exchange, at: Party, credential: OAuthCredential): Promise<OAuthCredential | GrantEnded> {
  const other = otherParty(at, credential)
  if (other !== undefined) return other
  try {
    return await server.refresh(at, credential)
  } catch (error) {
    if (await forgetIfUnknown(deps, at, error)) return { ended: 'the upstream does not know Lanyard any more' }
    throw error
  }
}

/** A server that lost our registration lost every grant of it: the next connection registers anew. */
async function forgetIfUnknown({ store }: OAuthConnectorDeps, { upstream, discovered, client }: Party, error: unknown): Promise<boolean> {
  if (!(error instanceof ConnectionRefused && error.reason === 'server: invalid_client') || client.registration === undefined) return false
  await store.forgetClient(discovered.server.issuer, upstream.id, client.registration)
  return true
}

/** A refresh that ended after its connection did brought a credential that nobody holds: it is revoked like the connection's own. */
async function revokeOrphan({ store, sealer, now }: OAuthConnectorDeps, key: ConnectionKey, credential: OAuthCredential): Promise<void> {
  if ((await store.find(key)) === undefined) await store.addRevocation(pendingRevocation(sealer, key, credential), now())
}

async function beginAttempt(deps: OAuthConnectorDeps, { upstream, discovered, client }: Party, start: ConnectionStart): Promise<URL> {
  const state = newSecret('lyd_st')
  const requested = requestedScope(upstream, discovered, start.lacking)
  const secrets: AttemptSecrets = { codeVerifier: newSecret('lyd_st'), issuer: discovered.server.issuer, clientId: client.clientId, requested }
  const stateHash = hash(state)
  await deps.store.addAttempt({
    stateHash,
    userId: start.userId,
    upstream: upstream.id,
    sessionId: start.sessionId,
    secrets: deps.sealer.seal(JSON.stringify(secrets), ['connection_attempts', stateHash, 'secrets']),
    returnTo: start.returnTo,
    reference: start.reference,
    expiresAt: deps.now() + ATTEMPT_MS,
  })
  await deps.audit.record({ action: 'connection.started', outcome: 'success', subject: start.userId, upstream: upstream.id, reference: start.reference, address: start.address })
  const url = new URL(discovered.server.authorization_endpoint)
  const parameters = {
    response_type: 'code',
    client_id: client.clientId,
    redirect_uri: connectionRedirectUri(deps.issuer, upstream.id),
    state,
    code_challenge: createHash('sha256').update(secrets.codeVerifier).digest('base64url'),
    code_challenge_method: 'S256',
    // C-7, RFC 8707 §2: always, but for an HTTP API that knows nothing of it.
    ...(discovered.resource === undefined ? {} : { resource: discovered.resource }),
    ...scopeParameter(upstream, requested),
    ...offlineParameters(upstream, discovered),
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  return url
}

/**
 * What it replaces is not revoked at its server: many servers end with one token all that the person granted to the
 * client, the new credential too.
 */
async function storeCredential({ vault, store, now }: OAuthConnectorDeps, attempt: ConnectionAttempt, credential: OAuthCredential, missing: readonly string[]): Promise<readonly string[]> {
  const key = { userId: attempt.userId, upstream: attempt.upstream.id }
  await store.connect(key, vault.seal(key.userId, key.upstream, credential), now(), {
    action: 'connection.created',
    outcome: 'success',
    subject: key.userId,
    upstream: key.upstream,
    reference: attempt.reference,
    address: attempt.address,
    detail: { issuer: credential.issuer, refreshable: credential.refreshToken !== undefined, ...(credential.proofKey === undefined ? {} : { bound: true }), ...(missing.length === 0 ? {} : { notGiven: missing }) },
  })
  return missing
}
