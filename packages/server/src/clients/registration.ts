import { createHash } from 'node:crypto'
import type { Recorder } from '../audit/event.ts'
import { addressBucket } from '../http/address.ts'
import { readText } from '../http/params.ts'
import { requireRate, type RateLimit } from '../http/rate-limit.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { OAuthError } from '../oauth/error.ts'
import { isLoopback } from '../oauth/redirect-uri.ts'
import { equalHashes, hash, newId, newSecret } from '../oauth/secret.ts'
import type { ClientStore, RegisteredClient } from './client-store.ts'
import { parseClientMetadata, type ClientMetadata } from './metadata.ts'

const MAX_BODY_BYTES = 64 * 1024
const HOUR_MS = 3600_000
/** A person may take this long from registration to consent. */
const ABANDONED_MS = 30 * 60_000
const MAX_ABANDONED = 20

export interface RegistrationDeps {
  readonly issuer: string
  readonly store: ClientStore
  readonly audit: Recorder
  readonly grantTypes: readonly string[]
  readonly registrationsPerHour: number
  /** A guard against floods from one network; never what a person meets. */
  readonly flood: RateLimit
  readonly now: () => number
}

/** Dynamic client registration (RFC 7591) and its management (RFC 7592). */
export function registrationRoutes(deps: RegistrationDeps): readonly Route[] {
  const route = (method: Route['method'], path: string, respond: Route['respond']): Route => ({ method, path, access: 'public', errors: 'oauth', cors: true, respond })
  return [
    route('POST', '/register', (request, context) => register(deps, request, context)),
    route('GET', '/register/:id', async (request, context) => answer(deps, await authorizedClient(deps, request, context), { status: 200 })),
    route('PUT', '/register/:id', (request, context) => replace(deps, request, context)),
    route('DELETE', '/register/:id', (request, context) => remove(deps, request, context)),
  ]
}

async function register(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<Response> {
  requireRate(deps.flood, addressBucket(context.address))
  const metadata = await readMetadata(deps, request)
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
  const event = { outcome: 'success', clientId: client.id, reference: context.reference, address: context.address, detail: { name: metadata.name } } as const
  const added = await deps.store.addClient(client, limits, { action: 'client.registered', ...event })
  if (!added) {
    await deps.audit.record({ action: 'client.refused', ...event, outcome: 'failure', reason: 'too many unused registrations of this application' })
    throw new OAuthError('too_many_requests', 'this application registered too often without being used; try again later', { retryAfter: 3600 })
  }
  return answer(deps, client, { status: 201, registrationToken, ...(secret === undefined ? {} : { secret }) })
}

/** RFC 7592 §2.2: a full replacement, which must name the client. */
async function replace(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<Response> {
  const client = await authorizedClient(deps, request, context)
  const body = await readJson(request)
  if (body['client_id'] !== client.id) throw new OAuthError('invalid_client_metadata', 'client_id must be that of this registration')
  const given = body['client_secret']
  const sameSecret = given === undefined || (typeof given === 'string' && client.secretHash !== undefined && equalHashes(hash(given), client.secretHash))
  if (!sameSecret) throw new OAuthError('invalid_client_metadata', 'client_secret cannot be chosen by the client')
  const metadata = parseClientMetadata(body, { grantTypes: deps.grantTypes, defaultMethod: 'client_secret_basic', allowSecrets: true })
  const needsSecret = metadata.tokenEndpointAuthMethods.some((method) => method.startsWith('client_secret'))
  const secret = needsSecret && client.secretHash === undefined ? newSecret('lyd_cs') : undefined
  const secretHash = needsSecret ? (secret === undefined ? client.secretHash : hash(secret)) : undefined
  const { secretHash: _old, ...rest } = client
  const updated: RegisteredClient = { ...rest, metadata, fingerprint: fingerprint(metadata), ...(secretHash === undefined ? {} : { secretHash }) }
  const stored = await deps.store.updateClient(updated, { action: 'client.updated', outcome: 'success', clientId: client.id, reference: context.reference })
  if (!stored) throw invalidToken()
  return answer(deps, updated, { status: 200, ...(secret === undefined ? {} : { secret }) })
}

async function remove(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<Response> {
  const client = await authorizedClient(deps, request, context)
  await deps.store.deleteClient(client.id, deps.now(), { action: 'client.deleted', outcome: 'success', clientId: client.id, reference: context.reference })
  return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
}

/** RFC 7592 §2.1: an unknown client and a wrong registration access token answer alike. */
async function authorizedClient(deps: RegistrationDeps, request: Request, context: RequestContext): Promise<RegisteredClient> {
  const token = /^Bearer +(\S+)$/i.exec(request.headers.get('authorization') ?? '')?.[1]
  const client = await deps.store.findClient(context.params['id'] ?? '')
  if (token === undefined || client === undefined || !equalHashes(hash(token), client.registrationTokenHash)) throw invalidToken()
  return client
}

function invalidToken(): OAuthError {
  return new OAuthError('invalid_token', 'the registration access token is not valid', { challenge: 'Bearer' })
}

async function readMetadata(deps: RegistrationDeps, request: Request): Promise<ClientMetadata> {
  // RFC 7591 §2: a missing token_endpoint_auth_method means client_secret_basic.
  return parseClientMetadata(await readJson(request), { grantTypes: deps.grantTypes, defaultMethod: 'client_secret_basic', allowSecrets: true })
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
  readonly registrationToken?: string
}

/** RFC 7591 §3.2.1: everything that was registered, as it was registered, whoever chose it. */
function answer(deps: RegistrationDeps, client: RegisteredClient, { status, secret, registrationToken }: AnswerSecrets): Response {
  const { metadata } = client
  const body = {
    client_id: client.id,
    client_id_issued_at: Math.floor(client.createdAt / 1000),
    ...(secret === undefined ? {} : { client_secret: secret }),
    // RFC 7591 §3.2.1: REQUIRED when a secret was issued; 0 means that it does not expire.
    ...(client.secretHash === undefined ? {} : { client_secret_expires_at: 0 }),
    ...(registrationToken === undefined ? {} : { registration_access_token: registrationToken }),
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
  }
  return Response.json(body, { status, headers: { 'cache-control': 'no-store', pragma: 'no-cache' } })
}

/** What makes two registrations look like one application: its name and where it is redirected, whatever the port. */
function fingerprint(metadata: ClientMetadata): string {
  const places = metadata.redirectUris.map((uri) => (isLoopback(uri) ? new URL(uri).pathname : uri)).sort()
  return createHash('sha256').update(JSON.stringify([metadata.softwareId ?? metadata.name, places])).digest('base64url')
}
