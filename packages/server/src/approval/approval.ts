// Owns what administrators decide about applications: who may be used by whom, at which upstream, and what waits for
// that. It does not know flows, tokens or calls; they ask it.
import type { Application } from '../clients/client.ts'
import { scopeAllows, type Access } from '../oauth/scope.ts'

/** Stands in a decision for each upstream that has none of its own. */
export const EVERY_UPSTREAM = '*'

/** What an application needs to be approved for. */
export interface Need {
  readonly upstream: string
  readonly access: Access
}

/** What an administrator decided, until another decision. */
export interface StandingDecision extends Need {
  readonly effect: 'approve' | 'refuse'
  /** What the application was when it was decided about. */
  readonly digest: string
  /** Absent for everybody. */
  readonly groups?: readonly string[]
  readonly reason?: string
}

export interface ApprovalSettings {
  /** Whether an application that nobody decided about must wait. */
  readonly required: boolean
  /** Whether a verified application that is not any more what was approved or pinned must wait, or is only reported. */
  readonly holdChanged: boolean
}

/** All that decides about an application, without another look into the store. */
export interface Standing extends ApprovalSettings {
  readonly application: Application
  /** What it is, as it was last seen. */
  readonly digest?: string
  readonly pin?: string
  readonly decisions: readonly StandingDecision[]
}

export type Judgement = { readonly kind: 'approved' | 'unknown' } | { readonly kind: 'refused'; readonly reason: string }
export type Assessment = { readonly kind: 'approved' } | { readonly kind: 'refused'; readonly reason: string } | { readonly kind: 'unknown'; readonly needs: readonly Need[] }

const NO_REASON = 'your administrator has refused this application'
const OTHERS = 'your administrator has approved this application for others only'

/** Decides by what stands: nothing is asked, so that every call can be judged. */
export function judge(standing: Standing, { upstream, access }: Need, groups: readonly string[]): Judgement {
  const about = (name: string): StandingDecision | undefined => standing.decisions.find((decision) => decision.upstream === name && decision.access === access)
  const decision = about(upstream) ?? about(EVERY_UPSTREAM)
  if (decision?.effect === 'refuse') return { kind: 'refused', reason: decision.reason ?? NO_REASON }
  if (isHeld(standing)) return { kind: 'unknown' }
  if (decision === undefined) return { kind: standing.required && standing.application.by !== 'administrator' ? 'unknown' : 'approved' }
  if (changedSince(standing, decision.digest)) return { kind: 'unknown' }
  const included = decision.groups === undefined || decision.groups.some((group) => groups.includes(group))
  return included ? { kind: 'approved' } : { kind: 'refused', reason: OTHERS }
}

function isHeld(standing: Standing): boolean {
  return standing.pin !== undefined && changedSince(standing, standing.pin)
}

/** Of what nobody vouches for, only what was seen is approved: it may say something else tomorrow. */
function changedSince({ application, digest, holdChanged }: Standing, before: string): boolean {
  return digest !== undefined && digest !== before && (holdChanged || !application.verified)
}

/**
 * Judges a whole request. An upstream that may not even be read is left out, as long as there are others: the calls to
 * it are refused later.
 */
export function assess(standing: Standing, needs: readonly Need[], groups: readonly string[]): Assessment {
  // What reaches no upstream waits for nobody, and yet is not for an application that was refused altogether.
  if (needs.length === 0) {
    const whole = judge(standing, { upstream: EVERY_UPSTREAM, access: 'write' }, groups)
    return whole.kind === 'refused' ? whole : { kind: 'approved' }
  }
  const judged = needs.map((need) => ({ need, judgement: judge(standing, need, groups) }))
  const closed = new Set(judged.filter(({ need, judgement }) => need.access === 'read' && judgement.kind === 'refused').map(({ need }) => need.upstream))
  const open = judged.filter(({ need }) => !closed.has(need.upstream))
  for (const { judgement } of open.length === 0 ? judged : open) if (judgement.kind === 'refused') return judgement
  const unknown = open.filter(({ judgement }) => judgement.kind === 'unknown').map(({ need }) => need)
  return unknown.length === 0 ? { kind: 'approved' } : { kind: 'unknown', needs: unknown }
}

/** What a scope means at these upstreams. */
export function needsOf(scope: readonly string[], upstreamIds: readonly string[]): readonly Need[] {
  const accesses: readonly Access[] = ['read', 'write']
  return upstreamIds.flatMap((upstream) => accesses.filter((access) => scopeAllows(scope, access, upstream)).map((access) => ({ upstream, access })))
}

/** All that one decision settles: who may write may read, and who may not read may not write either. */
export function settledBy({ upstream, access }: Need, effect: StandingDecision['effect']): readonly Need[] {
  const both = (effect === 'approve') === (access === 'write')
  return both ? [{ upstream, access: 'read' }, { upstream, access: 'write' }] : [{ upstream, access }]
}
