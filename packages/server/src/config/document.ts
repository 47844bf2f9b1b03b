import { readFileSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, visit, type Document, type Scalar } from 'yaml'
import { readPlainYaml } from './plain-yaml.ts'

export interface Problem {
  readonly line: number | undefined
  readonly path: string
  readonly message: string
}

/** Where a value comes from, and what its references may name. */
export interface Source {
  readonly file: string
  readonly directory: string
  readonly environment: NodeJS.ProcessEnv
}

/** A file as data, its references resolved. */
export interface ReadDocument {
  readonly value: unknown
  readonly problems: readonly Problem[]
  /** The line of the deepest part of a path that is there. */
  lineOf(path: readonly PropertyKey[]): number | undefined
  /** Whether a value was a reference that leads nowhere: that is the mistake, not what it looks like now. */
  isUnresolved(path: readonly PropertyKey[]): boolean
}

/** Reads YAML and resolves `${env:…}` and `${file:…}`. No value of the file ever stands in a problem. */
export function readDocument(text: string, source: Source): ReadDocument {
  const plain = readPlainYaml(text)
  if (plain === undefined || !resolveWithin(plain, source)) return readTree(text, source)
  // Lines are looked for when something is wrong, which is seldom, and costs more than all the rest.
  let tree: ReadDocument | undefined
  const whole = (): ReadDocument => (tree ??= readTree(text, source))
  return { value: plain, problems: [], lineOf: (path) => whole().lineOf(path), isUnresolved: () => false }
}

/** Resolves the references within data that nobody else has yet. @returns false when one leads nowhere */
function resolveWithin(data: Record<string, unknown>, source: Source): boolean {
  return Object.entries(data).every(([name, value]) => {
    // A list as well: its places are its names.
    if (typeof value === 'object' && value !== null) return resolveWithin(value as Record<string, unknown>, source)
    if (typeof value !== 'string' || !value.includes('${')) return true
    const { text } = resolvedText(value, source)
    data[name] = text
    return text !== undefined
  })
}

/** Reads any YAML, into a tree that knows the line of each value. */
function readTree(text: string, source: Source): ReadDocument {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  const syntax = [...document.errors, ...document.warnings].map((error): Problem => {
    const line = error.linePos?.[0].line
    const hint = (text.split('\n')[(line ?? 0) - 1] ?? '').includes('${') ? ' (inside { } and [ ] a reference ${…} stands in quotes)' : ''
    return { line, path: '', message: `${(error.message.split('\n')[0] ?? 'is not YAML').replace(/ at line \d+, column \d+:?$/, '')}${hint}` }
  })
  const nothing = { value: undefined, lineOf: () => undefined, isUnresolved: () => false }
  const refused = syntax.length > 0 ? syntax : oddNames(document, lines)
  if (refused.length > 0) return { ...nothing, problems: refused }
  const { problems, unresolved } = resolveReferences(document, lines, source)
  const locate = locator(document, lines)
  try {
    return {
      value: document.toJS() ?? {},
      problems,
      lineOf: (path) => locate(path).line,
      isUnresolved: (path) => unresolved.has(locate(path).node),
    }
  } catch {
    // The parser's own message names the alias, which may be a secret that begins with a star.
    return { ...nothing, problems: [{ line: undefined, path: '', message: 'an alias (*name) has no anchor (&name) before it, or aliases multiply without bounds; a text that begins with * stands in quotes' }] }
  }
}

/** Names of settings are shown in mistakes: one that is a list, a map or an alias could show a secret that was resolved in it. */
function oddNames(document: Document, lines: LineCounter): Problem[] {
  const problems: Problem[] = []
  visit(document, {
    Pair(_place, { key }) {
      if (key !== null && !isScalar(key)) problems.push({ line: lineAt(key, lines), path: '', message: 'the name of a setting must be a plain text' })
    },
  })
  return problems
}

const REFERENCE = /\$\{(env|file):([^}]+)\}/g

function resolveReferences(document: Document, lines: LineCounter, source: Source): { readonly problems: Problem[]; readonly unresolved: ReadonlySet<unknown> } {
  const problems: Problem[] = []
  const unresolved = new Set<unknown>()
  visit(document, {
    Scalar(place, node) {
      // Names of settings are no place for secrets: they are shown.
      if (place === 'key' || typeof node.value !== 'string') return
      for (const message of resolveScalar(node, node.value, source)) {
        problems.push({ line: lineAt(node, lines), path: '', message })
        unresolved.add(node)
      }
    },
  })
  return { problems, unresolved }
}

function resolveScalar(node: Scalar, given: string, source: Source): readonly string[] {
  const { text, mistakes } = resolvedText(given, source)
  if (text !== undefined) node.value = text
  return mistakes
}

/** @returns no text when a reference leads nowhere */
function resolvedText(given: string, source: Source): { readonly text?: string; readonly mistakes: readonly string[] } {
  const mistakes: string[] = []
  if (given.replace(REFERENCE, '').includes('${')) mistakes.push('a reference is ${env:NAME} or ${file:PATH}')
  const text = given.replace(REFERENCE, (_match, kind: string, name: string) => {
    const value = kind === 'env' ? source.environment[name] : readSecret(absolute(source.directory, name))
    if (value === undefined || value === '') mistakes.push(kind === 'env' ? `the environment has no ${name}, or it is empty` : `${absolute(source.directory, name)} cannot be read or is empty`)
    return value ?? ''
  })
  return mistakes.length === 0 ? { text, mistakes } : { mistakes }
}

export function absolute(directory: string, path: string): string {
  return isAbsolute(path) ? path : resolve(directory, path)
}

function readSecret(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

interface Place {
  readonly node: unknown
  readonly line: number | undefined
}

function locator(document: Document, lines: LineCounter): (path: readonly PropertyKey[]) => Place {
  const step = ({ node }: Place, part: PropertyKey): Place | undefined => {
    const inside = isAlias(node) ? node.resolve(document) : node
    if (isMap(inside)) {
      const pair = inside.items.find(({ key }) => isScalar(key) && String(key.value) === String(part))
      return pair && { node: pair.value, line: lineAt(pair.key, lines) }
    }
    const item = isSeq(inside) ? inside.items[Number(part)] : undefined
    return item === undefined ? undefined : { node: item, line: lineAt(item, lines) }
  }
  return (path) => {
    let place: Place = { node: document.contents, line: undefined }
    for (const part of path) {
      const next = step(place, part)
      if (next === undefined) return { ...place, node: undefined }
      place = next
    }
    return place
  }
}

function lineAt(node: unknown, lines: LineCounter): number | undefined {
  return typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range) ? lines.linePos(Number(node.range[0])).line : undefined
}
