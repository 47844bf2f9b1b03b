export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

/** The gateway's own account at an upstream, for everybody who may use it. */
export interface ClientCredentialsSettings {
  readonly type: 'client-credentials'
  readonly clientId: string
  readonly tokenEndpointAuthMethod: 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt' | 'workload_identity'
  readonly clientSecret?: string
  /** PEM. */
  readonly privateKey?: string
  readonly keyId?: string
  /** When absent, that of the key. */
  readonly algorithm?: string
  /** Where the platform keeps a token of the gateway's own workload. */
  readonly tokenFile?: string
  readonly grantType: 'client_credentials' | typeof JWT_BEARER
  /** The authorization server; when absent, the first that is found. */
  readonly issuer?: string
  /** Instead of what the upstream says of itself. */
  readonly tokenEndpoint?: string
  readonly scopes?: readonly string[]
  readonly audience?: string
  readonly resource?: string
}
