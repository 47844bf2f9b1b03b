import { isObject } from '../message.ts'
import { decodeHeader, encodeHeader } from '../revisions.ts'

type Json = Readonly<Record<string, unknown>>

/** An argument of a tool that is repeated in a header (SEP-2243). */
export interface HeaderParam {
  /** Where it stands in the arguments. */
  readonly path: readonly string[]
  readonly header: string
  readonly type: unknown
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}$/
const PRIMITIVE: ReadonlySet<unknown> = new Set(['string', 'integer', 'boolean', 'number'])
const MAX_PARAMS = 50
const MAX_DEPTH = 20

/** The arguments that a schema says are repeated in headers: those that stand below `properties` alone. */
export function headerParams(inputSchema: unknown): readonly HeaderParam[] {
  const found: HeaderParam[] = []
  const visit = (schema: unknown, path: readonly string[]): void => {
    if (!isObject(schema) || path.length > MAX_DEPTH || found.length >= MAX_PARAMS) return
    const header = schema['x-mcp-header']
    if (typeof header === 'string' && TOKEN.test(header) && PRIMITIVE.has(schema['type']) && path.length > 0) found.push({ path, header: `mcp-param-${header.toLowerCase()}`, type: schema['type'] })
    if (isObject(schema['properties'])) for (const [name, child] of Object.entries(schema['properties'])) visit(child, [...path, name])
  }
  visit(inputSchema, [])
  return found
}

/** C-21: the headers of one call. What is absent or null has none. */
export function paramHeaders(params: readonly HeaderParam[], given: unknown): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {}
  for (const { path, header } of params) {
    const value = printed(valueAt(given, path))
    if (value !== undefined) headers[header] = encodeHeader(value)
  }
  return headers
}

/** RS-18: the first argument that its header does not repeat, as a server of 2026-07-28 must compare them. */
export function mismatchedParam(params: readonly HeaderParam[], given: unknown, headers: Readonly<Record<string, string>>): string | undefined {
  return params.find(({ path, header, type }) => {
    const value = valueAt(given, path)
    const wanted = printed(value)
    if (wanted === undefined) return false
    const decoded = headers[header] === undefined ? undefined : decodeHeader(headers[header])
    if (decoded === undefined) return true
    const sameNumber = (type === 'integer' || type === 'number') && typeof value === 'number' && decoded.trim() !== '' && Number(decoded) === value
    return decoded !== wanted && !sameNumber
  })?.header
}

function valueAt(given: unknown, path: readonly string[]): unknown {
  let value = given
  for (const name of path) value = isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined
  return value
}

function printed(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value)) ? String(value) : undefined
}

/** The headers that a message of 2026-07-28 needs beside its version. */
export function nameHeader(field: 'name' | 'uri' | 'taskId' | undefined, params: Json): Readonly<Record<string, string>> {
  const value = field === undefined ? undefined : params[field]
  return typeof value === 'string' ? { 'mcp-name': encodeHeader(value) } : {}
}
