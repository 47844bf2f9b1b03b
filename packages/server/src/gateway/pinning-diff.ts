import { isObject } from './message.ts'

/** One place in which two definitions differ; what is absent on a side is undefined there. */
export interface Difference {
  /** A JSON pointer (RFC 6901). */
  readonly path: string
  readonly before?: unknown
  readonly after?: unknown
}

/** More than anybody reads; what is left out is said. */
const MAX_DIFFERENCES = 200

/** What differs between two definitions, in the order of their members. */
export function differences(before: unknown, after: unknown): readonly Difference[] {
  const found: Difference[] = []
  compare('', before, after, found)
  return found
}

function compare(path: string, before: unknown, after: unknown, found: Difference[]): void {
  if (found.length >= MAX_DIFFERENCES) return
  if (isObject(before) && isObject(after)) return compareMembers(path, before, after, found)
  if (Array.isArray(before) && Array.isArray(after)) return compareMembers(path, byPlace(before), byPlace(after), found)
  if (JSON.stringify(before) !== JSON.stringify(after)) found.push({ path, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) })
}

function compareMembers(path: string, before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>, found: Difference[]): void {
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const at = (members: Readonly<Record<string, unknown>>): unknown => (Object.hasOwn(members, name) ? members[name] : undefined)
    compare(`${path}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, at(before), at(after), found)
  }
}

function byPlace(items: readonly unknown[]): Readonly<Record<string, unknown>> {
  return Object.fromEntries(items.map((item, place) => [place, item]))
}
