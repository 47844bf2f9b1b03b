import { readFileSync } from 'node:fs'
import { dirname, isAbsolute, resolve } from 'node:path'
import { isScalar, LineCounter, parseDocument, visit, type Document } from 'yaml'
import { schema, type Settings } from './schema.ts'

/** The configuration as the process uses it: paths absolute, references resolved, nothing to change. */
export type Config = Readonly<Settings> & {
  readonly store: string
  readonly keyEncryption: string
  /** Whether a missing key-encryption key may be generated: only for the embedded default. */
  readonly generateKeyEncryptionKey: boolean
  /** What is accepted but not served by this version, in words for an administrator. */
  readonly notes: readonly string[]
}

export interface Problem {
  readonly line: number | undefined
  readonly path: string
  readonly message: string
}

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

interface Source {
  readonly file: string
  readonly directory: string
  readonly environment: NodeJS.ProcessEnv
}

export function parseConfig(text: string, source: Source): Config {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  const problems: Problem[] = document.errors.map((error) => ({
    line: error.linePos?.[0].line,
    path: '',
    message: error.message.split('\n')[0] ?? 'is not YAML',
  }))
  if (problems.length > 0) throw new ConfigError(source.file, problems)
  problems.push(...resolveReferences(document, lines, source))
  const result = schema.safeParse(document.toJS() ?? {})
  const at = (path: readonly PropertyKey[]): number | undefined => lineOf(document, lines, path)
  for (const issue of result.error?.issues ?? []) problems.push(...describe(issue, at))
  if (result.data !== undefined) problems.push(...crossCheck(result.data, at))
  if (result.data === undefined || problems.length > 0) throw new ConfigError(source.file, problems)
  return finish(result.data, source.directory)
}

function finish(settings: Settings, directory: string): Config {
  const dataDir = absolute(directory, settings.dataDir)
  const store = settings.store ?? `sqlite:${dataDir}/lanyard.db`
  return Object.freeze({
    ...settings,
    dataDir,
    store: withPath(store, 'sqlite:', directory),
    keyEncryption: withPath(settings.keyEncryption ?? `file:${dataDir}/kek`, 'file:', directory),
    generateKeyEncryptionKey: store.startsWith('sqlite:'),
    notes: notes(settings),
  })
}

function notes(settings: Settings): string[] {
  const several = settings.profiles
    .filter((profile) => profile.upstreams.length > 1)
    .map((profile) => `profile ${profile.id} has several upstreams: this version serves profiles of one, so /mcp/${profile.id} is not served`)
  const unserved = (['admins', 'scim'] as const)
    .filter((key) => settings[key] !== undefined)
    .map((key) => `${key} is accepted, and has no effect in this version`)
  return [...several, ...unserved]
}

function withPath(value: string, prefix: string, directory: string): string {
  const path = value.slice(prefix.length)
  return value.startsWith(prefix) && path !== ':memory:' ? `${prefix}${absolute(directory, path)}` : value
}

function absolute(directory: string, path: string): string {
  return isAbsolute(path) ? path : resolve(directory, path)
}

const REFERENCE = /\$\{(env|file):([^}]+)\}/g

function resolveReferences(document: Document, lines: LineCounter, source: Source): Problem[] {
  const problems: Problem[] = []
  visit(document, {
    Scalar(_, node) {
      if (!isScalar(node) || typeof node.value !== 'string') return
      const line = node.range ? lines.linePos(node.range[0]).line : undefined
      node.value = node.value.replace(REFERENCE, (_match, kind: string, name: string) => {
        const value = kind === 'env' ? source.environment[name] : readSecret(absolute(source.directory, name))
        if (value === undefined || value === '') {
          problems.push({ line, path: '', message: kind === 'env' ? `the environment has no ${name}` : `${name} cannot be read or is empty` })
        }
        return value ?? ''
      })
    },
  })
  return problems
}

function readSecret(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

function lineOf(document: Document, lines: LineCounter, path: readonly PropertyKey[]): number | undefined {
  for (let length = path.length; length > 0; length -= 1) {
    const node = document.getIn(path.slice(0, length), true)
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) return lines.linePos(Number(node.range[0])).line
  }
  return undefined
}

type Issue = { readonly code: string | undefined; readonly path: readonly PropertyKey[]; readonly message: string; readonly keys?: readonly string[] }

function describe(issue: Issue, at: (path: readonly PropertyKey[]) => number | undefined): Problem[] {
  if (issue.code === 'unrecognized_keys') {
    return (issue.keys ?? []).map((key) => ({ line: at([...issue.path, key]), path: [...issue.path, key].join('.'), message: 'is not a setting' }))
  }
  return [{ line: at(issue.path), path: issue.path.join('.'), message: issue.message }]
}

function crossCheck(settings: Settings, at: (path: readonly PropertyKey[]) => number | undefined): Problem[] {
  const problems: Problem[] = []
  const add = (path: readonly PropertyKey[], message: string): void => {
    problems.push({ line: at(path), path: path.join('.'), message })
  }
  const unique = (list: 'identityProviders' | 'clients' | 'upstreams' | 'profiles' | 'rules'): void => {
    const seen = new Set<string>()
    settings[list].forEach((entry, index) => {
      if (seen.has(entry.id)) add([list, index, 'id'], `${entry.id} is taken`)
      seen.add(entry.id)
    })
  }
  for (const list of ['identityProviders', 'clients', 'upstreams', 'profiles', 'rules'] as const) unique(list)
  const upstreams = new Set(settings.upstreams.map((upstream) => upstream.id))
  settings.profiles.forEach((profile, index) => {
    if (upstreams.has(profile.id)) add(['profiles', index, 'id'], `${profile.id} is the name of an upstream`)
    profile.upstreams.forEach((name, position) => {
      if (!upstreams.has(name)) add(['profiles', index, 'upstreams', position], `there is no upstream ${name}`)
    })
  })
  settings.clients.forEach((client, index) => {
    const secretMethod = client.tokenEndpointAuthMethod.startsWith('client_secret')
    if (secretMethod && client.clientSecret === undefined) add(['clients', index, 'clientSecret'], 'is missing')
    if (client.tokenEndpointAuthMethod === 'private_key_jwt' && client.jwks === undefined && client.jwksUri === undefined) {
      add(['clients', index, 'jwks'], 'is missing (or name a jwksUri)')
    }
  })
  if (settings.store?.startsWith('postgres') && settings.keyEncryption === undefined) {
    add(['keyEncryption'], 'is missing: nodes on one PostgreSQL need one key-encryption key (file:PATH or env:NAME)')
  }
  return problems
}
