import type { IncomingMessage, ServerResponse } from 'node:http'
import { CallProblem } from './problem.ts'

/** RFC 9110 §9: what an API may be asked; the others are none of its callers' business. */
export const METHODS: readonly string[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']

/**
 * Refuses what a page of an unknown origin sends (RS-12), and answers the preflights of the known ones: the API's own
 * rules are for its own pages, and its callers' pages are elsewhere.
 *
 * @throws CallProblem 403
 */
export function checkCallerOrigin(origins: ReadonlySet<string>, request: IncomingMessage, response: ServerResponse): 'answered' | 'go on' {
  const { origin, 'access-control-request-method': wanted, 'access-control-request-headers': headers } = request.headers
  if (origin === undefined) return 'go on'
  if (!origins.has(origin)) throw new CallProblem(403, 'this origin may not call')
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader('vary', 'Origin')
  response.setHeader('access-control-expose-headers', '*, WWW-Authenticate')
  if (request.method !== 'OPTIONS' || wanted === undefined) return 'go on'
  const asked = /^[\w, -]{1,2000}$/.test(headers ?? '') ? headers : undefined
  response.writeHead(204, { 'access-control-allow-methods': METHODS.join(', '), 'access-control-allow-headers': asked ?? 'Authorization, Content-Type', 'access-control-max-age': '600' }).end()
  return 'answered'
}
