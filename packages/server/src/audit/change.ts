/**
 * What the nodes of a cluster tell one another. The first four are cutoffs: nothing issued to that subject before `at`
 * is valid any more, and nothing at all of that client, grant or signing key, which never come back. The others say that
 * a cached copy is out of date.
 */
export interface Change {
  readonly kind: 'subject' | 'client' | 'grant' | 'key' | 'user' | 'registration' | 'connection' | 'profile' | 'signing-keys' | 'pin' | 'application' | 'authentication' | 'rules' | 'bridge'
  /** The identifier of the subject (user), client, grant, key (kid); of a connection `userId` and upstream joined by a space; of a pin the upstream. */
  readonly key: string
  /** Milliseconds since the epoch, by the clock of the node that wrote it. */
  readonly at: number
}

/** Changes as they reach this node: at once from itself, by notification from others, by polling when that fails. */
export interface ChangeFeed {
  subscribe(listener: (change: Change) => void): void
  /** Whether this node has heard of everything up to 10 seconds ago; when not, it must fail closed. */
  readonly fresh: boolean
}

/**
 * Seconds that the clocks of two nodes may be apart: a token outlives its cutoff by that, and what is good once is remembered
 * for as much longer as a node may take it for good that another one takes for over.
 */
export const NODE_SKEW_S = 120

/** What has been ended, as this node knows it: in memory, asked on every call. */
export interface Cutoffs {
  /** Whether this node may answer at all: see `ChangeFeed.fresh`. */
  readonly fresh: boolean
  isCut(token: IssuedToken): boolean
}

export interface IssuedToken {
  readonly userId: string
  readonly clientId: string
  readonly grantId: string
  readonly kid: string
  /** Seconds since the epoch. */
  readonly issuedAt: number
  /** The grants that its own came of. */
  readonly parents?: readonly string[]
}
