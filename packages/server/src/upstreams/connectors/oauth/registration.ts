import * as z from 'zod'
import type { ChangeFeed } from '../../../audit/change.ts'
import type { Recorder } from '../../../audit/event.ts'
import { OutboundError, type Outbound } from '../../../http/outbound.ts'
import type { Sealer } from '../../../keys/seal.ts'
import type { Sealed } from '../../../oauth/secret.ts'
import type { ConnectionStore } from '../../connection-store.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, errorCode, UpstreamUnavailable } from '../connector.ts'
import { jsonOf, type Discovered, type Discovery } from './discovery.ts'

/** What Lanyard is at an upstream's authorization server. */
export interface UpstreamClient {
  readonly clientId: string
  readonly clientSecret?: string
  readonly method: 'none' | 'client_secret_basic' | 'client_secret_post'
  /** Milliseconds since the epoch, when the secret ends. */
  readonly expiresAt?: number
  /** The stored registration that it comes from, when it registered itself. */
  readonly registration?: Sealed
}

/** What every connector stands on that is a client of upstreams' authorization servers. */
export interface ClientDeps {
  readonly outbound: Outbound
  readonly sealer: Sealer
  readonly store: ConnectionStore
  readonly audit: Recorder
  readonly feed: ChangeFeed
  readonly now: () => number
}

export interface RegistrationDeps extends Pick<ClientDeps, 'outbound' | 'sealer' | 'store' | 'now'> {
  readonly issuer: string
  readonly discovery: Discovery
}

const answer = z.object({ client_id: z.string().min(1), client_secret: z.string().optional(), token_endpoint_auth_method: z.string().optional(), client_secret_expires_at: z.number().optional() })
const refusal = z.object({ error: z.string() })

/** One redirect URI per upstream: an answer for one can never be taken for another's. */
export function connectionRedirectUri(issuer: string, upstreamId: string): string {
  return `${issuer}/connections/${upstreamId}/callback`
}

/** Where the document is, and what Lanyard is called by whoever knows it by that. */
export function clientDocumentUrl(issuer: string, upstreamId: string): string {
  return `${issuer}/connections/${upstreamId}/client.json`
}

/** C-12: the metadata document that Lanyard hosts as a client, one per upstream. */
export function clientDocument(issuer: string, upstream: Upstream): Readonly<Record<string, unknown>> {
  return {
    client_id: clientDocumentUrl(issuer, upstream.id),
    client_name: 'Lanyard',
    client_uri: issuer,
    redirect_uris: [connectionRedirectUri(issuer, upstream.id)],
    grant_types: ['authorization_code', 'refresh_token', ...(upstream.connector.type === 'id-jag' ? ['urn:ietf:params:oauth:grant-type:jwt-bearer'] : [])],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'web',
  }
}

/** C-11: configured, else by metadata document, else by registration; bound to the issuer it was made at (C-10). */
export async function upstreamClient(deps: RegistrationDeps, upstream: Upstream, { server }: Discovered): Promise<UpstreamClient> {
  const { connector } = upstream
  if (connector.type === 'oauth' && connector.clientId !== undefined) {
    if (connector.issuer === undefined && connector.clientSecret !== undefined) await requirePinnedIssuer(deps, upstream, connector.clientId, server.issuer)
    return withMethod(connector.clientId, connector.clientSecret, server.token_endpoint_auth_methods_supported)
  }
  // A client identifier of this kind is an https address that the server can fetch.
  if (server.client_id_metadata_document_supported === true && deps.issuer.startsWith('https:')) {
    return { clientId: clientDocumentUrl(deps.issuer, upstream.id), method: 'none' }
  }
  const row = ['upstream_clients', server.issuer, upstream.id]
  const opened = (registration: Sealed): UpstreamClient => ({ ...(JSON.parse(deps.sealer.open(registration, row)) as UpstreamClient), registration })
  const stored = await deps.store.findClient(server.issuer, upstream.id)
  if (stored !== undefined) {
    const client = opened(stored)
    if (client.expiresAt === undefined || client.expiresAt > deps.now()) return client
    await deps.store.forgetClient(server.issuer, upstream.id, stored)
  }
  const registered = await register(deps, upstream, server)
  // Of two nodes that registered at once, one registration stands for both.
  return opened(await deps.store.addClient(server.issuer, upstream.id, deps.sealer.seal(JSON.stringify(registered), row), deps.now()))
}

