// Owns how an argument is written into a request: OpenAPI 3.1 §4.8.12 (RFC 6570 where it says so). Whatever a value holds,
// it stays the one part of the address that it is (H23).

export type Style = 'simple' | 'label' | 'matrix' | 'form' | 'spaceDelimited' | 'pipeDelimited' | 'deepObject'

export interface Writing {
  readonly name: string
  readonly style: Style
  readonly explode: boolean
  /** Whether reserved characters stand for themselves, as far as they cannot make another parameter. */
  readonly allowReserved: boolean
  /** The value as JSON, whatever the style says. */
  readonly asJson: boolean
}

/** RFC 3986 §2.3: all but unreserved characters. @throws URIError for half a surrogate pair */
export function encodePart(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

/** What may stand for itself in a query without ending a name or value, or the query. */
function encodeReserved(text: string): string {
  return encodePart(text).replace(/%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B|5B|5D)/g, (code) => decodeURIComponent(code))
}

/** A value that is no list and no object, as text. A number is written as it was given. */
export function primitive(value: unknown): string {
  if (typeof value === 'string') return value
  return value === undefined ? '' : JSON.stringify(value)
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value)
}

function entries(value: unknown): readonly (readonly [string, unknown])[] | undefined {
  return typeof value === 'object' && value !== null && !JSON.isRawJSON(value) && !isList(value) ? Object.entries(value).filter(([, member]) => member !== undefined) : undefined
}

type Encode = (text: string) => string

/** `a,b` for lists; `k,v` or `k=v` for objects. */
function joined(value: unknown, { explode }: Writing, separator: string, encode: Encode): string {
  if (isList(value)) return value.map((item) => encode(primitive(item))).join(separator)
  const members = entries(value)
  if (members === undefined) return encode(primitive(value))
  return members.map(([key, member]) => `${encode(key)}${explode ? '=' : ','}${encode(primitive(member))}`).join(separator)
}

/** What stands in the path for the parameter. */
export function inPath(value: unknown, writing: Writing): string {
  const { name, style, explode, asJson } = writing
  if (asJson) return encodePart(JSON.stringify(value))
  if (style === 'label') return `.${joined(value, writing, explode ? '.' : ',', encodePart)}`
  if (style !== 'matrix') return joined(value, writing, ',', encodePart)
  const own = encodePart(name)
  if (!explode || (!isList(value) && entries(value) === undefined)) {
    const text = joined(value, writing, ',', encodePart)
    return text === '' ? `;${own}` : `;${own}=${text}`
  }
  return isList(value) ? value.map((item) => `;${own}=${encodePart(primitive(item))}`).join('') : `;${joined(value, writing, ';', encodePart)}`
}

/** What a header says: RFC 9110 §5.5 leaves lines and controls no place. @returns undefined for what no header can carry */
export function inHeader(value: unknown, writing: Writing): string | undefined {
  const text = writing.asJson ? JSON.stringify(value) : joined(value, writing, ',', (part) => part)
  return /^[\t\x20-\x7e]*$/.test(text) ? text.trim() : undefined
}

/** The pairs of a query, encoded: `a=1`. */
export function inQuery(value: unknown, writing: Writing): readonly string[] {
  const { name, style, explode, allowReserved, asJson } = writing
  const encode = allowReserved ? encodeReserved : encodePart
  const pair = (key: string, member: unknown): string => `${encodePart(key)}=${encode(primitive(member))}`
  if (asJson) return [`${encodePart(name)}=${encodePart(JSON.stringify(value))}`]
  const members = entries(value)
  if (style === 'deepObject' && members !== undefined) return members.flatMap(([key, member]) => deep(`${name}[${key}]`, member, pair))
  if (isList(value)) {
    if (style === 'form' && explode) return value.map((item) => pair(name, item))
    const separator = style === 'spaceDelimited' ? '%20' : style === 'pipeDelimited' ? '%7C' : ','
    return [`${encodePart(name)}=${joined(value, { ...writing, explode: false }, separator, encode)}`]
  }
  if (members === undefined) return [pair(name, value)]
  return explode ? members.map(([key, member]) => pair(key, member)) : [`${encodePart(name)}=${joined(value, writing, ',', encode)}`]
}

function deep(name: string, value: unknown, pair: (key: string, member: unknown) => string): readonly string[] {
  if (isList(value)) return value.map((item) => pair(name, item))
  const members = entries(value)
  return members === undefined ? [pair(name, value)] : members.flatMap(([key, member]) => deep(`${name}[${key}]`, member, pair))
}
