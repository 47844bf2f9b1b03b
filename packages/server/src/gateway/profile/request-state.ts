import { hash } from 'node:crypto'
import type { StateSealer } from '../../keys/seal.ts'
import type { Call } from '../call.ts'
import { McpError } from '../error.ts'
import { isObject } from '../message.ts'
import { canonical } from '../pinned-definition.ts'

export interface RequestStateDeps {
  readonly state: StateSealer
  readonly now: () => number
}

type Asking = Pick<Call, 'caller' | 'profile' | 'upstream' | 'message'>

const PURPOSE = 'mcp request state'
/** Tells it from state of the gateway's own (missing-connection.ts), whatever the upstream's looks like. */
const PREFIX = 'upstream.'
const LIFETIME_MS = 3600_000

/**
 * RS-33, H12: what an upstream hands to a client to bring it back comes back to that upstream alone, by the same user and
 * client, for the same request.
 */
export function sealRequestState({ state, now }: RequestStateDeps, asking: Asking, own: string): string {
  return `${PREFIX}${state.seal(PURPOSE, contextOf(asking), [own], now() + LIFETIME_MS)}`
}

/** @throws McpError when it was changed, is somebody else's or another request's, or has expired */
export function openRequestState({ state, now }: RequestStateDeps, asking: Asking, outer: string): string {
  const opened = outer.startsWith(PREFIX) ? state.open(PURPOSE, contextOf(asking), outer.slice(PREFIX.length), now()) : undefined
  const own: unknown = Array.isArray(opened) ? opened[0] : undefined
  if (typeof own !== 'string') throw new McpError('invalid_params', 'Invalid or expired requestState')
  return own
}

/** The request itself, without what a client adds when it sends it again. */
function contextOf({ caller, profile, upstream, message }: Asking): readonly string[] {
  const { name, uri, arguments: given } = message.params
  const request = canonical([name ?? null, uri ?? null, isObject(given) ? given : null])
  return [caller.user.id, caller.clientId, profile.id, upstream.id, message.method, hash('sha256', request, 'base64url')]
}
