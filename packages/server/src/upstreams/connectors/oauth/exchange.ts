import * as oauth from 'oauth4webapi'
import { OutboundError, type Outbound } from '../../../http/outbound.ts'
import { basicAuthorization } from '../../../oauth/basic.ts'
import type { OAuthCredential } from '../../../vault/credential.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, UpstreamUnavailable } from '../connector.ts'
import type { Discovered, Discovery } from './discovery.ts'
import type { UpstreamClient } from './registration.ts'

export interface Exchange {
  redeem(party: Party, callback: URL, secrets: { readonly state: string; readonly codeVerifier: string; readonly redirectUri: string }): Promise<OAuthCredential>
  /** @returns undefined when the server says that the grant has ended (`invalid_grant`). */
  refresh(party: Party, credential: OAuthCredential): Promise<OAuthCredential | undefined>
  revoke(party: Party, token: string, hint: 'access_token' | 'refresh_token'): Promise<void>
}

/** Lanyard at one upstream's authorization server. */
export interface Party {
  readonly upstream: Upstream
  readonly discovered: Discovered
  readonly client: UpstreamClient
}

/** The requests that Lanyard makes as a client of an upstream's authorization server. */
export function exchange(outbound: Outbound, discovery: Discovery, now: () => number): Exchange {
  const optionsFor = ({ upstream, discovered }: Party) => ({
    [oauth.customFetch]: outbound.fetch(discovery.provenance(upstream)),
    [oauth.allowInsecureRequests]: discovered.server.issuer.startsWith('http:'),
  })
  return {
    redeem: (party, callback, secrets) =>
      translated(async () => {
        const { server, client, authentication } = roles(party)
        // C-6, RFC 9207 §2.4: the issuer is compared before anything else of the answer is read.
        const parameters = oauth.validateAuthResponse(server, client, callback, secrets.state)
        const response = await oauth.authorizationCodeGrantRequest(server, client, authentication, parameters, secrets.redirectUri, secrets.codeVerifier, {
          ...optionsFor(party),
          additionalParameters: { resource: party.discovered.resource },
        })
        return toCredential(await oauth.processAuthorizationCodeResponse(server, client, response), party, undefined, now())
      }),
    refresh: (party, credential) =>
      translated(async () => {
        const { server, client, authentication } = roles(party)
        const response = await oauth.refreshTokenGrantRequest(server, client, authentication, credential.refreshToken ?? '', {
          ...optionsFor(party),
          additionalParameters: { resource: party.discovered.resource },
        })
        try {
          return toCredential(await oauth.processRefreshTokenResponse(server, client, response), party, credential, now())
        } catch (error) {
          if (error instanceof oauth.ResponseBodyError && error.error === 'invalid_grant') return undefined
          throw error
        }
      }),
    revoke: (party, token, hint) =>
      translated(async () => {
        const { server, client, authentication } = roles(party)
        if (server.revocation_endpoint === undefined) return
        const response = await oauth.revocationRequest(server, client, authentication, token, { ...optionsFor(party), additionalParameters: { token_type_hint: hint } })
        await oauth.processRevocationResponse(response)
      }),
  }
}

function roles({ discovered, client }: Party): { server: oauth.AuthorizationServer; client: oauth.Client; authentication: oauth.ClientAuth } {
  const authentication: Record<UpstreamClient['method'], oauth.ClientAuth> = {
    none: oauth.None(),
    client_secret_basic: (_server, _client, _body, headers) => headers.set('authorization', basicAuthorization(client.clientId, client.clientSecret ?? '')),
    client_secret_post: (_server, _client, body) => {
      body.set('client_id', client.clientId)
      body.set('client_secret', client.clientSecret ?? '')
    },
  }
  const { server } = discovered
  const defined = Object.fromEntries(Object.entries(server).filter(([, value]) => value !== undefined))
  return { server: { ...defined, issuer: server.issuer }, client: { client_id: client.clientId }, authentication: authentication[client.method] }
}

function toCredential(result: oauth.TokenEndpointResponse, party: Party, before: OAuthCredential | undefined, now: number): OAuthCredential {
  if (result.token_type !== 'bearer') throw new ConnectionRefused(`the authorization server issued a token of type ${result.token_type}`)
  // RFC 6749 §6: a server that sends no new refresh token means that the old one goes on.
  const refreshToken = result.refresh_token ?? before?.refreshToken
  const scope = result.scope ?? before?.scope
  return {
    accessToken: result.access_token,
    issuer: party.discovered.server.issuer,
    ...(refreshToken === undefined ? {} : { refreshToken }),
    ...(result.expires_in === undefined ? {} : { expiresAt: now + result.expires_in * 1000 }),
    ...(scope === undefined ? {} : { scope }),
  }
}

/** Tells what the server refused from what kept it from answering. */
async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof ConnectionRefused || error instanceof UpstreamUnavailable) throw error
    if (error instanceof OutboundError) throw new UpstreamUnavailable('the authorization server does not answer', { cause: error })
    if (error instanceof oauth.AuthorizationResponseError) throw new ConnectionRefused(`server: ${error.error}`, error)
    if (error instanceof oauth.ResponseBodyError) {
      if (error.status >= 500 || error.status === 429 || error.error === 'temporarily_unavailable') throw new UpstreamUnavailable('the authorization server answers with an error', { cause: error })
      throw new ConnectionRefused(`server: ${error.error}`, error)
    }
    const status = error instanceof oauth.OperationProcessingError && error.cause instanceof Response ? error.cause.status : 0
    if (status >= 500) throw new UpstreamUnavailable('the authorization server answers with an error', { cause: error })
    throw new ConnectionRefused(`response: ${error instanceof Error ? error.message : 'unknown'}`, error)
  }
}
