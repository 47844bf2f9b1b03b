import type { Route } from '../http/route.ts'
import { DPOP_ALGORITHMS } from '../token/dpop.ts'
import { baselineOf } from '../upstreams/profile.ts'
import { onlyProfile } from '../upstreams/profiles.ts'
import type { ProtectedServers } from '../upstreams/protected-servers.ts'
import { EVERYTHING, type Profile, type Profiles } from '../upstreams/upstream.ts'

export interface ResourceMetadataOptions {
  readonly issuer: string
  readonly profiles: Profiles
  readonly protectedServers?: Pick<ProtectedServers, 'byId'>
  /** Whether tokens that are bound to no key are refused. */
  readonly boundTokensOnly: boolean
}

/** RFC 9728 §2, RS-1, RS-5: `scopes_supported` is what to ask for, not a catalogue, and `offline_access` is no scope of it (RS-4). */
function resourceMetadata({ issuer, boundTokensOnly }: ResourceMetadataOptions, profile: Profile): Readonly<Record<string, unknown>> {
  return {
    resource: profile.resource,
    authorization_servers: [issuer],
    scopes_supported: baselineOf(profile),
    bearer_methods_supported: ['header'],
    // RFC 9728 §2, RFC 9449 §5.1.
    dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
    ...(boundTokensOnly ? { dpop_bound_access_tokens_required: true } : {}),
    // What a person calls a profile of their own is theirs.
    ...(profile.owner === undefined ? { resource_name: profile.name } : {}),
  }
}

/** Publishes the metadata of each profile; at the root, where clients look that were told nothing, that of the only one, or else of everything. */
export function resourceMetadataRoutes(options: ResourceMetadataOptions): readonly Route[] {
  const { profiles, protectedServers: servers } = options
  const route = (path: string, find: (id: string | undefined) => Profile | undefined): Route => ({
    method: 'GET',
    path,
    access: 'public',
    errors: 'oauth',
    cors: true,
    respond(_request, { params }) {
      const profile = find(params['profile'])
      if (profile === undefined) return Response.json({ error: 'not_found' }, { status: 404 })
      return Response.json(resourceMetadata(options, profile), { headers: { 'cache-control': 'public, max-age=300' } })
    },
  })
  const everything = (): Profile | undefined => profiles.byId(EVERYTHING)
  return [
    route('/.well-known/oauth-protected-resource/mcp/:profile', (id) => (id === EVERYTHING ? undefined : profiles.byId(id ?? ''))),
    route('/.well-known/oauth-protected-resource/mcp', everything),
    route('/.well-known/oauth-protected-resource/http/:profile', (id) => profiles.httpById(id ?? '')),
    route('/.well-known/oauth-protected-resource/forward-auth/:profile', (id) => servers?.byId(id ?? '')?.profile),
    route('/.well-known/oauth-protected-resource', () => onlyProfile(profiles) ?? everything()),
  ]
}
