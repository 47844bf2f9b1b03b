import type { StateSealer } from '../../keys/seal.ts'
import type { Visit } from '../call.ts'
import { McpError } from '../error.ts'

/** Where a list goes on: by upstream, its own cursor. An upstream that is not in it has nothing more. */
export type Cursors = ReadonlyMap<string, string>

export interface CursorDeps {
  readonly state: StateSealer
  readonly now: () => number
}

const PURPOSE = 'mcp cursor'
const LIFETIME_MS = 3600_000

/** Sealed: upstreams' own cursors are nobody's to read or change, and are for who was given them, for this list. */
export function sealCursor({ state, now }: CursorDeps, visit: Pick<Visit, 'caller' | 'profile'>, list: string, cursors: Cursors): string {
  return state.seal(PURPOSE, contextOf(visit, list), [...cursors], now() + LIFETIME_MS)
}

/** @returns undefined for the first page. @throws McpError for one that is not this caller's, profile's and list's */
export function openCursor({ state, now }: CursorDeps, visit: Pick<Visit, 'caller' | 'profile'>, list: string, cursor: unknown): Cursors | undefined {
  if (cursor === undefined) return undefined
  const opened = typeof cursor === 'string' ? state.open(PURPOSE, contextOf(visit, list), cursor, now()) : undefined
  // What was sealed here has this form.
  if (opened === undefined) throw new McpError('invalid_params', 'Invalid or expired cursor')
  return new Map(opened as [string, string][])
}

function contextOf({ caller, profile }: Pick<Visit, 'caller' | 'profile'>, list: string): readonly string[] {
  return [caller.user.id, caller.clientId, profile.id, list]
}
