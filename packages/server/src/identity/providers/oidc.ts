// A generic OpenID Connect relying party: authorization code with PKCE, nonce and state, ID token checked in full.
import { createHash } from 'node:crypto'
import type { JWTPayload } from 'jose'
import * as oauth from 'oauth4webapi'
import type { Outbound } from '../../http/outbound.ts'
import { basicAuthorization } from '../../oauth/basic.ts'
import type { Identity, IdentityTokens } from '../user.ts'
import { checkAccessTokenHash, checkClaims, checkFreshness, identityOf, SKEW_S, type Claims } from './oidc-claims.ts'
import { reachable } from './oidc-errors.ts'
import { exchangeAt } from './oidc-exchange.ts'
import { providerKeys, type MayKeySign, type ProviderKeys } from './oidc-keys.ts'
import { providerMetadata, type ProviderMetadata } from './oidc-metadata.ts'
import { kindOf, presentedClaims, readUnverified } from './oidc-presented.ts'
import { LoginRefused, NotWelcome, type IdentityProvider, type KnownIdentity, type LoginOptions, type LoginSecrets, type PresentedClaims, type PresentedKind } from './provider.ts'

export interface OidcSettings {
  readonly id: string
  readonly name: string
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret?: string
  readonly scopes: readonly string[]
  readonly groupsClaim: string
  /** Where the provider names the person's application roles. */
  readonly rolesClaim?: string
  /** Further claims that are kept for policies to ask for. */
  readonly claims?: readonly string[]
  /** The authentication contexts that the provider knows, for clients to ask for. */
  readonly acrValues?: readonly string[]
  /** Whether the access token of a sign-in is kept, for a connector that exchanges it. */
  readonly keepsAccessToken?: boolean
  /** How this provider is asked for refresh tokens: some give none for the scope alone. */
  readonly offlineAccess: 'scope' | 'scope-and-consent' | 'access_type' | 'off'
}

/** Where a provider differs from what the specifications say: a preset names it. */
export interface OidcQuirks {
  /** Whether a metadata document may name this issuer; the address that it was asked at when absent. */
  readonly isIssuer?: (issuer: string) => boolean
  /** The issuer that a token must name, by whom it says that it is of; the document's when absent. @throws LoginRefused */
  readonly issuerOf?: (claims: JWTPayload) => string
  /** Whether tokens with this issuer are the provider's; the configured issuer alone when absent. */
  readonly issues?: (issuer: string) => boolean
  /** Where the keys of an issuer are; where the document says when absent or undefined. */
  readonly keysOf?: (issuer: string) => string | undefined
  /** Whether a key of the set may sign for an issuer; every one when absent. */
  readonly mayKeySign?: MayKeySign
  /** How Lanyard authenticates; by its secret when absent. */
  readonly authentication?: oauth.ClientAuth
  /** Parameters of authorization requests, over the usual ones; one that is undefined is left out. */
  readonly asks?: (options: LoginOptions) => Readonly<Record<string, string | undefined>>
  readonly tokenParameters?: Readonly<Record<string, string>>
  /** Says what verified claims say in the words of OpenID Connect. @throws LoginRefused */
  readonly readClaims?: (claims: JWTPayload) => JWTPayload
  /** Whether a token that is presented says that there are more groups than it holds; then `IdentityProvider.groupsOf` has them. */
  readonly isOverage?: (claims: JWTPayload) => boolean
  /** What is known of the person besides, in place of the userinfo endpoint. @throws LoginRefused, ProviderUnavailable */
  readonly profile?: (claims: Claims, accessToken: string) => Promise<Readonly<Record<string, unknown>>>
  /** Whether a refresh that is answered with this error ended the sign-in; `invalid_grant` always did. */
  readonly ends?: (error: string) => boolean
}

export interface OidcDeps {
  readonly outbound: Outbound
  readonly now: () => number
}

