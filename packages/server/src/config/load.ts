import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { crossCheck } from './cross-check.ts'
import { absolute, readDocument, type Problem, type ReadDocument, type Source } from './document.ts'
import { schema, type Settings } from './schema.ts'

/** The configuration as the process uses it: paths absolute, references resolved, nothing to change. */
export type Config = Readonly<Settings> & {
  readonly store: string
  readonly keyEncryption: string
  /** Whether a missing key-encryption key may be generated: only for the embedded default. */
  readonly generateKeyEncryptionKey: boolean
  /** What is accepted and yet does not do what one might expect, in words for an administrator. */
  readonly notes: readonly string[]
}

export type { Problem } from './document.ts'

/** The configuration cannot be used: every mistake at once, each with its line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly Problem[]
  constructor(file: string, problems: readonly Problem[]) {
    super(problems.map((p) => `${file}${p.line === undefined ? '' : `:${p.line}`}: ${p.path === '' ? '' : `${p.path}: `}${p.message}`).join('\n'))
    this.problems = problems
  }
}

/**
 * Reads a configuration file.
 *
 * @throws ConfigError with all mistakes; values of `${env:…}` and `${file:…}` never stand in it.
 */
export function loadConfig(file: string, environment: NodeJS.ProcessEnv = process.env): Config {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError(file, [{ line: undefined, path: '', message: `cannot be read (${(error as NodeJS.ErrnoException).code ?? 'error'})` }])
  }
  return parseConfig(text, { file, directory: dirname(resolve(file)), environment })
}

export function parseConfig(text: string, source: Source): Config {
  const document = readDocument(text, source)
  if (document.value === undefined) throw new ConfigError(source.file, document.problems)
  const problems: Problem[] = [...document.problems]
  const add = (path: readonly PropertyKey[], message: string): void => {
    problems.push({ line: document.lineOf(path), path: path.join('.'), message })
  }
  const result = schema.safeParse(document.value)
  for (const issue of result.error?.issues ?? []) report(issue, document, add)
  crossCheck(document, add)
  if (result.data === undefined || problems.length > 0) throw new ConfigError(source.file, problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)))
  return finish(result.data, source.directory)
}

type Issue = { readonly code: string | undefined; readonly path: readonly PropertyKey[]; readonly message: string; readonly keys?: readonly string[] }

function report(issue: Issue, document: ReadDocument, add: (path: readonly PropertyKey[], message: string) => void): void {
  if (document.isUnresolved(issue.path)) return
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys ?? []) add([...issue.path, key], 'is not a setting')
    return
  }
  const missing = issue.code === 'invalid_type' && issue.message.endsWith('received undefined')
  add(issue.path, missing ? 'is missing' : issue.message.replace(/^Invalid (?:input|option): /, ''))
}

function finish(settings: Settings, directory: string): Config {
  const dataDir = absolute(directory, settings.dataDir)
  const store = settings.store ?? `sqlite:${dataDir}/lanyard.db`
  return Object.freeze({
    ...settings,
    dataDir,
    upstreams: settings.upstreams.map((upstream) => (upstream.openapi === undefined || isUrl(upstream.openapi) ? upstream : { ...upstream, openapi: absolute(directory, upstream.openapi) })),
    store: withPath(store, 'sqlite:', directory),
    keyEncryption: withPath(settings.keyEncryption ?? `file:${dataDir}/kek`, 'file:', directory),
    generateKeyEncryptionKey: store.startsWith('sqlite:'),
    notes: notes(settings),
  })
}

function isUrl(place: string): boolean {
  return /^https?:\/\//.test(place)
}

function notes(settings: Settings): string[] {
  const unserved = (['scim'] as const)
    .filter((key) => settings[key] !== undefined)
    .map((key) => `${key} is accepted, and has no effect in this version`)
  const closed = settings.rules.some((rule) => rule.effect === 'allow') ? [] : ['no rule allows anything: every call is denied']
  return [...unserved, ...closed]
}

function withPath(value: string, prefix: string, directory: string): string {
  const path = value.slice(prefix.length)
  return value.startsWith(prefix) && path !== ':memory:' ? `${prefix}${absolute(directory, path)}` : value
}
