// Owns the MCP data plane: who calls, what they may do, and the way of one message to its upstream and back. It issues
// nothing, signs nobody in, and knows no protocol revision by itself (revisions.ts does).
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import type { ChangeFeed, Cutoffs } from '../audit/change.ts'
import type { Recorder } from '../audit/event.ts'
import type { ClientAddress } from '../http/address.ts'
import type { Route } from '../http/route.ts'
import type { StateSealer } from '../keys/seal.ts'
import type { Policy } from '../policy/policy.ts'
import type { AccessTokenVerifier } from '../token/verify.ts'
import type { Connections } from '../upstreams/connections.ts'
import type { Connectors } from '../upstreams/connectors/index.ts'
import type { Profiles } from '../upstreams/upstream.ts'

export interface GatewayDeps {
  readonly issuer: string
  /** Further `Host` values to answer to. */
  readonly hosts: readonly string[]
  /** Origins of browser applications that may call, besides the issuer itself. */
  readonly allowedOrigins: readonly string[]
  readonly clientAddress: ClientAddress
  readonly profiles: Profiles
  readonly connector: Connectors
  readonly connections: Pick<Connections, 'connectUrl'>
  readonly verifier: AccessTokenVerifier
  readonly policy: Pick<Policy, 'decide' | 'mayReach'>
  readonly cutoffs: Cutoffs
  readonly feed: ChangeFeed
  readonly state: StateSealer
  /** Where calls are sent through: `Outbound.streams`. */
  readonly streams: Dispatcher
  readonly audit: Recorder
  /** Told of what is a bug: never of request data. */
  readonly log: (line: Readonly<Record<string, unknown>>) => void
  readonly now: () => number
}

export interface Gateway {
  /** Answers `/mcp` and `/mcp/{profile}`, and nothing below them. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>
  /** The metadata of the protected resources (RFC 9728). */
  readonly routes: readonly Route[]
  /** Ends open streams. */
  close(): void
}

export function gateway(_deps: GatewayDeps): Gateway {
  throw new Error('the data plane is being written')
}
