import * as oauth from 'oauth4webapi'
import { OutboundError, type Outbound, type OutboundFetch } from '../../http/outbound.ts'
import { ProviderUnavailable } from './provider.ts'

const FRESH_MS = 3600_000
/** While a provider does not answer, it is asked again this often at most: nothing piles up behind it. */
const COOL_DOWN_MS = 3000
const TIMEOUT_MS = 8000
/** A browser is sent to a provider that answered this recently; else the provider is asked first. */
const ANSWERED_MS = 2000

/** An identity provider's metadata, found when first needed and kept while the provider does not answer. */
export interface ProviderMetadata {
  /** @throws ProviderUnavailable when it never answered */
  get(): Promise<oauth.AuthorizationServer>
  /** The same of a provider that is up: where it is down, a page of ours says so, and not the browser's. @throws ProviderUnavailable */
  reach(): Promise<oauth.AuthorizationServer>
  /** What oauth4webapi needs to reach this provider and no other. */
  readonly options: { [oauth.customFetch]: OutboundFetch; [oauth.allowInsecureRequests]: boolean }
}

/** @param isIssuer whether the document may name an issuer other than the address that it was asked at */
export function providerMetadata(issuer: string, outbound: Outbound, now: () => number, isIssuer?: (named: string) => boolean): ProviderMetadata {
  const url = new URL(issuer)
  const contact = { answeredAt: 0, failedAt: 0 }
  const options = { [oauth.customFetch]: watched(url, outbound, now, contact), [oauth.allowInsecureRequests]: url.protocol === 'http:' }
  let known: { readonly server: oauth.AuthorizationServer; readonly at: number } | undefined
  let underWay: Promise<oauth.AuthorizationServer> | undefined

  const discover = async (): Promise<oauth.AuthorizationServer> => {
    try {
      const response = await oauth.discoveryRequest(url, { ...options, algorithm: 'oidc', signal: AbortSignal.timeout(TIMEOUT_MS) })
      // OpenID Connect Discovery §4.3: the issuer in the document is the one that was asked.
      const server = await oauth.processDiscoveryResponse(isIssuer === undefined ? url : new URL(await namedIssuer(response, isIssuer)), response)
      checkEndpoints(server, url.protocol)
      known = { server, at: now() }
      return server
    } catch (error) {
      contact.failedAt = now()
      throw new ProviderUnavailable(`discovery: ${reasonOf(error)}`, { cause: error })
    }
  }

  const ask = (): Promise<oauth.AuthorizationServer> => {
    if (now() - contact.failedAt < COOL_DOWN_MS) return Promise.reject(new ProviderUnavailable('the identity provider did not answer a moment ago'))
    underWay ??= discover().finally(() => {
      underWay = undefined
    })
    return underWay
  }
  const orKnown = (error: unknown): oauth.AuthorizationServer => {
    if (known === undefined) throw error
    return known.server
  }

  return {
    options,
    async get() {
      return known !== undefined && now() - known.at < FRESH_MS ? known.server : ask().catch(orKnown)
    },
    async reach() {
      if (known !== undefined && now() - known.at < FRESH_MS && now() - contact.answeredAt < ANSWERED_MS) return known.server
      return ask().catch((error: unknown) => {
        // A provider that answers, whatever it answers, is up.
        if (contact.answeredAt === 0) throw error
        return orKnown(error)
      })
    },
  }
}

/** Sends requests to one provider, and remembers when it last answered: 0 when it did not. */
function watched(issuer: URL, outbound: Outbound, now: () => number, contact: { answeredAt: number }): OutboundFetch {
  // What the operator wrote names a host; endpoints elsewhere were discovered.
  const send = outbound.fetch((target) => (target.host === issuer.host ? 'configured' : 'discovered'))
  return async (target, init) => {
    try {
      const answer = await send(target, init)
      contact.answeredAt = now()
      return answer
    } catch (error) {
      contact.answeredAt = 0
      throw error
    }
  }
}

/** OpenID Connect Discovery §4.3, of a provider that is known to name other issuers than the address of its document. */
async function namedIssuer(response: Response, isIssuer: (named: string) => boolean): Promise<string> {
  const document: unknown = await response.clone().json().catch(() => undefined)
  const named = typeof document === 'object' && document !== null && 'issuer' in document ? document.issuer : undefined
  if (typeof named !== 'string' || !isIssuer(named)) throw new ProviderUnavailable('the document names another issuer')
  return named
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
