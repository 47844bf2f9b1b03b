import type { Client, Clients } from '../clients/client.ts'
import { PageError } from '../http/errors.ts'
import { sentence } from '../http/page.ts'
import type { Params } from '../http/params.ts'
import { OAuthError } from '../oauth/error.ts'
import { isCodeChallenge } from '../oauth/pkce.ts'
import { matchRedirectUri, type RedirectUri } from '../oauth/redirect-uri.ts'
import { parseScope } from '../oauth/scope.ts'
import type { Profile, Profiles } from '../upstreams/upstream.ts'
import type { AuthorizationRequest, RedirectRequest } from './authorize-store.ts'
import { readClaimsParameter } from './claims-parameter.ts'
import { mayUseDevices, type DeviceRules } from './device.ts'
import { requestedProfile, requestedScope } from './target.ts'

const PROMPTS = new Set(['none', 'login', 'consent', 'select_account'])
const MAX_STATE = 4096
const MAX_ACR_VALUES = 512

/** Where an answer may be sent: proven before anything else is looked at. */
export interface ProvenClient {
  readonly client: Client
  readonly redirectUri: RedirectUri
}

/**
 * Proves who asks and where the answer goes. Until then an error is a page: redirecting would make of Lanyard an open
 * redirector (RFC 6749 §4.1.2.1, RFC 9700 §4.11).
 *
 * @throws PageError
 */
export async function proveClient(params: Params, clients: Clients): Promise<ProvenClient> {
  const clientId = params.get('client_id')
  if (clientId === undefined) throw cannotAnswer('The application did not say who it is.', 'client_id is missing')
  const client = await findClient(clientId, clients)
  const redirectUri = redirectUriOf(params, client)
  if (typeof redirectUri !== 'string') throw cannotAnswer(redirectUri.message, redirectUri.reason)
  return { client, redirectUri }
}

/** Where the answer goes, or why it goes nowhere: in words for people, and for the client. */
export function redirectUriOf(params: Params, client: Client): RedirectUri | { readonly message: string; readonly reason: string } {
  const given = params.get('redirect_uri')
  const [only, ...others] = client.redirectUris
  // RFC 6749 §3.1.2.3: it may be left out when exactly one was registered in full.
  const wanted = given ?? (others.length === 0 ? only : undefined)
  if (wanted === undefined) return { message: 'The application did not say where to return to.', reason: 'redirect_uri is missing' }
  // AS-12, RFC 9700 §2.1: exact comparison.
  return matchRedirectUri(wanted, client.redirectUris) ?? { message: 'The address that the application wants to return to is not registered for it.', reason: 'redirect_uri is not registered' }
}

/**
 * Proves both again, before a page names the client and before a code leaves: meanwhile the client may have ended, or
 * no longer return to where it asked to (AS-24).
 *
 * @throws PageError
 */
export async function proveAgain(request: AuthorizationRequest, { clients, devices }: ProofDeps): Promise<Client> {
  const client = await findClient(request.clientId, clients)
  if (request.device !== undefined) return proveDeviceClient(client, devices?.rules)
  if (matchRedirectUri(request.redirectUri, client.redirectUris) === undefined) {
    throw cannotAnswer('The address that the application wants to return to is no longer registered for it.', 'redirect_uri is no longer registered')
  }
  return client
}

/** Its answer goes to whoever holds the device code; whether it may have one is asked again, as it may have been switched off. */
function proveDeviceClient(client: Client, rules: DeviceRules | undefined): Client {
  if (rules !== undefined && mayUseDevices(rules, client)) return client
  throw new PageError(403, 'This application may not be connected so', 'Your administrator does not allow it to be connected by a code.', { reason: 'device codes are not for this client' })
}

export interface ProofDeps {
  readonly clients: Clients
  /** Absent when device codes are switched off. */
  readonly devices?: { readonly rules: DeviceRules }
}

async function findClient(clientId: string, clients: Clients): Promise<Client> {
  try {
    return await clients.find(clientId)
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error
    const advice = error.code === 'temporarily_unavailable' ? 'Please try again in a moment.' : 'Remove the connection in your application and add it again, so that it registers anew.'
    throw new PageError(error.code === 'temporarily_unavailable' ? 503 : 400, 'This application is not known here', `${sentence(error.message)} ${advice}`, {
      reason: error.reason,
      cause: error,
    })
  }
}

