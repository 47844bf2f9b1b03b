import { createHash } from 'node:crypto'
import type { JSONWebKeySet, JWK } from 'jose'
import * as z from 'zod'
import { plain } from '../http/page.ts'
import { OAuthError } from '../oauth/error.ts'
import { DEVICE_CODE } from '../oauth/grant-type.ts'
import { redirectClass } from '../oauth/redirect-uri.ts'

export type ClientAuthMethod = 'none' | 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt' | 'workload_identity'

/** What a client says of itself, by registration (RFC 7591 §2) or in its metadata document, after our own rules. */
export interface ClientMetadata {
  readonly name: string
  readonly applicationType: 'web' | 'native'
  readonly redirectUris: readonly string[]
  readonly grantTypes: readonly string[]
  readonly responseTypes: readonly string[]
  /** Any one of these: a metadata document may list several (RP Metadata Choices). */
  readonly tokenEndpointAuthMethods: readonly ClientAuthMethod[]
  readonly jwks?: JSONWebKeySet
  readonly jwksUri?: string
  readonly scope?: readonly string[]
  readonly clientUri?: string
  readonly softwareId?: string
  /** RFC 9449 §5.2: it never gets a token that is bound to no key. */
  readonly dpopBoundAccessTokens?: boolean
  /** RFC 9126 §6: its requests count only when it pushed them. */
  readonly requirePushedAuthorizationRequests?: boolean
  /** Stated by an issuer that was trusted when the client registered. */
  readonly software?: Software
}

/** What a trusted issuer stated of the software that a client runs (RFC 7591 §2.3). */
export interface Software {
  readonly issuer: string
  readonly id: string
  /** Of what was stated alone: equal for all registrations by one statement, whatever keys each has. */
  readonly digest: string
  readonly statement: string
}

/** How clients may authenticate, by the names that are registered for it; a workload's is an administrator's to give. */
export const CLIENT_AUTH_METHODS: readonly ClientAuthMethod[] = ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt']
const MAX_REDIRECT_URIS = 32
const MAX_TEXT = 2000

const text = z.string().max(MAX_TEXT)
const shape = z.object({
  client_name: text.optional(),
  application_type: z.string().optional(),
  redirect_uris: z.array(z.unknown()).max(MAX_REDIRECT_URIS).optional(),
  grant_types: z.array(text).max(20).optional(),
  response_types: z.array(text).max(20).optional(),
  token_endpoint_auth_method: text.optional(),
  token_endpoint_auth_methods_supported: z.array(text).max(20).optional(),
  jwks: z.object({ keys: z.array(z.record(z.string(), z.unknown())).max(20) }).optional(),
  jwks_uri: text.optional(),
  scope: text.optional(),
  client_uri: text.optional(),
  software_id: text.optional(),
  dpop_bound_access_tokens: z.boolean().optional(),
  require_pushed_authorization_requests: z.boolean().optional(),
})

/** A public key, with nothing but what verifies a signature. */
const publicKey = z.object({
  kty: z.enum(['RSA', 'EC', 'OKP']),
  kid: text.optional(),
  use: text.optional(),
  key_ops: z.array(text).max(10).optional(),
  alg: text.optional(),
  crv: text.optional(),
  x: text.optional(),
  y: text.optional(),
  n: text.optional(),
  e: text.optional(),
})

export interface MetadataRules {
  readonly grantTypes: readonly string[]
  /** What a missing `token_endpoint_auth_method` means: RFC 7591 §2 and client ID metadata documents differ. */
  readonly defaultMethod: ClientAuthMethod
  readonly allowSecrets: boolean
}

/**
 * Reads what a client says of itself. Members that Lanyard does not know are ignored (RFC 7591 §2); grant types that
 * it does not serve are left out, and so is a redirect URI that nobody may use while another one is good.
 *
 * @throws OAuthError `invalid_redirect_uri` or `invalid_client_metadata` (RFC 7591 §3.2.2)
 */
