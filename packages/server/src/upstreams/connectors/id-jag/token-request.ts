import * as oauth from 'oauth4webapi'
import * as z from 'zod'
import type { Outbound, Provenance } from '../../../http/outbound.ts'
import { basicAuthorization } from '../../../oauth/basic.ts'
import { ConnectionRefused, errorCode, SignInRequired } from '../connector.ts'
import type { Discovered } from '../oauth/discovery.ts'
import { translated, withoutChallenge } from '../oauth/exchange.ts'
import type { KnownSettings } from './settings.ts'

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const MAX_LIFETIME_S = 86_400
const RECENT_S = 300

export interface TokenServer {
  readonly settings: KnownSettings
  readonly discovered: Discovered
  readonly outbound: Outbound
  readonly provenance: (url: URL) => Provenance
  readonly now: () => number
}

export interface AccessAnswer {
  readonly accessToken: string
  /** Milliseconds since the epoch. */
  readonly expiresAt?: number
  readonly scope?: string
}

const demand = z.object({ acr_values: z.string().max(512), max_age: z.int().nonnegative() }).partial()

/**
 * Presents an ID-JAG (ID-JAG §4.4, RFC 7523 §2.1).
 *
 * @throws UpstreamUnavailable, ConnectionRefused, SignInRequired
 */
export async function tokenFor(at: TokenServer, presented: Presented): Promise<AccessAnswer> {
  try {
    return await translated(() => present(at, presented))
  } catch (error) {
    throw signInOf(error instanceof ConnectionRefused ? error.cause : undefined) ?? error
  }
}

export interface Presented {
  readonly assertion: string
  readonly resource: string
  readonly scope: readonly string[]
}

async function present({ settings, discovered, outbound, provenance, now }: TokenServer, { assertion, resource, scope }: Presented): Promise<AccessAnswer> {
  const server = { ...Object.fromEntries(Object.entries(discovered.server).filter(([, value]) => value !== undefined)), issuer: discovered.server.issuer }
  const client = { client_id: settings.clientId }
  const parameters = { assertion, resource, ...(scope.length === 0 ? {} : { scope: scope.join(' ') }) }
  const options = { [oauth.customFetch]: withoutChallenge(outbound.fetch(provenance)), [oauth.allowInsecureRequests]: server.issuer.startsWith('http:') }
  const response = await oauth.genericTokenEndpointRequest(server, client, authentication(settings, discovered), JWT_BEARER, parameters, options)
  const { access_token: accessToken, token_type: type, expires_in: seconds, scope: granted } = await oauth.processGenericTokenEndpointResponse(server, client, response)
  if (type !== 'bearer') throw new ConnectionRefused(`the authorization server issued a token of type ${errorCode(type)}`)
  // RFC 6750 §2.1: what is not visible ASCII cannot stand in a header, and must not be tried. A refresh token is not kept (§4.4.3).
  if (!/^[\x21-\x7e]+$/.test(accessToken)) throw new ConnectionRefused('the authorization server issued a token that fits no header')
  return { accessToken, ...(seconds === undefined ? {} : { expiresAt: now() + Math.min(seconds, MAX_LIFETIME_S) * 1000 }), ...(granted === undefined ? {} : { scope: granted }) }
}

/** RFC 9470 §3 at a token endpoint: the sign-in that the assertion tells of is not enough there. */
function signInOf(error: unknown): SignInRequired | undefined {
  if (!(error instanceof oauth.ResponseBodyError) || error.error !== 'insufficient_user_authentication') return undefined
  const { acr_values: acrValues, max_age: maxAge } = demand.safeParse(error.cause).data ?? {}
  const signIn = { ...(acrValues === undefined ? {} : { acrValues: acrValues.split(' ') }), ...(maxAge === undefined ? {} : { maxAge }) }
  return new SignInRequired('server: insufficient_user_authentication', Object.keys(signIn).length === 0 ? { maxAge: RECENT_S } : signIn, error)
}

/** EMA §5: as Lanyard is registered there; by its identifier alone where it has no secret. */
function authentication({ clientId, clientSecret }: KnownSettings, { server }: Discovered): oauth.ClientAuth {
  if (clientSecret === undefined) return oauth.None()
  const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
  if (!methods.includes('client_secret_basic') && methods.includes('client_secret_post')) return oauth.ClientSecretPost(clientSecret)
  return (_server, _client, _body, headers) => headers.set('authorization', basicAuthorization(clientId, clientSecret))
}
