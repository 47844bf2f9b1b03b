import { applies, conditionsHold, isSatisfied, type CompiledRule } from './compiled.ts'
import type { Condition, Facts, Truth } from './condition.ts'
import type { Decision, Effect, PolicyInput } from './rule.ts'

export interface Explanation {
  readonly decision: Decision
  /** Every rule, in the order of the list. */
  readonly rules: readonly ExplainedRule[]
}

export interface ExplainedRule {
  readonly id: string
  readonly effect: Effect
  readonly matched: boolean
  /** It matched because something is not known of which the worst was assumed. */
  readonly assumed?: true
  /** Whether what a step-up or an approval asks for is there. */
  readonly satisfied?: boolean
  /** What the rule names, and whether it holds. */
  readonly conditions: readonly ExplainedCondition[]
}

export interface ExplainedCondition {
  /** As the rule writes it: `groups`, `when.time`, `unless.networks`, `require.acr`. */
  readonly name: string
  readonly holds: boolean | 'unknown'
}

/** Says of one rule why it matched or did not. */
export function explainRule(compiled: CompiledRule, input: PolicyInput): ExplainedRule {
  const lists = listsOf(compiled, input)
  const named = lists.every(([, holds]) => holds)
  const { effect, when, unless = [], requires } = compiled
  return {
    id: compiled.id,
    effect,
    matched: named && applies(compiled, input),
    ...(named && applies(compiled, input) && conditionsHold(compiled, input) === undefined ? { assumed: true } : {}),
    ...(effect === 'step-up' || effect === 'approval' ? { satisfied: isSatisfied(compiled, input) } : {}),
    conditions: [
      ...lists.map(([name, holds]) => ({ name, holds })),
      ...explained('when', when, input),
      ...explained('unless', unless, input),
      ...explained('require', requires, input),
    ],
  }
}

function listsOf({ rule, group, user, client, upstream, tool, everyTool }: CompiledRule, input: PolicyInput): readonly (readonly [string, boolean])[] {
  const forTool = input.tool === undefined ? everyTool : tool(input.tool)
  return [
    ...(rule.groups === undefined ? [] : [['groups', group === undefined || input.groups.some(group)] as const]),
    ...(rule.users === undefined ? [] : [['users', user(input.subject)] as const]),
    ...(rule.clients === undefined ? [] : [['clients', client(input.clientId) || (input.application?.id !== undefined && client(input.application.id))] as const]),
    ...(rule.upstreams === undefined ? [] : [['upstreams', upstream(input.upstream)] as const]),
    ...(rule.tools === undefined && forTool ? [] : [['tools', forTool] as const]),
  ]
}

function explained(below: string, conditions: readonly Condition[], facts: Facts): readonly ExplainedCondition[] {
  return conditions.map(({ name, holds }) => ({ name: `${below}.${name}`, holds: told(holds(facts)) }))
}

function told(truth: Truth): boolean | 'unknown' {
  return truth ?? 'unknown'
}
