import { createHash } from 'node:crypto'
import { isObject } from '../message.ts'
import { operationName, pathProblem } from '../../http/api-path.ts'
import { forwardsHeader } from '../http-upstream/headers.ts'
import { DocumentError, follow, type ApiDocument, type Json } from './document.ts'
import type { Style, Writing } from './encode.ts'

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** One operation of a document, as it is called. */
export interface Operation {
  /** The name of its tool. */
  readonly name: string
  readonly method: Method
  /** `/repos/{owner}` */
  readonly template: string
  readonly parameters: readonly Parameter[]
  readonly body: Body | undefined
  readonly source: Json
}

export interface Parameter extends Writing {
  /** The name of the argument. */
  readonly argument: string
  readonly in: 'path' | 'query' | 'header'
  readonly required: boolean
  readonly description: unknown
  readonly schema: unknown
}

export type BodyKind = 'json' | 'form' | 'multipart' | 'text' | 'binary'

export interface Body {
  readonly argument: string
  readonly kind: BodyKind
  readonly mediaType: string
  readonly required: boolean
  readonly description: unknown
  readonly schema: unknown
}

/** An operation of which no tool is made, and why. */
export interface LeftOut {
  readonly operation: string
  readonly reason: string
}

const METHODS: readonly Method[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']
/** OpenAPI 3.1 §4.8.12.1: these are described elsewhere, and parameters of their names are ignored. */
const IGNORED_HEADERS = new Set(['accept', 'content-type', 'authorization'])
const STYLES: Readonly<Record<Parameter['in'], readonly Style[]>> = { path: ['simple', 'label', 'matrix'], query: ['form', 'spaceDelimited', 'pipeDelimited', 'deepObject'], header: ['simple'] }
const MAX_NAME = 64

/** Reads every operation; one that cannot be called as it is described is left out, with the reason. */
export function readOperations(document: ApiDocument, wanted: (names: readonly string[]) => boolean): { readonly operations: readonly Operation[]; readonly leftOut: readonly LeftOut[] } {
  const read: Operation[] = []
  const leftOut: LeftOut[] = []
  const { paths } = document.root
  for (const [template, item] of Object.entries(isObject(paths) ? paths : {})) {
    if (!template.startsWith('/')) continue
    for (const method of METHODS) {
      const operation = `${method} ${template}`
      try {
        const found = readOperation(document, template, method, follow(document.root, item))
        if (found !== undefined && wanted([operation, found.name, ...identifierOf(found)])) read.push(found)
      } catch (error) {
        if (!(error instanceof DocumentError)) throw error
        leftOut.push({ operation, reason: error.message })
      }
    }
  }
  return { operations: withOwnNames(read), leftOut }
}

function identifierOf({ source: { operationId } }: Operation): readonly string[] {
  return typeof operationId === 'string' ? [operationId] : []
}

function readOperation(document: ApiDocument, template: string, method: Method, item: Json): Operation | undefined {
  const source = item[method.toLowerCase()]
  if (!isObject(source)) return undefined
  const { operationId } = source
  const name = toolName(typeof operationId === 'string' && /[A-Za-z0-9]/.test(operationId) ? operationId : `${method.toLowerCase()}${template}`)
  const parameters = parametersOf(document, item, source)
  checkTemplate(template, parameters)
  const taken = new Set(parameters.map(({ argument }) => argument))
  return { name, method, template, parameters, body: bodyOf(document, source, taken), source }
}

/** A template whose fixed parts are no canonical path could lead anywhere. */
function checkTemplate(template: string, parameters: readonly Parameter[]): void {
  const problem = pathProblem({ path: template.replaceAll(/\{[^{}]*\}/g, 'x'), query: '' }, { encodedSlashes: true })
  if (problem !== undefined) throw new DocumentError(problem)
  const inPath = new Set(parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => name))
  for (const [, name = ''] of template.matchAll(/\{([^{}]*)\}/g)) if (!inPath.has(name)) throw new DocumentError('a part of its path is described by no parameter')
}

/** Those of the operation stand before those of the path (OpenAPI 3.1 §4.8.10.1). */
function parametersOf({ root }: ApiDocument, item: Json, source: Json): readonly Parameter[] {
  const found = new Map<string, Json>()
  for (const list of [item['parameters'], source['parameters']]) {
    for (const entry of Array.isArray(list) ? list : []) {
      const parameter = follow(root, entry)
      found.set(`${String(parameter['in'])} ${String(parameter['name'])}`, parameter)
    }
  }
  const read = [...found.values()].flatMap((parameter) => readParameter(parameter) ?? [])
  return withOwnArguments(read)
}

