// A generic OpenID Connect relying party: authorization code with PKCE, nonce and state, ID token checked in full.
import { createHash } from 'node:crypto'
import * as oauth from 'oauth4webapi'
import { OutboundError, type Outbound } from '../../http/outbound.ts'
import { basicAuthorization } from '../../oauth/basic.ts'
import type { Identity, IdentityTokens } from '../user.ts'
import { providerMetadata, type ProviderMetadata } from './oidc-metadata.ts'
import { LoginRefused, ProviderUnavailable, type IdentityProvider, type LoginOptions, type LoginSecrets } from './provider.ts'

export interface OidcSettings {
  readonly id: string
  readonly name: string
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret?: string
  readonly scopes: readonly string[]
  readonly groupsClaim: string
  /** How this provider is asked for refresh tokens: some give none for the scope alone. */
  readonly offlineAccess: 'scope' | 'scope-and-consent' | 'access_type' | 'off'
}

export interface OidcDeps {
  readonly outbound: Outbound
  readonly now: () => number
}

const MAX_GROUPS = 2000
/** Seconds that the provider's clock may differ. */
const SKEW_S = 60

export function oidcProvider(settings: OidcSettings, { outbound, now }: OidcDeps): IdentityProvider {
  const metadata = providerMetadata(settings.issuer, outbound, now)
  const party: RelyingParty = {
    settings,
    metadata,
    now,
    client: { client_id: settings.clientId, [oauth.clockTolerance]: SKEW_S },
    authentication: settings.clientSecret === undefined ? oauth.None() : basic(settings.clientSecret),
  }
  return {
    id: settings.id,
    name: settings.name,
    authorizationUrl: async (secrets, options) => authorizationUrl(await metadata.get(), settings, secrets, options),
    finish: (callback, secrets, options) => reachable(() => finish(party, callback, secrets, options)),
    refresh: (tokens, known) => reachable(() => refresh(party, tokens, known)),
  }
}

interface RelyingParty {
  readonly settings: OidcSettings
  readonly metadata: ProviderMetadata
  readonly now: () => number
  readonly client: oauth.Client
  readonly authentication: oauth.ClientAuth
}

function authorizationUrl(server: oauth.AuthorizationServer, settings: OidcSettings, secrets: LoginSecrets, options: LoginOptions): URL {
  if (server.authorization_endpoint === undefined) throw new ProviderUnavailable('the identity provider names no authorization endpoint')
  const url = new URL(server.authorization_endpoint)
  const scope = settings.offlineAccess === 'access_type' || settings.offlineAccess === 'off' ? settings.scopes.filter((name) => name !== 'offline_access') : settings.scopes
  const prompt = options.prompt ?? (settings.offlineAccess === 'scope-and-consent' ? 'consent' : undefined)
  const parameters: Readonly<Record<string, string | undefined>> = {
    client_id: settings.clientId,
    redirect_uri: options.redirectUri,
    response_type: 'code',
    scope: scope.join(' '),
    state: secrets.state,
    nonce: secrets.nonce,
    code_challenge: createHash('sha256').update(secrets.codeVerifier).digest('base64url'),
    code_challenge_method: 'S256',
    prompt,
    max_age: options.maxAge?.toString(),
    acr_values: options.acrValues,
    login_hint: options.loginHint,
    access_type: settings.offlineAccess === 'access_type' ? 'offline' : undefined,
  }
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value)
  return url
}

async function finish(party: RelyingParty, callback: URL, secrets: LoginSecrets, options: LoginOptions): Promise<Identity> {
  const server = await party.metadata.get()
  // RFC 9207 §2.4 and state: checked before anything else of the answer is believed.
  const parameters = oauth.validateAuthResponse(server, party.client, callback, secrets.state)
  const response = await oauth.authorizationCodeGrantRequest(
    server,
    party.client,
    party.authentication,
    parameters,
    options.redirectUri,
    secrets.codeVerifier,
    party.metadata.options,
  )
  const result = await oauth.processAuthorizationCodeResponse(server, party.client, response, {
    expectedNonce: secrets.nonce,
    requireIdToken: true,
    ...(options.maxAge === undefined ? {} : { maxAge: options.maxAge }),
  })
  // The library reads the claims of a token that came over TLS; its signature counts all the same.
  await oauth.validateApplicationLevelSignature(server, response, party.metadata.options)
  const claims = oauth.getValidatedIdTokenClaims(result)
  if (claims === undefined) throw new LoginRefused('no ID token')
  checkAccessTokenHash(claims['at_hash'], result.id_token ?? '', result.access_token)
  checkFreshness(claims.auth_time, options, party.now())
  const profile = await profileOf(party, server, claims, result.access_token)
  return identityOf(party, claims, profile, tokensOf(result, undefined, party.now()))
}

async function refresh(party: RelyingParty, tokens: IdentityTokens, known: { issuer: string; subject: string }): Promise<Identity | undefined> {
  if (tokens.refreshToken === undefined) throw new LoginRefused('there is no refresh token')
  const server = await party.metadata.get()
  const response = await oauth.refreshTokenGrantRequest(server, party.client, party.authentication, tokens.refreshToken, party.metadata.options)
  let result: oauth.TokenEndpointResponse
  try {
    result = await oauth.processRefreshTokenResponse(server, party.client, response)
  } catch (error) {
    // RFC 6749 §5.2: the grant has ended; every other error says something of the provider, not of the user.
    if (error instanceof oauth.ResponseBodyError && error.error === 'invalid_grant') return undefined
    throw error
  }
  const claims = oauth.getValidatedIdTokenClaims(result)
  if (claims !== undefined) {
    await oauth.validateApplicationLevelSignature(server, response, party.metadata.options)
    // OpenID Connect Core §12.2: issuer and subject are those of the original ID token.
    if (claims.iss !== known.issuer || claims.sub !== known.subject) return undefined
  }
  const profile = await profileOf(party, server, { ...claims, sub: known.subject }, result.access_token)
  return identityOf(party, { ...claims, iss: known.issuer, sub: known.subject }, profile, tokensOf(result, tokens, party.now()))
}

