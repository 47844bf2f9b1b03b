import type { CompiledRule, List } from './compiled.ts'
import type { PolicyInput } from './rule.ts'

/** Rules of one upstream and effect: each filed under the names of one of its lists, or else in `always`. */
export interface RuleIndex {
  readonly all: readonly CompiledRule[]
  readonly always: readonly CompiledRule[]
  readonly byName: Shelves<readonly CompiledRule[]>
}

/** By what a name is one of, and by the name itself: nothing is put together to look something up. */
type Shelves<Value> = Readonly<Record<List['kind'], ReadonlyMap<string, Value>>>

type Named = Pick<PolicyInput, 'subject' | 'groups' | 'clientId' | 'application' | 'tool'>

/** Files each rule under the list of it whose names lead to the fewest others. */
export function indexRules(rules: readonly CompiledRule[], listsOf: (rule: CompiledRule) => readonly List[] = (rule) => rule.lists): RuleIndex {
  const sharers = shelves<number>()
  for (const rule of rules) for (const { kind, names } of listsOf(rule)) for (const name of names) sharers[kind].set(name, (sharers[kind].get(name) ?? 0) + 1)
  const always: CompiledRule[] = []
  const byName = shelves<CompiledRule[]>()
  for (const rule of rules) {
    const list = leastShared(listsOf(rule), sharers)
    if (list === undefined) always.push(rule)
    for (const name of list?.names ?? []) {
      const shelf = byName[list?.kind ?? 'user']
      const filed = shelf.get(name)
      if (filed === undefined) shelf.set(name, [rule])
      else filed.push(rule)
    }
  }
  return { all: rules, always, byName }
}

function shelves<Value>(): Record<List['kind'], Map<string, Value>> {
  return { user: new Map(), client: new Map(), tool: new Map(), group: new Map() }
}

function leastShared(lists: readonly List[], sharers: Shelves<number>): List | undefined {
  let best: List | undefined
  let fewest = Infinity
  for (const list of lists) {
    let crowd = 0
    for (const name of list.names) crowd = Math.max(crowd, sharers[list.kind].get(name) ?? 0)
    if (crowd < fewest) [best, fewest] = [list, crowd]
  }
  return best
}

/** Those among which all stand that can match: rules that no name leads to, and those that one of the input's does. */
function candidates({ always, byName: { user, client, tool, group } }: RuleIndex, { subject, groups, clientId, application, tool: name }: Named): readonly (readonly CompiledRule[])[] {
  const lists = [always]
  const add = (filed: readonly CompiledRule[] | undefined): void => void (filed !== undefined && lists.push(filed))
  add(user.get(subject))
  add(client.get(clientId))
  if (application?.id !== undefined && application.id !== clientId) add(client.get(application.id))
  if (name !== undefined) add(tool.get(name))
  for (const each of groups) add(group.get(each))
  return lists
}

/** The first rule of the list that matches. */
export function firstOf(index: RuleIndex, input: Named, matches: (rule: CompiledRule) => boolean): CompiledRule | undefined {
  let best: CompiledRule | undefined
  for (const rules of candidates(index, input)) {
    const found = rules.find(matches)
    if (found !== undefined && found.order < (best?.order ?? Infinity)) best = found
  }
  return best
}

/** All rules that match, in the order of the list. */
export function allOf(index: RuleIndex, input: Named, matches: (rule: CompiledRule) => boolean): readonly CompiledRule[] {
  const found = new Set(candidates(index, input).flatMap((rules) => rules.filter(matches)))
  return [...found].sort((a, b) => a.order - b.order)
}
