import type { Recorder } from '../audit/event.ts'
import type { ClientAuthentication } from '../clients/client.ts'
import { clientEndpoint, type AskingClient } from '../clients/client-endpoint.ts'
import type { Route } from '../http/route.ts'
import type { KeyRing } from '../keys/signing.ts'
import { OAuthError } from '../oauth/error.ts'
import { hash } from '../oauth/secret.ts'
import { AccessTokenError, readAccessToken } from './access-token.ts'
import type { TokenLimits } from './endpoint.ts'
import { hashFamily, isRefreshToken } from './issue.ts'
import type { GrantRecord, TokenStore } from './token-store.ts'

export interface RevocationOptions {
  readonly issuer: string
  readonly authentication: ClientAuthentication
  readonly store: TokenStore
  readonly keys: Pick<KeyRing, 'publicKey'>
  readonly recorder: Recorder
  readonly limits: TokenLimits
  readonly now: () => number
}

/** The revocation endpoint (RFC 7009): any token of a grant ends the grant, and with it all its tokens on all nodes. */
export function revocationEndpoint(options: RevocationOptions): Route {
  const { authentication, recorder: audit, limits } = options
  return clientEndpoint({ authentication, audit, flood: limits.floods }, { path: '/revoke', refused: 'token.refused' }, async (asking) => {
    const grant = await findGrant(options, asking.params.require('token'))
    if (grant !== undefined) await revoke(options, asking, grant)
    // RFC 7009 §2.2: 200 for unknown tokens as well: what the client wants is true already.
    return new Response(null, { status: 200, headers: { 'cache-control': 'no-store' } })
  })
}

async function revoke({ store, now }: RevocationOptions, { client, context, learn }: AskingClient, { authorization }: GrantRecord): Promise<void> {
  const { id: grantId, userId: subject, resource } = authorization
  learn({ subject, grantId, resource })
  // RFC 7009 §2.1: refused, and the client is told. RFC 6749 §5.2: `invalid_grant` is the code for a token "issued to another client".
  if (authorization.clientId !== client.id) throw new OAuthError('invalid_grant', 'the token was not issued to this client', { reason: 'revocation by another client' })
  const { reference, address } = context
  await store.revokeGrant(grantId, Math.floor(now() / 1000), [{ action: 'token.revoked', outcome: 'success', reason: 'revoked by the client', subject, clientId: client.id, grantId, resource, reference, address }])
}

/** RFC 7009 §2.1: `token_type_hint` is a hint alone; the token itself says what it is. */
async function findGrant({ issuer, keys, store, now }: RevocationOptions, token: string): Promise<GrantRecord | undefined> {
  if (isRefreshToken(token)) return (await store.findRefreshToken(hash(token))) ?? store.findFamily(hashFamily(token))
  try {
    return await store.findGrant(readAccessToken(token, { issuer, keys, now: now() }).grantId)
  } catch (error) {
    if (error instanceof AccessTokenError) return undefined
    throw error
  }
}
