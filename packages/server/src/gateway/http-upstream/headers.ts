// Owns which headers pass between an application and an HTTP API. What says who calls, from where, or how the connection
// is run ends here, in both directions.
import type { IncomingHttpHeaders } from 'node:http'

/** RFC 9110 §7.6.1, RFC 9110 §7.6.3: about one connection alone. */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'via', 'http2-settings', 'max-forwards', 'expect'])

/** The gateway's own to say, or nobody's business: identity and credentials come from the connector alone (P-7, RS-10). */
const OWN = new Set(['host', 'authorization', 'dpop', 'cookie', 'cookie2', 'content-length', 'origin', 'referer', 'forwarded', 'from', 'remote-user', 'remote-addr', 'true-client-ip', 'client-ip', 'x-real-ip', 'x-client-ip', 'x-cluster-client-ip', 'x-original-url', 'x-rewrite-url', 'x-original-host', 'x-host', 'x-scheme', 'x-remote-user', 'x-webauth-user', 'x-user', 'x-username', 'x-email', 'x-groups', 'x-client-cert', 'early-data'])
const OWN_PREFIXES = ['proxy-', 'sec-', 'x-forwarded-', 'x-auth-', 'x-authenticated-', 'x-user-', 'x-remote-', 'x-ms-client-principal', 'x-ms-token-', 'x-amzn-oidc-', 'x-goog-authenticated-', 'x-goog-iap-', 'x-ssl-client-', 'ssl-client-', 'cf-', 'lanyard-', 'mcp-']

/** With these, some APIs carry out another method than the one that policy saw. */
const METHOD_OVERRIDES = ['x-http-method-override', 'x-http-method', 'x-method-override']
const OVERRIDE_PARAMETER = /^(?:_method|_httpmethod|\$httpmethod|x-http-method(?:-override)?|x-method-override)$/i

/** Whether the request asks the API to take it for another method. */
export function overridesMethod(headers: IncomingHttpHeaders, query: string): boolean {
  return METHOD_OVERRIDES.some((name) => headers[name] !== undefined) || [...new URLSearchParams(query).keys()].some((name) => OVERRIDE_PARAMETER.test(name))
}

/** Whether the caller's token stands anywhere besides its own header (RFC 6750 §2): it would go on to the API (RS-10). */
export function repeatsToken(headers: IncomingHttpHeaders, target: string): boolean {
  const token = headers.authorization?.split(' ').at(-1) ?? ''
  return token !== '' && (target.includes(token) || Object.entries(headers).some(([name, value]) => name !== 'authorization' && value?.includes(token) === true))
}

/** The names that `Connection` declares to be about this connection alone. */
function declared(headers: IncomingHttpHeaders): ReadonlySet<string> {
  return new Set((headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()))
}

/** Whether a header may be an application's to say to an API. */
export function forwardsHeader(written: string): boolean {
  const name = written.toLowerCase()
  // An underscore is a hyphen to servers that make variables of headers: it would be another way to write any of them.
  return /^[a-z0-9-]+$/.test(name) && !(HOP_BY_HOP.has(name) || OWN.has(name) || METHOD_OVERRIDES.includes(name) || OWN_PREFIXES.some((prefix) => name.startsWith(prefix)))
}

/** What of the application's headers goes on to the API. */
export function requestHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const perConnection = declared(headers)
  const passed: Record<string, string> = { 'user-agent': 'lanyard' }
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || perConnection.has(name) || !forwardsHeader(name)) continue
    passed[name] = Array.isArray(value) ? value.join(', ') : value
  }
  return passed
}

/** Answers come from this gateway's own origin: what steers a browser's state or security there is not the API's to say. */
const NOT_PASSED = new Set(['authorization', 'set-cookie', 'set-cookie2', 'clear-site-data', 'strict-transport-security', 'public-key-pins', 'content-security-policy', 'content-security-policy-report-only', 'alt-svc', 'refresh', 'www-authenticate', 'dpop-nonce', 'authentication-info', 'service-worker-allowed', 'sourcemap', 'x-sourcemap', 'report-to', 'nel', 'reporting-endpoints', 'server', 'x-powered-by', 'x-frame-options', 'x-xss-protection', 'x-content-type-options', 'surrogate-control', 'cdn-cache-control', 'cache-control', 'pragma', 'expires', 'vary', 'location', 'content-location', 'link', 'x-accel-redirect', 'x-sendfile', 'x-accel-buffering', 'x-accel-expires', 'origin-agent-cluster', 'permissions-policy', 'document-policy', 'require-document-policy', 'x-dns-prefetch-control', 'p3p', 'problem-source'])
const NOT_PASSED_PREFIXES = ['x-auth-', 'x-forwarded-', 'x-remote-', 'proxy-', 'access-control-', 'cross-origin-', 'mcp-', 'lanyard-']

/** Where an API is, inside and to its callers. */
export interface Places {
  /** The address that was asked. */
  readonly asked: URL
  /** The base of the API, without a slash at the end. */
  readonly base: string
  /** The same here: `{issuer}/http/{upstream}`. */
  readonly own: string
}

/** What of the API's headers goes on to the application. */
export function responseHeaders(headers: IncomingHttpHeaders, places: Places): Record<string, string | string[]> {
  const perConnection = declared(headers)
  const passed: Record<string, string | string[]> = {
    'cache-control': cacheControl(headers['cache-control']),
    vary: vary(headers.vary),
    // An answer that a browser takes for a page must be none of this origin's.
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
    'x-content-type-options': 'nosniff',
    'x-accel-buffering': 'no',
  }
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || HOP_BY_HOP.has(name) || NOT_PASSED.has(name) || perConnection.has(name) || NOT_PASSED_PREFIXES.some((prefix) => name.startsWith(prefix))) continue
    passed[name] = value
  }
  const { link, 'content-location': content } = headers
  if (link !== undefined) passed['link'] = links(link, places)
  const moved = content === undefined ? undefined : ownAddress(content, places)
  if (moved !== undefined) passed['content-location'] = moved
  return passed
}

/** RFC 9111 §3.5: what the API lets caches share was for whom it knows; here each answer is for one caller. */
function cacheControl(given: string | undefined): string {
  const kept = (given ?? 'no-store').split(',').map((directive) => directive.trim()).filter((directive) => directive !== '' && !/^(?:public$|s-maxage|proxy-revalidate$|private)/i.test(directive))
  return kept.some((directive) => /^no-store$/i.test(directive)) ? kept.join(', ') : ['private', ...kept].join(', ')
}

function vary(given: string | undefined): string {
  const names = (given ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '')
  return [...new Set(['Authorization', 'Origin', ...names])].join(', ')
}

/**
 * The address here of what an API points to.
 *
 * @returns undefined for what is not below its base
 */
export function ownAddress(pointed: string, { asked, base, own }: Places): string | undefined {
  if (!URL.canParse(pointed, asked)) return undefined
  const target = new URL(pointed, asked)
  const rest = target.username === '' && target.password === '' && target.href.startsWith(base) ? target.href.slice(base.length) : undefined
  return rest === undefined || !/^(?:$|[/?#])/.test(rest) ? undefined : `${own}${rest}`
}

/** RFC 8288 §3: pages of a list lead back here; what lies elsewhere is only named. */
function links(given: string | readonly string[], places: Places): string {
  return [given].flat().join(', ').replaceAll(/<([^<>]*)>/g, (whole, target: string) => {
    const address = ownAddress(target, places)
    return address === undefined ? whole : `<${address}>`
  })
}
