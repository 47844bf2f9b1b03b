import { authenticationOf } from '../identity/authentication.ts'
import type { StateSealer } from '../keys/seal.ts'
import type { Resource } from '../oauth/resource.ts'
import type { Authentication, SignInRequirement } from '../policy/rule.ts'
import type { Authorization } from './authorization.ts'
import type { StepUpStore } from './step-up-store.ts'

/** What a person is asked to sign in again for. */
export interface StepUpLink {
  readonly grantId: string
  readonly userId: string
  readonly clientId: string
  readonly resource: Resource
  readonly requirement: SignInRequirement
  /** What is to be used then, in words. */
  readonly use: string
}

const PURPOSE = 'step-up link'
const LINK_MS = 30 * 60_000
const MAX_LENGTH = 4096

export interface ElevationDeps {
  readonly issuer: string
  readonly state: StateSealer
  readonly stepUps: StepUpStore
  readonly grants: { findGrant(grantId: string): Promise<{ readonly authorization: Authorization } | undefined> }
  readonly now: () => number
}

/** What the data plane needs of people who must prove more than they did for a grant. */
export function elevation({ issuer, state, stepUps, grants, now }: ElevationDeps) {
  return {
    stepUps,
    async current(grantId: string): Promise<Authentication | undefined> {
      const grant = await grants.findGrant(grantId)
      return grant === undefined ? undefined : authenticationOf(grant.authorization)
    },
    /** RS-37: the address says nothing of anybody, and whoever opens it is nobody by that. */
    url: (link: StepUpLink): string => `${issuer}${stepUpPath(state.seal(PURPOSE, [], link, now() + LINK_MS))}`,
  }
}

export function stepUpPath(sealed: string): string {
  return `/step-up?${new URLSearchParams({ for: sealed }).toString()}`
}

/** @returns undefined for one that was changed, or is too old */
export function openStepUpLink(state: StateSealer, sealed: string | undefined, now: number): StepUpLink | undefined {
  return sealed === undefined || sealed.length > MAX_LENGTH ? undefined : (state.open(PURPOSE, [], sealed, now) as StepUpLink | undefined)
}
