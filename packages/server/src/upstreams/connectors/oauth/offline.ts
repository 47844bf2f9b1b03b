// How Google differs where an account is connected: a refresh token comes with `access_type=offline` and a consent, not with
// a scope, and on the consent page a person may untick any scope.
import { parseScope } from '../../../oauth/scope.ts'
import type { OAuthCredential } from '../../../vault/credential.ts'
import type { Upstream } from '../../upstream.ts'
import type { Discovered } from './discovery.ts'

const GOOGLE = 'https://accounts.google.com'
/** Scopes that sign in and have no box to untick; the short ones are told by their long names. */
const SIGN_IN = new Set(['openid', 'email', 'profile', 'https://www.googleapis.com/auth/userinfo.email', 'https://www.googleapis.com/auth/userinfo.profile'])

function asksByType({ connector }: Upstream, { server }: Pick<Discovered, 'server'>): boolean {
  return connector.type === 'oauth' && (connector.offlineAccess ?? (server.issuer === GOOGLE ? 'access_type' : 'scope')) === 'access_type'
}

/** What the authorization request says besides: connecting is when a refresh token is needed, whatever was consented to before. */
export function offlineParameters(upstream: Upstream, discovered: Discovered): Readonly<Record<string, string>> {
  return asksByType(upstream, discovered) ? { access_type: 'offline', prompt: 'consent' } : {}
}

/** Google refuses a request with a parameter that it does not know, and `resource` is one. */
export function withoutUnknown(upstream: Upstream, discovered: Discovered): Discovered {
  if (discovered.resource === undefined || !asksByType(upstream, discovered)) return discovered
  const { resource: _resource, ...rest } = discovered
  return rest
}

/**
 * What a person left out on the consent page and a call needs now: they are asked again, as who overlooked a box cannot know
 * what it was for. Google names every scope that would do.
 *
 * @returns all that is asked for then
 */
export function withheld(upstream: Upstream, discovered: Discovered, credential: OAuthCredential, lacking: readonly string[]): readonly string[] | undefined {
  const requested = credential.requested ?? ''
  const missing = notGiven(upstream, discovered, requested, credential)
  return missing.some((scope) => lacking.includes(scope)) ? parseScope(requested) : undefined
}

/** RFC 6749 §5.1: what was asked for and is not in the scope of the answer. */
export function notGiven(upstream: Upstream, discovered: Discovered, requested: string, { scope }: Pick<OAuthCredential, 'scope'>): readonly string[] {
  if (scope === undefined || !asksByType(upstream, discovered)) return []
  const given = new Set(parseScope(scope))
  return (parseScope(requested) ?? []).filter((wanted) => !given.has(wanted) && !SIGN_IN.has(wanted))
}
