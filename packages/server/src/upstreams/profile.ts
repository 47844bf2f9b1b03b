import type { User } from '../identity/user.ts'
import { BASELINE_SCOPE } from '../oauth/scope.ts'
import { matcher, type Match } from '../policy/pattern.ts'
import type { Profile, Upstream } from './upstream.ts'

/** Whether the profile is there for this person at all; what they may use of it, policy decides. */
export function isFor({ owner, groups }: Pick<Profile, 'owner' | 'groups'>, user: Pick<User, 'id' | 'groups'>): boolean {
  return (owner === undefined || owner === user.id) && (groups === undefined || groups.some((group) => user.groups.includes(group)))
}

/** What a client that names no scope gets here, and what challenge and metadata tell it to ask for (RS-3, RS-5). */
export function baselineOf({ scopes, baselineScope }: Pick<Profile, 'scopes' | 'baselineScope'>): readonly string[] {
  return scopes ?? baselineScope ?? BASELINE_SCOPE
}

/** The patterns that a profile names for an upstream. An upstream may have whatever name, also one that every object has. */
export function toolsOf({ tools }: Pick<Profile, 'tools'>, upstream: string): readonly string[] | undefined {
  return tools !== undefined && Object.hasOwn(tools, upstream) ? tools[upstream] : undefined
}

const offered = new WeakMap<Profile, Map<string, Match>>()

/** Whether the profile offers a tool of its upstream; without a name, whether it offers all that the upstream has. */
export function offers(profile: Profile, upstream: string, tool?: string): boolean {
  const patterns = toolsOf(profile, upstream)
  if (patterns === undefined) return true
  if (tool === undefined) return false
  const known = offered.get(profile) ?? new Map<string, Match>()
  offered.set(profile, known)
  let match = known.get(upstream)
  if (match === undefined) known.set(upstream, (match = matcher(patterns)))
  return match(tool)
}

/** What a profile reaches, entry by entry: an upstream, or a pattern of its tools behind it. */
export function reachOf({ upstreams, tools }: Pick<Profile, 'tools'> & { readonly upstreams: readonly Pick<Upstream, 'id'>[] }): readonly string[] {
  const patterns = tools === undefined ? {} : { tools }
  return upstreams.flatMap(({ id }) => toolsOf(patterns, id)?.map((pattern) => `${id} ${pattern}`) ?? [id])
}

/** Whether what was approved before holds all that is reached now: what grew since then was never approved (D06). */
export function isWithin(reach: readonly string[], approved: readonly string[]): boolean {
  const given = new Set(approved)
  return reach.every((entry) => given.has(entry) || given.has(entry.split(' ', 1)[0] ?? entry))
}
