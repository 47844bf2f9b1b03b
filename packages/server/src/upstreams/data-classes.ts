import { matcher, type Match } from '../policy/pattern.ts'
import type { Upstream } from './upstream.ts'

const compiled = new WeakMap<object, readonly (readonly [string, Match])[]>()
const NONE: readonly string[] = []

/** The classes of data that an administrator labelled a tool with. */
export function dataClassesOf({ dataClasses }: Pick<Upstream, 'dataClasses'>, tool: string): readonly string[] {
  if (dataClasses === undefined) return NONE
  let classes = compiled.get(dataClasses)
  if (classes === undefined) compiled.set(dataClasses, (classes = Object.entries(dataClasses).map(([name, patterns]) => [name, matcher(patterns)] as const)))
  return classes.filter(([, matches]) => matches(tool)).map(([name]) => name)
}
