/** A session that a node opened at an upstream. */
export interface LateSession {
  /** Tells it from others, by the hash of what the upstream calls it. */
  readonly mark: string
  readonly sealed: string
}

export interface LateSessionStore {
  find(id: string, now: number): Promise<LateSession | undefined>
  /**
   * Puts a session where none is, or where the one is that was lost.
   *
   * @returns what stands there afterwards: of several nodes that open one at once, all go on with the first
   */
  settle(id: string, session: LateSession & { readonly expiresAt: number }, lost: string | undefined, now: number): Promise<LateSession>
  end(id: string): Promise<void>
  reap(now: number): Promise<void>
}
