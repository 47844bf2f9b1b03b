import { OAuthError } from '../oauth/error.ts'

const MAX_FORM_BYTES = 64 * 1024

/** The parameters of one OAuth request: each at most once (RFC 6749 §3.1, §3.2), `resource` excepted (RFC 8707 §2). */
export class Params {
  readonly #values: ReadonlyMap<string, readonly string[]>

  private constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values
  }

  /** @throws OAuthError `invalid_request` when a parameter is repeated. */
  static from(search: URLSearchParams): Params {
    const seen = new Map<string, string[]>()
    // One pass: a body of many names costs no more than a body of one.
    for (const [name, value] of search) {
      const before = seen.get(name)
      // RFC 6749 §3.1: "Request and response parameters MUST NOT be included more than once."
      if (before !== undefined && name !== 'resource') throw new OAuthError('invalid_request', `${printable(name)} is repeated`)
      // RFC 6749 appendix A: no parameter holds a NUL, which not every database can store.
      if (value.includes('\0')) throw new OAuthError('invalid_request', `${printable(name)} is malformed`)
      if (before === undefined) seen.set(name, [value])
      else before.push(value)
    }
    // RFC 6749 §3.1: "Parameters sent without a value MUST be treated as if they were omitted."
    const present = [...seen].map(([name, values]) => [name, values.filter((value) => value !== '')] as const)
    return new Params(new Map(present.filter(([, values]) => values.length > 0)))
  }

  /** Reads an `application/x-www-form-urlencoded` body; the query string is never read (RFC 6749 §3.2). */
  static async fromForm(request: Request): Promise<Params> {
    const type = request.headers.get('content-type') ?? ''
    if (!/^application\/x-www-form-urlencoded\s*(;\s*charset="?utf-8"?\s*)?$/i.test(type)) {
      throw new OAuthError('invalid_request', 'the body must be application/x-www-form-urlencoded')
    }
    const body = await readText(request, MAX_FORM_BYTES)
    if (body === undefined) throw new OAuthError('invalid_request', 'the body is too large')
    return Params.from(new URLSearchParams(body))
  }

  get(name: string): string | undefined {
    return this.#values.get(name)?.[0]
  }

  all(name: string): readonly string[] {
    return this.#values.get(name) ?? []
  }

  /** @throws OAuthError `invalid_request` when the parameter is missing. */
  require(name: string): string {
    const value = this.get(name)
    if (value === undefined) throw new OAuthError('invalid_request', `${name} is missing`)
    return value
  }

  /** All parameters, for storing the request or for passing it on. */
  entries(): [string, string][] {
    return [...this.#values].flatMap(([name, values]) => values.map((value): [string, string] => [name, value]))
  }
}

/** Reads a body of at most `limit` bytes as UTF-8, or undefined when it is larger: nothing past the limit is buffered. */
export async function readText(request: Request, limit: number): Promise<string | undefined> {
  // Whoever says how much it is, is held to it by HTTP itself.
  const length = request.headers.get('content-length')
  if (length !== null && /^\d{1,9}$/.test(length) && Number(length) <= limit) return request.text()
  if (request.body === null) return ''
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.body) {
    size += chunk.byteLength
    if (size > limit) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function printable(name: string): string {
  return /^[\w.-]{1,40}$/.test(name) ? name : 'a parameter'
}

/** What a JSON body says. No string in it holds a NUL, which not every database can store. @throws SyntaxError */
export function parseJson(text: string): unknown {
  if (/(?<!\\)(?:\\\\)*\\u0000/.test(text)) throw new SyntaxError('a NUL')
  return JSON.parse(text)
}
