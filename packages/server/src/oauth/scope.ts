// RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/

/** Splits a scope parameter into its distinct tokens, or says that it is malformed (RFC 6749 §3.3). */
export function parseScope(value: string): readonly string[] | undefined {
  const tokens = value.split(' ').filter((token) => token !== '')
  return tokens.every((token) => SCOPE_TOKEN.test(token)) ? [...new Set(tokens)] : undefined
}

/** Scopes of OpenID Connect that clients add by habit: accepted, and without effect here. */
const HABITS = new Set(['openid', 'profile', 'email', 'offline_access'])

/** What a client asks for, or that it is malformed; nothing when it names nothing in particular. */
export function askedScope(value: string | undefined): readonly string[] | undefined {
  return parseScope(value ?? '')?.filter((token) => !HABITS.has(token))
}

export function formatScope(scope: readonly string[]): string {
  return scope.join(' ')
}

/** The two things that a tool may need: a tool that its upstream or an administrator marks read-only needs `read`. */
export type Access = 'read' | 'write'

/** The scopes any one of which allows the access at the upstream; `mcp.write` includes `mcp.read` (hierarchy). */
function scopesAllowing(access: Access, upstreamId: string): readonly string[] {
  const write = ['mcp.write', `mcp.${upstreamId}.write`]
  return access === 'write' ? write : [...write, 'mcp.read', `mcp.${upstreamId}.read`]
}

/** Whether the granted scope allows the access at the upstream. */
export function scopeAllows(granted: readonly string[], access: Access, upstreamId: string): boolean {
  return scopesAllowing(access, upstreamId).some((scope) => granted.includes(scope))
}

/** Whether whoever holds the granted scope holds this one too, by name or within a wider one (RS-9). */
export function scopeIncludes(granted: readonly string[], scope: string): boolean {
  const [, upstreamId, access] = /^mcp\.(?:(.+)\.)?(read|write)$/.exec(scope) ?? []
  if (access === undefined || granted.includes(scope)) return granted.includes(scope)
  if (upstreamId !== undefined) return scopeAllows(granted, access === 'read' ? 'read' : 'write', upstreamId)
  return access === 'read' && granted.includes('mcp.write')
}

/** The scopes that exist at a resource over these upstreams. */
export function resourceScopes(upstreamIds: readonly string[]): readonly string[] {
  return [...EVERY_UPSTREAM, ...upstreamIds.flatMap((id) => [`mcp.${id}.read`, `mcp.${id}.write`])]
}

/** Everything of every upstream of a resource. */
export const EVERY_UPSTREAM: readonly string[] = ['mcp.read', 'mcp.write']

/** What a client that names no scope gets, and what challenge and metadata tell it to ask for, unless an administrator says otherwise. */
export const BASELINE_SCOPE = EVERY_UPSTREAM
