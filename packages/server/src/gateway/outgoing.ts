/** What is sent: a message of the client, or one of the gateway's own for it. */
export interface Outgoing {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** Milliseconds that the answer may be silent; 0 for a stream. */
  readonly idleMs: number
}
