import type { JSONWebKeySet } from 'jose'
import { OAuthError } from '../oauth/error.ts'
import { hash, isId } from '../oauth/secret.ts'
import type { Client, ClientAuthMethod, Clients } from './client.ts'
import type { ClientStore } from './client-store.ts'
import { metadataDigest } from './metadata.ts'
import type { MetadataDocuments } from './metadata-document.ts'

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
}

export interface ClientsDeps {
  readonly preRegistered: readonly PreRegisteredClient[]
  /** Absent when switched off. */
  readonly documents?: MetadataDocuments
  readonly store: ClientStore
  readonly now: () => number
}

const TOUCH_MS = 24 * 3600_000

/** Finds clients: configured ones first, then by the form of the identifier; the order never depends on a request (CIMD §6.9). */
export function clients({ preRegistered, documents, store, now }: ClientsDeps): Clients {
  const configured = new Map(preRegistered.map((client) => [client.id, fromConfiguration(client)]))
  return {
    async find(clientId) {
      const known = configured.get(clientId)
      if (known !== undefined) return known
      if (clientId.startsWith('https://')) {
        if (documents === undefined) throw unknown('client ID metadata documents are switched off')
        return documents.find(clientId)
      }
      const registered = isId('dyn', clientId) ? await store.findClient(clientId) : undefined
      if (registered === undefined) throw unknown('there is no such registration')
      if (now() - (registered.lastUsedAt ?? 0) > TOUCH_MS) await store.touchClient(clientId, now())
      return {
        ...registered.metadata,
        id: registered.id,
        kind: 'dynamic',
        secretHashes: registered.secretHash === undefined ? [] : [registered.secretHash],
        digest: metadataDigest(registered.metadata),
      }
    },
  }
}

function unknown(reason: string): OAuthError {
  return new OAuthError('invalid_client', 'the client is not known here; register it again', { reason })
}

function fromConfiguration(client: PreRegisteredClient): Client {
  return {
    id: client.id,
    kind: 'pre-registered',
    name: client.name,
    applicationType: client.redirectUris.every((uri) => uri.startsWith('https:')) ? 'web' : 'native',
    redirectUris: client.redirectUris,
    grantTypes: client.grantTypes,
    responseTypes: ['code'],
    tokenEndpointAuthMethods: [client.tokenEndpointAuthMethod],
    secretHashes: client.clientSecret === undefined ? [] : [hash(client.clientSecret)],
    ...(client.jwks === undefined ? {} : { jwks: client.jwks }),
    ...(client.jwksUri === undefined ? {} : { jwksUri: client.jwksUri }),
    digest: metadataDigest(client),
  }
}
