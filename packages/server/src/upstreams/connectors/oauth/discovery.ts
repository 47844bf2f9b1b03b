import * as z from 'zod'
import { OutboundError, type Outbound, type Provenance } from '../../../http/outbound.ts'
import type { Upstream } from '../../upstream.ts'
import { ConnectionRefused, UpstreamUnavailable } from '../connector.ts'

const FRESH_MS = 10 * 60_000
const DOUBT_MS = 60_000
const MAX_BYTES = 128 * 1024

const protectedResource = z.object({
  resource: z.string(),
  authorization_servers: z.array(z.string()).optional(),
  scopes_supported: z.array(z.string()).optional(),
})

const authorizationServer = z.object({
  issuer: z.string(),
  /** RFC 8414 §2: absent where no grant type uses it. */
  authorization_endpoint: z.string().default(''),
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
  dpop_signing_alg_values_supported: z.array(z.string()).optional(),
})

export type ServerMetadata = z.output<typeof authorizationServer>

/** What an upstream says of how it is protected. */
export interface Discovered {
  readonly server: ServerMetadata
  /** The resource indicator to ask for (C-7); absent for an HTTP API that knows nothing of them. */
  readonly resource?: string
  /** Scopes to ask for: those of the challenge, else all that the resource names, else none (C-16). */
  readonly scope: readonly string[]
}

export interface Discovery {
  /** @throws UpstreamUnavailable, or ConnectionRefused when what was found cannot be trusted. */
  discover(upstream: Upstream): Promise<Discovered>
  /** The upstream refused what this node got for it: it may have another authorization server by now (C-10). */
  doubt(upstream: Upstream): void
  /** URLs on the upstream's own host were configured with it; all others were discovered. */
  provenance(upstream: Upstream): (url: URL) => Provenance
}

export function discovery(outbound: Outbound, now: () => number): Discovery {
  const known = new Map<string, { readonly found: Discovered; readonly freshUntil: number }>()
  const doubts = new Map<string, number>()
  const underWay = new Map<string, Promise<Discovered>>()
  const provenance: Discovery['provenance'] = (upstream) => {
    const issuer = configuredIssuer(upstream)
    const endpoint = upstream.connector.type === 'client-credentials' ? upstream.connector.tokenEndpoint : undefined
    const hosts = new Set([upstream.url, issuer ?? [], endpoint ?? []].flat().map((url) => new URL(url).host))
    return (url) => (hosts.has(url.host) ? 'configured' : 'discovered')
  }

  const discoverNow = async (upstream: Upstream): Promise<Discovered> => {
    try {
      const found = await find(outbound, upstream, provenance(upstream))
      known.set(upstream.id, { found, freshUntil: now() + FRESH_MS })
      return found
    } catch (error) {
      const refused = error instanceof OutboundError && (error.reason === 'refused_address' || error.reason === 'refused_scheme')
      if (refused) throw new ConnectionRefused('the upstream or its metadata leads to an address that may not be reached', error)
      if (!(error instanceof OutboundError || error instanceof UpstreamUnavailable)) throw error
      const before = known.get(upstream.id)
      if (before !== undefined) return before.found
      throw new UpstreamUnavailable('the upstream or its authorization server does not answer', { cause: error })
    }
  }

  return {
    provenance,
    discover(upstream) {
      const cached = known.get(upstream.id)
      if (cached !== undefined && now() < cached.freshUntil) return Promise.resolve(cached.found)
      let work = underWay.get(upstream.id)
      if (work === undefined) {
        work = discoverNow(upstream).finally(() => underWay.delete(upstream.id))
        underWay.set(upstream.id, work)
      }
      return work
    },
    doubt(upstream) {
      const cached = known.get(upstream.id)
      // One that refuses everything is not asked anew for every call.
      if (cached === undefined || now() - (doubts.get(upstream.id) ?? 0) < DOUBT_MS) return
      doubts.set(upstream.id, now())
      known.set(upstream.id, { ...cached, freshUntil: 0 })
    },
  }
}

async function find(outbound: Outbound, upstream: Upstream, provenance: (url: URL) => Provenance): Promise<Discovered> {
  const fetchJson = async (url: URL): Promise<unknown> => {
    const answer = await outbound.request(url, { provenance: provenance(url), maxBytes: MAX_BYTES, headers: { accept: 'application/json' } })
    requireCalm(answer.status)
    return answer.status === 200 ? jsonOf(answer.body) : undefined
  }
  const challenge = await challengeOf(outbound, upstream)
  const use: Use = ['client-credentials', 'id-jag', 'token-exchange'].includes(upstream.connector.type) ? 'machine' : 'browser'
  for (const url of resourceMetadataUrls(upstream, challenge.resourceMetadata)) {
    const document = protectedResource.safeParse(await fetchJson(url))
    if (!document.success) continue
    if (!resourceFits(document.data.resource, upstream.url)) throw new ConnectionRefused('the resource metadata is of another resource')
    const server = await firstUsableServer(serversOf(upstream, document.data.authorization_servers ?? []), fetchJson, use)
    return { server, resource: document.data.resource, scope: challenge.scope ?? document.data.scopes_supported ?? [] }
  }
  // The revision of 2025-03-26 had no resource metadata: the upstream's origin was its authorization server.
  const origin = new URL(upstream.url).origin
  // An HTTP API may know nothing of RFC 9728, nor its server of RFC 8707, or of saying that it does PKCE (C-5, which is
  // about MCP servers): there the operator's word for the server is enough.
  const configured = upstream.http === undefined ? undefined : configuredIssuer(upstream)
  if (configured !== undefined) return { server: await firstUsableServer([configured], fetchJson, use === 'browser' ? 'vouched' : use), scope: challenge.scope ?? [] }
  const server = await firstUsableServer(serversOf(upstream, [origin]), fetchJson, use)
  return { server, resource: upstream.url, scope: challenge.scope ?? [] }
}

