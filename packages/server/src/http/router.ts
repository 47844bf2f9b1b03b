// Owns the way from a request to the route that answers it, and every error on that way. It knows no domain.
import { randomInt } from 'node:crypto'
import { Hono } from 'hono'
import { OAuthError } from '../oauth/error.ts'
import type { ClientAddress } from './address.ts'
import { PageError, StoreUnavailable } from './errors.ts'
import { errorPage, sentence } from './page.ts'
import { ProblemError } from './problem.ts'
import type { RequestContext, Route } from './route.ts'

export interface RouterSettings {
  readonly issuer: string
  /** Further `Host` values to answer to. */
  readonly hosts: readonly string[]
  readonly clientAddress: ClientAddress
  /** Told of what is a bug: never of request data. */
  readonly log: (line: Readonly<Record<string, unknown>>) => void
}

/** What the Node server passes along with a request. */
export interface Bindings {
  readonly incoming?: { readonly socket?: { readonly remoteAddress?: string | undefined } }
}

/** Probes reach a node by its own address. */
const ANY_HOST = new Set(['/livez', '/readyz'])
const REFERENCE_LETTERS = '23456789BCDFGHJKMNPQRSTVWXYZ'

/** Makes the application of a route table. @throws Error when two routes have one method and path. */
export function router(routes: readonly Route[], settings: RouterSettings): Hono<{ Bindings: Bindings }> {
  const app = new Hono<{ Bindings: Bindings }>()
  const host = hostCheck(settings)
  const known = new Map<string, Set<string>>()
  for (const route of routes) {
    const methods = known.get(route.path) ?? new Set<string>()
    known.set(route.path, methods)
    if (methods.has(route.method)) throw new Error(`two routes answer ${route.method} ${route.path}`)
    methods.add(route.method)
  }
  app.use(async (context, next) => {
    const { pathname } = new URL(context.req.url)
    if (!ANY_HOST.has(pathname) && !host(context.req.header('host'))) {
      context.res = new Response('This host name is not served here.\n', { status: 421 })
    } else if (/%00/.test(pathname)) {
      // No identifier holds a NUL, and not every database can be asked for one.
      context.res = await nothingHere()
    } else {
      await next()
    }
    secure(context.res.headers, settings.issuer)
  })
  for (const route of routes) {
    app.on(route.method, route.path, async (context) => {
      const request: RequestContext = {
        address: settings.clientAddress(context.env?.incoming?.socket?.remoteAddress, context.req.header('x-forwarded-for')),
        reference: newReference(),
        params: context.req.param(),
      }
      const response = await answer(route, context.req.raw, request, settings.log)
      return route.cors === true ? withCors(response) : response
    })
    if (route.cors === true) app.options(route.path, () => withCors(new Response(null, { status: 204 })))
  }
  for (const [path, methods] of known) {
    app.all(path, () => new Response('This method is not allowed here.\n', { status: 405, headers: { allow: [...methods].join(', ') } }))
  }
  const spokenInProblems = new Set(routes.filter(({ errors }) => errors === 'problem').map(({ path }) => path.split('/')[1]))
  app.notFound(({ req }) => (spokenInProblems.has(req.path.split('/')[1]) ? new ProblemError('not-found', 'There is nothing at this address.').toResponse(newReference()) : nothingHere()))
  return app
}

function nothingHere(): Promise<Response> {
  return errorPage({ status: 404, title: 'There is nothing here', message: 'Check the address, or go back to your application.', reference: newReference() })
}

