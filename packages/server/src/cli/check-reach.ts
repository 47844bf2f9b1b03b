// Checks what the gateway must reach: identity providers and upstreams.
import type { Config } from '../config/load.ts'
import { providerSettings, upstreamSettings } from '../config/settings.ts'
import { OutboundError, type Outbound, type OutboundResponse } from '../http/outbound.ts'
import { isIssuer } from '../identity/entra/tenant.ts'
import { providerMetadata } from '../identity/providers/oidc-metadata.ts'
import type { ProviderSettings } from '../identity/providers/index.ts'
import { ConnectionRefused } from '../upstreams/connectors/connector.ts'
import { discovery, type ServerMetadata } from '../upstreams/connectors/oauth/discovery.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

/** What a client of the present revision sends first. */
export const INITIALIZE = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'lanyard-check', version: '1' } },
})

export const MCP_HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }

export async function checkProviders(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  return (await Promise.all(providerSettings(config).map((provider) => checkProvider(provider, outbound)))).flat()
}

async function checkProvider(provider: ProviderSettings, outbound: Outbound): Promise<readonly Finding[]> {
  const check = `identity provider ${provider.id}`
  try {
    const server = await providerMetadata(provider.issuer, outbound, Date.now, provider.type === 'entra-id' ? isIssuer(provider.entra) : undefined).get()
    if (server.authorization_endpoint === undefined || server.token_endpoint === undefined) {
      return [failed(check, 'its metadata name no authorization or token endpoint', 'this is no OpenID provider that people can sign in at: check its issuer')]
    }
    const offline = provider.offlineAccess === 'scope' && provider.scopes.includes('offline_access') && server.scopes_supported?.includes('offline_access') === false
    return [
      ok(check, `${provider.issuer} answers`),
      ...(offline ? [warning(check, 'it does not name the scope offline_access, so it may give no refresh token and is not asked again whether people may go on', 'set offlineAccess for this provider (docs/configuration.md)')] : []),
    ]
  } catch (error) {
    return [failed(check, `no metadata at ${provider.issuer.replace(/\/$/, '')}/.well-known/openid-configuration: ${whyOf(error)}`, `${adviceFor(error)}; the issuer must be written exactly as the provider writes it`)]
  }
}

export async function checkUpstreams(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  return (await Promise.all(upstreamSettings(config).filter(({ http }) => http === undefined).map((upstream) => checkUpstream(upstream, outbound)))).flat()
}

async function checkUpstream(upstream: Upstream, outbound: Outbound): Promise<readonly Finding[]> {
  const check = `upstream ${upstream.id}`
  let answer: OutboundResponse
  try {
    answer = await outbound.request(upstream.url, { method: 'POST', provenance: 'configured', headers: MCP_HEADERS, body: INITIALIZE })
  } catch (error) {
    return [failed(check, `${upstream.url} cannot be reached: ${whyOf(error)}`, adviceFor(error))]
  }
  const found = judge(check, upstream, answer.status)
  return upstream.connector.type === 'oauth' && found.status !== 'failed' ? [found, await checkAuthorization(check, upstream, outbound)] : [found]
}

function judge(check: string, { connector, url }: Upstream, status: number): Finding {
  const guarded = status === 401 || status === 403
  if (status === 404 || status === 405) return failed(check, `answers ${status}: there is no MCP endpoint at ${url}`, 'check the path of its url')
  if (status >= 500) return failed(check, `answers ${status}`, 'look at the upstream itself')
  if (status >= 300 && status < 400) return failed(check, `answers ${status}: redirects are not followed`, 'write the address that it redirects to')
  if (guarded && connector.type === 'none') return failed(check, `answers ${status} without a token, and the connector "none" sends none`, 'use the connector "oauth" or "api-key"')
  if (guarded) return ok(check, `reached; without a token it answers ${status}, as it should`)
  if (connector.type === 'none') return status < 300 ? ok(check, 'reached; it answers without a token') : warning(check, `reached; it answers ${status} to initialize`)
  return warning(check, `answers ${status} without a token, although its connector is "${connector.type}"`, 'see whether it is protected at all')
}

/** The same discovery that connecting an account starts with. */
export async function checkAuthorization(check: string, upstream: Upstream, outbound: Outbound): Promise<Finding> {
  try {
    const { server } = await discovery(outbound, Date.now).discover(upstream)
    const way = wayOfRegistration(upstream, server)
    return way === undefined
      ? failed(check, `its authorization server ${server.issuer} registers no clients`, 'register Lanyard there by hand, then set clientId and clientSecret of the connector')
      : ok(check, `its authorization server is ${server.issuer}; Lanyard is known there by ${way}`)
  } catch (error) {
    const why = error instanceof ConnectionRefused ? error.reason : whyOf(error)
    return failed(check, `no authorization server was found: ${why}`, 'its protected resource metadata (RFC 9728) must name one with metadata (RFC 8414)')
  }
}

function wayOfRegistration({ connector }: Upstream, server: ServerMetadata): string | undefined {
  if ((connector.type === 'oauth' || connector.type === 'client-credentials') && connector.clientId !== undefined) return 'its configured clientId'
  if (server.client_id_metadata_document_supported === true) return 'its metadata document'
  return server.registration_endpoint === undefined ? undefined : 'dynamic registration'
}

const REASONS: Readonly<Record<string, string>> = {
  refused_address: 'its address is in a private network that "outbound.allow" does not name, or it is plain http',
  refused_scheme: 'its address is neither http nor https',
  too_large: 'its answer is too large',
  timeout: 'it does not answer in time',
  unreachable: 'nothing answers there',
  protocol: 'its answer is no HTTP, or its certificate is not trusted',
}

/** Why a request was not answered, in words. */
export function whyOf(error: unknown): string {
  for (let current: unknown = error; current instanceof Error; current = current.cause) {
    if (current instanceof OutboundError) return REASONS[current.reason] ?? current.reason
    if (current.cause === undefined) return current.message
  }
  return 'unknown error'
}

/** What to do about it. */
export function adviceFor(error: unknown): string {
  for (let current: unknown = error; current instanceof Error; current = current.cause) {
    if (current instanceof OutboundError && current.reason === 'refused_address') return 'add its network to outbound.allow if it is yours'
  }
  return 'see whether it runs and can be reached from this machine'
}
