// Owns decisions: who may reach which tool of which upstream from which client. It reads no request and no store.
import { applies, compileRule, conditionsHold, isFor, isForTool, isSatisfied, type CompiledRule, type List } from './compiled.ts'
import { explainRule, type Explanation } from './explain.ts'
import { allOf, firstOf, indexRules, type RuleIndex } from './index-of-rules.ts'
import type { Decision, PolicyInput, Rule } from './rule.ts'
import { challengeOf } from './step-up.ts'

export type { Decision, PolicyInput, Rule } from './rule.ts'

export interface Policy {
  decide(input: PolicyInput): Decision
  /** What holds a tool back by one of several names that it has, whatever allows it by another: a denial, or what is lacking. */
  restriction(input: PolicyInput): Decision | undefined
  /**
   * Whether any tool of the upstream may be allowed: decides if a person can get a token for it at all. Of what is not
   * known now, such as the hour of the call, the best is assumed: each call is decided when it is made.
   */
  mayReach(input: Omit<PolicyInput, 'tool' | 'toolFacts'>): boolean
  /**
   * The decision on everything that the upstream has, at once: what a rule says of single tools counts as if each of them
   * were called. For who cannot be told what is called.
   */
  decideAll(input: Omit<PolicyInput, 'tool' | 'toolFacts'>): Decision
  /** The same from whatever client: decides if a person may connect an account of theirs. */
  mayConnect(input: Omit<PolicyInput, 'tool' | 'toolFacts' | 'clientId' | 'application'>): boolean
  /** The same decision with every rule that was considered. */
  explain(input: PolicyInput): Explanation
  /** Whether a rule about the upstream looks at what a tool is annotated with: then it must be known before a decision. */
  asksAnnotations(upstream: string): boolean
}

interface Indexes {
  readonly deny: RuleIndex
  readonly allow: RuleIndex
  /** Step-ups and approvals. */
  readonly restrict: RuleIndex
  /** For the question whether anything is allowed at all: denials of every tool, allows of any. */
  readonly denyAll: RuleIndex
  readonly allowAny: RuleIndex
  /** For the question whether everything is allowed: whatever keeps somebody from any tool. */
  readonly restrictAny: RuleIndex
  readonly asksAnnotations: boolean
}

const DENIED: Decision = { allow: false, effect: 'deny', rule: 'default' }

/**
 * Compiles rules: the first denial that matches decides, else what a matching step-up or approval lacks, else the first
 * allow. Without an allow, all is denied.
 *
 * @param upstreams those that are indexed at once, and not when they are first asked about
 * @throws Error for a doubled identifier, and a network or time zone that is none.
 */
