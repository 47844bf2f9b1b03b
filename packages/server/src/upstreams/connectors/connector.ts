import type { User } from '../../identity/user.ts'
import type { Upstream } from '../upstream.ts'

/** What a call upstream carries: headers to set, or the fact that the user must connect an account first. */
export type Credential =
  | { readonly headers: Readonly<Record<string, string>>; readonly version: string }
  | 'connection_required'

/** How the gateway gets a credential for an upstream. */
export interface Connector {
  /** Served from memory when it can be; refreshes at most once per grant in the whole cluster. */
  credential(userId: string, upstream: Upstream): Promise<Credential>
  /** The upstream refused the credential of this version with 401: do not serve it again. */
  refused(userId: string, upstream: Upstream, version: string, challenge: string | undefined): Promise<void>
  /** Whether a user must connect an account of their own. */
  readonly perUser: boolean
  /** Starts connecting: where to send the browser. Only after consent, only from the user's own session. */
  connect?(start: ConnectionStart): Promise<URL>
  /** Finishes connecting with the answer of the upstream's authorization server. */
  finish?(callback: URL, connection: ConnectionAttempt): Promise<void>
  /** Ends the connection here and at the upstream's authorization server. */
  disconnect?(user: User, upstream: Upstream): Promise<void>
}

export interface ConnectionStart {
  readonly user: User
  readonly upstream: Upstream
  /** The browser session that must also finish. */
  readonly sessionId: string
  /** Where the browser goes afterwards: a path of this gateway. */
  readonly returnTo: string
}

export interface ConnectionAttempt {
  readonly user: User
  readonly upstream: Upstream
  readonly sessionId: string
}
