import { DocumentError, resolvePointer, type ApiDocument, type Json } from './document.ts'
import { isObject } from '../message.ts'

/** Members of a schema that hold one schema, a list, or schemas by name. */
const ONE = new Set(['items', 'additionalProperties', 'not', 'contains', 'propertyNames', 'if', 'then', 'else', 'unevaluatedItems', 'unevaluatedProperties'])
const LISTS = new Set(['allOf', 'anyOf', 'oneOf', 'prefixItems'])
const MAPS = new Set(['properties', 'patternProperties', 'dependentSchemas'])
/** Members that hold no schema: a member that is not known could hold anything, references to elsewhere too. */
const PLAIN = new Set(['type', 'enum', 'const', 'default', 'multipleOf', 'maximum', 'exclusiveMaximum', 'minimum', 'exclusiveMinimum', 'maxLength', 'minLength', 'pattern', 'maxItems', 'minItems', 'uniqueItems', 'maxContains', 'minContains', 'maxProperties', 'minProperties', 'required', 'dependentRequired', 'format', 'contentEncoding', 'contentMediaType', 'title', 'description', 'deprecated'])

const MAX_SCHEMA = 64 * 1024
const MAX_DEFS = 200

/** Which way values go: what only the other side writes is left out. */
export type Direction = 'in' | 'out'

/** A schema that stands alone: JSON Schema 2020-12, its definitions in `$defs`. */
export interface Standalone {
  readonly schema: Json
  readonly defs: Readonly<Record<string, Json>>
}

/** Gathers schemas of a document into one place, where the references between them lead. */
export interface Gathering {
  /** @throws DocumentError for a reference to another document */
  schema(value: unknown): Json
  readonly defs: Readonly<Record<string, Json>>
}

export function gathering(document: ApiDocument, direction: Direction): Gathering {
  const names = new Map<string, string>()
  const defs: Record<string, Json> = {}
  const nameOf = (reference: string): string => {
    const known = names.get(reference)
    if (known !== undefined) return known
    if (names.size >= MAX_DEFS) throw new DocumentError('a schema in it has too many parts')
    const base = (reference.split('/').at(-1) ?? '').replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, 60) || 'schema'
    let name = base
    for (let count = 2; Object.hasOwn(defs, name); count += 1) name = `${base}_${count}`
    names.set(reference, name)
    // First, so that a schema that contains itself finds its name.
    defs[name] = {}
    const target = resolvePointer(document.root, reference)
    if (target === undefined) throw new DocumentError('a reference in it leads nowhere')
    defs[name] = convert(target)
    return name
  }
  const convert = (value: unknown): Json => {
    if (typeof value === 'boolean') return value ? {} : { not: {} }
    if (!isObject(value)) return {}
    const { $ref: reference } = value
    const converted: Record<string, unknown> = {}
    if (typeof reference === 'string') {
      if (!reference.startsWith('#')) throw new DocumentError('it refers to another document')
      converted['$ref'] = `#/$defs/${nameOf(reference)}`
      // OpenAPI 3.0.4 §4.7.23: what stands beside a reference is ignored; in 3.1 it holds as well.
      if (document.is30) return converted
    }
    for (const [key, member] of Object.entries(value)) {
      const known = PLAIN.has(key) ? !JSON.stringify(member).includes('"$ref"') : ONE.has(key) || LISTS.has(key) || MAPS.has(key)
      if (known) converted[key] = convertMember(key, member)
    }
    dropOneSided(value, converted)
    if (document.is30) upgrade(value, converted)
    return converted
  }
  const convertMember = (key: string, member: unknown): unknown => {
    if (ONE.has(key)) return typeof member === 'boolean' ? member : convert(member)
    if (LISTS.has(key)) return Array.isArray(member) ? member.map(convert) : []
    if (MAPS.has(key)) return isObject(member) ? Object.fromEntries(Object.entries(member).map(([name, schema]) => [name, convert(schema)])) : {}
    return key === 'description' || key === 'title' ? plainText(member, 1000) : member
  }
  /** Members that the other side alone writes: an application cannot send, or will not see, them. */
  const dropOneSided = (value: Json, converted: Record<string, unknown>): void => {
    const { properties, required } = value
    if (!isObject(properties)) return
    const flag = direction === 'in' ? 'readOnly' : 'writeOnly'
    const dropped = new Set(Object.entries(properties).filter(([, schema]) => isObject(schema) && schema[flag] === true).map(([name]) => name))
    if (dropped.size === 0) return
    converted['properties'] = Object.fromEntries(Object.entries(converted['properties'] as Json).filter(([name]) => !dropped.has(name)))
    if (Array.isArray(required)) converted['required'] = required.filter((name) => !dropped.has(String(name)))
  }
  return { schema: convert, defs }
}

/** OpenAPI 3.0 schemas are of an older draft: what it says otherwise is said anew. */
function upgrade(value: Json, converted: Record<string, unknown>): void {
  const { nullable, type, enum: values, exclusiveMinimum, exclusiveMaximum } = value
  if (nullable === true && typeof type === 'string') {
    converted['type'] = [type, 'null']
    if (Array.isArray(values) && !values.includes(null)) converted['enum'] = [...(values as unknown[]), null]
  }
  for (const [exclusive, bound, flag] of [['exclusiveMinimum', 'minimum', exclusiveMinimum], ['exclusiveMaximum', 'maximum', exclusiveMaximum]] as const) {
    if (typeof flag !== 'boolean') continue
    delete converted[exclusive]
    if (!flag || converted[bound] === undefined) continue
    converted[exclusive] = converted[bound]
    delete converted[bound]
  }
}

/** What is read by models and people: no control or invisible characters, and not without end. */
export function plainText(value: unknown, length: number): string {
  if (typeof value !== 'string') return ''
  return value.replaceAll('\r\n', '\n').replace(/[^\P{C}\n\t]|[\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]/gu, '').trim().slice(0, length).toWellFormed()
}

/** Whether a schema is small enough to be shown with every list. */
export function isTooLarge(schema: Json): boolean {
  return JSON.stringify(schema).length > MAX_SCHEMA
}
