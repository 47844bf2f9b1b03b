/** The JSON-RPC error codes that the data plane answers with, by name. */
const CODES = {
  parse_error: -32700,
  invalid_request: -32600,
  method_not_found: -32601,
  invalid_params: -32602,
  internal_error: -32603,
  unavailable: -32000,
  session_not_found: -32001,
  resource_not_found: -32002,
  header_mismatch: -32020,
  missing_capability: -32021,
  unsupported_version: -32022,
  url_elicitation_required: -32042,
} as const

export type McpErrorCode = keyof typeof CODES

export interface McpErrorDetail {
  /** The HTTP status; 200 for what JSON-RPC tells alone. */
  readonly status?: number
  readonly data?: Readonly<Record<string, unknown>>
  readonly headers?: Readonly<Record<string, string>>
  /** Why, for the audit trail only: never sent. */
  readonly reason?: string
  readonly cause?: unknown
}

/** An error in JSON-RPC's own form; the message is what the client may read. */
export class McpError extends Error {
  override readonly name = 'McpError'
  readonly code: McpErrorCode
  readonly status: number
  readonly data: Readonly<Record<string, unknown>> | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly reason: string

  constructor(code: McpErrorCode, message: string, detail: McpErrorDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.code = code
    this.status = detail.status ?? 200
    this.data = detail.data
    this.headers = detail.headers ?? {}
    this.reason = detail.reason ?? message
  }

  /** The body of the answer to the request with this identifier. */
  body(id: string | number | null): string {
    const error = { code: CODES[this.code], message: this.message, ...(this.data === undefined ? {} : { data: this.data }) }
    return JSON.stringify({ jsonrpc: '2.0', id, error })
  }
}
