/** An upstream whose authorization server exchanges what the person's identity provider issued (RFC 8693). */
export interface TokenExchangeSettings {
  readonly type: 'token-exchange'
  /** What Lanyard is at the upstream's own authorization server; when absent, the identity provider itself exchanges. */
  readonly clientId?: string
  readonly clientSecret?: string
  /** The upstream's own authorization server; when absent, the first that is found. */
  readonly issuer?: string
  /** Whose people may use it; everybody's who signed in at an identity provider when absent. */
  readonly identityProvider?: string
  readonly subjectToken: 'access_token' | 'id_token'
  /** The name of the target at the server that exchanges (RFC 8693 §2.1). */
  readonly audience?: string
  /** Its address; at the upstream's own authorization server, the one that was found. */
  readonly resource?: string
  readonly scopes?: readonly string[]
  /** Whether what the upstream's own authorization server issues to Lanyard is bound to a key (RFC 9449). */
  readonly dpop?: boolean
}
