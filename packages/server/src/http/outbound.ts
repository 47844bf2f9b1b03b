/** Where a URL came from: an operator wrote it, so private networks that `outbound.allow` names are reachable; or it was discovered. */
export type Provenance = 'configured' | 'discovered'

export interface OutboundRequest {
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly provenance: Provenance
  /** Bytes after decompression. */
  readonly maxBytes?: number
  /** Milliseconds for the whole exchange. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

export interface OutboundResponse {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** The one client for every request that leaves: resolves once, checks all addresses, pins, never follows a redirect. */
export interface Outbound {
  request(url: string | URL, options: OutboundRequest): Promise<OutboundResponse>
  /** The same, in the shape of `fetch`, for oauth4webapi and jose. */
  fetch(provenance: Provenance): (url: string | URL, init?: RequestInit) => Promise<Response>
}
