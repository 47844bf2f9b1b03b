declare const resource: unique symbol

/** A resource indicator (RFC 8707) in its one canonical form: absolute, no fragment, no trailing slash on a path. */
export type Resource = string & { readonly [resource]: true }

/**
 * Brings a resource indicator into its canonical form, so that the trailing slash and letter case that clients add
 * to an origin or a path do not make another resource of it.
 *
 * @returns undefined for what is no absolute http(s) URI, or has a fragment (RFC 8707 §2) or user information.
 */
export function canonicalResource(value: string): Resource | undefined {
  if (!URL.canParse(value) || value.includes('#')) return undefined
  const url = new URL(value)
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return undefined
  if (url.username !== '' || url.password !== '' || url.search !== '') return undefined
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}` as Resource
}
