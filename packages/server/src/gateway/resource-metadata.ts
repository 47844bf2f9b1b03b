import type { Route } from '../http/route.ts'
import { BASELINE_SCOPE } from '../oauth/scope.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'

/** RFC 9728 §2, RS-1, RS-5: `scopes_supported` is what to ask for, not a catalogue, and `offline_access` is no scope of it (RS-4). */
function resourceMetadata(issuer: string, profile: Profile): Readonly<Record<string, unknown>> {
  return {
    resource: profile.resource,
    authorization_servers: [issuer],
    scopes_supported: BASELINE_SCOPE,
    bearer_methods_supported: ['header'],
    resource_name: profile.name,
  }
}

/** Publishes the metadata of each profile; at the root, where clients look that were told nothing, that of the only one. */
export function resourceMetadataRoutes(issuer: string, profiles: Profiles): readonly Route[] {
  const route = (path: string, find: (id: string | undefined) => Profile | undefined): Route => ({
    method: 'GET',
    path,
    access: 'public',
    errors: 'oauth',
    cors: true,
    respond(_request, { params }) {
      const profile = find(params['profile'])
      if (profile === undefined) return Response.json({ error: 'not_found' }, { status: 404 })
      return Response.json(resourceMetadata(issuer, profile), { headers: { 'cache-control': 'public, max-age=300' } })
    },
  })
  const [only, ...others] = profiles.all()
  return [
    route('/.well-known/oauth-protected-resource/mcp/:profile', (id) => profiles.byId(id ?? '')),
    route('/.well-known/oauth-protected-resource', () => (others.length === 0 ? only : undefined)),
  ]
}
