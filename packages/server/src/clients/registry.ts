import type { JSONWebKeySet } from 'jose'
import type { ChangeFeed } from '../audit/change.ts'
import { remembered } from '../audit/remembered.ts'
import { OAuthError } from '../oauth/error.ts'
import { hash, isId } from '../oauth/secret.ts'
import { applicationOf } from './application.ts'
import type { Applications, Client, Clients } from './client.ts'
import type { ClientStore, RegisteredClient } from './client-store.ts'
import { metadataDigest, type ClientAuthMethod } from './metadata.ts'
import type { MetadataDocuments } from './metadata-document.ts'
import type { WorkloadIdentity } from './workload.ts'

/** A client that an operator configured. */
export interface PreRegisteredClient {
  readonly id: string
  readonly name: string
  readonly redirectUris: readonly string[]
  readonly grantTypes: readonly string[]
  readonly tokenEndpointAuthMethod: ClientAuthMethod
  readonly clientSecret?: string
  readonly jwks?: JSONWebKeySet
  readonly jwksUri?: string
  readonly workloadIdentities?: readonly WorkloadIdentity[]
  readonly dpopBoundAccessTokens?: boolean
  readonly requirePushedAuthorizationRequests?: boolean
  readonly builtIn?: boolean
}

export interface ClientsDeps {
  readonly preRegistered: readonly PreRegisteredClient[]
  /** Absent when switched off. */
  readonly documents?: MetadataDocuments
  /** Whose software statements are believed: of anybody else's, nothing is left when they are no longer among them. */
  readonly statementIssuers?: readonly string[]
  readonly store: ClientStore
  readonly feed: Pick<ChangeFeed, 'subscribe' | 'fresh'>
  readonly now: () => number
}

const TOUCH_MS = 24 * 3600_000
/** Registrations that nobody used are removed without a word: no node knows one for longer. */
const KNOWN_MS = 60_000
const MAX_KNOWN = 20_000

/** Finds clients: configured ones first, then by the form of the identifier; the order never depends on a request (CIMD §6.9). */
export function clients(deps: ClientsDeps): Clients & Applications {
  const configured = new Map(deps.preRegistered.map((client) => [client.id, fromConfiguration(client)]))
  const registered = registrations(deps)
  return {
    workloads: [...configured.values()].filter(({ workloadIdentities }) => workloadIdentities !== undefined),
    async find(clientId) {
      const known = configured.get(clientId)
      if (known !== undefined) return known
      if (!clientId.startsWith('https://')) return registered(clientId)
      if (deps.documents === undefined) throw unknown('client ID metadata documents are switched off')
      return deps.documents.find(clientId)
    },
    async of(clientId) {
      const known = configured.get(clientId)
      if (known !== undefined) return applicationOf(known)
      // The address is the application; who asks for a call must not wait for its host.
      if (clientId.startsWith('https://')) return deps.documents === undefined ? { id: clientId, verified: false } : { id: clientId, verified: true, by: 'host' }
      // A client of an identity provider, which vouches for it; that its tokens are accepted, an administrator said.
      if (clientId.startsWith('provider:')) return { id: clientId, verified: true, by: 'administrator' }
      return registered(clientId).then(applicationOf, (error: unknown) => {
        if (error instanceof OAuthError && error.code === 'invalid_client') return { id: clientId, verified: false }
        throw error
      })
    },
  }
}

/** Finds dynamically registered clients, from memory until one changes or is deleted on any node. */
function registrations({ store, feed, now, statementIssuers = [] }: ClientsDeps): Clients['find'] {
  const known = remembered<{ readonly client: Client; readonly until: number }>(feed, ['registration', 'client'], MAX_KNOWN)
  return async (clientId) => {
    const found = known.get(clientId)
    if (found !== undefined && found.until > now() && feed.fresh) return found.client
    const keep = known.asking(clientId)
    const registered = isId('dyn', clientId) ? await store.findClient(clientId) : undefined
    if (registered === undefined) throw unknown('there is no such registration')
    // Before its first grant nobody has used it, whoever asks for it.
    if (registered.lastUsedAt !== undefined && now() - registered.lastUsedAt > TOUCH_MS) await store.touchClient(clientId, now())
    const client = fromRegistration(registered, statementIssuers)
    keep({ client, until: now() + KNOWN_MS })
    return client
  }
}

function fromRegistration({ metadata: { software, ...metadata }, id, secretHash }: RegisteredClient, statementIssuers: readonly string[]): Client {
  const stated = software !== undefined && statementIssuers.includes(software.issuer) ? { software } : {}
  return { ...metadata, ...stated, id, kind: 'dynamic', secretHashes: secretHash === undefined ? [] : [secretHash], digest: metadataDigest(metadata) }
}

function unknown(reason: string): OAuthError {
  return new OAuthError('invalid_client', 'the client is not known here; register it again', { reason })
}

function fromConfiguration(client: PreRegisteredClient): Client {
  return {
    id: client.id,
    kind: 'pre-registered',
    name: client.name,
    redirectUris: client.redirectUris,
    grantTypes: client.grantTypes,
    tokenEndpointAuthMethods: [client.tokenEndpointAuthMethod],
    secretHashes: client.clientSecret === undefined ? [] : [hash(client.clientSecret)],
    ...(client.jwks === undefined ? {} : { jwks: client.jwks }),
    ...(client.jwksUri === undefined ? {} : { jwksUri: client.jwksUri }),
    ...(client.workloadIdentities === undefined ? {} : { workloadIdentities: client.workloadIdentities }),
    ...(client.dpopBoundAccessTokens === undefined ? {} : { dpopBoundAccessTokens: client.dpopBoundAccessTokens }),
    ...(client.requirePushedAuthorizationRequests === undefined ? {} : { requirePushedAuthorizationRequests: client.requirePushedAuthorizationRequests }),
    ...(client.builtIn === undefined ? {} : { builtIn: client.builtIn }),
    digest: metadataDigest(client),
  }
}
