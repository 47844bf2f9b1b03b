import { isObject } from '../message.ts'
import { follow, type Json } from './document.ts'
import { plainText } from './schema.ts'

const MAX_DEPTH = 4
const MAX_SIZE = 16 * 1024

/**
 * What an API says of its answers, loosened to the types of their members: each may be absent or null, and more may be
 * there. Documents are seldom exact, and clients take no result that does not fit.
 *
 * @returns undefined for what is no plain object
 * @throws DocumentError for a reference that leads nowhere
 */
export function loose(root: Json, schema: unknown): Json | undefined {
  const object = isObject(schema) ? follow(root, schema) : {}
  if (typesOf(object)[0] !== 'object' || !isObject(object['properties']) || COMPOSED.some((key) => key in object)) return undefined
  const found = loosened(root, object, 0)
  return JSON.stringify(found).length > MAX_SIZE ? undefined : found
}

const COMPOSED = ['allOf', 'anyOf', 'oneOf', 'not', 'if']

function typesOf({ type, properties }: Json): readonly string[] {
  if (type === undefined) return properties === undefined ? [] : ['object']
  return [type].flat().filter((one): one is string => typeof one === 'string' && one !== 'null')
}

function loosened(root: Json, schema: Json, depth: number): Json {
  const description = plainText(schema['description'], 300)
  const words = description === '' ? {} : { description }
  const [type, ...others] = COMPOSED.some((key) => key in schema) || depth > MAX_DEPTH ? [] : typesOf(schema)
  // Whatever may be of several kinds may be anything.
  if (type === undefined || others.length > 0) return words
  const { properties, items } = schema
  const inner = (member: unknown): Json => (isObject(member) ? loosened(root, follow(root, member), depth + 1) : {})
  const members = type === 'object' && isObject(properties) ? { properties: Object.fromEntries(Object.entries(properties).filter(([, member]) => !(isObject(member) && member['writeOnly'] === true)).map(([name, member]) => [name, inner(member)])) } : {}
  return { type: depth === 0 ? type : [type === 'integer' ? 'number' : type, 'null'], ...members, ...(type === 'array' && isObject(items) ? { items: inner(items) } : {}), ...words }
}

/** Whether a value is of a loosened schema. */
export function fits(schema: Json, value: unknown): boolean {
  const types = [schema['type'] ?? []].flat()
  if (types.length > 0 && !types.includes(typeOf(value))) return false
  const { properties, items } = schema
  if (isObject(value) && isObject(properties)) return Object.entries(properties).every(([name, member]) => !Object.hasOwn(value, name) || fits(member as Json, value[name]))
  return !Array.isArray(value) || !isObject(items) || value.every((item) => fits(items, item))
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value === 'object' && JSON.isRawJSON(value) ? 'number' : typeof value
}
