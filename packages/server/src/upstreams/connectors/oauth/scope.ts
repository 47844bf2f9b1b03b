import { parseScope } from '../../../oauth/scope.ts'
import type { OAuthCredential } from '../../../vault/credential.ts'
import type { Upstream } from '../../upstream.ts'
import type { Discovered } from './discovery.ts'

/** What an authorization request may ask for in all: an upstream cannot make it, or a link to it, any longer. */
const MAX_LENGTH = 1000

/** C-16: configured scopes, else the discovered ones and those that a call lacked; C-14: `offline_access` where the server knows it. */
export function requestedScope(upstream: Upstream, { scope, server }: Discovered, lacking: readonly string[] = []): string {
  const wanted = configuredScopes(upstream) ?? [...new Set([...scope, ...lacking])]
  // Alone it would narrow what the server gives to who asks for nothing.
  const offline = wanted.length > 0 && server.scopes_supported?.includes('offline_access') === true && !wanted.includes('offline_access') ? ['offline_access'] : []
  return [...wanted, ...offline].join(' ')
}

/**
 * C-17, SEP-2350: what was asked for and what a call lacks, together. Nothing where the operator says what is asked for,
 * and nothing when it was asked for already: who did not give it then would be asked without an end.
 */
export function widerScope(upstream: Upstream, credential: OAuthCredential, lacking: readonly string[]): readonly string[] | undefined {
  if (configuredScopes(upstream) !== undefined) return undefined
  const asked = parseScope(credential.requested ?? credential.scope ?? '') ?? []
  const wider = [...new Set([...asked, ...lacking])]
  return wider.length === asked.length || wider.join(' ').length > MAX_LENGTH ? undefined : wider
}

function configuredScopes({ connector }: Upstream): readonly string[] | undefined {
  return connector.type === 'oauth' ? connector.scopes : undefined
}
