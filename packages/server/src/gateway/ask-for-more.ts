// What becomes of a call that needs more than its token stands for: another sign-in (RFC 9470) or a wider scope. Whoever
// can be sent to a page signs in there, and the call goes on; whoever cannot is challenged, and what they were challenged
// for is remembered: most clients know no challenge of RFC 9470, and answer any with a refresh, which gives nothing.
import type { Recorder } from '../audit/event.ts'
import type { StepUpLink } from '../authorize/step-up-link.ts'
import type { StepUpStore } from '../authorize/step-up-store.ts'
import type { Authentication, SignInRequirement } from '../policy/rule.ts'
import { trace, type Call } from './call.ts'
import { Challenge } from './challenge.ts'
import { respond } from './deliver.ts'
import { McpError } from './error.ts'
import { bringsOwnState, sendToUrl, type MissingConnectionDeps } from './missing-connection.ts'
import { named } from './record.ts'

/** How a person may prove more than they did for a grant. */
export interface Elevation {
  readonly stepUps: Pick<StepUpStore, 'ask'>
  /** How the person signed in for the grant, as the store has it now. */
  current(grantId: string): Promise<Authentication | undefined>
  /** The page where they sign in again. */
  url(link: StepUpLink): string
}

export interface AskForMoreDeps extends MissingConnectionDeps {
  readonly elevation?: Elevation
  readonly audit: Recorder
}

/** How long it is believed that an identity provider cannot give what was asked of it. */
const UNMET_MS = 5 * 60_000

/** @param again takes the way of the call from its beginning @throws what the caller is told */
export async function askForMore(deps: AskForMoreDeps, call: Call, error: unknown, again: (call: Call) => Promise<void>): Promise<void> {
  const { elevation } = deps
  if (!(error instanceof Challenge) || elevation === undefined) throw error
  // Nobody stands behind a machine who could sign in, or approve more: asking would make a loop.
  if (call.caller.user.kind === 'machine') throw error.error === 'insufficient_user_authentication' ? noSignIn() : error
  if (error.error === 'insufficient_scope') throw await remembered(deps, elevation, call, error)
  if (error.error !== 'insufficient_user_authentication') throw error
  const newer = await newerAuthentication(elevation, call)
  if (newer === undefined) return signInAgain(deps, elevation, call, error)
  const renewed = { ...call, caller: { ...call.caller, authentication: newer } }
  try {
    await again(renewed)
  } catch (lacking) {
    if (!(lacking instanceof Challenge) || lacking.error !== 'insufficient_user_authentication') throw lacking
    await signInAgain(deps, elevation, renewed, lacking)
  }
}

/** The person may have proven more a moment ago, of which this node has not heard. */
async function newerAuthentication(elevation: Elevation, { caller }: Call): Promise<Authentication | undefined> {
  const current = await elevation.current(caller.grantId)
  return current === undefined || JSON.stringify(current) === JSON.stringify(caller.authentication) ? undefined : current
}

async function signInAgain(deps: AskForMoreDeps, elevation: Elevation, call: Call, challenge: Challenge): Promise<void> {
  const { caller, operation, upstream } = call
  // The person was there, and came back with no more: asking again would make a loop.
  if (bringsOwnState(call)) throw notProven()
  const requirement = challenge.signIn ?? {}
  const tool = operation.kind === 'tool' ? `${operation.name} of ${upstream.name}` : upstream.name
  const url = (): string => elevation.url({ grantId: caller.grantId, userId: caller.user.id, clientId: caller.clientId, resource: caller.resource, requirement, use: tool })
  const result = sendToUrl(deps, call, `${upstream.name} needs you to confirm that it is you.`, url)
  if (result === undefined) throw await remembered(deps, elevation, call, challenge)
  await deps.audit.record(requested(call, requirement))
  // A client of 2025 is told by an error of the protocol.
  if (result instanceof McpError) throw result
  respond(call, result)
}

/** RS-45: that more was asked for is recorded, with what was. @returns what the client is told */
async function remembered(deps: AskForMoreDeps, elevation: Elevation, call: Call, challenge: Challenge): Promise<Error> {
  const { user, clientId, resource, grantId, scope } = call.caller
  const isScope = challenge.error === 'insufficient_scope'
  const [requirement, wider] = [challenge.signIn ?? {}, isScope ? (challenge.scope ?? []) : []]
  const now = deps.now()
  const asked = await elevation.stepUps.ask({ userId: user.id, clientId, resource, grantId, requirement, scope: wider }, now, now - UNMET_MS, requested(call, requirement, wider))
  if (asked === 'unmet') return notProven()
  // What the client has it asks for again: a new token is to be worth no less than this one.
  return isScope ? challenge : new Challenge(challenge.error, challenge.message, scope, challenge.signIn)
}

function requested(call: Call, { acrValues, maxAge }: SignInRequirement, scope: readonly string[] = []) {
  const detail = { ...(acrValues === undefined ? {} : { acr_values: acrValues }), ...(maxAge === undefined ? {} : { max_age: maxAge }), ...(scope.length === 0 ? {} : { scope }) }
  return { action: 'step-up.requested', outcome: 'success', ...trace(call), ...named(call), detail } as const
}

function noSignIn(): McpError {
  return new McpError('unavailable', 'This needs the sign-in of a person, which a machine does not have', { status: 403 })
}

function notProven(): McpError {
  return new McpError('unavailable', 'Your sign-in could not prove what this needs. Ask your administrator how your account can, then try again in a few minutes', { status: 403 })
}
