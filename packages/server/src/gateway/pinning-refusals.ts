// Which definitions are refused whatever anybody approved: pure. H20.
import { isObject } from './message.ts'

/**
 * What is not seen and yet read by a model: control characters, separators of lines, lone surrogates, whatever Unicode
 * lets be drawn as nothing (zero-width, bidirectional controls, tags, fillers), and interlinear annotations.
 */
const HIDDEN = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]/u
const ALL_HIDDEN = new RegExp(HIDDEN, 'gu')
/** Of those, what says how the emoji beside it looks, or joins two of them to one. */
const EMOJI = /(?<=[\p{Emoji}\p{Emoji_Modifier}])[\ufe0e\ufe0f](?![\ufe00-\ufe0f])|(?<=\p{Extended_Pictographic}[\p{Emoji_Modifier}]?\ufe0f?)\u200d(?=\p{Extended_Pictographic})/gu
/** What makes lines and columns of a longer text. */
const LAYOUT = /[\t\n\r]/g

const MAX_NAME = 256
/** Characters of the canonical form. */
export const MAX_DEFINITION = 256 * 1024

/** Members of a schema that are read as words, by people and by models. */
const WORDS = new Set(['title', 'description', '$comment'])
/** Members whose own members are named by the tool's author, and are schemas. */
const MAPS = new Set(['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions'])
/** Members that hold values, not schemas. */
const VALUES = new Set(['const', 'enum', 'default', 'examples', 'required', 'dependentRequired'])
const REFERENCES = ['$ref', '$dynamicRef', '$recursiveRef']
/** RFC 9110 §5.6.2 */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const MIRRORED_TYPES: ReadonlySet<unknown> = new Set(['string', 'integer', 'boolean'])

/**
 * Why a tool may not be shown. C-21 for headers, RS-44 for references.
 *
 * @param size the length of its canonical form
 * @returns in words for an administrator, and nothing of the tool's own text; undefined when it may
 */
export function refusalOf(tool: Readonly<Record<string, unknown>>, size: number): string | undefined {
  const { name, title, description, inputSchema, outputSchema, annotations } = tool
  if (typeof name !== 'string' || name === '' || name.length > MAX_NAME) return `the name is empty, or longer than ${MAX_NAME} characters`
  if (size > MAX_DEFINITION) return `the definition is larger than ${MAX_DEFINITION / 1024} KiB`
  if (HIDDEN.test(name)) return 'a control or invisible character in the name'
  if (hides(title)) return 'a control or invisible character in the title'
  if (hides(description)) return 'a control or invisible character in the description'
  if (isObject(annotations) && hides(annotations['title'])) return 'a control or invisible character in annotations.title'
  return schemaRefusal(inputSchema, 'inputSchema', new Set()) ?? schemaRefusal(outputSchema, 'outputSchema', undefined)
}

function hides(text: unknown): boolean {
  return typeof text === 'string' && HIDDEN.test(text.replace(EMOJI, '').replace(LAYOUT, ''))
}

/** @param headers the names in `x-mcp-header` so far, in lower case; undefined where there can be none */
function schemaRefusal(schema: unknown, place: string, headers: Set<string> | undefined): string | undefined {
  return visit(schema, { place, headers, reachable: true, depth: 0 })
}

interface Position {
  readonly place: string
  readonly headers: Set<string> | undefined
  /** Whether nothing but `properties` leads here. */
  readonly reachable: boolean
  readonly depth: number
}

function visit(schema: unknown, position: Position): string | undefined {
  if (Array.isArray(schema)) return first(schema, (item) => visit(item, { ...position, reachable: false }))
  if (!isObject(schema)) return undefined
  const own = referenceRefusal(schema, position) ?? headerRefusal(schema, position)
  return own ?? first(Object.entries(schema), ([name, value]) => visitMember(name, value, position))
}

function visitMember(name: string, value: unknown, position: Position): string | undefined {
  const { place, depth } = position
  if (hides(name)) return `a control or invisible character in a name in ${place}`
  if (WORDS.has(name) && hides(value)) return `a control or invisible character in a ${name} in ${place}`
  if (VALUES.has(name)) return undefined
  if (!MAPS.has(name) || !isObject(value)) return visit(value, { ...position, reachable: false, depth: depth + 1 })
  const below = { ...position, reachable: position.reachable && name === 'properties', depth: depth + 1 }
  return first(Object.entries(value), ([key, member]) => (HIDDEN.test(key) ? `a control or invisible character in a name in ${place}` : visit(member, below)))
}

/** RS-44: whoever follows a reference asks another server, of which nothing was pinned. */
function referenceRefusal(schema: Readonly<Record<string, unknown>>, { place }: Position): string | undefined {
  const leaves = REFERENCES.some((name) => typeof schema[name] === 'string' && !schema[name].startsWith('#'))
  return leaves ? `a reference that leads outside of ${place}` : undefined
}

/** C-21: not empty, a token, unique without regard to case, on a string, integer or boolean that only `properties` lead to. */
function headerRefusal(schema: Readonly<Record<string, unknown>>, { headers, reachable, depth, place }: Position): string | undefined {
  if (!Object.hasOwn(schema, 'x-mcp-header') || headers === undefined) return undefined
  const name = schema['x-mcp-header']
  if (!reachable || depth === 0) return `x-mcp-header in ${place} where no value can be mirrored from`
  if (typeof name !== 'string' || !TOKEN.test(name)) return `x-mcp-header in ${place} is no name of a header`
  if (!MIRRORED_TYPES.has(schema['type'])) return `x-mcp-header in ${place} on a parameter that is no string, integer or boolean`
  if (headers.has(name.toLowerCase())) return `x-mcp-header in ${place} names a header twice`
  headers.add(name.toLowerCase())
  return undefined
}

function first<Item>(items: readonly Item[], refuse: (item: Item) => string | undefined): string | undefined {
  for (const item of items) {
    const refusal = refuse(item)
    if (refusal !== undefined) return refusal
  }
  return undefined
}

/** The name of a tool that is refused, fit for a page and for the audit trail. */
export function shownName(name: string): string {
  return name.slice(0, MAX_NAME).replace(ALL_HIDDEN, '\ufffd')
}
