// The vocabulary of OAuth: pure values and checks, no clock, no input or output.

/** The error codes of RFC 6749, 6750, 7591, 8628, 8707, 9449, 9470 and OpenID Connect that Lanyard answers with, and their HTTP status. */
const STATUS = {
  invalid_request: 400,
  invalid_client: 401,
  invalid_grant: 400,
  unauthorized_client: 400,
  unsupported_grant_type: 400,
  unsupported_response_type: 400,
  invalid_scope: 400,
  invalid_target: 400,
  access_denied: 400,
  server_error: 500,
  temporarily_unavailable: 503,
  too_many_requests: 429,
  invalid_token: 401,
  invalid_redirect_uri: 400,
  invalid_client_metadata: 400,
  invalid_software_statement: 400,
  unapproved_software_statement: 400,
  login_required: 400,
  consent_required: 400,
  interaction_required: 400,
  request_not_supported: 400,
  request_uri_not_supported: 400,
  unmet_authentication_requirements: 400,
  invalid_dpop_proof: 400,
  use_dpop_nonce: 400,
  insufficient_user_authentication: 400,
  authorization_pending: 400,
  slow_down: 400,
  expired_token: 400,
} as const

export type OAuthErrorCode = keyof typeof STATUS

export interface OAuthErrorDetail {
  /** Why, for the audit trail only: never sent. */
  readonly reason?: string
  readonly cause?: unknown
  /** Seconds, for `Retry-After`. */
  readonly retryAfter?: number | undefined
  /** The scheme named in `WWW-Authenticate` of a 401 (RFC 6749 §5.2). */
  readonly challenge?: string | undefined
  readonly headers?: Readonly<Record<string, string>>
  /** Further members of the JSON answer, which specifications define for single codes. */
  readonly members?: Readonly<Record<string, string | number>>
}

/** An error in OAuth's own form; `message` is the `error_description` that the client may read. */
export class OAuthError extends Error {
  override readonly name = 'OAuthError'
  readonly code: OAuthErrorCode
  readonly reason: string
  readonly retryAfter: number | undefined
  readonly challenge: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly members: Readonly<Record<string, string | number>>

  constructor(code: OAuthErrorCode, description: string, detail: OAuthErrorDetail = {}) {
    super(description, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.code = code
    this.reason = detail.reason ?? description
    this.retryAfter = detail.retryAfter
    this.challenge = detail.challenge
    this.headers = detail.headers ?? {}
    this.members = detail.members ?? {}
  }

  /** The same error, with some of its detail in place of its own. */
  but(changes: OAuthErrorDetail): OAuthError {
    const { reason, cause, retryAfter, challenge, headers, members } = this
    return new OAuthError(this.code, this.message, { reason, cause, retryAfter, challenge, headers, members, ...changes })
  }

  get status(): number {
    return STATUS[this.code]
  }

  /** RFC 6749 §4.1.2.1, §5.2: neither quotes nor backslashes nor anything beyond ASCII; letters lose their accents. */
  get description(): string {
    return this.message.normalize('NFKD').replace(/\p{M}/gu, '').replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]/g, "'")
  }

  /** The JSON answer of RFC 6749 §5.2. */
  toResponse(): Response {
    const headers = new Headers({ 'cache-control': 'no-store', pragma: 'no-cache', ...this.headers })
    if (this.retryAfter !== undefined) headers.set('retry-after', String(Math.ceil(this.retryAfter)))
    // RFC 6749 §5.2: a client that authenticated by the Authorization header gets the matching challenge.
    if (this.status === 401) headers.set('www-authenticate', `${this.challenge ?? 'Basic'} realm="lanyard"${this.challenge === 'Bearer' ? `, error="${this.code}"` : ''}`)
    return Response.json({ error: this.code, error_description: this.description, ...this.members }, { status: this.status, headers })
  }
}
