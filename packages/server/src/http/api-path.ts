// Owns how the path of a call to an HTTP API is read: policy decides about it, so it must be the path that the API will
// see, whatever decodes or tidies it on the way. What could be read in two ways is refused, never mended.

export interface PathRules {
  /** Whether `%2F` may stand in a segment: some APIs name things with slashes that way. */
  readonly encodedSlashes: boolean
}

/** Where a call goes: below which API, to which path, with which query. */
export interface HttpTarget {
  readonly upstream: string
  /** As it was sent; empty for the base itself. */
  readonly path: string
  /** With its question mark; empty when there is none. */
  readonly query: string
}

/** Splits the request target; the path byte for byte, as in `/mcp` (H18). @returns undefined for what names no API */
export function readTarget(target: string): HttpTarget | undefined {
  const [, upstream, path = '', query = ''] = /^\/http\/([a-z0-9-]+)(\/[^?]*)?(\?.*)?$/s.exec(target) ?? []
  return upstream === undefined ? undefined : { upstream, path, query }
}

const MAX_PATH = 4096
/** RFC 3986 §3.3, without `;`: servers disagree whether what follows it still belongs to the name. */
const SEGMENT = /^(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-F]{2})*$/
const UNRESERVED = /[A-Za-z0-9\-._~]/
/** RFC 3986 §3.4: what a query may hold, and the brackets that many APIs use in the names of parameters. */
const QUERY = /^(?:\?(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?[\]]|%[0-9A-Fa-f]{2}|[|^{}])*)?$/

/**
 * Says what is wrong with a path or query that could mean another thing to the API than to policy: dot segments, empty
 * ones, letters that are needlessly encoded, encoded slashes, backslashes and controls (H23, RFC 3986 §6.2.2).
 *
 * @returns undefined when nothing is
 */
export function pathProblem({ path, query }: Pick<HttpTarget, 'path' | 'query'>, rules: PathRules): string | undefined {
  if (path.length > MAX_PATH) return 'the path is too long'
  if (!QUERY.test(query)) return 'the query holds characters that must be encoded'
  const segments = path.split('/').slice(1)
  for (const [index, segment] of segments.entries()) {
    if (segment === '' && index < segments.length - 1) return 'the path has an empty segment (//)'
    const problem = segmentProblem(segment, rules)
    if (problem !== undefined) return problem
  }
  return undefined
}

function segmentProblem(segment: string, { encodedSlashes }: PathRules): string | undefined {
  if (!SEGMENT.test(segment)) return 'the path holds characters that must be encoded, or are not encoded as %XX in capitals'
  if (isDots(segment)) return 'the path has a dot segment'
  if (!segment.includes('%')) return undefined
  // Overlong and broken UTF-8 is how a dot or a slash is hidden from one of two readers.
  const decoded = decode(segment)
  if (decoded === undefined) return 'the path is not UTF-8'
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f\\]/.test(decoded)) return 'the path has an encoded control character or backslash'
  if ([...segment.matchAll(/%([0-9A-F]{2})/g)].some(([, hex]) => UNRESERVED.test(String.fromCharCode(Number.parseInt(hex ?? '', 16))))) return 'the path encodes characters that need it not'
  if (/%[0-9A-Fa-f]{2}/.test(decoded)) return 'the path is encoded twice'
  if (!decoded.includes('/')) return undefined
  if (!encodedSlashes) return 'the path has an encoded slash (%2F)'
  const parts = decoded.split('/')
  return parts.some((part) => part === '' || isDots(part)) ? 'the path has an encoded dot segment or empty segment' : undefined
}

function isDots(segment: string): boolean {
  return segment === '.' || segment === '..'
}

function decode(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}

/** RFC 3986 §3.3: what means the same in a segment whether it is encoded or not. */
const EITHER_WAY = /%(?:21|24|26|27|28|29|2A|2B|2C|3A|3B|3D|40)/g

/**
 * What policy decides about, in the place of a tool: `GET /repos/lanyard`. `HEAD` asks for nothing that `GET` would not
 * give. A slash at the end and the spelling of characters that need no encoding make no other name.
 */
export function operationName(method: string, path: string): string {
  const trimmed = path.endsWith('/') ? path.slice(0, -1) : path
  const spelled = trimmed.replace(EITHER_WAY, (code) => decodeURIComponent(code))
  return `${method === 'HEAD' ? 'GET' : method} ${spelled === '' ? '/' : spelled}`
}

/** Puts a path below the base of an API. */
export function below(base: URL, path: string): string {
  const start = base.pathname.replace(/\/+$/, '')
  return path === '' ? base.pathname : `${start}${path}`
}
