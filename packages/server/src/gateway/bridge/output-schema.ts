import { isObject } from '../message.ts'

type Json = Readonly<Record<string, unknown>>

/** Keywords whose values are data, and those whose values are schemas by name. */
const DATA: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'examples'])
const BY_NAME: ReadonlySet<string> = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas'])
const ROOT = '#/properties/result'

/** Whether the tool's structured result is no object by its schema, and so none that 2025 knows. */
export function needsWrapping(tool: unknown): boolean {
  return isObject(tool) && isObject(tool['outputSchema']) && tool['outputSchema']['type'] !== 'object'
}

/** SEP-2106: puts the result into a member `result`, as its schema must be one of an object for a client of 2025. */
export function wrapOutputSchema(tool: unknown): unknown {
  if (!isObject(tool) || !isObject(tool['outputSchema']) || !needsWrapping(tool)) return tool
  const { outputSchema } = tool
  const inner = typeof outputSchema['$id'] === 'string' ? outputSchema : moved(outputSchema, false)
  const { $schema } = outputSchema
  return { ...tool, outputSchema: { ...(typeof $schema === 'string' ? { $schema } : {}), type: 'object', properties: { result: inner }, required: ['result'] } }
}

/** The same schema one level deeper: what pointed to its root points to where that is now. */
function moved(schema: unknown, byName: boolean): unknown {
  if (Array.isArray(schema)) return schema.map((each) => moved(each, false))
  if (!isObject(schema)) return schema
  return Object.fromEntries(Object.entries(schema as Json).map(([key, value]) => [key, movedMember(key, value, byName)]))
}

function movedMember(key: string, value: unknown, byName: boolean): unknown {
  if (byName) return moved(value, false)
  if ((key === '$ref' || key === '$dynamicRef') && typeof value === 'string') return value === '#' ? ROOT : value.startsWith('#/') ? `${ROOT}${value.slice(1)}` : value
  return DATA.has(key) ? value : moved(value, BY_NAME.has(key))
}