export function policy(rules: readonly Rule[], upstreams: readonly string[] = []): Policy {
  const compiled = rules.map(compileRule)
  if (new Set(rules.map((rule) => rule.id)).size !== rules.length) throw new Error('two rules have one identifier')
  const indexes = new Map<string, Indexes>()
  const rulesFor = (upstream: string): Indexes => {
    let found = indexes.get(upstream)
    // Upstreams come from the configuration, so this stays as small as it.
    if (found === undefined) indexes.set(upstream, (found = indexUpstream(compiled.filter((rule) => rule.upstream(upstream)))))
    return found
  }
  for (const upstream of upstreams) rulesFor(upstream)
  const decide = (input: PolicyInput): Decision => decideBy(rulesFor(input.upstream), input)
  return {
    decide,
    restriction: (input) => restrictionBy(rulesFor(input.upstream), input),
    mayReach(input) {
      const { denyAll, allowAny } = rulesFor(input.upstream)
      const denied = (rule: CompiledRule): boolean => isFor(rule, input) && conditionsHold(rule, input) === true
      const allowed = (rule: CompiledRule): boolean => isFor(rule, input) && conditionsHold(rule, input) !== false
      return firstOf(denyAll, input, denied) === undefined && firstOf(allowAny, input, allowed) !== undefined
    },
    decideAll(input) {
      // Of what is not known, the tool among it, the worst is assumed.
      const restricts = (rule: CompiledRule): boolean => isFor(rule, input) && applies(rule, input) && !isSatisfied(rule, input)
      const { restrictAny, allow } = rulesFor(input.upstream)
      const [first, ...others] = allOf(restrictAny, input, restricts)
      if (first === undefined) return decide(input)
      const barrier = [first, ...others].find(({ effect }) => effect !== 'step-up')
      if (barrier !== undefined) return { allow: false, effect: 'deny', rule: barrier.id }
      // One sign-in that meets them all opens everything, to whom a rule allows it.
      if (firstOf(allow, input, matching(input)) === undefined) return DENIED
      return { allow: false, effect: 'step-up', rule: first.id, challenge: challengeOf([first, ...others].flatMap(({ rule }) => rule.require ?? [])) }
    },
    // The client is left out: an account may be connected before, or for, any of them. So only a denial of all counts.
    mayConnect({ subject, groups, upstream, address, at, authentication }) {
      const input = { subject, groups, address, at, authentication }
      const { denyAll, allowAny } = rulesFor(upstream)
      const denied = (rule: CompiledRule): boolean => rule.everyClient && isFor(rule, input) && conditionsHold(rule, input) === true
      const allowed = (rule: CompiledRule): boolean => isFor(rule, input) && conditionsHold(rule, input) !== false
      // Asked by pages, and without a client: read in turn.
      return !denyAll.all.some(denied) && allowAny.all.some(allowed)
    },
    explain: (input) => ({ decision: decide(input), rules: compiled.map((rule) => explainRule(rule, input)) }),
    asksAnnotations: (upstream) => rulesFor(upstream).asksAnnotations,
  }
}

function indexUpstream(rules: readonly CompiledRule[]): Indexes {
  const denials = rules.filter(({ effect }) => effect === 'deny')
  const allows = rules.filter(({ effect }) => effect === 'allow')
  const untooled = (rule: CompiledRule): readonly List[] => rule.listsBesideTools
  return {
    deny: indexRules(denials),
    allow: indexRules(allows),
    restrict: indexRules(rules.filter(({ effect }) => effect === 'step-up' || effect === 'approval')),
    denyAll: indexRules(denials.filter((rule) => rule.everyTool), untooled),
    allowAny: indexRules(allows, untooled),
    restrictAny: indexRules(rules.filter(({ effect }) => effect !== 'allow'), untooled),
    asksAnnotations: rules.some(({ rule }) => rule.when?.tool !== undefined || rule.unless?.tool !== undefined),
  }
}

function decideBy(indexes: Indexes, input: PolicyInput): Decision {
  const matches = matching(input)
  const restriction = restrictionBy(indexes, input, matches)
  if (restriction?.effect === 'deny') return restriction
  // A requirement asks something only of whom a rule allows.
  const permission = firstOf(indexes.allow, input, matches)
  if (permission === undefined) return DENIED
  return restriction ?? { allow: true, effect: 'allow', rule: permission.id }
}

function matching(input: PolicyInput): (rule: CompiledRule) => boolean {
  return (rule) => isFor(rule, input) && isForTool(rule, input) && applies(rule, input)
}

function restrictionBy({ deny, restrict }: Indexes, input: PolicyInput, matches = matching(input)): Decision | undefined {
  const denial = firstOf(deny, input, matches)
  if (denial !== undefined) return { allow: false, effect: 'deny', rule: denial.id }
  const lacking = restrict.all.length === 0 ? [] : allOf(restrict, input, (rule) => matches(rule) && !isSatisfied(rule, input))
  const [first] = lacking
  if (first === undefined) return undefined
  // What the person can do themselves comes first.
  const stepUps = lacking.filter(({ effect }) => effect === 'step-up')
  const [stepUp] = stepUps
  if (stepUp === undefined) return { allow: false, effect: 'approval', rule: first.id }
  return { allow: false, effect: 'step-up', rule: stepUp.id, challenge: challengeOf(stepUps.flatMap(({ rule }) => rule.require ?? [])) }
}
