import { OAuthError } from '../oauth/error.ts'

/** Whether one more is allowed for a key now; when not, the seconds until it may be. */
export type RateLimit = (key: string) => { readonly allowed: boolean; readonly retryAfter: number }

export interface RateLimitOptions {
  readonly limit: number
  readonly windowMs: number
  readonly now: () => number
  /** Keys remembered at once; beyond that the longest unused is forgotten. */
  readonly maxKeys?: number
}

/**
 * Counts by the generic cell rate algorithm: one number per key, bursts up to the limit, then evenly spread. Exact on
 * this node; a cluster of n nodes allows up to n times as much, which is enough against floods.
 */
export function rateLimit({ limit, windowMs, now, maxKeys = 50_000 }: RateLimitOptions): RateLimit {
  const spacing = windowMs / limit
  const due = new Map<string, number>()
  return (key) => {
    const at = now()
    const known = due.get(key) ?? at
    // Further ahead than a full burst: the clock was set back, and must not shut anybody out until it is there again.
    const next = (known - at > windowMs + spacing ? at : Math.max(known, at)) + spacing
    // Half a step of tolerance: the sum of the steps of one burst is rounded.
    if (next - at > windowMs + spacing / 2) return { allowed: false, retryAfter: Math.max(1, Math.ceil((next - at - windowMs) / 1000)) }
    due.delete(key)
    due.set(key, next)
    if (due.size > maxKeys) {
      const [oldest] = due.keys()
      if (oldest !== undefined) due.delete(oldest)
    }
    return { allowed: true, retryAfter: 0 }
  }
}

/** @throws OAuthError 429 with `Retry-After`: no RFC names a code for it, and clients act on the status. */
export function requireRate(limit: RateLimit, key: string): void {
  const { allowed, retryAfter } = limit(key)
  if (!allowed) throw new OAuthError('too_many_requests', `too many requests; try again in ${retryAfter} seconds`, { retryAfter, reason: 'rate limited' })
}