/** Checks everything else of the request, in this order. @throws OAuthError, to be sent to the redirect URI. */
export function checkRequest(params: Params, { client, redirectUri }: ProvenClient, profiles: Profiles): RedirectRequest {
  checkForm(params, client)
  const profile = requestedProfile(params, profiles)
  const [state, maxAge, loginHint, dpopJkt] = [params.get('state'), params.get('max_age'), params.get('login_hint'), params.get('dpop_jkt')]
  if (state !== undefined && state.length > MAX_STATE) throw new OAuthError('invalid_request', 'state is too long')
  if (maxAge !== undefined && !/^\d{1,9}$/.test(maxAge)) throw new OAuthError('invalid_request', 'max_age is not a number of seconds')
  // RFC 9449 §10, RFC 7638 §3: the SHA-256 thumbprint of a key.
  if (dpopJkt !== undefined && !/^[A-Za-z0-9_-]{43}$/.test(dpopJkt)) throw new OAuthError('invalid_request', 'dpop_jkt is malformed')
  return {
    clientId: client.id,
    redirectUri,
    codeChallenge: checkPkce(params),
    resource: profile.resource,
    scope: requestedScope(params, profile),
    prompt: checkPrompt(params),
    ...(state === undefined ? {} : { state }),
    ...(maxAge === undefined ? {} : { maxAge: Number(maxAge) }),
    ...checkProof(params),
    ...(loginHint === undefined ? {} : { loginHint: loginHint.slice(0, 320) }),
    ...(dpopJkt === undefined ? {} : { dpopJkt }),
  }
}

function checkForm(params: Params, client: Client): void {
  // RFC 9101 §6.3: a request object that is not understood must not be half understood.
  if (params.get('request') !== undefined) throw new OAuthError('request_not_supported', 'request objects are not supported')
  if (params.get('request_uri') !== undefined) throw new OAuthError('request_uri_not_supported', 'request_uri is not supported')
  if (params.require('response_type') !== 'code') throw new OAuthError('unsupported_response_type', 'response_type must be code')
  const mode = params.get('response_mode')
  if (mode !== undefined && mode !== 'query') throw new OAuthError('invalid_request', 'response_mode must be query')
  if (!client.grantTypes.includes('authorization_code')) throw new OAuthError('unauthorized_client', 'the client may not use authorization_code')
}

/** OAuth 2.1 §4.1.1, AS-4: every code is bound to a verifier, by S256 alone; a missing method would mean plain (RFC 7636 §4.3). */
function checkPkce(params: Params): string {
  const challenge = params.require('code_challenge')
  if (params.get('code_challenge_method') !== 'S256') throw new OAuthError('invalid_request', 'code_challenge_method must be S256')
  if (!isCodeChallenge(challenge)) throw new OAuthError('invalid_request', 'code_challenge is malformed')
  return challenge
}

/**
 * RFC 9470 §4, OpenID Connect Core §5.5: what the sign-in must be like. Of an `acr` that both parameters name, what the
 * claim says counts: it is essential.
 */
function checkProof(params: Params): Pick<AuthorizationRequest, 'acrValues' | 'claims'> {
  const given = params.get('acr_values')
  if (given !== undefined && given.length > MAX_ACR_VALUES) throw new OAuthError('invalid_request', 'acr_values is too long')
  const wanted = parseScope(given ?? '')
  if (wanted === undefined) throw new OAuthError('invalid_request', 'acr_values is malformed')
  const claimsParameter = params.get('claims')
  const { acrValues = wanted, claims } = claimsParameter === undefined ? {} : readClaimsParameter(claimsParameter)
  return { ...(acrValues.length === 0 ? {} : { acrValues: acrValues.join(' ') }), ...(claims === undefined ? {} : { claims }) }
}

/** Whoever holds a token for the JSON API can change what everybody may do: nobody registers themselves for it. */
export function mayAsk({ scopes }: Profile, client: Client): boolean {
  return scopes === undefined || (client.kind === 'pre-registered' && client.builtIn !== true)
}

/** OpenID Connect Core §3.1.2.1: `none` stands alone. */
function checkPrompt(params: Params): readonly string[] {
  const prompts = (params.get('prompt') ?? '').split(' ').filter((prompt) => prompt !== '')
  const valid = prompts.every((prompt) => PROMPTS.has(prompt)) && (!prompts.includes('none') || prompts.length === 1)
  if (!valid) throw new OAuthError('invalid_request', 'prompt is not valid')
  return prompts
}

function cannotAnswer(message: string, reason: string): PageError {
  return new PageError(400, 'This request cannot be completed', `${message} Go back to your application and start again; if it happens again, its developers must mend it.`, { reason })
}
