import * as oauth from 'oauth4webapi'
import * as z from 'zod'
import type { SignInRequirement } from '../../policy/rule.ts'
import { reachable } from './oidc-errors.ts'
import type { ProviderMetadata } from './oidc-metadata.ts'
import { ExchangeRefused, LoginRefused, type ExchangedToken, type ExchangeParameters } from './provider.ts'

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const MAX_LIFETIME_S = 86_400

export interface ExchangingParty {
  readonly metadata: ProviderMetadata
  readonly client: oauth.Client
  readonly authentication: oauth.ClientAuth
  readonly now: () => number
}

/** Some providers say that what is no access token is one, others that it is none (RFC 8693 §2.2.1): what counts is `issued_token_type`. */
const TOKEN_TYPES = { n_a: () => undefined }

const demand = z.object({ acr_values: z.string().max(512), max_age: z.int().nonnegative() }).partial()
const refusal = z.object({ interaction_uri: z.url({ protocol: /^https?$/ }).max(2000) })

/** Asks the provider to exchange a token (RFC 8693 §2.1), as its client that Lanyard is for sign-in. */
export function exchangeAt({ metadata, client, authentication, now }: ExchangingParty, parameters: ExchangeParameters): Promise<ExchangedToken> {
  return reachable(async () => {
    const server = await metadata.get()
    const response = await oauth.genericTokenEndpointRequest(server, client, authentication, TOKEN_EXCHANGE, parameters, metadata.options)
    let result: oauth.TokenEndpointResponse
    try {
      result = await oauth.processGenericTokenEndpointResponse(server, client, response, { recognizedTokenTypes: TOKEN_TYPES })
    } catch (error) {
      throw error instanceof oauth.ResponseBodyError && error.status < 500 && error.status !== 429 ? refused(error) : error
    }
    const { issued_token_type: type, access_token: token, token_type: kind, expires_in: seconds, scope } = result
    if (typeof type !== 'string') throw new LoginRefused('response: issued_token_type is missing')
    return {
      token,
      issuedTokenType: type,
      tokenType: kind,
      ...(seconds === undefined ? {} : { expiresAt: now() + Math.min(seconds, MAX_LIFETIME_S) * 1000 }),
      ...(scope === undefined ? {} : { scope }),
    }
  })
}

function refused(error: oauth.ResponseBodyError): ExchangeRefused {
  const code = /^[\w.:/-]{1,60}$/.test(error.error) ? error.error : 'an unknown code'
  return new ExchangeRefused(code, demandedSignIn(error), refusal.safeParse(error.cause).data?.interaction_uri, error)
}

/** RFC 9470 §3 at a token endpoint: what the sign-in would have to be like, in whatever of it can be read. */
export function demandedSignIn({ cause }: oauth.ResponseBodyError): SignInRequirement {
  const { acr_values: acrValues, max_age: maxAge } = demand.safeParse(cause).data ?? {}
  return { ...(acrValues === undefined ? {} : { acrValues: acrValues.split(' ') }), ...(maxAge === undefined ? {} : { maxAge }) }
}
