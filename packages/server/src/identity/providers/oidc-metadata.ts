import * as oauth from 'oauth4webapi'
import { OutboundError, type Outbound, type OutboundFetch } from '../../http/outbound.ts'
import { ProviderUnavailable } from './provider.ts'

const FRESH_MS = 3600_000
/** While a provider does not answer, it is asked again this often at most: nothing piles up behind it. */
const COOL_DOWN_MS = 3000
const TIMEOUT_MS = 8000

/** An identity provider's metadata, found when first needed and kept while the provider does not answer. */
export interface ProviderMetadata {
  /** @throws ProviderUnavailable */
  get(): Promise<oauth.AuthorizationServer>
  /** What oauth4webapi needs to reach this provider and no other. */
  readonly options: { [oauth.customFetch]: OutboundFetch; [oauth.allowInsecureRequests]: boolean }
}

export function providerMetadata(issuer: string, outbound: Outbound, now: () => number): ProviderMetadata {
  const url = new URL(issuer)
  // What the operator wrote names a host; endpoints elsewhere were discovered.
  const send = outbound.fetch((target) => (target.host === url.host ? 'configured' : 'discovered'))
  const options = { [oauth.customFetch]: send, [oauth.allowInsecureRequests]: url.protocol === 'http:' }
  let known: { readonly server: oauth.AuthorizationServer; readonly at: number } | undefined
  let failedAt = 0
  let underWay: Promise<oauth.AuthorizationServer> | undefined

  const discover = async (): Promise<oauth.AuthorizationServer> => {
    try {
      const response = await oauth.discoveryRequest(url, { ...options, algorithm: 'oidc', signal: AbortSignal.timeout(TIMEOUT_MS) })
      // OpenID Connect Discovery §4.3: the issuer in the document is the one that was asked.
      const server = await oauth.processDiscoveryResponse(url, response)
      checkEndpoints(server, url.protocol)
      known = { server, at: now() }
      return server
    } catch (error) {
      failedAt = now()
      if (known !== undefined) return known.server
      throw new ProviderUnavailable(`discovery: ${reasonOf(error)}`, { cause: error })
    }
  }

  return {
    options,
    get() {
      if (known !== undefined && now() - known.at < FRESH_MS) return Promise.resolve(known.server)
      if (now() - failedAt < COOL_DOWN_MS) {
        return known === undefined ? Promise.reject(new ProviderUnavailable('the identity provider did not answer a moment ago')) : Promise.resolve(known.server)
      }
      underWay ??= discover().finally(() => {
        underWay = undefined
      })
      return underWay
    },
  }
}

const REQUIRED = ['authorization_endpoint', 'token_endpoint', 'jwks_uri'] as const

/** OpenID Connect Discovery §3: where browsers, codes and secrets go. Behind an https issuer nothing is plain http. */
function checkEndpoints(server: oauth.AuthorizationServer, protocol: string): void {
  for (const name of [...REQUIRED, 'userinfo_endpoint'] as const) {
    const value: unknown = server[name]
    if (value === undefined && name === 'userinfo_endpoint') continue
    const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined
    if (url?.protocol !== 'https:' && url?.protocol !== protocol) throw new ProviderUnavailable(`${name} is no address`)
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof OutboundError) return error.reason
  if (error instanceof ProviderUnavailable) return error.message
  // The library's messages are constants: they name members of the document, never values.
  return error instanceof oauth.OperationProcessingError ? error.message : 'not a provider configuration'
}
