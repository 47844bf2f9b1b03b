import { canonicalResource, type Resource } from '../oauth/resource.ts'
import { EVERYTHING, speaksMcp, type Profile, type Profiles, type Upstream } from './upstream.ts'

/** A profile as it was declared or stored: its upstreams by name. */
export interface ProfileSettings extends Pick<Profile, 'id' | 'name' | 'owner' | 'groups' | 'tools'> {
  readonly upstreams: readonly string[]
}

/** Profiles that come and go while the gateway runs. */
export interface StoredProfiles {
  find(id: string): ProfileSettings | undefined
  /** Those that are no person's own. */
  published(): Iterable<ProfileSettings>
}

const NONE: StoredProfiles = { find: () => undefined, published: () => [] }

/**
 * Makes the protected resources: each upstream alone, the profiles that are declared, all upstreams together, and the
 * profiles that are stored. Of one name, what is declared stands.
 *
 * @param common what all of them have
 */
export function profiles(issuer: string, all: readonly Upstream[], named: readonly ProfileSettings[], stored: StoredProfiles = NONE, common: Pick<Profile, 'baselineScope'> = {}): Profiles {
  const upstreams = all.filter(speaksMcp)
  const apis = new Map(all.filter(({ http }) => http !== undefined).map((upstream): [string, Profile] => [upstream.id, { ...common, ...single(upstream, `${issuer}/http/${upstream.id}`) }]))
  const everything: Profile = { ...common, id: EVERYTHING, name: 'All your tools', upstreams, resource: resourceOf(issuer) }
  const composed = named.map((settings): Profile => ({ ...common, ...compose(issuer, upstreams, settings) }))
  const fixed = [...upstreams.map((upstream) => ({ ...common, ...single(upstream, `${issuer}/mcp/${upstream.id}`) })), ...composed, everything].filter(isServed)
  const byId = new Map(fixed.map((profile) => [profile.id, profile]))
  const made = new WeakMap<ProfileSettings, Profile>()
  const make = (settings: ProfileSettings): Profile => {
    const before = made.get(settings)
    if (before !== undefined) return before
    const profile = { ...common, ...compose(issuer, upstreams, settings) }
    made.set(settings, profile)
    return profile
  }
  const find = (id: string): Profile | undefined => {
    const known = byId.get(id)
    if (known !== undefined) return known
    const settings = stored.find(id)
    const profile = settings === undefined ? undefined : make(settings)
    return profile !== undefined && isServed(profile) ? profile : undefined
  }
  return {
    byId: find,
    httpById: (id) => apis.get(id),
    byResource: (resource) => find(idOf(issuer, resource)) ?? apis.get(idOf(issuer, resource, 'http')),
    all: () => [...fixed, ...apis.values(), ...[...stored.published()].filter(({ id }) => !byId.has(id)).map(make).filter(isServed)],
  }
}

/** The one that is meant by who names none: the only upstream, where nothing is declared besides it. */
export function onlyProfile(profiles: Pick<Profiles, 'all'>): Profile | undefined {
  const shared = profiles.all().filter(({ id }) => id !== EVERYTHING)
  const mcp = shared.filter(({ resource }) => !isApi(resource))
  const [only, ...others] = mcp.length === 0 ? shared : mcp
  return others.length === 0 ? only : undefined
}

function isApi(resource: Resource): boolean {
  return new URL(resource).pathname.startsWith('/http/')
}

/** The protected resource of a profile. */
export function profileResource(issuer: string, id: string): Resource {
  return resourceOf(issuer, id)
}

function isServed({ upstreams }: Profile): boolean {
  return upstreams.length > 0
}

function compose(issuer: string, upstreams: readonly Upstream[], settings: ProfileSettings): Profile {
  return { ...settings, upstreams: [...new Set(settings.upstreams)].flatMap((id) => upstreams.filter((upstream) => upstream.id === id)), resource: resourceOf(issuer, settings.id) }
}

function single(upstream: Upstream, address: string): Profile {
  return { id: upstream.id, name: upstream.name, upstreams: [upstream], resource: resourceAt(address) }
}

function resourceOf(issuer: string, id?: string): Resource {
  return resourceAt(id === undefined ? `${issuer}/mcp` : `${issuer}/mcp/${id}`)
}

function resourceAt(address: string): Resource {
  const canonical = canonicalResource(address)
  if (canonical === undefined) throw new Error(`${address} is no resource`)
  return canonical
}

/** RFC 8707 §2: resources are equal as strings; what is none of ours has no identifier. */
function idOf(issuer: string, resource: string, below: 'mcp' | 'http' = 'mcp'): string {
  if (resource === `${issuer}/mcp` && below === 'mcp') return EVERYTHING
  const start = `${issuer}/${below}/`
  const id = resource.startsWith(start) ? resource.slice(start.length) : ''
  return id === EVERYTHING ? '' : id
}
