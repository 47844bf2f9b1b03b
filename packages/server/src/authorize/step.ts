import type { Client } from '../clients/client.ts'
import type { RequestContext } from '../http/route.ts'
import type { SignedIn } from '../identity/sign-in.ts'
import type { Profile } from '../upstreams/upstream.ts'
import type { PendingRequest } from './authorize-store.ts'

/** One pending request with everything that a step needs to know of it. */
export interface Step {
  readonly pending: PendingRequest
  readonly client: Client
  readonly profile: Profile
  readonly signedIn: SignedIn
  readonly context: RequestContext
}
