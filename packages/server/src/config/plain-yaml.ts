// Reads the plain part of YAML that configurations are written in, without a tree of nodes: ten thousand rules take
// milliseconds. Whatever is out of the ordinary is left to the parser of the whole language: never a guess.

/** A text that is not of the plain part: somebody else reads it. */
class NotPlain extends Error {
  override readonly name = 'NotPlain'
}

interface Line {
  readonly indent: number
  readonly text: string
}

const KEY = /^([A-Za-z][A-Za-z0-9_-]*):(?: +(.*))?$/
/** What the language's core schema takes for something else than text, in any spelling. */
const WORD_OF_SCHEMA = /^(?:true|false|null)$/i
const INTEGER = /^(?:0|-?[1-9]\d{0,14})$/
/** Begins as no indicator or special value does, and holds no space before a colon or number sign, nor after a colon. */
const TEXT = /^(?:[A-Za-z0-9_/$]|-(?=[A-Za-z_])|\.\/)(?:[^\s,[\]{}:#"'`]|:(?=\S)|[{}#](?<=\S.)| (?=[^\s:#-]))*$/
const FLOW_TEXT = /^(?:[A-Za-z0-9_/]|-(?=[A-Za-z_])|\.\/)(?:[^\s,[\]{}:#"'`]|:(?=[^\s,[\]{}])| (?=[^\s:#-]))*/
/** What the language reads as a number, or nearly so: only a plain integer is read here. */
const NUMBER_LIKE = /^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d+)(?:[eE][-+]?\d*)?$|^[-+]?0[xob]/i
const QUOTED = /^(?:"([^"\\]*)"|'([^']*)')$/
/** Characters that break lines, that cannot be printed, or that this does not count columns by. */
const ODD = /[^\n\x20-\x7e\u00a1-\u02ff]/

/** @returns the mapping that a text is, or undefined when it is to be read by the parser of the whole language */
export function readPlainYaml(text: string): Record<string, unknown> | undefined {
  if (ODD.test(text)) return undefined
  try {
    const lines = linesOf(text)
    const [first] = lines
    if (first?.indent !== 0) return undefined
    const [value, next] = mapping(lines, 0, 0)
    return next === lines.length ? value : undefined
  } catch (error) {
    if (error instanceof NotPlain) return undefined
    throw error
  }
}

function linesOf(text: string): readonly Line[] {
  const lines: Line[] = []
  for (const raw of text.split('\n')) {
    const trimmed = raw.trimStart()
    if (trimmed === '' || trimmed.startsWith('#')) continue
    const comment = trimmed.indexOf(' #')
    // A number sign inside of quotes is none of a comment.
    if (comment !== -1 && /["']/.test(trimmed)) throw new NotPlain()
    lines.push({ indent: raw.length - trimmed.length, text: (comment === -1 ? trimmed : trimmed.slice(0, comment)).trimEnd() })
  }
  return lines
}

type Read<Value> = readonly [value: Value, next: number]

function mapping(lines: readonly Line[], start: number, indent: number): Read<Record<string, unknown>> {
  const value: Record<string, unknown> = {}
  let at = start
  for (let line = lines[at]; line?.indent === indent; line = lines[at]) {
    const [, key = '', rest] = KEY.exec(line.text) ?? []
    if (key === '' || WORD_OF_SCHEMA.test(key) || Object.hasOwn(value, key)) throw new NotPlain()
    const [member, next]: Read<unknown> = rest === undefined ? nested(lines, at + 1, indent, true) : inline(lines, at, rest)
    value[key] = member
    at = next
  }
  if (at === start) throw new NotPlain()
  return [value, at]
}

function sequence(given: readonly Line[], start: number, indent: number): Read<unknown[]> {
  const lines = given as Line[]
  const items: unknown[] = []
  let at = start
  for (let line = lines[at]; line?.indent === indent && /^-(?: |$)/.test(line.text); line = lines[at]) {
    const rest = line.text.slice(1).trimStart()
    const column = indent + line.text.length - rest.length
    if (rest === '') {
      const [item, next] = nested(lines, at + 1, indent, false)
      items.push(item)
      at = next
    } else if (KEY.test(rest)) {
      // The mapping begins in the line of its dash: as if the dash were a space.
      lines[at] = { indent: column, text: rest }
      const [item, next] = mapping(lines, at, column)
      items.push(item)
      at = next
    } else {
      const [item, next] = inline(lines, at, rest)
      items.push(item)
      at = next
    }
  }
  return [items, at]
}

/** What stands in the lines below: a deeper mapping or sequence, a sequence that a key needs not be deeper than, or nothing. */
function nested(lines: readonly Line[], at: number, indent: number, isMember: boolean): Read<unknown> {
  const line = lines[at]
  const isSequence = line !== undefined && /^-(?: |$)/.test(line.text)
  if (line !== undefined && line.indent > indent) return isSequence ? sequence(lines, at, line.indent) : mapping(lines, at, line.indent)
  return isMember && isSequence && line.indent === indent ? sequence(lines, at, indent) : [null, at]
}

/** A value in its own line; a deeper line after it would go on with it. */
function inline(lines: readonly Line[], at: number, text: string): Read<unknown> {
  const { indent = 0 } = lines[at] ?? {}
  if ((lines[at + 1]?.indent ?? 0) > indent) throw new NotPlain()
  if (text.startsWith('[') || text.startsWith('{')) {
    const [value, end] = flow(text, 0)
    if (end !== text.length) throw new NotPlain()
    return [value, at + 1]
  }
  return [scalar(text, TEXT), at + 1]
}

function scalar(text: string, plain: RegExp): unknown {
  const [, double, single] = QUOTED.exec(text) ?? []
  const quoted = double ?? single
  if (quoted !== undefined) return quoted
  if (WORD_OF_SCHEMA.test(text)) return word(text)
  if (INTEGER.test(text)) return Number(text)
  if (!NUMBER_LIKE.test(text) && plain.exec(text)?.[0] === text) return text
  throw new NotPlain()
}

function word(text: string): boolean | null {
  if (text === 'true') return true
  if (text === 'false') return false
  if (text === 'null') return null
  throw new NotPlain()
}

/** A list or map in brackets, in one line. */
function flow(text: string, start: number): Read<unknown> {
  const opening = text[start]
  if (opening !== '[' && opening !== '{') return flowScalar(text, start)
  const closing = opening === '[' ? ']' : '}'
  const items: unknown[] = []
  const members: Record<string, unknown> = {}
  let at = skip(text, start + 1)
  while (text[at] !== closing) {
    if (opening === '{') {
      const [, key = ''] = /^([A-Za-z][A-Za-z0-9_-]*): /.exec(text.slice(at, at + 80)) ?? []
      if (key === '' || WORD_OF_SCHEMA.test(key) || Object.hasOwn(members, key)) throw new NotPlain()
      ;[members[key], at] = flow(text, skip(text, at + key.length + 1))
    } else {
      const [item, next] = flow(text, at)
      items.push(item)
      at = next
    }
    at = skip(text, at)
    if (text[at] === closing) break
    if (text[at] !== ',') throw new NotPlain()
    at = skip(text, at + 1)
    // A comma at the end is allowed, and so rare that it is not read here.
    if (text[at] === closing) throw new NotPlain()
  }
  return [opening === '[' ? items : members, at + 1]
}

function flowScalar(text: string, start: number): Read<unknown> {
  const rest = text.slice(start)
  const [found] = /^(?:"[^"\\]*"|'[^']*'|-?\d+(?=[\s,\]}]))/.exec(rest) ?? FLOW_TEXT.exec(rest) ?? []
  if (found === undefined) throw new NotPlain()
  const after = skip(text, start + found.length)
  // What goes on in another way than a list or map does is something else.
  if (!/^[,\]}]$/.test(text[after] ?? '')) throw new NotPlain()
  return [scalar(found, FLOW_TEXT), after]
}

function skip(text: string, at: number): number {
  let next = at
  while (text[next] === ' ') next += 1
  return next
}
