import { canonicalResource, type Resource } from '../oauth/resource.ts'
import type { Profile, Profiles } from './upstream.ts'

export interface ProtectedServerSettings {
  readonly id: string
  /** Where clients reach it: the address at the reverse proxy. */
  readonly resource: string
  /** The upstream or profile whose rules, tools and credential it has. */
  readonly profile: string
  /** Whether it refuses what its headers do not say (2026-07-28): then rules about single tools can be kept by headers alone. */
  readonly validatesHeaders: boolean
}

/** An MCP server behind a reverse proxy that asks this gateway about each request: a protected resource of its own. */
export interface ProtectedServer {
  readonly id: string
  readonly profile: Profile
  readonly validatesHeaders: boolean
}

export interface ProtectedServers {
  byId(id: string): ProtectedServer | undefined
  byResource(resource: string): ProtectedServer | undefined
  /** The one that a request is for: the longest path, segment by segment, of those at the host. @param host as `Host` has it */
  at(host: string, path: string): ProtectedServer | undefined
}

interface Place {
  readonly server: ProtectedServer
  readonly hosts: ReadonlySet<string>
  readonly path: string
}

/** @throws Error for an address that is none, and for a profile that is not there or has several upstreams */
export function protectedServers(issuer: string, profiles: Pick<Profiles, 'byId'>, settings: readonly ProtectedServerSettings[]): ProtectedServers {
  const places = settings.map((each): Place => {
    const resource = canonicalResource(each.resource)
    const rules = profiles.byId(each.profile)
    if (resource === undefined || rules?.upstreams.length !== 1) throw new Error(`forwardAuth ${each.id}: ${each.resource} is no address, or ${each.profile} is no upstream`)
    const profile = { ...rules, id: `forward-auth:${each.id}`, resource, metadata: `${issuer}/.well-known/oauth-protected-resource/forward-auth/${each.id}` }
    return { server: { id: each.id, profile, validatesHeaders: each.validatesHeaders }, hosts: hostsOf(resource), path: pathOf(resource) }
  })
  const longestFirst = places.toSorted((a, b) => b.path.length - a.path.length)
  const byId = new Map(places.map(({ server }) => [server.id, server]))
  const byResource = new Map<string, ProtectedServer>(places.map(({ server }) => [server.profile.resource, server]))
  return {
    byId: (id) => byId.get(id),
    byResource: (resource) => byResource.get(resource),
    at: (host, path) => longestFirst.find((place) => place.hosts.has(host.toLowerCase()) && (path === place.path || path.startsWith(`${place.path}/`)))?.server,
  }
}

/** The profiles, with the protected servers among what tokens can be asked for. No path of the gateway leads to them. */
export function withProtectedServers(profiles: Profiles, servers: Pick<ProtectedServers, 'byResource'>): Profiles {
  return { ...profiles, byResource: (resource) => servers.byResource(resource)?.profile ?? profiles.byResource(resource) }
}

/** RFC 9110 §4.2.3: the default port may be written or left out. */
function hostsOf(resource: Resource): ReadonlySet<string> {
  const { host, port, protocol } = new URL(resource)
  return new Set([host, ...(port === '' ? [`${host}:${protocol === 'https:' ? 443 : 80}`] : [])])
}

function pathOf(resource: Resource): string {
  const { pathname } = new URL(resource)
  return pathname === '/' ? '' : pathname
}
