import type { Client } from '../clients/client.ts'
import type { RequestContext } from '../http/route.ts'
import type { SignedIn } from '../identity/sign-in.ts'
import type { Profile, Upstream } from '../upstreams/upstream.ts'
import type { PendingRequest } from './authorize-store.ts'

/** One pending request with everything that a step needs to know of it. */
export interface Step {
  readonly pending: PendingRequest
  readonly client: Client
  readonly profile: Profile
  /** Those of the profile that this person may use with this client, and that the requested scope is about. */
  readonly upstreams: readonly Upstream[]
  readonly signedIn: SignedIn
  readonly context: RequestContext
}
