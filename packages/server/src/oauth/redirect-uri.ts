declare const redirectUri: unique symbol

/** A redirect URI that was compared with a registered one. */
export type RedirectUri = string & { readonly [redirectUri]: true }

const LOOPBACK_HOSTS = new Set(['127.0.0.1', '[::1]', 'localhost'])
/** Schemes that browsers or operating systems act on by themselves: no application's own, so none may get a code. */
const REFUSED_SCHEMES = new Set(
  ['javascript', 'data', 'file', 'vbscript', 'about', 'blob', 'filesystem', 'view-source', 'jar', 'ws', 'wss', 'ftp', 'sftp', 'ssh', 'telnet', 'smb']
    .concat(['ldap', 'ldaps', 'gopher', 'mailto', 'tel', 'sms', 'urn', 'intent', 'chrome', 'resource', 'res', 'search-ms', 'ms-msdt', 'shell', 'help', 'hcp'])
    // Browsers' own: an https address follows, which nobody would see.
    .concat(['microsoft-edge', 'googlechrome', 'googlechromes', 'x-safari-http', 'x-safari-https', 'firefox', 'brave', 'opera-http', 'opera-https'])
    .map((scheme) => `${scheme}:`),
)

export type RedirectClass = 'https' | 'loopback' | 'private-use'

/** Tells what kind of redirect URI this is, or undefined for one that no client may register. */
export function redirectClass(value: string): RedirectClass | undefined {
  // OAuth 2.1 §2.3.1: no fragment. A backslash or a control character is read differently by different parsers.
  if (!URL.canParse(value) || /[#\\\s*]|[^\x21-\x7e]/.test(value)) return undefined
  const url = new URL(value)
  if (REFUSED_SCHEMES.has(url.protocol) || url.username !== '' || url.password !== '') return undefined
  // `https:host` and `https:///host` mean one thing to a parser and another to a browser that resolves them.
  if (url.protocol === 'https:') return /^https:\/\/[^/]/i.test(value) ? 'https' : undefined
  if (url.protocol === 'http:') return isLoopback(value) ? 'loopback' : undefined
  return 'private-use'
}

/** Whether the URI is an http URI whose host is written exactly as a loopback host (RFC 8252 §7.3, §8.3). */
export function isLoopback(value: string): boolean {
  const authority = /^http:\/\/([^/?#]*)/.exec(value)?.[1] ?? ''
  return LOOPBACK_HOSTS.has(authority.replace(/:\d{1,5}$/, ''))
}

/**
 * Finds the registered redirect URI that this one stands for: equal as a string (RFC 9700 §2.1), or a loopback URI
 * that differs in its port alone (RFC 8252 §7.3).
 */
export function matchRedirectUri(value: string, registered: readonly string[]): RedirectUri | undefined {
  if (redirectClass(value) === undefined) return undefined
  if (registered.includes(value)) return value as RedirectUri
  if (!isLoopback(value)) return undefined
  const portless = withoutPort(value)
  return registered.some((uri) => redirectClass(uri) === 'loopback' && withoutPort(uri) === portless) ? (value as RedirectUri) : undefined
}

function withoutPort(uri: string): string {
  return uri.replace(/^(http:\/\/(?:\[::1\]|[^/:?#]*))(?::\d{1,5})?/, '$1')
}
