import * as z from 'zod'
import { OutboundError, type Outbound, type Provenance } from '../../../http/outbound.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, UpstreamUnavailable } from '../connector.ts'

const FRESH_MS = 10 * 60_000
const MAX_BYTES = 128 * 1024

const protectedResource = z.object({
  resource: z.string(),
  authorization_servers: z.array(z.string()).optional(),
  scopes_supported: z.array(z.string()).optional(),
})

const authorizationServer = z.object({
  issuer: z.string(),
  authorization_endpoint: z.string(),
  token_endpoint: z.string(),
  registration_endpoint: z.string().optional(),
  revocation_endpoint: z.string().optional(),
  jwks_uri: z.string().optional(),
  scopes_supported: z.array(z.string()).optional(),
  token_endpoint_auth_methods_supported: z.array(z.string()).optional(),
  code_challenge_methods_supported: z.array(z.string()).optional(),
  authorization_response_iss_parameter_supported: z.boolean().optional(),
  client_id_metadata_document_supported: z.boolean().optional(),
  id_token_signing_alg_values_supported: z.array(z.string()).optional(),
})

export type ServerMetadata = z.output<typeof authorizationServer>

/** What an upstream says of how it is protected. */
export interface Discovered {
  readonly server: ServerMetadata
  /** The resource indicator to ask for (C-7). */
  readonly resource: string
  /** Scopes to ask for: those of the challenge, else all that the resource names, else none (C-16). */
  readonly scope: readonly string[]
}

export interface Discovery {
  /** @throws UpstreamUnavailable, or ConnectionRefused when what was found cannot be trusted. */
  discover(upstream: Upstream): Promise<Discovered>
  /** URLs on the upstream's own host were configured with it; all others were discovered. */
  provenance(upstream: Upstream): (url: URL) => Provenance
}

export function discovery(outbound: Outbound, now: () => number): Discovery {
  const known = new Map<string, { readonly found: Discovered; readonly at: number }>()
  const provenance: Discovery['provenance'] = (upstream) => (url) => (url.host === new URL(upstream.url).host ? 'configured' : 'discovered')

  const fetchJson = async (upstream: Upstream, url: URL): Promise<unknown> => {
    const answer = await outbound.request(url, { provenance: provenance(upstream)(url), maxBytes: MAX_BYTES, headers: { accept: 'application/json' } })
    if (answer.status !== 200) return undefined
    try {
      return JSON.parse(answer.body)
    } catch {
      return undefined
    }
  }

  const find = async (upstream: Upstream): Promise<Discovered> => {
    const challenge = await challengeOf(outbound, upstream)
    for (const url of resourceMetadataUrls(upstream, challenge.resourceMetadata)) {
      const document = protectedResource.safeParse(await fetchJson(upstream, url))
      if (!document.success) continue
      if (!resourceFits(document.data.resource, upstream.url)) throw new ConnectionRefused('the resource metadata is of another resource')
      const server = await firstUsableServer(document.data.authorization_servers ?? [], (url_) => fetchJson(upstream, url_))
      return { server, resource: document.data.resource, scope: challenge.scope ?? document.data.scopes_supported ?? [] }
    }
    // The revision of 2025-03-26 had no resource metadata: the upstream's origin was its authorization server.
    const server = await firstUsableServer([new URL(upstream.url).origin], (url) => fetchJson(upstream, url))
    return { server, resource: upstream.url, scope: challenge.scope ?? [] }
  }

  return {
    provenance,
    async discover(upstream) {
      const cached = known.get(upstream.id)
      if (cached !== undefined && now() - cached.at < FRESH_MS) return cached.found
      try {
        const found = await find(upstream)
        known.set(upstream.id, { found, at: now() })
        return found
      } catch (error) {
        if (!(error instanceof OutboundError)) throw error
        if (cached !== undefined) return cached.found
        throw new UpstreamUnavailable('the upstream or its authorization server does not answer', { cause: error })
      }
    },
  }
}

