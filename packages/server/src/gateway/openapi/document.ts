// Owns what an OpenAPI document is: read, bounded, checked by a parser library, and never followed to another document.
import type SwaggerParser from '@apidevtools/swagger-parser'
import { parseDocument as parseYaml } from 'yaml'
import { isObject } from '../message.ts'

type OpenApiRoot = Extract<Parameters<typeof SwaggerParser.validate>[0], object>

export type Json = Readonly<Record<string, unknown>>

/** A document that can be used: OpenAPI 3.0 or 3.1, valid, and not too large. */
export interface ApiDocument {
  readonly root: Json
  /** Whether its schemas are those of 3.0, which are no JSON Schema yet. */
  readonly is30: boolean
}

/** A document that cannot be used; the message says why, in words for whoever configured it. */
export class DocumentError extends Error {
  override readonly name = 'DocumentError'
}

export const MAX_DOCUMENT_BYTES = 10 * 1024 * 1024
const SCHEMA = /\/schemas?(?:\/|$)/
const MAX_DEPTH = 100
const MAX_NODES = 1_000_000
const MAX_ALIASES = 100

/** Reads a document in JSON or YAML. @throws DocumentError */
export async function readApiDocument(text: string): Promise<ApiDocument> {
  if (Buffer.byteLength(text) > MAX_DOCUMENT_BYTES) throw new DocumentError(`it is larger than ${MAX_DOCUMENT_BYTES / 1024 / 1024} MiB`)
  const root = parse(text)
  if (!isObject(root)) throw new DocumentError('it is no OpenAPI document')
  const { openapi } = root
  if (typeof openapi !== 'string' || !/^3\.[01]\.\d+$/.test(openapi)) throw new DocumentError('it is not OpenAPI 3.0 or 3.1')
  bound(root)
  // Only where there is a document: it takes a while and memory.
  const { default: parser } = await import('@apidevtools/swagger-parser')
  try {
    // The library resolves and checks; what is outside of the document is never fetched, and stays a reference. Schemas
    // may go round in circles of any length: what they refer to is found where a tool is made of them.
    await parser.validate(structuredClone(root) as unknown as OpenApiRoot, { resolve: { external: false }, dereference: { circular: 'ignore', excludedPathMatcher: (path) => SCHEMA.test(path) } })
  } catch (error) {
    throw new DocumentError(`it is not valid: ${firstLines(error)}`, { cause: error })
  }
  return { root, is30: openapi.startsWith('3.0.') }
}

function parse(text: string): unknown {
  try {
    if (/^\s*\{/.test(text)) return JSON.parse(text)
    const document = parseYaml(text, { schema: 'core', merge: false, logLevel: 'silent' })
    const [mistake] = document.errors
    if (mistake !== undefined) throw mistake
    return document.toJS({ maxAliasCount: MAX_ALIASES })
  } catch (error) {
    throw new DocumentError(`it cannot be read: ${firstLines(error)}`, { cause: error })
  }
}

/** Depth and size, without recursion: parsers and printers recurse. */
function bound(root: unknown): void {
  let nodes = 0
  let level: readonly unknown[] = [root]
  for (let depth = 0; level.length > 0; depth += 1) {
    nodes += level.length
    if (depth > MAX_DEPTH || nodes > MAX_NODES) throw new DocumentError(depth > MAX_DEPTH ? 'it is nested too deeply' : 'it has too many parts')
    level = level.flatMap((value) => (typeof value === 'object' && value !== null ? Object.values(value) : [])).filter((value) => typeof value === 'object' && value !== null)
  }
}

function firstLines(error: unknown): string {
  const message = error instanceof Error ? error.message : 'for an unknown reason'
  return message.split('\n').slice(0, 4).map((line) => line.trim()).join(' ').replace(/[^\x20-\x7e]/g, '?').slice(0, 300)
}

/** What a reference inside of the document points to (RFC 6901). @returns undefined for what is not there, or is elsewhere */
export function resolvePointer(root: Json, reference: string): unknown {
  if (!reference.startsWith('#')) return undefined
  let at: unknown = root
  for (const part of reference.slice(1).split('/').slice(1)) {
    const key = unescapePart(part)
    if (Array.isArray(at)) at = (at as readonly unknown[])[Number(key)]
    else if (isObject(at) && Object.hasOwn(at, key)) at = at[key]
    else return undefined
  }
  return at
}

function unescapePart(part: string): string {
  const decoded = /%[0-9A-Fa-f]{2}/.test(part) && URL.canParse(`x:/${part}`) ? safeDecode(part) : part
  return decoded.replaceAll('~1', '/').replaceAll('~0', '~')
}

function safeDecode(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

const MAX_HOPS = 20

/** Follows references until something is there. @throws DocumentError for one that leads out of the document, or in a circle */
export function follow(root: Json, value: unknown): Json {
  let at = value
  for (let hops = 0; hops < MAX_HOPS; hops += 1) {
    if (!isObject(at)) break
    const { $ref: reference } = at
    if (typeof reference !== 'string') return at
    if (!reference.startsWith('#')) throw new DocumentError('it refers to another document')
    at = resolvePointer(root, reference)
  }
  throw new DocumentError('a reference in it leads nowhere')
}
