import { isObject } from './message.ts'
import type { Sight } from './pin-store.ts'
import { canonical, definitionOf, PINNED } from './pinned-definition.ts'
import { MAX_DEFINITION, refusalOf, shownName } from './pinning-refusals.ts'

/** One tool of a list, looked at. */
export interface Seen {
  readonly value: Readonly<Record<string, unknown>>
  readonly hash: string
  /** Why it is refused. */
  readonly refusal: string | undefined
}

/** @returns undefined for what is no tool */
export type Look = (tool: unknown) => Seen | undefined

/** Characters of the texts that are remembered: of several thousand tools. */
const MAX_REMEMBERED = 8 * 1024 * 1024
const MAX_TEXT = 64 * 1024

/** Looks at tools, and remembers by their text what came of it: a list that comes again is printed, and not hashed. */
export function sight(): Look {
  const known = new Map<string, Pick<Seen, 'hash' | 'refusal'>>()
  let size = 0
  return (tool) => {
    if (!isObject(tool) || typeof tool['name'] !== 'string') return undefined
    // What is absent is no list of one.
    const printed = JSON.stringify(PINNED.map((member) => (tool[member] === undefined ? 0 : [tool[member]])))
    const before = known.get(printed)
    if (before !== undefined) return { ...before, value: tool }
    const { hash, text } = definitionOf(tool)
    const found = { hash, refusal: refusalOf(tool, text.length) }
    if (printed.length <= MAX_TEXT) {
      if (size + printed.length > MAX_REMEMBERED) {
        known.clear()
        size = 0
      }
      known.set(printed, found)
      size += printed.length
    }
    return { ...found, value: tool }
  }
}

/** What is told of a tool that nobody had seen. */
export function sightOf({ value, hash, refusal }: Seen): Sight {
  const { tool, text } = definitionOf(value)
  if (refusal === undefined) return { tool, hash, text, refusal }
  const name = shownName(tool)
  // What is too large to be shown is too large to be kept.
  return { tool: name, hash, text: text.length > MAX_DEFINITION ? canonical({ name }) : text, refusal }
}
