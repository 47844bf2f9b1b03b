import type { AuditEvent } from '../../audit/event.ts'
import { OAuthError } from '../../oauth/error.ts'
import { verifyCodeVerifier } from '../../oauth/pkce.ts'
import { hash } from '../../oauth/secret.ts'
import { requireResource } from '../narrow.ts'
import type { StoredCode, TokenStore } from '../token-store.ts'
import { boundTo, firstTokens } from './first-tokens.ts'
import { trace, type GrantRequest, type GrantType } from './grant.ts'

export interface CodeGrantOptions {
  readonly store: TokenStore
  readonly now: () => number
}

/** The authorization code grant with PKCE (RFC 6749 §4.1.3, RFC 7636 §4.5). */
export function authorizationCode({ store, now }: CodeGrantOptions): GrantType {
  const seconds = (): number => Math.floor(now() / 1000)
  return {
    type: 'authorization_code',
    presented: (params) => hash(params.require('code')),
    async authorize(request) {
      const { client, params } = request
      const verifier = params.require('code_verifier')
      const code = await store.findCode(hash(params.require('code')))
      if (code === undefined) throw refused('unknown code')
      // RFC 6749 §4.1.3: issued to the authenticated client. Another one learns nothing and consumes nothing.
      if (code.authorization.clientId !== client.id) throw refused('code of another client')
      // RFC 6749 §4.1.2: a code used twice was stolen, before its first use or after.
      if (code.consumed) throw await replayed(store, request, code, seconds())
      checkCode(code, { redirectUri: params.get('redirect_uri'), verifier, now: seconds() })
      // RFC 9449 §10: the code is bound to the key that the authorization request named.
      if (code.authorization.jkt !== undefined && code.authorization.jkt !== request.jkt) throw refused('another key than dpop_jkt')
      requireResource(params, code.authorization.resource)
      const { authorization } = code
      return {
        authorization,
        scope: authorization.scope,
        grantedAt: code.grantedAt,
        recheck: false,
        async issue(issuer, hold) {
          const { issued, events, record } = firstTokens(issuer, request, { authorization, createdAt: code.grantedAt }, hold(authorization.scope))
          const result = await store.consumeCode({ hash: code.hash, grantId: authorization.id, at: seconds(), ...(record && { refreshToken: record }), ...boundTo(request) }, events)
          if (result === 'spent') throw await replayed(store, request, code, seconds())
          if (result === 'ended') throw refused('grant revoked')
          return issued
        },
      }
    },
  }
}

/** A code that fails here stays usable: it is worth nothing without its verifier, and no thief may burn it. */
function checkCode(code: StoredCode, request: { readonly redirectUri: string | undefined; readonly verifier: string; readonly now: number }): void {
  // RFC 6749 §4.1.2, ASVS 10.4.3: short-lived.
  if (request.now >= code.expiresAt) throw refused('code expired')
  // RFC 6749 §4.1.3; OAuth 2.1 §10.2 leaves it out of the request, but it is enforced when it is sent.
  if (request.redirectUri !== undefined && request.redirectUri !== code.redirectUri) throw refused('redirect_uri differs')
  // RFC 7636 §4.6.
  if (!verifyCodeVerifier(request.verifier, code.codeChallenge)) throw refused('code_verifier does not match')
}

/** RFC 6749 §4.1.2, OAuth 2.1 §4.1.3: deny, and revoke all tokens that came of the code. */
async function replayed(store: TokenStore, request: GrantRequest, code: StoredCode, at: number): Promise<OAuthError> {
  const event: AuditEvent = { action: 'token.reuse_detected', outcome: 'failure', reason: 'authorization code used again', ...trace(request, code.authorization) }
  await store.revokeGrant(code.authorization.id, at, [event])
  return refused('code used again')
}

/** RFC 6749 §5.2: one answer for all that can be wrong with a code. */
function refused(reason: string): OAuthError {
  return new OAuthError('invalid_grant', 'the authorization code is invalid, expired, or was issued for something else', { reason })
}
