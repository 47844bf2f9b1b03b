import * as oauth from 'oauth4webapi'
import { OutboundError, type Outbound, type OutboundFetch } from '../../../http/outbound.ts'
import { basicAuthorization } from '../../../oauth/basic.ts'
import { parseScope } from '../../../oauth/scope.ts'
import type { OAuthCredential } from '../../../vault/credential.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, errorCode, UpstreamUnavailable } from '../connector.ts'
import type { Discovered, Discovery } from './discovery.ts'
import { dpopHandle, fitsHeader, newProofKey, withNonce } from './possession.ts'
import type { UpstreamClient } from './registration.ts'
import { inPlainOAuth } from './slack.ts'

/** Credentials are refreshed this long before they end, so that a call does not end with them. */
const EARLY_MS = 60_000
const MAX_SCOPE = 8192
const MAX_LIFETIME_S = 10 * 365 * 86_400

export interface Exchange {
  /** Presents a grant that needs no browser. @throws UpstreamUnavailable, ConnectionRefused */
  grant(party: Party, grant: Grant): Promise<OAuthCredential>
  redeem(party: Party, callback: URL, secrets: { readonly state: string; readonly codeVerifier: string; readonly redirectUri: string }): Promise<OAuthCredential>
  refresh(party: Party, credential: OAuthCredential): Promise<OAuthCredential | GrantEnded>
  revoke(party: Party, token: string, hint: 'access_token' | 'refresh_token'): Promise<void>
}

/** A grant that the server, or what became of it, ended: the user must connect again. */
export interface GrantEnded {
  readonly ended: string
}

/** Lanyard at one upstream's authorization server. */
export interface Party {
  readonly upstream: Upstream
  readonly discovered: Discovered
  readonly client: UpstreamClient
}

export interface Grant {
  readonly type: string
  readonly parameters: Readonly<Record<string, string>>
  /** How Lanyard authenticates, where the party's own way is not enough. */
  readonly authentication?: oauth.ClientAuth
  /** Whether the answer is what was asked for; anything when absent. */
  readonly isWanted?: (answer: oauth.TokenEndpointResponse) => boolean
}

/** C-7, RFC 8707 §2: whatever knows of it is told. */
function resourceOf({ discovered: { resource } }: Party): Record<string, string> {
  return resource === undefined ? {} : { resource }
}

/** The requests that Lanyard makes as a client of an upstream's authorization server. */
export function exchange(outbound: Outbound, discovery: Discovery, now: () => number): Exchange {
  const optionsFor = ({ upstream, discovered: { server } }: Party) => ({
    [oauth.customFetch]: inPlainOAuth(upstream, withoutChallenge(outbound.fetch(discovery.provenance(upstream)))),
    [oauth.allowInsecureRequests]: [server.issuer, server.token_endpoint].some((url) => url.startsWith('http:')),
  })
  /** Asks the token endpoint, with a proof where there is a key. */
  const proving = async <T>(party: Party, key: OAuthCredential['proofKey'], ask: (at: Roles, options: oauth.TokenEndpointRequestOptions) => Promise<T>): Promise<T> => {
    const at = roles(party)
    const bound = key === undefined ? {} : { DPoP: await dpopHandle(key, at.client) }
    return withNonce(bound.DPoP, () => ask(at, { ...optionsFor(party), ...bound }))
  }
  return {
    grant: (party, { type, parameters, authentication, isWanted = () => true }) =>
      translated(async () => {
        const proofKey = await keyFor(party)
        return proving(party, proofKey, async ({ server, client, authentication: own }, options) => {
          const answer = await oauth.processGenericTokenEndpointResponse(server, client, await oauth.genericTokenEndpointRequest(server, client, authentication ?? own, type, parameters, options))
          if (!isWanted(answer)) throw new ConnectionRefused('the authorization server issued something else than an access token')
          return toCredential(answer, party, proofKey === undefined ? {} : { proofKey }, now())
        })
      }),
    redeem: (party, callback, { state, redirectUri, codeVerifier }) =>
      translated(async () => {
        // C-6, RFC 9207 §2.4: the issuer is compared before anything else of the answer is read.
        const parameters = oauth.validateAuthResponse(roles(party).server, roles(party).client, callback, state)
        const proofKey = await keyFor(party)
        return proving(party, proofKey, async ({ server, client, authentication }, options) => {
          const response = await oauth.authorizationCodeGrantRequest(server, client, authentication, parameters, redirectUri, codeVerifier, { ...options, additionalParameters: resourceOf(party) })
          return toCredential(await oauth.processAuthorizationCodeResponse(server, client, response), party, proofKey === undefined ? {} : { proofKey }, now())
        })
      }),
    refresh: (party, credential) =>
      translated(async () => {
        try {
          const refreshed = await proving(party, credential.proofKey, async ({ server, client, authentication }, options) => {
            const response = await oauth.refreshTokenGrantRequest(server, client, authentication, credential.refreshToken ?? '', { ...options, additionalParameters: resourceOf(party) })
            return toCredential(await oauth.processRefreshTokenResponse(server, client, response), party, credential, now())
          })
          const same = credential.account === undefined || refreshed.account === credential.account
          return same ? refreshed : { ended: 'the upstream answered with the token of another account' }
        } catch (error) {
          if (error instanceof oauth.ResponseBodyError && error.error === 'invalid_grant') return { ended: 'the upstream ended it' }
          throw error
        }
      }),
    revoke: (party, token, hint) =>
      translated(async () => {
        const { server, client, authentication } = roles(party)
        const response = await oauth.revocationRequest(server, client, authentication, token, { ...optionsFor(party), additionalParameters: { token_type_hint: hint } })
        try {
          await oauth.processRevocationResponse(response)
        } catch (error) {
          // RFC 7009 §2.2.1: it never revokes tokens of this type; asking again changes nothing.
          if (!(error instanceof oauth.ResponseBodyError && error.error === 'unsupported_token_type')) throw error
        }
      }),
  }
}