type Claims = Readonly<Record<string, unknown>> & { readonly sub: string }

/** The claims of the ID token, and those of the userinfo endpoint where the ID token lacks groups or e-mail address. */
async function profileOf(party: RelyingParty, server: oauth.AuthorizationServer, claims: Claims, accessToken: string): Promise<Claims> {
  const complete = claims[party.settings.groupsClaim] !== undefined && claims['email'] !== undefined
  if (complete || server.userinfo_endpoint === undefined) return claims
  const response = await oauth.userInfoRequest(server, party.client, accessToken, party.metadata.options)
  // OpenID Connect Core §5.3.2: the subject must be the same, or nothing of the answer is used.
  const info = await oauth.processUserInfoResponse(server, party.client, claims.sub, response)
  return { ...info, ...claims }
}

function identityOf(party: RelyingParty, claims: Claims & { readonly iss: unknown }, profile: Claims, tokens: IdentityTokens): Identity {
  const text = (name: string): string | undefined => (typeof profile[name] === 'string' && profile[name] !== '' ? profile[name].slice(0, 320) : undefined)
  const [name, email, acr, sid] = [text('name') ?? text('preferred_username'), text('email'), text('acr'), text('sid')]
  const amr = Array.isArray(claims['amr']) ? claims['amr'].filter((value) => typeof value === 'string') : undefined
  // RFC 9470 in the field: 0 means "not known", never "long ago" and never "now".
  const authTime = typeof claims['auth_time'] === 'number' && claims['auth_time'] > 0 ? claims['auth_time'] : undefined
  return {
    provider: party.settings.id,
    issuer: String(claims.iss),
    subject: claims.sub,
    groups: groupsOf(profile[party.settings.groupsClaim]),
    tokens,
    ...(name === undefined ? {} : { name }),
    ...(email === undefined ? {} : { email }),
    ...(authTime === undefined ? {} : { authTime }),
    ...(acr === undefined ? {} : { acr }),
    ...(amr === undefined ? {} : { amr }),
    ...(sid === undefined ? {} : { sid }),
  }
}

/** A string or a list of strings; whatever else stands there names no group. */
function groupsOf(claim: unknown): readonly string[] {
  const list: unknown[] = typeof claim === 'string' ? [claim] : Array.isArray(claim) ? claim : []
  return [...new Set(list.filter((group): group is string => typeof group === 'string' && group !== '' && group.length <= 256))].slice(0, MAX_GROUPS)
}

function tokensOf(result: oauth.TokenEndpointResponse, before: IdentityTokens | undefined, now: number): IdentityTokens {
  const refreshToken = result.refresh_token ?? before?.refreshToken
  return {
    idToken: result.id_token ?? before?.idToken ?? '',
    accessToken: result.access_token,
    ...(refreshToken === undefined ? {} : { refreshToken }),
    ...(result.expires_in === undefined ? {} : { expiresAt: Math.floor(now / 1000) + result.expires_in }),
  }
}

const HASHES: Readonly<Record<string, string>> = { 256: 'sha256', 384: 'sha384', 512: 'sha512' }

/** OpenID Connect Core §3.1.3.8: when the ID token names the access token's hash, it must be this access token's. */
function checkAccessTokenHash(expected: unknown, idToken: string, accessToken: string): void {
  if (expected === undefined) return
  const header = JSON.parse(Buffer.from(idToken.split('.')[0] ?? '', 'base64url').toString('utf8')) as { readonly alg?: string }
  const algorithm = HASHES[header.alg?.slice(-3) ?? ''] ?? 'sha512'
  const digest = createHash(algorithm).update(accessToken).digest()
  if (digest.subarray(0, digest.length / 2).toString('base64url') !== expected) throw new LoginRefused('at_hash does not fit the access token')
}

/** A sign-in that had to be fresh is not proven by an old one (OpenID Connect Core §3.1.2.1). */
function checkFreshness(authTime: number | undefined, options: LoginOptions, now: number): void {
  if (options.prompt !== 'login' || options.startedAt === undefined || authTime === undefined || authTime === 0) return
  if (authTime < Math.min(options.startedAt, now) / 1000 - SKEW_S) throw new LoginRefused('the user was not signed in again')
}

function basic(secret: string): oauth.ClientAuth {
  return (_server, client, _body, headers) => headers.set('authorization', basicAuthorization(client.client_id, secret))
}

/** Tells what the provider got wrong from what kept it from answering at all. */
async function reachable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof ProviderUnavailable || error instanceof LoginRefused) throw error
    if (error instanceof OutboundError) throw new ProviderUnavailable('the identity provider does not answer', { cause: error })
    if (error instanceof oauth.AuthorizationResponseError) throw new LoginRefused(`provider: ${error.error}`, error)
    if (error instanceof oauth.ResponseBodyError) {
      const temporary = error.status >= 500 || error.error === 'temporarily_unavailable'
      throw temporary ? new ProviderUnavailable('the identity provider answers with an error', { cause: error }) : new LoginRefused(`provider: ${error.error}`, error)
    }
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    const status = error instanceof oauth.OperationProcessingError && error.cause instanceof Response ? error.cause.status : 0
    if (status >= 500) throw new ProviderUnavailable('the identity provider answers with an error', { cause: error })
    throw new LoginRefused(`response: ${code} ${error instanceof Error ? error.message : ''}`.trim(), error)
  }
}
