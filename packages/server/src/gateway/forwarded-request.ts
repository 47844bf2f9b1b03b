// What a reverse proxy asks about, found in its question: pure. Nothing here is believed before it is known who asks.
import type { IncomingMessage } from 'node:http'

/** The request that a proxy wants to know about. */
export interface ForwardedRequest {
  /** Empty when the proxy does not say. */
  readonly method: string
  /** Undefined when the proxy says neither, and has named the resource. */
  readonly place: { readonly host: string; readonly path: string } | undefined
  /** The resource that the proxy was configured with: its question's own parameter, never the client's. */
  readonly resource: string | undefined
  /** What the proxy proves itself with, in its question's own address. */
  readonly key?: string
}

type Question = Pick<IncomingMessage, 'method' | 'url' | 'headers' | 'rawHeaders'>

const QUESTION = /^\/forward-auth(\/[^?]*)?(?:\?(.*))?$/s

/**
 * Reads the question of nginx and Traefik (one address, the rest in `X-Forwarded-*`), or of Envoy (the client's own
 * method, host and path, behind the prefix).
 *
 * @returns undefined for what could be read in more than one way
 */
export function forwardedRequest(request: Question): ForwardedRequest | undefined {
  const [, path, query = ''] = QUESTION.exec(request.url ?? '') ?? []
  if (QUESTION.exec(request.url ?? '') === null || isRepeated(request)) return undefined
  if (path !== undefined) return placed({ method: request.method ?? '', host: request.headers.host, target: path, resource: undefined })
  const parameters = new URLSearchParams(query)
  const [resources, keys] = [parameters.getAll('resource'), parameters.getAll('key')]
  if (resources.length > 1 || keys.length > 1) return undefined
  const [method, host, target] = ['x-forwarded-method', 'x-forwarded-host', 'x-forwarded-uri'].map((name) => text(request.headers[name]))
  const asked = placed({ method: method ?? '', host, target, resource: resources[0] })
  return asked === undefined || keys[0] === undefined ? asked : { ...asked, key: keys[0] }
}

interface Said {
  readonly method: string
  readonly host: string | undefined
  readonly target: string | undefined
  readonly resource: string | undefined
}

function placed({ method, host, target, resource }: Said): ForwardedRequest | undefined {
  if (host === undefined && target === undefined) return resource === undefined ? undefined : { method, place: undefined, resource }
  const path = target === undefined ? undefined : plainPath(target)
  if (host === undefined || path === undefined || !/^(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i.test(host)) return undefined
  return { method, place: { host, path }, resource }
}

/** Nothing that is another character to whoever decodes it, or ends a name for whoever reads on: no percent sign at all. */
const SEGMENT = /^[A-Za-z0-9._~!$&'()*+,=:@-]*$/

/**
 * The path of a request target, as it was sent.
 *
 * @returns undefined for one that a server behind may take for another: dot segments, doubled slashes, backslashes, whatever is encoded, parameters of segments
 */
export function plainPath(target: string): string | undefined {
  const [path = ''] = target.split('?', 1)
  const [first, ...segments] = path.split('/')
  if (first !== '' || segments.length === 0) return undefined
  const isPlain = segments.every((segment, index) => SEGMENT.test(segment) && segment !== '.' && segment !== '..' && (segment !== '' || index === segments.length - 1))
  return isPlain ? path : undefined
}

/** Of two headers of one name, proxies and servers do not take the same. */
const ONCE = new Set(['authorization', 'x-lanyard-proxy-key', 'host', 'x-forwarded-method', 'x-forwarded-host', 'x-forwarded-uri', 'mcp-method', 'mcp-name', 'mcp-protocol-version'])

function isRepeated({ rawHeaders }: Question): boolean {
  const names = rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()).filter((name) => ONCE.has(name))
  return new Set(names).size !== names.length
}

function text(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}
