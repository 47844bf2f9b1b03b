import { createHash } from 'node:crypto'
import type { Recorder } from '../audit/event.ts'
import { addressBucket } from '../http/address.ts'
import { readText } from '../http/params.ts'
import { requireRate, type RateLimit } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { OAuthError } from '../oauth/error.ts'
import { isLoopback } from '../oauth/redirect-uri.ts'
import { equalHashes, hash, isId, newId, newSecret } from '../oauth/secret.ts'
import type { ClientStore, RegisteredClient } from './client-store.ts'
import { applicationOf } from './application.ts'
import { metadataDigest, parseClientMetadata, type ClientMetadata, type MetadataRules } from './metadata.ts'
import type { SoftwareStatements } from './software-statement.ts'

const MAX_BODY_BYTES = 16 * 1024
const HOUR_MS = 3600_000
/** A person may take this long from registration to consent. */
const ABANDONED_MS = 30 * 60_000
const MAX_ABANDONED = 20
/** What a client may give itself: every grant type that a person approves. What acts without one is an administrator's to give. */
const SELF_SERVICE = new Set(['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'])

export interface RegistrationDeps {
  readonly issuer: string
  readonly store: ClientStore
  readonly audit: Recorder
  /** Those of the token endpoint. */
  readonly grantTypes: readonly string[]
  /** Absent when nobody's are believed; they are ignored then (RFC 7591 §2.3). */
  readonly statements?: SoftwareStatements
  readonly registrationsPerHour: number
  /** A guard against floods from one network; never what a person meets. */
  readonly flood: RateLimit
  readonly now: () => number
}

/** Dynamic client registration (RFC 7591) and its management (RFC 7592). */
export function registrationRoutes(deps: RegistrationDeps): readonly Route[] {
  const route = (method: Route['method'], path: string, access: Route['access'], respond: (request: Request, context: RequestContext) => Promise<Response>): Route => ({
    method,
    path,
    access,
    errors: 'oauth',
    cors: true,
    async respond(request, context) {
      requireRate(deps.flood, addressBucket(context.address))
      return respond(request, context).catch((error: unknown) => refuse(deps, context, error))
    },
  })
  return [
    route('POST', '/register', 'public', (request, context) => register(deps, request, context)),
    route('GET', '/register/:id', 'bearer', async (request, context) => {
      const { client, registrationToken } = await authorizedClient(deps, request, context)
      return answer(deps, client, { status: 200, registrationToken })
    }),
    route('PUT', '/register/:id', 'bearer', (request, context) => replace(deps, request, context)),
    route('DELETE', '/register/:id', 'bearer', (request, context) => remove(deps, request, context)),
  ]
}

