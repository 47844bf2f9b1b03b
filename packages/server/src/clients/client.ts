// Owns who the applications are: pre-registered, client ID metadata documents, dynamic registration, and how they
// authenticate. It does not know users, consent or tokens.
import type { Hashed } from '../oauth/secret.ts'
import type { ClientMetadata } from './metadata.ts'
import type { Workload, WorkloadIdentity } from './workload.ts'

/** A client, and of what it says of itself that which decides something. */
export interface Client extends Pick<ClientMetadata, 'name' | 'redirectUris' | 'grantTypes' | 'tokenEndpointAuthMethods' | 'jwks' | 'jwksUri' | 'software' | 'dpopBoundAccessTokens' | 'requirePushedAuthorizationRequests'> {
  readonly id: string
  readonly kind: 'pre-registered' | 'metadata-document' | 'dynamic'
  /** A part of the gateway itself, which no administrator configured. */
  readonly builtIn?: boolean
  readonly secretHashes: readonly Hashed[]
  /** The host of the `client_id` URL: proven by having been fetched from there, or pinned in the built-in directory. */
  readonly verifiedHost?: string
  /** Changes when name, redirect URIs or keys change: a remembered consent holds for one digest only (CIMD §6.3). */
  readonly digest: string
  /** The workloads that it may be, for one that authenticates as such. */
  readonly workloadIdentities?: readonly WorkloadIdentity[]
  /** Who its platform said that it is, in the request that it authenticated. */
  readonly workload?: Workload
}

export interface Clients {
  /** Those that authenticate as workloads: they are configured, and so few that each can be looked at. */
  readonly workloads?: readonly Client[]
  /** @throws OAuthError `invalid_client` when there is no such client, or its metadata document is refused. */
  find(clientId: string): Promise<Client>
}

/**
 * An AI application as a person sees it. All registrations of a client that somebody vouches for are one: the
 * administrator (pre-registration), its host (metadata document) or a trusted issuer (software statement). Of any other,
 * each registration stands for itself: what it says of itself makes it nobody.
 */
export interface Application {
  /** What rules and approvals name it by. */
  readonly id: string
  readonly verified: boolean
  /** Who vouches for it. */
  readonly by?: 'administrator' | 'host' | 'issuer'
}

/** Tells of which application a client is, without asking anybody outside. */
export interface Applications {
  of(clientId: string): Promise<Application>
}

/** Authenticates the client of a request to an endpoint that clients ask by themselves; who fails is recorded. */
export interface ClientAuthentication {
  /** @throws OAuthError `invalid_client`, or `invalid_request` when two methods are used at once (RFC 6749 §2.3). */
  authenticate(request: ClientRequest): Promise<Client>
}

export interface ClientRequest {
  readonly authorization: string | undefined
  readonly params: { get(name: string): string | undefined }
  readonly address?: string
  readonly reference?: string
}
