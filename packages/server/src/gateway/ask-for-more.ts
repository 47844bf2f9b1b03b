// A call that needs more than its token stands for. Whoever can be sent to a page signs in there, and the call goes on;
// whoever cannot, or lacks a scope as well, is challenged.
import type { Call } from './call.ts'
import { respond } from './deliver.ts'
import { elevate, notProven, type ElevateDeps } from './elevate.ts'
import { McpError } from './error.ts'
import { bringsOwnState, sendToUrl, type MissingConnectionDeps } from './missing-connection.ts'
import { named } from './record.ts'

export interface AskForMoreDeps extends MissingConnectionDeps, ElevateDeps {}

/** @param again takes the way of the call from its beginning @throws what the caller is told */
export function askForMore(deps: AskForMoreDeps, call: Call, error: unknown, again: (call: Call) => Promise<void>): Promise<void> {
  const { operation, upstream } = call
  const use = operation.kind === 'tool' ? `${operation.name} of ${upstream.name}` : upstream.name
  return elevate(deps, call, { named: named(call), use, again, lead: (asking, url) => wayToPage(deps, asking, url) }, error)
}

function wayToPage(deps: AskForMoreDeps, call: Call, url: () => string): (() => Promise<void>) | undefined {
  // The person was there, and came back with no more: asking again would make a loop.
  if (bringsOwnState(call)) throw notProven()
  const result = sendToUrl(deps, call, `${call.upstream.name} needs you to confirm that it is you.`, url)
  if (result === undefined) return undefined
  return async () => {
    // A client of 2025 is told by an error of the protocol.
    if (result instanceof McpError) throw result
    respond(call, result)
  }
}