function readParameter(parameter: Json): Parameter | undefined {
  const { in: place, name, content, required, description } = parameter
  if (typeof name !== 'string') throw new DocumentError('a parameter of it has no name')
  const isRequired = required === true || place === 'path'
  if (place === 'cookie' || (place === 'header' && !IGNORED_HEADERS.has(name.toLowerCase()) && !forwardsHeader(name))) {
    // Cookies and what says who calls never go to an API: what can be called without them is.
    if (isRequired) throw new DocumentError(`it needs ${place === 'cookie' ? 'a cookie' : `the header ${name}`}, which this gateway does not pass on`)
    return undefined
  }
  if (place !== 'path' && place !== 'query' && place !== 'header') throw new DocumentError('a parameter of it is in no known place')
  if (place === 'header' && IGNORED_HEADERS.has(name.toLowerCase())) return undefined
  const [media] = isObject(content) ? Object.entries(content) : []
  const [fallback = 'simple'] = STYLES[place]
  const style = (parameter['style'] ?? fallback) as Style
  if (!STYLES[place].includes(style)) throw new DocumentError('a parameter of it is written in an unknown style')
  const explode = typeof parameter['explode'] === 'boolean' ? parameter['explode'] : style === 'form' || style === 'deepObject'
  const schema = media === undefined ? parameter['schema'] : isObject(media[1]) ? media[1]['schema'] : undefined
  return { argument: argumentName(name), name, in: place, required: isRequired, style, explode, allowReserved: parameter['allowReserved'] === true, asJson: media !== undefined, description, schema }
}

/** One name in two places makes two arguments: both say where they go. */
function withOwnArguments(parameters: readonly Parameter[]): readonly Parameter[] {
  const counts = new Map<string, number>([['body', 1]])
  for (const { argument } of parameters) counts.set(argument, (counts.get(argument) ?? 0) + 1)
  const taken = new Set<string>()
  return parameters.map((parameter) => {
    const { argument, in: place } = parameter
    const own = unused((counts.get(argument) ?? 0) > 1 ? `${place}_${argument}` : argument, taken)
    taken.add(own)
    return { ...parameter, argument: own }
  })
}

function unused(name: string, taken: ReadonlySet<string>): string {
  let own = name
  for (let count = 2; taken.has(own); count += 1) own = `${name}_${count}`
  return own
}

/** What models' interfaces take for the name of an argument. */
function argumentName(name: string): string {
  return name.replace(/[^A-Za-z0-9_.-]+/g, '_').replace(/^_+|_+$/g, '').slice(0, MAX_NAME - 10) || 'value'
}

const BODY_KINDS: readonly (readonly [BodyKind, RegExp])[] = [
  ['json', /^application\/(?:[\w.+-]+\+)?json$/],
  ['form', /^application\/x-www-form-urlencoded$/],
  ['multipart', /^multipart\/form-data$/],
  ['text', /^text\/[\w.+-]+$/],
  ['binary', /^(?:application\/(?:octet-stream|pdf|zip)|image\/[\w.+-]+|\*\/\*)$/],
]

function bodyOf({ root }: ApiDocument, source: Json, taken: ReadonlySet<string>): Body | undefined {
  if (source['requestBody'] === undefined) return undefined
  const described = follow(root, source['requestBody'])
  const content = isObject(described['content']) ? Object.entries(described['content']) : []
  const required = described['required'] === true
  for (const [kind, pattern] of BODY_KINDS) {
    const [mediaType, media] = content.find(([type]) => pattern.test((type.split(';')[0] ?? '').trim().toLowerCase())) ?? []
    if (mediaType === undefined) continue
    return { argument: unused('body', taken), kind, mediaType: mediaType === '*/*' ? 'application/octet-stream' : mediaType.replace(/[^\x21-\x7e ]/g, ''), required, description: described['description'], schema: isObject(media) ? media['schema'] : undefined }
  }
  if (required) throw new DocumentError('its body is of a kind that no tool can give')
  return undefined
}

/** SEP-986: letters, digits, `_` and `-`; some models take no dot and no more than 64 characters. */
export function toolName(text: string): string {
  const name = text.replace(/[^A-Za-z0-9_-]+/g, '_').replace(/^_+|_+$/g, '') || 'operation'
  return name.length <= MAX_NAME ? name : `${name.slice(0, MAX_NAME - 7)}_${mark(text)}`
}

/** Several operations of one name are told apart by what they are, not by their order: names stay what they are when others come. */
function withOwnNames(operations: readonly Operation[]): readonly Operation[] {
  // Names that differ in the case of their letters alone are one to some.
  const counts = new Map<string, number>(RESERVED.map((name) => [name, 1]))
  for (const { name } of operations) counts.set(name.toLowerCase(), (counts.get(name.toLowerCase()) ?? 0) + 1)
  return operations.map((operation) => {
    const { name, method, template } = operation
    return (counts.get(name.toLowerCase()) ?? 0) < 2 ? operation : { ...operation, name: `${name.slice(0, MAX_NAME - 7)}_${mark(`${method} ${template}`)}` }
  })
}

/** The gateway's own: `connect_account`. */
const RESERVED = ['connect_account']

function mark(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 6)
}

/** What policy knows the operation by, besides its tool's name: `DELETE /repos/{owner}`. */
export function operationPattern({ method, template }: Operation): string {
  return operationName(method, template)
}