export function oidcProvider(settings: OidcSettings, { outbound, now }: OidcDeps, quirks: OidcQuirks = {}): IdentityProvider {
  const metadata = providerMetadata(settings.issuer, outbound, now, quirks.isIssuer)
  const party: RelyingParty = {
    settings,
    quirks,
    metadata,
    now,
    keys: providerKeys(metadata.options[oauth.customFetch], now, quirks.mayKeySign),
    client: {
      client_id: settings.clientId,
      [oauth.clockTolerance]: SKEW_S,
      // The library reads the system's clock; this makes it ours.
      get [oauth.clockSkew]() {
        return Math.round((now() - Date.now()) / 1000)
      },
    },
    authentication: quirks.authentication ?? (settings.clientSecret === undefined ? oauth.None() : basic(settings.clientSecret)),
  }
  return {
    id: settings.id,
    name: settings.name,
    authorizationUrl: async (secrets, options) => authorizationUrl(await metadata.reach(), party, secrets, options),
    finish: (callback, secrets, options) => reachable(() => finish(party, callback, secrets, options)),
    refresh: (tokens, known, keep) => reachable(() => refresh(party, tokens, known, keep)),
    exchange: (parameters) => exchangeAt(party, parameters),
    present: (token, kind) => reachable(() => present(party, token, kind)),
    presentRefreshToken: (token, replaced) => reachable(() => presentRefreshToken(party, token, replaced)),
    issues: quirks.issues ?? ((issuer) => issuer === settings.issuer),
  }
}

async function present(party: RelyingParty, token: string, kind: PresentedKind): Promise<PresentedClaims> {
  const unverified = readUnverified(token)
  if (kindOf(unverified) !== kind) throw new LoginRefused(`it is no ${kind}`)
  const server = await party.metadata.get()
  const { issuerOf, readClaims, keysOf } = party.quirks
  const issuer = issuerOf === undefined ? server.issuer : issuerOf(unverified.claims)
  if (unverified.claims.iss !== issuer) throw new LoginRefused('iss is another')
  await party.keys.verify(token, keysOf?.(issuer) ?? server.jwks_uri, issuer)
  const claims = readClaims === undefined ? unverified.claims : readClaims(unverified.claims)
  if (party.quirks.isOverage?.(claims) !== true) return presentedClaims(party.settings, { ...unverified, claims }, kind, party.now())
  const { groups: _unknown, ...read } = presentedClaims(party.settings, { ...unverified, claims: { ...claims, [party.settings.groupsClaim]: [] } }, kind, party.now())
  return { ...read, groupsElsewhere: true }
}

async function presentRefreshToken(party: RelyingParty, token: string, replaced: (successor: string) => void): Promise<PresentedClaims> {
  const server = await party.metadata.get()
  const response = await oauth.refreshTokenGrantRequest(server, party.client, party.authentication, token, tokenRequest(party))
  const issuing = await issuingServer(party, server, response)
  const result = await oauth.processRefreshTokenResponse(issuing, party.client, response)
  if (result.refresh_token !== undefined && result.refresh_token !== token) replaced(result.refresh_token)
  const claims = await validated(party, issuing, result)
  if (claims === undefined || result.id_token === undefined) throw new LoginRefused('the refresh brought no ID token')
  const profile = await profileOf(party, server, claims, result.access_token)
  const { header } = readUnverified(result.id_token)
  return presentedClaims(party.settings, { header, claims: { ...profile, ...claims } }, 'id_token', party.now())
}

interface RelyingParty {
  readonly settings: OidcSettings
  readonly quirks: OidcQuirks
  readonly metadata: ProviderMetadata
  readonly keys: ProviderKeys
  readonly now: () => number
  readonly client: oauth.Client
  readonly authentication: oauth.ClientAuth
}