export function parseClientMetadata(input: unknown, rules: MetadataRules): ClientMetadata {
  const parsed = shape.safeParse(input)
  if (!parsed.success) {
    const field = String(parsed.error.issues[0]?.path[0] ?? 'the document')
    throw new OAuthError(field === 'redirect_uris' ? 'invalid_redirect_uri' : 'invalid_client_metadata', `${field} is missing or not valid`)
  }
  const given = parsed.data
  const grantTypes = (given.grant_types ?? ['authorization_code']).filter((type) => rules.grantTypes.includes(type))
  const isRedirected = grantTypes.includes('authorization_code') || !grantTypes.includes(DEVICE_CODE)
  const redirectUris = redirectUrisOf(given, isRedirected)
  if (isRedirected && !grantTypes.includes('authorization_code')) throw new OAuthError('invalid_client_metadata', 'grant_types must include authorization_code')
  const responseTypes = given.response_types ?? ['code']
  if (isRedirected && !responseTypes.includes('code')) throw new OAuthError('invalid_client_metadata', 'response_types must include code')
  const tokenEndpointAuthMethods = authMethods(given, rules)
  return {
    name: nameOf(given.client_name, redirectUris[0] ?? 'unknown:'),
    applicationType: redirectUris.length > 0 && redirectUris.every((uri) => redirectClass(uri) === 'https') ? 'web' : 'native',
    redirectUris,
    grantTypes,
    responseTypes: isRedirected ? ['code'] : [],
    tokenEndpointAuthMethods,
    ...keysOf(given, tokenEndpointAuthMethods),
    ...(given.scope === undefined ? {} : { scope: given.scope.split(' ').filter((scope) => scope !== '') }),
    ...(given.client_uri !== undefined && /^https?:\/\//.test(given.client_uri) && URL.canParse(given.client_uri) ? { clientUri: given.client_uri } : {}),
    ...(given.software_id === undefined ? {} : { softwareId: given.software_id }),
    ...(given.dpop_bound_access_tokens === true ? { dpopBoundAccessTokens: true } : {}),
    ...(given.require_pushed_authorization_requests === true ? { requirePushedAuthorizationRequests: true } : {}),
  }
}

/** RFC 7591 §2: for whoever is answered by redirect; a device that asks for codes needs none (RFC 8628 §3.1). */
function redirectUrisOf({ redirect_uris: uris, application_type: type }: z.output<typeof shape>, isRedirected: boolean): readonly string[] {
  if (uris === undefined && isRedirected) throw new OAuthError('invalid_redirect_uri', 'redirect_uris is missing or not valid')
  if (isRedirected) return usableRedirectUris(uris ?? [], type)
  return (uris ?? []).length === 0 ? [] : usableRedirectUris(uris ?? [], type)
}

/** What the client calls itself; a name that shows nothing is none. */
function nameOf(name: string | undefined, redirectUri: string): string {
  if (name !== undefined && plain(name) !== '') return name
  const { host, protocol } = new URL(redirectUri)
  return host === '' ? protocol : host
}

/**
 * The policy by class: https for everybody; loopback and private-use schemes for native clients. A client that names a
 * private-use scheme is native whatever it says (Cursor says `web`); one that names itself web gets no loopback.
 */
function usableRedirectUris(given: readonly unknown[], applicationType: string | undefined): readonly string[] {
  const uris = given.filter((uri): uri is string => typeof uri === 'string' && uri.length <= MAX_TEXT)
  const classes = uris.map((uri) => [uri, redirectClass(uri)] as const)
  const native = applicationType !== 'web' || classes.some(([, kind]) => kind === 'private-use')
  const usable = classes.filter(([, kind]) => kind === 'https' || (kind !== undefined && native)).map(([uri]) => uri)
  if (usable.length === 0) {
    throw new OAuthError('invalid_redirect_uri', 'redirect_uris must hold an https URI, or for native clients a loopback URI or a private-use scheme')
  }
  return [...new Set(usable)]
}

function authMethods(given: z.output<typeof shape>, rules: MetadataRules): readonly ClientAuthMethod[] {
  const named = [given.token_endpoint_auth_method ?? [], given.token_endpoint_auth_methods_supported ?? []].flat()
  const wanted = named.length === 0 ? [rules.defaultMethod] : named
  const known = CLIENT_AUTH_METHODS.filter((method) => wanted.includes(method) && (rules.allowSecrets || !method.startsWith('client_secret')))
  if (known.length === 0) throw new OAuthError('invalid_client_metadata', 'token_endpoint_auth_method is not supported')
  // The client's own order: the first is what an answer names.
  return known.sort((a, b) => wanted.indexOf(a) - wanted.indexOf(b))
}

function keysOf(given: z.output<typeof shape>, methods: readonly ClientAuthMethod[]): Pick<ClientMetadata, 'jwks' | 'jwksUri'> {
  if (given.jwks !== undefined && given.jwks_uri !== undefined) throw new OAuthError('invalid_client_metadata', 'jwks and jwks_uri exclude each other')
  const jwks = given.jwks === undefined ? undefined : publicKeys(given.jwks.keys)
  const missing = methods.includes('private_key_jwt') && (jwks?.keys ?? []).length === 0 && given.jwks_uri === undefined
  if (missing) throw new OAuthError('invalid_client_metadata', 'private_key_jwt needs jwks or jwks_uri')
  if (given.jwks_uri !== undefined && !(URL.canParse(given.jwks_uri) && new URL(given.jwks_uri).protocol === 'https:')) {
    throw new OAuthError('invalid_client_metadata', 'jwks_uri must be an https URI')
  }
  if (jwks !== undefined) return { jwks }
  return given.jwks_uri === undefined ? {} : { jwksUri: given.jwks_uri }
}

/** Keeps the keys of known types (RFC 7517 §5); a secret among them is a leak to be told of, not to be stored. */
function publicKeys(keys: readonly Readonly<Record<string, unknown>>[]): JSONWebKeySet {
  if (keys.some((key) => 'd' in key || 'k' in key)) throw new OAuthError('invalid_client_metadata', 'jwks holds a private or symmetric key')
  return { keys: keys.flatMap((key) => publicKey.safeParse(key).data ?? []) as JWK[] }
}

/** Changes when name, redirect URIs or keys change (CIMD §6.3). */
export function metadataDigest(metadata: Pick<ClientMetadata, 'name' | 'redirectUris' | 'jwks' | 'jwksUri'>): string {
  const parts = [metadata.name, [...metadata.redirectUris].sort(), metadata.jwks ?? null, metadata.jwksUri ?? null]
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
}
