import type { CompiledRule, List } from './compiled.ts'
import type { PolicyInput } from './rule.ts'

/** Rules of one upstream and effect: each filed under one of its lists, or else in `always`. */
export interface RuleIndex {
  readonly all: readonly CompiledRule[]
  readonly always: readonly CompiledRule[]
  readonly byKey: ReadonlyMap<string, readonly CompiledRule[]>
}

/** Files each rule under the list of it whose keys lead to the fewest others. */
export function indexRules(rules: readonly CompiledRule[], listsOf: (rule: CompiledRule) => readonly List[] = (rule) => rule.lists): RuleIndex {
  const sharers = new Map<string, number>()
  for (const rule of rules) for (const { keys } of listsOf(rule)) for (const key of keys) sharers.set(key, (sharers.get(key) ?? 0) + 1)
  const always: CompiledRule[] = []
  const byKey = new Map<string, CompiledRule[]>()
  for (const rule of rules) {
    const keys = leastShared(listsOf(rule), sharers)
    if (keys === undefined) always.push(rule)
    for (const key of keys ?? []) {
      const filed = byKey.get(key)
      if (filed === undefined) byKey.set(key, [rule])
      else filed.push(rule)
    }
  }
  return { all: rules, always, byKey }
}

function leastShared(lists: readonly List[], sharers: ReadonlyMap<string, number>): readonly string[] | undefined {
  let best: readonly string[] | undefined
  let fewest = Infinity
  for (const { keys } of lists) {
    let crowd = 0
    for (const key of keys) crowd = Math.max(crowd, sharers.get(key) ?? 0)
    if (crowd < fewest) [best, fewest] = [keys, crowd]
  }
  return best
}

export function keysOf({ subject, groups, clientId, application, tool }: Pick<PolicyInput, 'subject' | 'groups' | 'clientId' | 'application' | 'tool'>): readonly string[] {
  const keys = [`user ${subject}`, `client ${clientId}`, `tool ${tool ?? ''}`]
  if (application?.id !== undefined) keys.push(`client ${application.id}`)
  for (const group of groups) keys.push(`group ${group}`)
  return keys
}

/** The first rule of the list that matches. */
export function firstOf({ always, byKey }: RuleIndex, keys: readonly string[], matches: (rule: CompiledRule) => boolean): CompiledRule | undefined {
  let best = always.find(matches)
  for (const key of keys) {
    const found = byKey.get(key)?.find(matches)
    if (found !== undefined && found.order < (best?.order ?? Infinity)) best = found
  }
  return best
}

/** All rules that match, in the order of the list. */
export function allOf({ always, byKey }: RuleIndex, keys: readonly string[], matches: (rule: CompiledRule) => boolean): readonly CompiledRule[] {
  const found = new Set(always.filter(matches))
  for (const key of keys) for (const rule of byKey.get(key) ?? []) if (matches(rule)) found.add(rule)
  return [...found].sort((a, b) => a.order - b.order)
}