/** C-1: what the upstream itself says when it is asked without a token. */
async function challengeOf(outbound: Outbound, upstream: Upstream): Promise<{ resourceMetadata?: string; scope?: readonly string[] }> {
  const answer = await outbound.request(upstream.url, {
    method: 'POST',
    provenance: 'configured',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
    maxBytes: MAX_BYTES,
  })
  const header = answer.status === 401 ? (answer.headers.get('www-authenticate') ?? '') : ''
  const parameter = (name: string): string | undefined => new RegExp(`\\b${name}="([^"]*)"`, 'i').exec(header)?.[1]
  const [resourceMetadata, scope] = [parameter('resource_metadata'), parameter('scope')]
  return {
    ...(resourceMetadata === undefined ? {} : { resourceMetadata }),
    ...(scope === undefined ? {} : { scope: scope.split(' ').filter((name) => name !== '') }),
  }
}

/** RFC 9728 §3.1, §5.1: the address of the challenge first, then inserted before the path, then at the root. */
function resourceMetadataUrls(upstream: Upstream, named: string | undefined): readonly URL[] {
  const { origin, pathname } = new URL(upstream.url)
  const path = pathname.replace(/\/$/, '')
  const inserted = new URL(`${origin}/.well-known/oauth-protected-resource${path}`)
  const root = new URL(`${origin}/.well-known/oauth-protected-resource`)
  return [...(named !== undefined && URL.canParse(named) ? [new URL(named)] : []), inserted, root]
}

/** C-4, RFC 9728 §3.3: the resource is the upstream, or a path above it at the same origin. */
function resourceFits(resource: string, upstreamUrl: string): boolean {
  if (!URL.canParse(resource)) return false
  const [named, actual] = [new URL(resource), new URL(upstreamUrl)]
  const above = named.pathname.endsWith('/') ? named.pathname : `${named.pathname}/`
  return named.origin === actual.origin && named.hash === '' && `${actual.pathname.replace(/\/$/, '')}/`.startsWith(above)
}

async function firstUsableServer(issuers: readonly string[], fetchJson: (url: URL) => Promise<unknown>): Promise<ServerMetadata> {
  let reason = 'the upstream names no authorization server'
  for (const issuer of issuers) {
    for (const url of serverMetadataUrls(issuer)) {
      const document = authorizationServer.safeParse(await fetchJson(url))
      if (!document.success) continue
      const problem = serverProblem(document.data, issuer)
      if (problem === undefined) return document.data
      reason = problem
    }
  }
  throw new ConnectionRefused(reason)
}

/** C-2: RFC 8414 inserted, OpenID Connect inserted, OpenID Connect appended. */
function serverMetadataUrls(issuer: string): readonly URL[] {
  if (!URL.canParse(issuer)) return []
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/$/, '')
  const urls = [`${origin}/.well-known/oauth-authorization-server${path}`, `${origin}/.well-known/openid-configuration${path}`]
  if (path !== '') urls.push(`${origin}${path}/.well-known/openid-configuration`)
  return urls.map((url) => new URL(url))
}

function serverProblem(server: ServerMetadata, issuer: string): string | undefined {
  // C-3, RFC 8414 §3.3: identical, without any normalisation.
  if (server.issuer !== issuer) return 'the authorization server metadata is of another issuer'
  // C-5: a server that does not say that it does PKCE may ignore it.
  if (server.code_challenge_methods_supported?.includes('S256') !== true) return 'the authorization server does not support S256'
  // C-20: no javascript:, data: or other scheme is ever opened in a browser, and codes go over https.
  const secure = (url: string): boolean => URL.canParse(url) && (new URL(url).protocol === 'https:' || (new URL(url).protocol === 'http:' && new URL(issuer).protocol === 'http:'))
  const endpoints = [server.authorization_endpoint, server.token_endpoint, server.registration_endpoint, server.revocation_endpoint]
  return endpoints.every((url) => url === undefined || secure(url)) ? undefined : 'an endpoint of the authorization server is not https'
}
