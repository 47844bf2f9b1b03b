import type { ServerResponse } from 'node:http'
import { BASELINE_SCOPE, formatScope } from '../oauth/scope.ts'
import type { Profile } from '../upstreams/upstream.ts'

/** A request that must come back with another token: the client reads how from `WWW-Authenticate`. */
export class Challenge extends Error {
  override readonly name = 'Challenge'
  readonly error: 'invalid_token' | 'insufficient_scope' | undefined
  readonly scope: readonly string[]

  /** @param error absent when no token was presented (RFC 6750 §3.1) */
  constructor(error: 'invalid_token' | 'insufficient_scope' | undefined, description: string, scope: readonly string[] = BASELINE_SCOPE) {
    super(description)
    this.error = error
    this.scope = scope
  }

  get status(): number {
    // RS-7, RS-8: 403 for what a wider scope would allow, and for nothing else.
    return this.error === 'insufficient_scope' ? 403 : 401
  }
}

/** The address of a protected resource's metadata (RFC 9728 §3.1): inserted before the path of the resource. */
function resourceMetadataUrl(issuer: string, profile: Profile): string {
  return `${issuer}/.well-known/oauth-protected-resource${new URL(profile.resource).pathname}`
}

/** RFC 9728 §5.1, RFC 6750 §3: where the metadata is, and the scope to ask for (RS-2, RS-3, RS-8). */
export function sendChallenge(response: ServerResponse, challenge: Challenge, issuer: string, profile: Profile): void {
  const { error, message, scope } = challenge
  const parameters = [
    ...(error === undefined ? [] : [`error="${error}"`, `error_description="${message}"`]),
    `resource_metadata="${resourceMetadataUrl(issuer, profile)}"`,
    `scope="${formatScope(scope)}"`,
  ]
  const body = JSON.stringify({ error: error ?? 'invalid_token', error_description: message })
  response.writeHead(challenge.status, { 'www-authenticate': `Bearer ${parameters.join(', ')}`, 'content-type': 'application/json', 'cache-control': 'no-store' }).end(body)
}
