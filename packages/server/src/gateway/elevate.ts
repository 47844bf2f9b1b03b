// What becomes of a request that needs more than its token stands for, on whatever plane: another sign-in (RFC 9470), a
// wider scope, or both. A client that is challenged comes back with another token; what it was challenged for is
// remembered, as most know no challenge of RFC 9470 and answer any with a refresh, which gives nothing.
import type { AuditEvent, Recorder } from '../audit/event.ts'
import type { StepUpLink } from '../authorize/step-up-link.ts'
import type { StepUpStore } from '../authorize/step-up-store.ts'
import type { Authentication, SignInRequirement } from '../policy/rule.ts'
import { trace, type Contact } from './call.ts'
import { Challenge } from './challenge.ts'
import { McpError } from './error.ts'

/** How a person may prove more than they did for a grant. */
export interface Elevation {
  readonly stepUps: Pick<StepUpStore, 'ask'>
  /** How the person signed in for the grant, as the store has it now. */
  current(grantId: string): Promise<Authentication | undefined>
  /** The page where they sign in again. */
  url(link: StepUpLink): string
}

export interface ElevateDeps {
  readonly elevation?: Elevation
  readonly audit: Recorder
  readonly now: () => number
}

/** What was asked for. */
export interface Wanted<Asking extends Contact, Result> {
  /** What the audit trail calls it. */
  readonly named: Pick<AuditEvent, 'tool' | 'detail'>
  /** What is to be used, in words for its person. */
  readonly use: string
  /** Takes the way of the request from its beginning. */
  again(asking: Asking): Promise<Result>
  /** Leads the person to the page, by the protocol's own way; undefined where the client knows none. */
  lead?(asking: Asking, url: () => string): (() => Promise<Result>) | undefined
}

/** How long it is believed that an identity provider cannot give what was asked of it. */
const UNMET_MS = 5 * 60_000

/** @param error why the request did not go its way @throws what the caller is told */
export async function elevate<Asking extends Contact, Result>(deps: ElevateDeps, asking: Asking, wanted: Wanted<Asking, Result>, error: unknown): Promise<Result> {
  const { elevation } = deps
  if (!(error instanceof Challenge) || elevation === undefined) throw error
  // Nobody stands behind a machine who could sign in, or approve more: asking would make a loop.
  if (asking.caller.user.kind === 'machine') throw error.error === 'insufficient_user_authentication' ? noSignIn() : error
  // What the identity provider issued is asked for there: nothing that is remembered here would change it.
  if (asking.caller.presented === true) throw error
  if (error.error === 'insufficient_scope') throw await challenged(deps, elevation, asking, wanted, error)
  if (error.error !== 'insufficient_user_authentication') throw error
  const newer = await newerAuthentication(elevation, asking)
  if (newer === undefined) return signInAgain(deps, elevation, asking, wanted, error)
  const renewed = { ...asking, caller: { ...asking.caller, authentication: newer } }
  return wanted.again(renewed).catch((lacking: unknown) => elevate(deps, renewed, wanted, lacking))
}

/** The person may have proven more a moment ago, of which this node has not heard. */
async function newerAuthentication(elevation: Elevation, { caller }: Contact): Promise<Authentication | undefined> {
  const current = await elevation.current(caller.grantId)
  return current === undefined || JSON.stringify(current) === JSON.stringify(caller.authentication) ? undefined : current
}

async function signInAgain<Asking extends Contact, Result>(deps: ElevateDeps, elevation: Elevation, asking: Asking, wanted: Wanted<Asking, Result>, challenge: Challenge): Promise<Result> {
  // The page leaves the scope as it is: whoever lacks both gets both by one authorization.
  const way = challenge.scope === undefined ? wanted.lead?.(asking, () => pageFor(elevation, asking, wanted.use, challenge)) : undefined
  if (way === undefined) throw await challenged(deps, elevation, asking, wanted, challenge)
  await deps.audit.record(requested(asking, wanted.named, challenge.signIn))
  return way()
}

function pageFor(elevation: Elevation, { caller }: Contact, use: string, { signIn = {} }: Challenge): string {
  return elevation.url({ grantId: caller.grantId, userId: caller.user.id, clientId: caller.clientId, resource: caller.resource, requirement: signIn, use })
}

/** RS-45: that more was asked for is recorded, with what was. @returns what the client is told */
async function challenged(deps: ElevateDeps, elevation: Elevation, asking: Contact, { named, use }: Pick<Wanted<Contact, never>, 'named' | 'use'>, challenge: Challenge): Promise<Error> {
  const { user, clientId, resource, grantId, scope } = asking.caller
  const [requirement, wider] = [challenge.signIn ?? {}, challenge.scope ?? []]
  const now = deps.now()
  const asked = await elevation.stepUps.ask({ userId: user.id, clientId, resource, grantId, requirement, scope: wider }, now, now - UNMET_MS, requested(asking, named, requirement, wider))
  if (asked === 'unmet') return notProven()
  if (challenge.error === 'insufficient_scope') return challenge
  // What the client has it asks for again: a new token is to be worth no less than this one.
  const page = wider.length === 0 ? pageFor(elevation, asking, use, challenge) : undefined
  return new Challenge(challenge.error, challenge.message, [...new Set([...scope, ...wider])], challenge.signIn, page)
}

function requested(asking: Contact, { tool, detail: more }: Pick<AuditEvent, 'tool' | 'detail'>, { acrValues, maxAge, demanded }: SignInRequirement = {}, scope: readonly string[] = []) {
  const detail = { ...more, ...(acrValues === undefined ? {} : { acr_values: acrValues }), ...(maxAge === undefined ? {} : { max_age: maxAge }), ...(demanded === undefined ? {} : { demanded: true }), ...(scope.length === 0 ? {} : { scope }) }
  return { action: 'step-up.requested', outcome: 'success', ...trace(asking), ...(tool === undefined ? {} : { tool }), detail } as const
}

function noSignIn(): McpError {
  return new McpError('unavailable', 'This needs the sign-in of a person, which a machine does not have', { status: 403 })
}

export function notProven(): McpError {
  return new McpError('unavailable', 'Your sign-in could not prove what this needs. Ask your administrator how your account can, then try again in a few minutes', { status: 403 })
}
