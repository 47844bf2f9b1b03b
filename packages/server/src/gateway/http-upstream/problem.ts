import { STATUS_CODES, type ServerResponse } from 'node:http'

export interface ProblemDetail {
  readonly headers?: Readonly<Record<string, string>>
  /** Further members of the answer. */
  readonly members?: Readonly<Record<string, string | readonly string[]>>
  /** Why, for the audit trail only: never sent. */
  readonly reason?: string
  readonly cause?: unknown
}

/** Why a call does not reach an HTTP API, or its answer not the caller, in the form of RFC 9457; the message is what the caller may read. */
export class CallProblem extends Error {
  override readonly name = 'CallProblem'
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly members: Readonly<Record<string, string | readonly string[]>>
  readonly reason: string

  constructor(status: number, message: string, detail: ProblemDetail = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause })
    this.status = status
    this.headers = detail.headers ?? {}
    this.members = detail.members ?? {}
    this.reason = detail.reason ?? message
  }
}

/** RFC 9457 §3: the type says no more than the status; `lanyard` in `Problem-Source` tells it from an answer of the API's own. */
export function sendProblem(response: ServerResponse, { status, message, headers, members }: Pick<CallProblem, 'status' | 'message' | 'headers' | 'members'>): void {
  const body = { type: 'about:blank', title: STATUS_CODES[status] ?? 'Error', status, detail: message, ...members }
  response.writeHead(status, { 'content-type': 'application/problem+json', 'cache-control': 'no-store', 'problem-source': 'lanyard', ...headers }).end(JSON.stringify(body))
}
