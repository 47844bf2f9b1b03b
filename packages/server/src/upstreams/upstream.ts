// Owns upstream servers, the profiles made of them, and users' connections to them. It does not forward calls.
import type { Resource } from '../oauth/resource.ts'

export interface Upstream {
  readonly id: string
  readonly name: string
  readonly url: string
  readonly connector: ConnectorSettings
  /** Tools that an administrator marked read-only, besides those that the upstream annotates so. */
  readonly readOnlyTools: readonly string[]
  readonly timeoutMs: number
  /** What a change of a tool's definition does until an administrator approved it; `hide` when absent. */
  readonly toolChanges?: 'hide' | 'report'
}

export type ConnectorSettings =
  | { readonly type: 'none' }
  | { readonly type: 'api-key'; readonly header: string; readonly value: string }
  | {
      readonly type: 'oauth'
      readonly clientId?: string
      readonly clientSecret?: string
      /** The authorization server that `clientId` and `clientSecret` are for; when absent, the first that is found. */
      readonly issuer?: string
      readonly scopes?: readonly string[]
    }

/** A named set of upstreams that is one protected resource; an upstream alone is a profile of one. */
export interface Profile {
  readonly id: string
  readonly name: string
  readonly upstreams: readonly Upstream[]
  readonly resource: Resource
  /** Whose own it is: for everybody else it does not exist. */
  readonly owner?: string
  /** Who it is published to; everybody when absent. */
  readonly groups?: readonly string[]
  /** By upstream, patterns of the tools that it offers; an upstream that is not named here offers all that it has. */
  readonly tools?: Readonly<Record<string, readonly string[]>>
  /** The scopes of a resource that is none of MCP. */
  readonly scopes?: readonly string[]
}

/** The profile of all upstreams, at `/mcp`. */
export const EVERYTHING = 'everything'

export interface Profiles {
  byId(id: string): Profile | undefined
  byResource(resource: Resource): Profile | undefined
  /** All but people's own. */
  all(): readonly Profile[]
}
