import type { ServerResponse } from 'node:http'
import { formatScope } from '../oauth/scope.ts'
import type { SignInRequirement } from '../policy/rule.ts'
import { DPOP_ALGORITHMS, type DpopError, type DpopErrorCode } from '../token/dpop.ts'
import { baselineOf } from '../upstreams/profile.ts'
import type { Profile } from '../upstreams/upstream.ts'

export type ChallengeError = 'invalid_token' | 'insufficient_scope' | 'insufficient_user_authentication' | DpopErrorCode

/** A request that must come back with another token: the client reads how from `WWW-Authenticate`. */
export class Challenge extends Error {
  override readonly name = 'Challenge'
  readonly error: ChallengeError | undefined
  readonly scope: readonly string[] | undefined
  /** What the next sign-in must be like: with `insufficient_user_authentication` alone. */
  readonly signIn: SignInRequirement | undefined
  /** Where the person can sign in so, for this token and this client. */
  readonly page: string | undefined

  /**
   * @param error absent when no token was presented (RFC 6750 §3.1)
   * @param scope what to ask for; the baseline of the resource when absent
   */
  constructor(error: ChallengeError | undefined, description: string, scope?: readonly string[], signIn?: SignInRequirement, page?: string) {
    super(description)
    this.error = error
    this.scope = scope
    this.signIn = signIn
    this.page = page
  }

  get status(): number {
    // RS-7, RS-8: 403 for what a wider scope would allow, and for nothing else.
    return this.error === 'insufficient_scope' ? 403 : 401
  }
}

/** A request that must come back with another proof of possession (RFC 9449 §7.1, §9). */
export class ProofChallenge extends Challenge {
  /** What the next proof is to hold. */
  readonly nonce: string | undefined

  constructor({ code, message, nonce }: DpopError) {
    super(code, message)
    this.nonce = nonce
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

/** RFC 6750 §3: of what stands in a description a header can carry this; upstreams have whatever names their operators like. */
function described(message: string): string {
  return message.replace(/[^\x20\x21\x23-\x5b\x5d-\x7e]+/g, '?')
}

/** RFC 9728 §5.1, RFC 6750 §3: where the metadata is, and the scope to ask for (RS-2, RS-3, RS-8). */
export function sendChallenge(response: ServerResponse, challenge: Challenge, issuer: string, profile: Profile): void {
  const { error, message, scope = baselineOf(profile), signIn, page } = challenge
  const parameters = [
    ...(error === undefined ? [] : [`error="${error}"`, `error_description="${described(message)}"`]),
    `resource_metadata="${resourceMetadataUrl(issuer, profile)}"`,
    `scope="${formatScope(scope)}"`,
    ...signInParameters(signIn ?? {}),
  ]
  // RFC 9449 §7.1: in the scheme that the client used, or is to use.
  const isDpop = challenge instanceof ProofChallenge || /^dpop /i.test(response.req.headers.authorization ?? '')
  const scheme = isDpop ? `DPoP algs="${DPOP_ALGORITHMS.join(' ')}", ` : 'Bearer '
  const nonce = challenge instanceof ProofChallenge && challenge.nonce !== undefined ? { 'dpop-nonce': challenge.nonce } : {}
  // For whoever knows no RFC 9470: a person opens it, and the same request is allowed then.
  const [told, led] = page === undefined ? [{}, {}] : [{ step_up_url: page }, { 'x-lanyard-step-up': page }]
  const body = JSON.stringify({ error: error ?? 'invalid_token', error_description: message, ...told })
  response.writeHead(challenge.status, { 'www-authenticate': `${scheme}${parameters.join(', ')}`, ...nonce, ...led, 'content-type': 'application/json', 'cache-control': 'no-store' }).end(body)
}
