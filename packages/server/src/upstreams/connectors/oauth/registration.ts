import * as z from 'zod'
import { OutboundError, type Outbound } from '../../../http/outbound.ts'
import type { Sealer } from '../../../keys/seal.ts'
import type { ConnectionStore } from '../../connection-store.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, UpstreamUnavailable } from '../connector.ts'
import type { Discovered, Discovery } from './discovery.ts'

/** What Lanyard is at an upstream's authorization server. */
export interface UpstreamClient {
  readonly clientId: string
  readonly clientSecret?: string
  readonly method: 'none' | 'client_secret_basic' | 'client_secret_post'
}

export interface RegistrationDeps {
  readonly issuer: string
  readonly outbound: Outbound
  readonly sealer: Sealer
  readonly store: ConnectionStore
  readonly discovery: Discovery
  readonly now: () => number
}

const answer = z.object({ client_id: z.string().min(1), client_secret: z.string().optional(), token_endpoint_auth_method: z.string().optional() })

/** One redirect URI per upstream: an answer for one can never be taken for another's. */
export function connectionRedirectUri(issuer: string, upstreamId: string): string {
  return `${issuer}/connections/${upstreamId}/callback`
}

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
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'web',
  }
}

/** C-11: configured, else by metadata document, else by registration; bound to the issuer it was made at (C-10). */
export async function upstreamClient(deps: RegistrationDeps, upstream: Upstream, { server }: Discovered): Promise<UpstreamClient> {
  const { connector } = upstream
  if (connector.type === 'oauth' && connector.clientId !== undefined) {
    return withMethod(connector.clientId, connector.clientSecret, server.token_endpoint_auth_methods_supported)
  }
  // A client identifier of this kind is an https address that the server can fetch.
  if (server.client_id_metadata_document_supported === true && deps.issuer.startsWith('https:')) {
    return { clientId: clientDocumentUrl(deps.issuer, upstream.id), method: 'none' }
  }
  const row = ['upstream_clients', server.issuer, upstream.id]
  const stored = await deps.store.findClient(server.issuer, upstream.id)
  if (stored !== undefined) return JSON.parse(deps.sealer.open(stored, row)) as UpstreamClient
  const registered = await register(deps, upstream, server)
  // Of two nodes that registered at once, one registration stands for both.
  const standing = await deps.store.addClient(server.issuer, upstream.id, deps.sealer.seal(JSON.stringify(registered), row), deps.now())
  return JSON.parse(deps.sealer.open(standing, row)) as UpstreamClient
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
  const parsed = response.status < 300 ? answer.safeParse(JSON.parse(response.body)) : undefined
  if (parsed?.data === undefined) throw new ConnectionRefused(`the authorization server refused to register Lanyard (${response.status})`)
  const { client_id: clientId, client_secret: secret, token_endpoint_auth_method: chosen } = parsed.data
  return withMethod(clientId, secret, chosen === undefined ? methods : [chosen])
}

function withMethod(clientId: string, secret: string | undefined, methods: readonly string[] | undefined): UpstreamClient {
  if (secret === undefined) return { clientId, method: 'none' }
  const post = methods !== undefined && !methods.includes('client_secret_basic') && methods.includes('client_secret_post')
  return { clientId, clientSecret: secret, method: post ? 'client_secret_post' : 'client_secret_basic' }
}
