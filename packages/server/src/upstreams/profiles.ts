import { canonicalResource, type Resource } from '../oauth/resource.ts'
import type { Profile, Profiles, Upstream } from './upstream.ts'

export interface ProfileSettings {
  readonly id: string
  readonly name: string
  readonly upstreams: readonly string[]
}

/** Makes the protected resources: each upstream is a profile of its own id, and each profile of one is one more. */
export function profiles(issuer: string, upstreams: readonly Upstream[], named: readonly ProfileSettings[]): Profiles {
  const resource = (id: string): Resource => {
    const canonical = canonicalResource(`${issuer}/mcp/${id}`)
    if (canonical === undefined) throw new Error(`${id} makes no resource`)
    return canonical
  }
  const single = upstreams.map((upstream): Profile => ({ id: upstream.id, name: upstream.name, upstreams: [upstream], resource: resource(upstream.id) }))
  const composed = named
    .map((profile) => ({ ...profile, upstreams: upstreams.filter((upstream) => profile.upstreams.includes(upstream.id)), resource: resource(profile.id) }))
    .filter((profile) => profile.upstreams.length === 1)
  const all = [...single, ...composed]
  const byId = new Map(all.map((profile) => [profile.id, profile]))
  const byResource = new Map(all.map((profile) => [profile.resource, profile]))
  return { byId: (id) => byId.get(id), byResource: (wanted) => byResource.get(wanted), all: () => all }
}
