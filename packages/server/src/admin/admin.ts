// Owns the JSON API behind dashboard and command line: who may use it, its errors, and the table of its endpoints. What
// an endpoint does is the business of the room that it is about.
import * as z from 'zod'
import type { Route } from '../http/route.ts'
import { accessCheck, type AccessDeps } from './access.ts'
import { ADMIN_SCOPE } from './administration.ts'
import { apiRoutes, endpoint, type Endpoint } from './endpoint.ts'
import { openapi } from './openapi.ts'

/** Makes the routes of the JSON API. @param endpoints those that the other files of this room declare */
export function adminRoutes(deps: AccessDeps, endpoints: readonly Endpoint[]): readonly Route[] {
  const all = [me(), ...endpoints]
  return [...apiRoutes(accessCheck(deps), all), description(deps.issuer, all), resourceMetadata(deps)]
}

const ME = z.object({
  id: z.string(),
  name: z.string().optional(),
  email: z.string().optional(),
  groups: z.array(z.string()),
  provider: z.string(),
  administrator: z.boolean(),
})

function me(): Endpoint {
  return endpoint({
    method: 'GET',
    path: '/me',
    summary: 'Who is signed in',
    access: 'user',
    result: ME,
    async respond({ actor: { user, administrator } }) {
      const { id, name, email, groups, provider } = user
      return { body: { id, name, email, groups, provider, administrator } }
    },
  })
}

function description(issuer: string, endpoints: readonly Endpoint[]): Route {
  const document = openapi(issuer, endpoints)
  return { method: 'GET', path: '/api/openapi.json', access: 'public', errors: 'problem', respond: () => Response.json(document, { headers: { 'cache-control': 'public, max-age=300' } }) }
}

/** RFC 9728 §2, for clients that ask for a token of an administrator's. */
function resourceMetadata({ issuer, administration }: AccessDeps): Route {
  const metadata = { resource: administration.resource, authorization_servers: [issuer], scopes_supported: [ADMIN_SCOPE], bearer_methods_supported: ['header'], resource_name: 'Lanyard administration' }
  return {
    method: 'GET',
    path: '/.well-known/oauth-protected-resource/api',
    access: 'public',
    errors: 'oauth',
    cors: true,
    respond: () => Response.json(metadata, { headers: { 'cache-control': 'public, max-age=300' } }),
  }
}
