import type * as z from 'zod'
import type { GoogleDelegationSettings } from '../upstreams/upstream.ts'
import type { googleDelegation } from './google-schema.ts'

/** What of an identity provider matters to a delegation. */
interface Provider {
  readonly id: string
  readonly type: string
  readonly issuer: string
  readonly domains?: readonly string[] | undefined
}

/** The provider whose users it acts for: the one that is named, or the only one of Google. */
export function delegationSettings({ provider: named, domains, ...connector }: z.output<typeof googleDelegation>, providers: readonly Provider[]): GoogleDelegationSettings {
  const google = providers.filter(({ type }) => type === 'google-workspace')
  const provider = named === undefined ? (google.length === 1 ? google[0] : undefined) : google.find(({ id }) => id === named)
  return { ...connector, ...(provider === undefined ? {} : { provider: { id: provider.id, issuer: provider.issuer } }), domains: domains ?? provider?.domains ?? [] }
}
