import type { ServerResponse } from 'node:http'
import { formatScope } from '../oauth/scope.ts'
import type { SignInRequirement } from '../policy/rule.ts'
import { baselineOf } from '../upstreams/profile.ts'
import type { Profile } from '../upstreams/upstream.ts'

export type ChallengeError = 'invalid_token' | 'insufficient_scope' | 'insufficient_user_authentication'

/** A request that must come back with another token: the client reads how from `WWW-Authenticate`. */
export class Challenge extends Error {
  override readonly name = 'Challenge'
  readonly error: ChallengeError | undefined
  readonly scope: readonly string[] | undefined
  /** What the next sign-in must be like: with `insufficient_user_authentication` alone. */
  readonly signIn: SignInRequirement | undefined

  /**
   * @param error absent when no token was presented (RFC 6750 §3.1)
   * @param scope what to ask for; the baseline of the resource when absent
   */
  constructor(error: ChallengeError | undefined, description: string, scope?: readonly string[], signIn?: SignInRequirement) {
    super(description)
    this.error = error
    this.scope = scope
    this.signIn = signIn
  }

  get status(): number {
    // RS-7, RS-8: 403 for what a wider scope would allow, and for nothing else.
    return this.error === 'insufficient_scope' ? 403 : 401
  }
}

/** The address of a protected resource's metadata (RFC 9728 §3.1): inserted before the path of the resource. */
function resourceMetadataUrl(issuer: string, profile: Profile): string {
  return profile.metadata ?? `${issuer}/.well-known/oauth-protected-resource${new URL(profile.resource).pathname}`
}

/** RFC 9470 §3: what the authorization request is to ask for. Claims go as the value of `claims` in it (OpenID Connect Core §5.5), in base64url. */
function signInParameters({ acrValues, maxAge, claims }: SignInRequirement): readonly string[] {
  return [
    ...(acrValues === undefined ? [] : [`acr_values="${acrValues.join(' ')}"`]),
    ...(maxAge === undefined ? [] : [`max_age="${maxAge}"`]),
    ...(claims === undefined ? [] : [`claims="${Buffer.from(JSON.stringify(claimsRequest(claims))).toString('base64url')}"`]),
  ]
}

function claimsRequest(claims: NonNullable<SignInRequirement['claims']>): object {
  return { id_token: Object.fromEntries(Object.entries(claims).map(([name, values]) => [name, { essential: true, ...(values.length === 1 ? { value: values[0] } : { values }) }])) }
}

/** RFC 9728 §5.1, RFC 6750 §3: where the metadata is, and the scope to ask for (RS-2, RS-3, RS-8). */
export function sendChallenge(response: ServerResponse, challenge: Challenge, issuer: string, profile: Profile): void {
  const { error, message, scope = baselineOf(profile), signIn } = challenge
  const parameters = [
    ...(error === undefined ? [] : [`error="${error}"`, `error_description="${message}"`]),
    `resource_metadata="${resourceMetadataUrl(issuer, profile)}"`,
    `scope="${formatScope(scope)}"`,
    ...signInParameters(signIn ?? {}),
  ]
  const body = JSON.stringify({ error: error ?? 'invalid_token', error_description: message })
  response.writeHead(challenge.status, { 'www-authenticate': `Bearer ${parameters.join(', ')}`, 'content-type': 'application/json', 'cache-control': 'no-store' }).end(body)
}
