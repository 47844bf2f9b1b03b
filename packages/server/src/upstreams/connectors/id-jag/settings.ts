/** An upstream whose authorization server takes ID-JAGs: the person's access there is decided by who signed them in. */
export interface IdJagSettings {
  readonly type: 'id-jag'
  /** What Lanyard is at the upstream's authorization server; when absent, the metadata document that it hosts for the upstream. */
  readonly clientId?: string
  readonly clientSecret?: string
  /** The authorization server; when absent, the first that is found. */
  readonly issuer?: string
  readonly scopes?: readonly string[]
  /** Whether what is issued to Lanyard is bound to a key (RFC 9449). */
  readonly dpop?: boolean
  /** Who makes the assertion: the identity provider that the person signed in at, or Lanyard itself. */
  readonly assertions: 'identity-provider' | 'lanyard'
  /** What Lanyard's tenant is called there, in assertions of its own. */
  readonly tenant?: string
}
