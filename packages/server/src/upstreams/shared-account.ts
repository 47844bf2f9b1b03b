import type { Upstream } from './upstream.ts'

/** Whether the upstream knows every caller by one account, which an administrator set up for all of them. */
export function hasSharedAccount({ connector }: Pick<Upstream, 'connector'>): boolean {
  return connector.type === 'api-key' || connector.type === 'client-credentials'
}
