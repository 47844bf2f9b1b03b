import { allHold, compileConditions, compileRequirement, type Condition, type Facts, type Truth } from './condition.ts'
import { isEverything, matcher, type Match } from './pattern.ts'
import type { Effect, PolicyInput, Rule } from './rule.ts'
import { isListOfNames, toolMatcher } from './tool-pattern.ts'

export interface CompiledRule {
  readonly id: string
  readonly rule: Rule
  /** Its place in the list: of several rules that match, the first is the one that decided. */
  readonly order: number
  readonly effect: Effect
  /** Absent for everybody, also for somebody of whom no group is known. */
  readonly group: Match | undefined
  readonly user: Match
  readonly client: Match
  readonly upstream: Match
  readonly tool: Match
  readonly everyTool: boolean
  readonly everyClient: boolean
  readonly when: readonly Condition[]
  /** Absent when nothing is excepted. */
  readonly unless: readonly Condition[] | undefined
  readonly requires: readonly Condition[]
  /** Its lists without wildcards: any of them may lead to this rule. */
  readonly lists: readonly List[]
  /** Those of them that are not about tools. */
  readonly listsBesideTools: readonly List[]
}

export interface List {
  readonly kind: 'user' | 'client' | 'tool' | 'group'
  readonly names: readonly string[]
}

/** @throws Error for a network or time zone that is none */
export function compileRule(rule: Rule, order: number): CompiledRule {
  const restricts = rule.effect !== 'allow'
  const lists = listsOf(rule, restricts)
  const [when, unless] = [compileConditions(rule.when), rule.unless === undefined ? undefined : compileConditions(rule.unless)]
  return {
    id: rule.id,
    rule,
    order,
    effect: rule.effect,
    group: isEverything(rule.groups) ? undefined : matcher(rule.groups),
    user: matcher(rule.users),
    client: matcher(rule.clients),
    upstream: matcher(rule.upstreams),
    tool: toolMatcher(rule.tools, restricts),
    everyTool: isEverything(rule.tools) && ![...when, ...(unless ?? [])].some(({ ofTool }) => ofTool === true),
    everyClient: isEverything(rule.clients),
    when,
    unless,
    requires: rule.require === undefined ? [] : compileRequirement(rule.require),
    lists,
    listsBesideTools: lists.some(({ kind }) => kind === 'tool') ? lists.filter(({ kind }) => kind !== 'tool') : lists,
  }
}

function listsOf({ users, clients, tools, groups }: Rule, restricts: boolean): readonly List[] {
  const lists: List[] = []
  const add = (kind: List['kind'], list: readonly string[] | undefined): void => {
    if (list === undefined || (kind === 'tool' ? !isListOfNames(list, restricts) : list.some((pattern) => pattern.includes('*')))) return
    lists.push({ kind, names: list.length === 1 ? list : [...new Set(list)] })
  }
  add('user', users)
  add('client', clients)
  add('tool', tools)
  add('group', groups)
  return lists
}

export type Asker = Pick<PolicyInput, 'subject' | 'groups' | 'application'> & { readonly clientId?: string }

/** Whether its lists of people and clients name this one. */
export function isFor({ group, user, client }: CompiledRule, { subject, groups, clientId, application }: Asker): boolean {
  return user(subject) && (clientId === undefined || client(clientId) || (application?.id !== undefined && client(application.id))) && (group === undefined || groups.some(group))
}

export function isForTool({ everyTool, tool }: CompiledRule, { tool: name }: Pick<PolicyInput, 'tool'>): boolean {
  return name === undefined ? everyTool : tool(name)
}

/** Whether its conditions hold. */
export function conditionsHold({ when, unless }: CompiledRule, facts: Facts): Truth {
  const wanted = when.length === 0 ? true : allHold(when, facts)
  if (wanted === false || unless === undefined) return wanted
  const excepted = allHold(unless, facts)
  if (excepted === true) return false
  return excepted === undefined ? undefined : wanted
}

/** Of what is not known the worst is assumed: what restricts holds, and an allow does not. */
export function applies(compiled: CompiledRule, facts: Facts): boolean {
  return conditionsHold(compiled, facts) ?? compiled.effect !== 'allow'
}

/** Whether what a step-up or an approval asks for is there. */
export function isSatisfied({ effect, id, requires }: CompiledRule, facts: Facts): boolean {
  if (effect === 'step-up') return allHold(requires, facts) === true
  return effect === 'approval' && facts.approvals?.includes(id) === true
}