async function register(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<Response> {
  const metadata = await readMetadata(deps, await readJson(request))
  const secret = metadata.tokenEndpointAuthMethods.some((method) => method.startsWith('client_secret')) ? newSecret('lyd_cs') : undefined
  const registrationToken = newSecret('lyd_rat')
  const now = deps.now()
  const client: RegisteredClient = {
    // AS-19: never an https URL, so that no registration can pose as a metadata document.
    id: newId('dyn'),
    fingerprint: fingerprint(metadata),
    metadata,
    registrationTokenHash: hash(registrationToken),
    address: addressBucket(context.address),
    createdAt: now,
    ...(secret === undefined ? {} : { secretHash: hash(secret) }),
  }
  const limits = { pending: deps.registrationsPerHour, since: now - HOUR_MS, abandoned: MAX_ABANDONED, abandonedBefore: now - ABANDONED_MS }
  const { reference, address } = context
  const event = { action: 'client.registered', outcome: 'success', clientId: client.id, reference, address, detail: { name: metadata.name, verified: metadata.software !== undefined, application: applicationOf({ ...metadata, id: client.id, kind: 'dynamic' }).id } } as const
  if (!(await deps.store.addClient(client, limits, event))) {
    const detail = { retryAfter: 3600, reason: 'too many unused registrations of this application' }
    throw new OAuthError('too_many_requests', 'this application registered too often without being used; try again later', detail)
  }
  return answer(deps, client, { status: 201, registrationToken, ...(secret === undefined ? {} : { secret }) })
}

/** RFC 7592 §2.2: a full replacement, which must name the client. */
async function replace(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<Response> {
  const { client, registrationToken } = await authorizedClient(deps, request, context)
  const body = await readJson(request)
  if (body['client_id'] !== client.id) throw new OAuthError('invalid_client_metadata', 'client_id must be that of this registration')
  const given = body['client_secret']
  const sameSecret = given === undefined || (typeof given === 'string' && client.secretHash !== undefined && equalHashes(hash(given), client.secretHash))
  if (!sameSecret) throw new OAuthError('invalid_client_metadata', 'client_secret cannot be chosen by the client')
  const metadata = await readMetadata(deps, body)
  const needsSecret = metadata.tokenEndpointAuthMethods.some((method) => method.startsWith('client_secret'))
  const secret = needsSecret && client.secretHash === undefined ? newSecret('lyd_cs') : undefined
  const secretHash = needsSecret ? (secret === undefined ? client.secretHash : hash(secret)) : undefined
  const { secretHash: _old, ...rest } = client
  const updated: RegisteredClient = { ...rest, metadata, fingerprint: fingerprint(metadata), ...(secretHash === undefined ? {} : { secretHash }) }
  const { reference, address } = context
  const stored = await deps.store.updateClient(updated, deps.now(), { action: 'client.updated', outcome: 'success', clientId: client.id, reference, address })
  if (!stored) throw invalidToken('the registration is gone')
  return answer(deps, updated, { status: 200, registrationToken, ...(secret === undefined ? {} : { secret }) })
}

async function remove(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<Response> {
  const { client } = await authorizedClient(deps, request, context)
  const { reference, address } = context
  await deps.store.deleteClient(client.id, deps.now(), { action: 'client.deleted', outcome: 'success', clientId: client.id, reference, address })
  return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
}

/** RFC 7592 §2.1: an unknown client and a wrong registration access token answer alike. */
async function authorizedClient(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<Authorized> {
  const registrationToken = /^Bearer +(\S+)$/i.exec(request.headers.get('authorization') ?? '')?.[1]
  const id = context.params['id'] ?? ''
  const client = isId('dyn', id) ? await deps.store.findClient(id) : undefined
  if (registrationToken === undefined) throw invalidToken('no registration access token')
  if (client === undefined) throw invalidToken('unknown client')
  if (!equalHashes(hash(registrationToken), client.registrationTokenHash)) throw invalidToken('wrong registration access token')
  return { client, registrationToken }
}

interface Authorized {
  readonly client: RegisteredClient
  readonly registrationToken: string
}

function invalidToken(reason: string): OAuthError {
  return new OAuthError('invalid_token', 'the registration access token is not valid', { challenge: 'Bearer', reason })
}

/** Records why a registration was refused; which client it was about, when the address names one. */
async function refuse({ audit }: RegistrationDeps, { params, reference, address }: RequestContext, error: unknown): Promise<never> {
  if (error instanceof OAuthError) {
    const id = params['id'] ?? ''
    await audit.record({ action: 'client.refused', outcome: 'failure', reason: error.reason, reference, address, ...(isId('dyn', id) ? { clientId: id } : {}) })
  }
  throw error
}

/** RFC 7591 §2.3: what a trusted issuer stated takes the place of what the client says beside it. */
async function readMetadata(deps: RegistrationDeps, body: Readonly<Record<string, unknown>>): Promise<ClientMetadata> {
  const rules = metadataRules(deps)
  const stated = await deps.statements?.read(body)
  if (stated === undefined) return parseClientMetadata(body, rules)
  const { issuer, softwareId: id, claims, text: statement } = stated
  const metadata = parseClientMetadata({ ...body, ...claims }, rules)
  const { name, redirectUris } = metadata
  // Keys that were not stated are those of one installation.
  const digest = metadataDigest('jwks' in claims || 'jwks_uri' in claims ? metadata : { name, redirectUris })
  return { ...metadata, software: { issuer, id, digest, statement } }
}

/** RFC 7591 §2: a missing `token_endpoint_auth_method` means `client_secret_basic`. */
function metadataRules({ grantTypes }: RegistrationDeps): MetadataRules {
  return { grantTypes: grantTypes.filter((type) => SELF_SERVICE.has(type)), defaultMethod: 'client_secret_basic', allowSecrets: true }
}

async function readJson(request: Request): Promise<Readonly<Record<string, unknown>>> {
  if (!/^application\/json\s*(;|$)/i.test(request.headers.get('content-type') ?? '')) {
    throw new OAuthError('invalid_client_metadata', 'the body must be application/json')
  }
  const body = await readText(request, MAX_BODY_BYTES)
  if (body === undefined) throw new OAuthError('invalid_client_metadata', 'the body is too large')
  try {
    const value: unknown = JSON.parse(body)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // Told below, like every other body that is not an object.
  }
  throw new OAuthError('invalid_client_metadata', 'the body must be a JSON object')
}

interface AnswerSecrets {
  readonly status: 200 | 201
  readonly secret?: string
  readonly registrationToken: string
}

/** RFC 7591 §3.2.1, RFC 7592 §3: everything that was registered, whoever chose it, and the token that manages it. */
function answer(deps: RegistrationDeps, client: RegisteredClient, { status, secret, registrationToken }: AnswerSecrets): Response {
  const { metadata } = client
  const body = {
    client_id: client.id,
    client_id_issued_at: Math.floor(client.createdAt / 1000),
    ...(secret === undefined ? {} : { client_secret: secret }),
    // RFC 7591 §3.2.1: REQUIRED when a secret was issued; 0 means that it does not expire.
    ...(client.secretHash === undefined ? {} : { client_secret_expires_at: 0 }),
    registration_access_token: registrationToken,
    registration_client_uri: `${deps.issuer}/register/${client.id}`,
    client_name: metadata.name,
    application_type: metadata.applicationType,
    redirect_uris: metadata.redirectUris,
    grant_types: metadata.grantTypes,
    response_types: metadata.responseTypes,
    token_endpoint_auth_method: metadata.tokenEndpointAuthMethods[0],
    ...(metadata.jwks === undefined ? {} : { jwks: metadata.jwks }),
    ...(metadata.jwksUri === undefined ? {} : { jwks_uri: metadata.jwksUri }),
    ...(metadata.scope === undefined ? {} : { scope: metadata.scope.join(' ') }),
    ...(metadata.clientUri === undefined ? {} : { client_uri: metadata.clientUri }),
    ...(metadata.softwareId === undefined ? {} : { software_id: metadata.softwareId }),
    ...(metadata.dpopBoundAccessTokens === undefined ? {} : { dpop_bound_access_tokens: metadata.dpopBoundAccessTokens }),
    ...(metadata.requirePushedAuthorizationRequests === undefined ? {} : { require_pushed_authorization_requests: metadata.requirePushedAuthorizationRequests }),
    // RFC 7591 §3.2.1: "its value MUST be returned unmodified in the response".
    ...(metadata.software === undefined ? {} : { software_statement: metadata.software.statement }),
  }
  return Response.json(body, { status, headers: { 'cache-control': 'no-store', pragma: 'no-cache' } })
}

/** What makes two registrations look like one application: its name and where it is redirected, whatever the port. */
function fingerprint(metadata: ClientMetadata): string {
  const places = metadata.redirectUris.map((uri) => (isLoopback(uri) ? new URL(uri).pathname : uri)).sort()
  return createHash('sha256').update(JSON.stringify([metadata.softwareId ?? metadata.name, places])).digest('base64url')
}