/** What a body says, or undefined when it is no JSON. */
export function jsonOf(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/**
 * A server in trouble says nothing of what it would have said: to look elsewhere then would find another authorization
 * server, and end every connection with this one.
 */
function requireCalm(status: number): void {
  if (status >= 500 || status === 429) throw new UpstreamUnavailable('the upstream or its authorization server answers with an error')
}

function configuredIssuer({ connector }: Upstream): string | undefined {
  return connector.type === 'oauth' || connector.type === 'client-credentials' || connector.type === 'id-jag' || connector.type === 'token-exchange' ? connector.issuer : undefined
}

/** C-10: where the operator said whose client Lanyard is there, no upstream can name another authorization server. */
function serversOf(upstream: Upstream, named: readonly string[]): readonly string[] {
  const configured = configuredIssuer(upstream)
  if (configured === undefined) return named
  if (!named.includes(configured)) throw new ConnectionRefused('the upstream does not name the authorization server that is configured for it')
  return [configured]
}

/** C-1: what the upstream itself says when it is asked without a token. */
async function challengeOf(outbound: Outbound, upstream: Upstream): Promise<{ resourceMetadata?: string; scope?: readonly string[] }> {
  const ping = { method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }) } as const
  const answer = await outbound.request(upstream.url, { ...(upstream.http === undefined ? ping : {}), provenance: 'configured', maxBytes: MAX_BYTES })
  requireCalm(answer.status)
  const parameters = challengeParameters(answer.status === 401 ? (answer.headers.get('www-authenticate') ?? '') : '')
  const [resourceMetadata, scope] = [parameters.get('resource_metadata'), parameters.get('scope')]
  return {
    ...(resourceMetadata === undefined ? {} : { resourceMetadata }),
    ...(scope === undefined ? {} : { scope: scope.split(' ').filter((name) => name !== '') }),
  }
}

/** RFC 9110 §11.2: quoted strings are read as a whole, so that no parameter is found inside of another one. */
export function challengeParameters(header: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  // A name is tried where it begins alone: a long header without one must not take the square of its length.
  for (const [, name = '', quoted, token] of header.matchAll(/(?<![\w!#$%&'*+.^`|~-])([\w!#$%&'*+.^`|~-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))/g)) {
    const key = name.toLowerCase()
    if (!found.has(key)) found.set(key, quoted === undefined ? (token ?? '') : quoted.replace(/\\(.)/g, '$1'))
  }
  return found
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
  if (!URL.canParse(resource) || resource.includes('#')) return false
  const [named, actual] = [new URL(resource), new URL(upstreamUrl)]
  const above = named.pathname.endsWith('/') ? named.pathname : `${named.pathname}/`
  if (named.username !== '' || named.password !== '' || (named.search !== '' && named.search !== actual.search)) return false
  return named.origin === actual.origin && `${actual.pathname.replace(/\/$/, '')}/`.startsWith(above)
}

/** What a server is wanted for: codes that a browser brings, from a server whose PKCE the operator vouches for or not, or no browser at all. */
type Use = 'browser' | 'vouched' | 'machine'

async function firstUsableServer(issuers: readonly string[], fetchJson: (url: URL) => Promise<unknown>, use: Use): Promise<ServerMetadata> {
  let reason = 'the upstream names no authorization server'
  for (const issuer of issuers) {
    for (const url of serverMetadataUrls(issuer)) {
      const document = authorizationServer.safeParse(await fetchJson(url))
      if (!document.success) continue
      const problem = serverProblem(document.data, issuer, use)
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

function serverProblem(server: ServerMetadata, issuer: string, use: Use): string | undefined {
  // C-3, RFC 8414 §3.3: identical, without any normalisation.
  if (server.issuer !== issuer) return 'the authorization server metadata is of another issuer'
  // C-5: a server that does not say that it does PKCE may ignore it.
  if (use === 'browser' && server.code_challenge_methods_supported?.includes('S256') !== true) return 'the authorization server does not support S256'
  const endpoints = [issuer, ...(use === 'machine' ? [] : [server.authorization_endpoint]), server.token_endpoint, server.registration_endpoint, server.revocation_endpoint]
  const plain = issuer.startsWith('http:')
  return endpoints.every((url) => url === undefined || isSecure(url, plain)) ? undefined : 'an endpoint of the authorization server is not https'
}

/** C-20: no javascript:, data: or other scheme is ever opened in a browser; codes go over https, or stay on loopback. */
function isSecure(text: string, plainAllowed: boolean): boolean {
  if (!URL.canParse(text) || text.includes('#')) return false
  const { protocol, hostname, username, password } = new URL(text)
  if (username !== '' || password !== '') return false
  return protocol === 'https:' || (plainAllowed && protocol === 'http:' && /^(?:127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(hostname))
}
