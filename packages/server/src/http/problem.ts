/** Types of problems are addresses below this one (RFC 9457 §3.1.1): names, which need not be reachable. */
const TYPES = 'urn:lanyard:problem:'

/** What goes wrong at the JSON API, and its HTTP status. */
const STATUS = {
  'invalid-request': 400,
  'not-signed-in': 401,
  'invalid-token': 401,
  'insufficient-scope': 403,
  'cross-site': 403,
  'not-an-administrator': 403,
  'forbidden': 403,
  'not-found': 404,
  'conflict': 409,
  'declared': 409,
  'too-large': 413,
  'unsupported-media-type': 415,
  'invalid': 422,
  'too-many-requests': 429,
  'internal-error': 500,
  'unavailable': 503,
} as const

export type ProblemCode = keyof typeof STATUS

/** One mistake in what was sent (RFC 9457 §3.2). */
export interface Mistake {
  /** Where, as a JSON Pointer (RFC 6901). */
  readonly pointer: string
  readonly detail: string
}

export interface ProblemDetail {
  readonly errors?: readonly Mistake[]
  readonly headers?: Readonly<Record<string, string>>
  /** Why, for the audit trail only: never sent. */
  readonly reason?: string
  readonly cause?: unknown
}

/** An error of the JSON API (RFC 9457); the message is its `detail`, in words for a person. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly code: ProblemCode
  readonly errors: readonly Mistake[]
  readonly headers: Readonly<Record<string, string>>
  readonly reason: string

  constructor(code: ProblemCode, message: string, detail: ProblemDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.code = code
    this.errors = detail.errors ?? []
    this.headers = detail.headers ?? {}
    this.reason = detail.reason ?? message
  }

  get status(): number {
    return STATUS[this.code]
  }

  /** @param reference finds what was recorded of the request */
  toResponse(reference: string): Response {
    const { code, status, message: detail, errors } = this
    const title = `${code.charAt(0).toUpperCase()}${code.slice(1).replaceAll('-', ' ')}`
    const body = { type: `${TYPES}${code}`, title, status, detail, instance: `urn:lanyard:request:${reference}`, ...(errors.length === 0 ? {} : { errors }) }
    return new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...this.headers } })
  }
}
