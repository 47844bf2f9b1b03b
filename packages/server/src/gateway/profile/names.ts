// How what belongs to one of several upstreams is called towards the client, and back. Every name begins with the
// upstream's identifier, which has only the characters a-z, 0-9 and `-`: the first separator after it is the only one that
// can be meant, whatever an upstream calls its things (H08, P-14). A name is no permission: who uses one is decided about
// like anybody else, with their own credential, at the upstream that it names. So none of them has to be sealed.
import type { Profile, Upstream } from '../../upstreams/upstream.ts'
import { parseExactly } from '../message.ts'

type Named = Pick<Upstream, 'id'>

export interface Inner<Name> {
  readonly upstream: Upstream
  readonly name: Name
}

const SEPARATOR = '__'

/** The name of a tool or prompt in the profile. */
export function outerName({ id }: Named, name: string): string {
  return `${id}${SEPARATOR}${name}`
}

/** @returns undefined when it names no upstream of the profile */
export function innerName(profile: Pick<Profile, 'upstreams'>, outer: string): Inner<string> | undefined {
  return split(profile, outer, SEPARATOR)
}

const SCHEME = 'lanyard:'
/** MCP Apps: a host shows nothing of another scheme, so there the upstream stands behind it. */
const APP_SCHEME = 'ui://'

/**
 * The address of a resource in the profile, or the template of such addresses: the upstream's own behind a prefix of
 * literals, so that expanding the template and taking the prefix away are the same in either order (RFC 6570 §3.1). There
 * is no `//` behind the scheme: the rest is opaque to whoever parses it (WHATWG URL §4.4), and no `..` in it is resolved.
 */
export function outerUri({ id }: Named, uri: string): string {
  return uri.startsWith(APP_SCHEME) ? `${APP_SCHEME}${id}/${uri.slice(APP_SCHEME.length)}` : `${SCHEME}${id}/${uri}`
}

/** @returns undefined when it names no upstream of the profile */
export function innerUri(profile: Pick<Profile, 'upstreams'>, outer: string): Inner<string> | undefined {
  if (outer.startsWith(SCHEME)) return split(profile, outer.slice(SCHEME.length), '/')
  const found = outer.startsWith(APP_SCHEME) ? split(profile, outer.slice(APP_SCHEME.length), '/') : undefined
  return found === undefined ? undefined : { upstream: found.upstream, name: `${APP_SCHEME}${found.name}` }
}

/** What an upstream chose as the identifier of its own request, or as a progress token; strings and numbers stay apart. */
export function outerId({ id }: Named, own: unknown): string {
  return `${id}:${JSON.stringify(own)}`
}

/** @returns undefined when it is none of what the profile's upstreams asked with */
export function innerId(profile: Pick<Profile, 'upstreams'>, outer: unknown): Inner<unknown> | undefined {
  const found = typeof outer === 'string' ? split(profile, outer, ':') : undefined
  if (found === undefined) return undefined
  try {
    const name = parseExactly(found.name)
    return typeof name === 'object' && !JSON.isRawJSON(name) ? undefined : { upstream: found.upstream, name }
  } catch {
    return undefined
  }
}

function split({ upstreams }: Pick<Profile, 'upstreams'>, outer: string, separator: string): Inner<string> | undefined {
  const at = outer.indexOf(separator)
  const id = at === -1 ? undefined : outer.slice(0, at)
  const upstream = upstreams.find((each) => each.id === id)
  return upstream === undefined ? undefined : { upstream, name: outer.slice(at + separator.length) }
}
