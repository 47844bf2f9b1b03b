import * as oauth from 'oauth4webapi'
import type { Outbound, Provenance } from '../../../http/outbound.ts'
import { basicAuthorization } from '../../../oauth/basic.ts'
import { ConnectionRefused } from '../connector.ts'
import type { ShortLivedToken } from '../held-tokens.ts'
import type { Discovered } from '../oauth/discovery.ts'
import { translated, withoutChallenge } from '../oauth/exchange.ts'

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const MAX_LIFETIME_S = 86_400

/** The kinds of tokens by the names of RFC 8693 §3. */
export const TOKEN_TYPES = {
  access_token: 'urn:ietf:params:oauth:token-type:access_token',
  id_token: 'urn:ietf:params:oauth:token-type:id_token',
} as const

/** Of RFC 8693 §2.1, under their own names. */
export type Parameters = Readonly<Record<string, string>>

export interface ExchangeParty {
  readonly clientId: string
  readonly clientSecret?: string
  readonly discovered: Discovered
  readonly outbound: Outbound
  readonly provenance: (url: URL) => Provenance
  readonly now: () => number
}

/** Asks the upstream's own authorization server (RFC 8693 §2.1). @throws UpstreamUnavailable, ConnectionRefused */
export function exchangeThere(party: ExchangeParty, parameters: Parameters): Promise<ShortLivedToken> {
  return translated(async () => {
    const { clientId, discovered, outbound, provenance, now } = party
    const server = { ...Object.fromEntries(Object.entries(discovered.server).filter(([, value]) => value !== undefined)), issuer: discovered.server.issuer }
    const client = { client_id: clientId }
    const options = { [oauth.customFetch]: withoutChallenge(outbound.fetch(provenance)), [oauth.allowInsecureRequests]: server.issuer.startsWith('http:') }
    const response = await oauth.genericTokenEndpointRequest(server, client, authentication(party), TOKEN_EXCHANGE, parameters, options)
    const { access_token: accessToken, token_type: type, issued_token_type: issued, expires_in: seconds, scope } = await oauth.processGenericTokenEndpointResponse(server, client, response)
    // RFC 8693 §2.2.1: what is no access token, or none for a bearer, must not be sent as one. Many servers leave the type out.
    if (type !== 'bearer' || (issued !== undefined && issued !== TOKEN_TYPES.access_token)) throw new ConnectionRefused('the authorization server issued something else than a bearer access token')
    // RFC 6750 §2.1: what is not visible ASCII cannot stand in a header, and must not be tried.
    if (!/^[\x21-\x7e]+$/.test(accessToken)) throw new ConnectionRefused('the authorization server issued a token that fits no header')
    return { accessToken, ...(seconds === undefined ? {} : { expiresAt: now() + Math.min(seconds, MAX_LIFETIME_S) * 1000 }), ...(scope === undefined ? {} : { scope }) }
  })
}

function authentication({ clientId, clientSecret, discovered: { server } }: ExchangeParty): oauth.ClientAuth {
  if (clientSecret === undefined) return oauth.None()
  const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
  if (!methods.includes('client_secret_basic') && methods.includes('client_secret_post')) return oauth.ClientSecretPost(clientSecret)
  return (_server, _client, _body, headers) => headers.set('authorization', basicAuthorization(clientId, clientSecret))
}