async function answer(route: Route, request: Request, context: RequestContext, log: RouterSettings['log']): Promise<Response> {
  try {
    return await route.respond(request, context)
  } catch (error) {
    if (error instanceof OAuthError) {
      if (route.errors === 'oauth') return error.toResponse()
      const headers = error.retryAfter === undefined ? {} : { 'retry-after': String(Math.ceil(error.retryAfter)) }
      return errorPage({ status: error.status, title: 'This request cannot be completed', message: sentence(error.message), headers, reference: context.reference })
    }
    if (error instanceof ProblemError && route.errors === 'problem') return error.toResponse(context.reference)
    if (error instanceof PageError) {
      return errorPage({ status: error.status, title: error.title, message: error.message, headers: error.headers, reference: error.reference ?? context.reference })
    }
    const place = { level: 'error', reference: context.reference, route: `${route.method} ${route.path}` }
    if (error instanceof StoreUnavailable) {
      log({ ...place, error: `the store: ${error.code}` })
      return tryLater(route, context)
    }
    log({ ...place, error: error instanceof Error ? error.stack : 'not an error' })
    if (route.errors === 'oauth') return new OAuthError('server_error', `something went wrong here; the reference is ${context.reference}`).toResponse()
    if (route.errors === 'problem') return new ProblemError('internal-error', 'This is a fault of the gateway, not yours.').toResponse(context.reference)
    return errorPage({ status: 500, title: 'Something went wrong', message: 'This is a fault of the gateway, not yours. Please try again.', reference: context.reference })
  }
}

const RETRY_S = 5

/** RFC 9110 §10.2.3: nothing was changed, and it is known when to come back. */
function tryLater(route: Route, context: RequestContext): Response | Promise<Response> {
  if (route.errors === 'oauth') return new OAuthError('temporarily_unavailable', 'please try again in a moment', { retryAfter: RETRY_S }).toResponse()
  if (route.errors === 'problem') return new ProblemError('unavailable', 'Nothing was changed; please try again in a moment.', { headers: { 'retry-after': String(RETRY_S) } }).toResponse(context.reference)
  const message = 'The gateway cannot reach its database at the moment. Nothing was changed; please try again in a moment.'
  return errorPage({ status: 503, title: 'Please try again in a moment', message, headers: { 'retry-after': String(RETRY_S) }, reference: context.reference })
}

/** A short reference for people: no vowels and no look-alikes, read over the telephone without trouble. */
export function newReference(): string {
  let number = randomInt(REFERENCE_LETTERS.length ** 8)
  let letters = ''
  for (let place = 0; place < 8; place += 1) {
    letters += `${place === 4 ? '-' : ''}${REFERENCE_LETTERS[number % REFERENCE_LETTERS.length]}`
    number = Math.floor(number / REFERENCE_LETTERS.length)
  }
  return letters
}

/** Answers no other name than the configured ones, so that a rebound name reaches nothing. */
export function hostCheck(settings: { readonly issuer: string; readonly hosts: readonly string[] }): (host: string | undefined) => boolean {
  const { host: own, port, protocol } = new URL(settings.issuer)
  // RFC 9110 §4.2.3: the default port may be written or left out.
  const written = port === '' ? [`${own}:${protocol === 'https:' ? 443 : 80}`] : []
  const served = new Set([own, ...written, ...settings.hosts].map((name) => name.toLowerCase()))
  return (host) => host !== undefined && served.has(host.toLowerCase())
}

function secure(headers: Headers, issuer: string): void {
  headers.set('x-content-type-options', 'nosniff')
  // RFC 9700 §4.2.4: codes and state never leak by Referer.
  headers.set('referrer-policy', 'no-referrer')
  // No Cross-Origin-Opener-Policy: clients open the authorization endpoint in a popup whose last page, their own, tells its opener.
  headers.set('permissions-policy', 'camera=(), geolocation=(), microphone=()')
  if (issuer.startsWith('https:')) headers.set('strict-transport-security', 'max-age=31536000; includeSubDomains')
}

/** For any origin and without credentials: what these routes know of the caller is in the request itself. */
function withCors(response: Response): Response {
  response.headers.set('access-control-allow-origin', '*')
  response.headers.set('access-control-allow-methods', 'GET, POST, PUT, DELETE, OPTIONS')
  response.headers.set('access-control-allow-headers', 'Authorization, Content-Type, DPoP, MCP-Protocol-Version')
  response.headers.set('access-control-expose-headers', 'WWW-Authenticate, Retry-After, DPoP-Nonce')
  response.headers.set('access-control-max-age', '600')
  return response
}