/** RFC 6749 §5.2: 401 comes with a challenge, and oauth4webapi reads no error code behind one. */
function withoutChallenge(ask: OutboundFetch): OutboundFetch {
  return async (url, init) => {
    const response = await ask(url, init)
    response.headers.delete('www-authenticate')
    return response
  }
}

interface Roles {
  readonly server: oauth.AuthorizationServer
  readonly client: oauth.Client
  readonly authentication: oauth.ClientAuth
}

function roles({ discovered, client }: Party): Roles {
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

/** The key for what is issued now (RFC 9449 §5.1): where the operator wants it and the server can. */
async function keyFor({ upstream: { connector }, discovered: { server } }: Party): Promise<OAuthCredential['proofKey']> {
  const isWanted = 'dpop' in connector && connector.dpop && server.dpop_signing_alg_values_supported?.includes('ES256') === true
  return isWanted ? newProofKey() : undefined
}

function toCredential(result: oauth.TokenEndpointResponse, party: Party, before: Partial<OAuthCredential>, now: number): OAuthCredential {
  const isBound = result.token_type === 'dpop' && before.proofKey !== undefined
  if (result.token_type !== 'bearer' && !isBound) throw new ConnectionRefused(`the authorization server issued a token of type ${errorCode(result.token_type)}`)
  if (!fitsHeader(result.access_token)) throw new ConnectionRefused('the authorization server issued a token that fits no header')
  // RFC 6749 §6: a server that sends no new refresh token means that the old one goes on.
  const refreshToken = result.refresh_token ?? before.refreshToken
  const scope = readableScope(result.scope) ?? before.scope
  const account = oauth.getValidatedIdTokenClaims(result)?.sub ?? before.account
  const lifetime = result.expires_in === undefined ? undefined : Math.min(result.expires_in, MAX_LIFETIME_S) * 1000
  return {
    accessToken: result.access_token,
    issuer: party.discovered.server.issuer,
    clientId: party.client.clientId,
    ...(account === undefined ? {} : { account }),
    ...(refreshToken === undefined ? {} : { refreshToken }),
    // A token that lives for less than two minutes is used for half of its life, not refreshed on every call.
    ...(lifetime === undefined ? {} : { expiresAt: now + lifetime, refreshAt: now + Math.max(lifetime - EARLY_MS, lifetime / 2) }),
    ...(scope === undefined ? {} : { scope }),
    ...(before.requested === undefined ? {} : { requested: before.requested }),
    // RFC 9449 §5: a server may bind nothing, whatever was proven.
    ...(isBound ? { proofKey: before.proofKey } : {}),
  }
}

/** RFC 6749 §3.3. It is kept, and recorded with each token: what no scope looks like is not. */
function readableScope(scope: string | undefined): string | undefined {
  return scope !== undefined && scope.length <= MAX_SCOPE && parseScope(scope) !== undefined ? scope : undefined
}

/** Tells what the server refused from what kept it from answering. */
async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof ConnectionRefused || error instanceof UpstreamUnavailable) throw error
    if (error instanceof OutboundError) throw new UpstreamUnavailable('the authorization server does not answer', { cause: error })
    if (error instanceof oauth.AuthorizationResponseError) throw new ConnectionRefused(`answer: ${errorCode(error.error)}`, error)
    if (error instanceof oauth.ResponseBodyError) {
      if (error.status >= 500 || error.status === 429 || error.error === 'temporarily_unavailable') throw new UpstreamUnavailable('the authorization server answers with an error', { cause: error })
      throw new ConnectionRefused(`server: ${errorCode(error.error)}`, error)
    }
    const status = error instanceof oauth.OperationProcessingError && error.cause instanceof Response ? error.cause.status : 0
    if (status >= 500 || status === 429) throw new UpstreamUnavailable('the authorization server answers with an error', { cause: error })
    throw new ConnectionRefused(`response: ${error instanceof Error ? error.message : 'unknown'}`, error)
  }
}
