import type { Recorder } from '../audit/event.ts'
import type { ClientAuthentication } from '../clients/client.ts'
import { addressBucket } from '../http/address.ts'
import { Params } from '../http/params.ts'
import { requireRate } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
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
  return {
    method: 'POST',
    path: '/revoke',
    access: 'client',
    errors: 'oauth',
    cors: true,
    async respond(request, context) {
      requireRate(options.limits.floods, addressBucket(context.address))
      const params = await Params.fromForm(request)
      const client = await options.authentication.authenticate({ authorization: request.headers.get('authorization') ?? undefined, params, address: context.address })
      const grant = await findGrant(options, params.require('token'))
      if (grant !== undefined) await revoke(options, context, client.id, grant)
      // RFC 7009 §2.2: 200 for unknown tokens as well: what the client wants is true already.
      return new Response(null, { status: 200, headers: { 'cache-control': 'no-store' } })
    },
  }
}

async function revoke({ store, recorder, now }: RevocationOptions, context: RequestContext, clientId: string, { authorization }: GrantRecord): Promise<void> {
  const { reference, address } = context
  const event = { subject: authorization.userId, clientId, grantId: authorization.id, resource: authorization.resource, reference, address }
  // RFC 7009 §2.1: refused, and the client is told. RFC 6749 §5.2: `invalid_grant` is the code for a token "issued to another client".
  if (authorization.clientId !== clientId) {
    await recorder.record({ action: 'token.refused', outcome: 'failure', reason: 'revocation by another client', ...event })
    throw new OAuthError('invalid_grant', 'the token was not issued to this client')
  }
  await store.revokeGrant(authorization.id, Math.floor(now() / 1000), [{ action: 'token.revoked', outcome: 'success', reason: 'revoked by the client', ...event }])
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
