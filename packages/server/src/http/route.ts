/** Who may call a route: nobody is trusted by default, so each route says what it checks. */
export type RouteAccess = 'public' | 'client' | 'session' | 'flow' | 'bearer' | 'admin'

export interface RequestContext {
  /** The caller's network address, behind trusted proxies. */
  readonly address: string
  /** The reference of this request: in its audit events and on its error page. */
  readonly reference: string
  /** Path parameters, decoded. */
  readonly params: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Hono's path syntax. */
  readonly path: string
  readonly access: RouteAccess
  /** How errors are told: a page for people, JSON for OAuth clients, a problem (RFC 9457) for clients of the JSON API. */
  readonly errors: 'page' | 'oauth' | 'problem'
  /** Whether scripts of any origin may call it (metadata, token, registration), without credentials. */
  readonly cors?: boolean
  readonly respond: (request: Request, context: RequestContext) => Promise<Response> | Response
}
