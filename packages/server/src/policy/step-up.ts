import type { Claims, SignInRequirement } from './rule.ts'

/**
 * One challenge for all that several rules ask for, so that one sign-in suffices. Of authentication contexts the first
 * rule's that all of them name are asked for; where they have none in common, the first rule's.
 */
export function challengeOf(requirements: readonly SignInRequirement[]): SignInRequirement {
  const contexts = requirements.flatMap(({ acrValues }) => (acrValues === undefined ? [] : [acrValues]))
  const [first] = contexts
  const common = first?.filter((acr) => contexts.every((each) => each.includes(acr))) ?? []
  const ages = requirements.flatMap(({ maxAge }) => maxAge ?? [])
  const claims: Claims = Object.fromEntries(requirements.flatMap((requirement) => Object.entries(requirement.claims ?? {})).toReversed())
  const demanded = requirements.findLast((requirement) => requirement.demanded !== undefined)?.demanded
  return {
    ...(first === undefined ? {} : { acrValues: common.length === 0 ? first : common }),
    ...(ages.length === 0 ? {} : { maxAge: Math.min(...ages) }),
    ...(Object.keys(claims).length === 0 ? {} : { claims }),
    ...(demanded === undefined ? {} : { demanded }),
  }
}