function authorizationUrl(server: oauth.AuthorizationServer, { settings, quirks }: RelyingParty, secrets: LoginSecrets, options: LoginOptions): URL {
  const url = new URL(server.authorization_endpoint ?? '')
  const scope = settings.offlineAccess === 'access_type' || settings.offlineAccess === 'off' ? settings.scopes.filter((name) => name !== 'offline_access') : settings.scopes
  const prompt = [options.prompt, settings.offlineAccess === 'scope-and-consent' ? 'consent' : undefined].filter((value) => value !== undefined).join(' ')
  // OpenID Connect Core §3.1.2.1: `max_age` makes the provider say when the user signed in; 0 is the same as `prompt=login`.
  const maxAge = options.maxAge ?? (options.prompt === 'login' ? 0 : undefined)
  const parameters: Readonly<Record<string, string | undefined>> = {
    client_id: settings.clientId,
    redirect_uri: options.redirectUri,
    response_type: 'code',
    scope: scope.join(' '),
    state: secrets.state,
    nonce: secrets.nonce,
    code_challenge: createHash('sha256').update(secrets.codeVerifier).digest('base64url'),
    code_challenge_method: 'S256',
    prompt: prompt === '' ? undefined : prompt,
    max_age: maxAge?.toString(),
    acr_values: options.acrValues,
    claims: options.claims === undefined ? undefined : claimsParameter(options.claims),
    login_hint: options.loginHint,
    access_type: settings.offlineAccess === 'access_type' ? 'offline' : undefined,
    ...quirks.asks?.(options),
  }
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value)
  return url
}

/** OpenID Connect Core §5.5: the ID token is the only word on the sign-in. */
function claimsParameter(claims: NonNullable<LoginOptions['claims']>): string {
  return JSON.stringify({ id_token: Object.fromEntries(Object.entries(claims).map(([name, values]) => [name, { essential: true, ...(values.length === 1 ? { value: values[0] } : { values }) }])) })
}

async function finish(party: RelyingParty, callback: URL, secrets: LoginSecrets, options: LoginOptions): Promise<Identity> {
  const server = await party.metadata.get()
  // RFC 9207 §2.4 and state: checked before anything else of the answer is believed.
  const parameters = oauth.validateAuthResponse(server, party.client, callback, secrets.state)
  const response = await oauth.authorizationCodeGrantRequest(server, party.client, party.authentication, parameters, options.redirectUri, secrets.codeVerifier, tokenRequest(party))
  const issuing = await issuingServer(party, server, response)
  const result = await oauth.processAuthorizationCodeResponse(issuing, party.client, response, { expectedNonce: secrets.nonce, requireIdToken: true })
  const claims = await validated(party, issuing, result)
  if (claims === undefined) throw new LoginRefused('no ID token')
  checkFreshness(claims, options, party.now())
  const profile = await profileOf(party, server, claims, result.access_token)
  return identityOf(party.settings, claims, profile, tokensOf(party, result))
}

async function refresh(party: RelyingParty, tokens: IdentityTokens, known: KnownIdentity, keep: (tokens: IdentityTokens) => Promise<void>): Promise<Identity | undefined> {
  if (tokens.refreshToken === undefined) throw new LoginRefused('there is no refresh token')
  const server = await party.metadata.get()
  const response = await oauth.refreshTokenGrantRequest(server, party.client, party.authentication, tokens.refreshToken, tokenRequest(party))
  const issuing = await issuingServer(party, server, response)
  let result: oauth.TokenEndpointResponse
  try {
    result = await oauth.processRefreshTokenResponse(issuing, party.client, response)
  } catch (error) {
    // RFC 6749 §5.2: the grant has ended; every other error says something of the provider, not of the user.
    if (error instanceof oauth.ResponseBodyError && (error.error === 'invalid_grant' || party.quirks.ends?.(error.error) === true)) return undefined
    throw error
  }
  // The old token may be good no more: the new one is kept before anything else can fail.
  if (result.refresh_token !== undefined && result.refresh_token !== tokens.refreshToken) await keep({ ...tokens, refreshToken: result.refresh_token })
  const claims = await validated(party, issuing, result).catch((error: unknown) => {
    if (error instanceof NotWelcome) return 'ended' as const
    throw error
  })
  if (claims === 'ended') return undefined
  // OpenID Connect Core §12.2: issuer and subject are those of the original ID token.
  if (claims !== undefined && (claims.iss !== known.issuer || claims.sub !== known.subject)) return undefined
  const { settings } = party
  const again = tokensOf(party, result, tokens)
  if (claims !== undefined) {
    const profile = await profileOf(party, server, claims, result.access_token)
    return identityOf(settings, claims, profile, again)
  }
  // Without a new ID token, what the old one said stands where the userinfo endpoint says nothing newer.
  const old = { ...claimsOf(tokens.idToken), iss: known.issuer, sub: known.subject }
  const { profile: ask } = party.quirks
  const newer = ask !== undefined ? await ask(old, result.access_token) : server.userinfo_endpoint === undefined ? {} : await userinfo(party, server, known.subject, result.access_token)
  return identityOf(settings, old, { ...old, ...newer, iss: known.issuer, sub: known.subject }, again)
}