/**
 * C-10: a configured secret goes to the first authorization server that it was used with and to no other, so that an
 * upstream that changes hands cannot ask for it by naming a server of its own.
 */
async function requirePinnedIssuer({ store, sealer, now }: Pick<RegistrationDeps, 'store' | 'sealer' | 'now'>, upstream: Upstream, clientId: string, issuer: string): Promise<void> {
  const pin = `configured ${clientId}`
  const row = ['upstream_clients', pin, upstream.id]
  const standing = (await store.findClient(pin, upstream.id)) ?? (await store.addClient(pin, upstream.id, sealer.seal(issuer, row), now()))
  if (sealer.open(standing, row) !== issuer) throw new ConnectionRefused('the upstream names another authorization server than before: configure the issuer that clientId and clientSecret are for')
}

/** The authorization server that a configured client is for: the one that is configured with it, else the first that was found (C-10). */
export async function serverOfClient(deps: Pick<RegistrationDeps, 'store' | 'sealer' | 'now'>, found: Pick<Discovery, 'discover'>, upstream: Upstream, { clientId, issuer }: { readonly clientId: string; readonly issuer?: string }): Promise<Discovered> {
  const discovered = await found.discover(upstream)
  if (issuer === undefined) await requirePinnedIssuer(deps, upstream, clientId, discovered.server.issuer)
  return discovered
}

async function register(deps: RegistrationDeps, upstream: Upstream, server: Discovered['server']): Promise<UpstreamClient> {
  if (server.registration_endpoint === undefined) {
    throw new ConnectionRefused('the authorization server registers no clients: configure clientId and clientSecret for this upstream')
  }
  const url = new URL(server.registration_endpoint)
  const { client_id: _document, ...document } = clientDocument(deps.issuer, upstream)
  const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
  const method = methods.includes('none') ? 'none' : (['client_secret_basic', 'client_secret_post'] as const).find((name) => methods.includes(name))
  // C-13: "web" for a hosted callback; one on loopback is that of a native application.
  const applicationType = deps.issuer.startsWith('https:') ? 'web' : 'native'
  const response = await deps.outbound
    .request(url, {
      method: 'POST',
      provenance: deps.discovery.provenance(upstream)(url),
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...document, application_type: applicationType, token_endpoint_auth_method: method ?? 'client_secret_basic' }),
    })
    .catch((error: unknown) => {
      throw error instanceof OutboundError ? new UpstreamUnavailable('the authorization server does not answer', { cause: error }) : error
    })
  if (response.status >= 500 || response.status === 429) throw new UpstreamUnavailable('the authorization server answers with an error')
  const body = jsonOf(response.body)
  const parsed = response.status < 300 ? answer.safeParse(body).data : undefined
  if (parsed === undefined) {
    // C-13: a refusal is told, not guessed around.
    const said = refusal.safeParse(body).data
    throw new ConnectionRefused(`the authorization server refused to register Lanyard (${response.status}${said === undefined ? '' : ` ${errorCode(said.error)}`})`)
  }
  const { client_id: clientId, client_secret: secret, token_endpoint_auth_method: chosen, client_secret_expires_at: end } = parsed
  const client = withMethod(clientId, secret, chosen === undefined ? methods : [chosen])
  // RFC 7591 §3.2.1: seconds, and 0 for a secret that does not end.
  return client.method === 'none' || end === undefined || end === 0 ? client : { ...client, expiresAt: end * 1000 }
}

/** RFC 7591 §2: how it authenticates, of the ways that the server knows. */
export function withMethod(clientId: string, secret: string | undefined, methods: readonly string[] | undefined): UpstreamClient {
  if (secret === undefined || (methods?.length === 1 && methods[0] === 'none')) return { clientId, method: 'none' }
  const post = methods !== undefined && !methods.includes('client_secret_basic') && methods.includes('client_secret_post')
  return { clientId, clientSecret: secret, method: post ? 'client_secret_post' : 'client_secret_basic' }
}
