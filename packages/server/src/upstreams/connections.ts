import type { Upstream } from './upstream.ts'

/** Why an account was not connected: its provider was refused there, does not answer, or gave an answer of no use. */
export const UNCONNECTED = ['refused', 'unavailable', 'failed'] as const
export type Unconnected = (typeof UNCONNECTED)[number]

/** Users' connections, as the authorization endpoint, the gateway and a person's own page see them. */
export interface Connections {
  /** Those of the upstreams that need an account of the user's own and have none. */
  missing(userId: string, upstreams: readonly Upstream[]): Promise<readonly Upstream[]>
  /** The scopes that the upstream's provider is asked for, or undefined when that does not show soon. */
  asks(upstream: Upstream): Promise<readonly string[] | undefined>
  list(userId: string): Promise<readonly ConnectionSummary[]>
  /**
   * The address of the connect page for this user: it holds nothing private and signs nobody in.
   *
   * @param lacking scopes to ask for, of an account that is connected and does not suffice
   * @param back where the browser goes when it is connected: an address that is registered for the application
   */
  connectUrl(userId: string, upstream: Upstream, lacking?: readonly string[], back?: string): string
  /** What a form that starts connecting carries, so that all that comes of it is recorded under this reference. */
  connectLink(userId: string, upstream: Upstream, reference: string): string
}

export interface ConnectionSummary {
  readonly upstream: Pick<Upstream, 'id' | 'name'>
  readonly connectedAt: number
  /** `unused`: the upstream is gone, or needs no account of a user's own any more. */
  readonly state: 'active' | 'reconnect_needed' | 'unused'
}
