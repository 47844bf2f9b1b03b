import type { Params } from '../http/params.ts'
import { OAuthError } from '../oauth/error.ts'
import { canonicalResource, type Resource } from '../oauth/resource.ts'
import { askedScope, scopeIncludes } from '../oauth/scope.ts'

/**
 * Checks that a token is asked for the granted resource, or for none in particular (RFC 8707 §2.2).
 *
 * @throws OAuthError `invalid_target` for any other.
 */
export function requireResource(params: Params, granted: Resource): void {
  for (const value of params.all('resource')) {
    if (canonicalResource(value) !== granted) throw new OAuthError('invalid_target', 'the resource is not the one that was granted', { reason: 'other resource' })
  }
}

/**
 * Reads the scope that a refresh asks for: all that was granted when it names none, and never more (RFC 6749 §6), by name
 * or within a wider one (RS-9).
 *
 * @throws OAuthError `invalid_scope`
 */
export function narrowScope(requested: string | undefined, granted: readonly string[]): readonly string[] {
  const scope = askedScope(requested)
  if (scope === undefined) throw new OAuthError('invalid_scope', 'the scope is malformed')
  if (scope.length === 0) return granted
  if (!scope.every((token) => scopeIncludes(granted, token))) throw new OAuthError('invalid_scope', 'the scope is more than was granted', { reason: 'wider scope' })
  // In the order of the grant, and by name: the same set is the same request, however it is written.
  return [...granted.filter((token) => scope.includes(token)), ...scope.filter((token) => !granted.includes(token)).sort()]
}
