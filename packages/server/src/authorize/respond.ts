import type { OAuthError } from '../oauth/error.ts'
import type { AuthorizationRequest } from './authorize-store.ts'

type Target = Pick<AuthorizationRequest, 'redirectUri' | 'state'>

/** Sends the code to the client (RFC 6749 §4.1.2), with the issuer that it comes from (RFC 9207 §2). */
export function codeResponse(issuer: string, target: Target, code: string): Response {
  return redirect(issuer, target, { code })
}

/** Sends an error to the client (RFC 6749 §4.1.2.1), `iss` included (AS-7). */
export function errorResponse(issuer: string, target: Target, error: OAuthError): Response {
  return redirect(issuer, target, { error: error.code === 'too_many_requests' ? 'temporarily_unavailable' : error.code, error_description: error.message })
}

function redirect(issuer: string, target: Target, answer: Readonly<Record<string, string>>): Response {
  const url = new URL(target.redirectUri)
  for (const [name, value] of Object.entries({ ...answer, ...(target.state === undefined ? {} : { state: target.state }), iss: issuer })) {
    // A registered query is kept; what Lanyard answers cannot be doubled by it.
    url.searchParams.set(name, value)
  }
  // RFC 9700 §4.12: 303, so that no form is posted again.
  return new Response(null, { status: 303, headers: { location: url.href, 'cache-control': 'no-store' } })
}