/** The claims of the ID token of a token response, checked in full. */
async function validated(party: RelyingParty, server: oauth.AuthorizationServer, result: oauth.TokenEndpointResponse): Promise<Claims | undefined> {
  const claims = oauth.getValidatedIdTokenClaims(result)
  if (claims === undefined || result.id_token === undefined) return undefined
  // The library reads the claims of a token that came over TLS; its signature counts all the same.
  await party.keys.verify(result.id_token, server.jwks_uri, server.issuer)
  checkClaims(claims, party.settings.clientId, party.now())
  checkAccessTokenHash(claims, result.id_token, result.access_token)
  const { readClaims } = party.quirks
  if (readClaims === undefined) return claims
  const { iss = claims.iss, sub = claims.sub, ...read } = readClaims(claims)
  return { ...read, iss, sub }
}

/** The server under the issuer of this very answer: where a provider has several tenants, each is one. */
async function issuingServer({ quirks }: RelyingParty, server: oauth.AuthorizationServer, response: Response): Promise<oauth.AuthorizationServer> {
  if (quirks.issuerOf === undefined || !response.ok) return server
  const body: unknown = await response.clone().json().catch(() => undefined)
  const idToken = typeof body === 'object' && body !== null && 'id_token' in body ? body.id_token : undefined
  return typeof idToken === 'string' ? { ...server, issuer: quirks.issuerOf(readUnverified(idToken).claims) } : server
}

function tokenRequest({ metadata, quirks }: RelyingParty): oauth.TokenEndpointRequestOptions {
  return quirks.tokenParameters === undefined ? metadata.options : { ...metadata.options, additionalParameters: quirks.tokenParameters }
}

/** What the ID token says of the person; where it lacks groups, e-mail address or what policies ask for, the userinfo endpoint is asked for them. */
async function profileOf(party: RelyingParty, server: oauth.AuthorizationServer, claims: Claims, accessToken: string): Promise<Claims> {
  const { groupsClaim, claims: kept = [] } = party.settings
  if (party.quirks.profile !== undefined) return { ...claims, ...(await party.quirks.profile(claims, accessToken)) }
  const complete = [groupsClaim, 'email', ...kept].every((name) => claims[name] !== undefined)
  if (complete || server.userinfo_endpoint === undefined) return claims
  return { ...(await userinfo(party, server, claims.sub, accessToken)), ...claims }
}

async function userinfo(party: RelyingParty, server: oauth.AuthorizationServer, subject: string, accessToken: string): Promise<Readonly<Record<string, unknown>>> {
  const response = await oauth.userInfoRequest(server, party.client, accessToken, party.metadata.options)
  // Signed answers would need their own keys and checks; none was asked for.
  if (response.headers.get('content-type')?.startsWith('application/jwt') === true) throw new LoginRefused('userinfo is a signed answer')
  // OpenID Connect Core §5.3.2: the subject must be the same, or nothing of the answer is used.
  return oauth.processUserInfoResponse(server, party.client, subject, response)
}

/** Reads an ID token that was checked when it came. */
function claimsOf(idToken: string): Readonly<Record<string, unknown>> {
  return idToken === '' ? {} : (JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, unknown>)
}

function tokensOf({ settings, now }: RelyingParty, result: oauth.TokenEndpointResponse, before?: IdentityTokens): IdentityTokens {
  const refreshToken = result.refresh_token ?? before?.refreshToken
  return {
    idToken: result.id_token ?? before?.idToken ?? '',
    ...(refreshToken === undefined ? {} : { refreshToken }),
    // What nobody uses again is not kept.
    ...(settings.keepsAccessToken !== true || result.expires_in === undefined ? {} : { accessToken: result.access_token, accessTokenExpiresAt: now() + result.expires_in * 1000 }),
  }
}

function basic(secret: string): oauth.ClientAuth {
  return (_server, client, _body, headers) => headers.set('authorization', basicAuthorization(client.client_id, secret))
}
