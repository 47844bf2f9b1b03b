import { PageError } from './errors.ts'

/**
 * Whether nothing says that another site sent this. Our pages send no Referer, and of a form on such a page browsers say
 * `Origin: null`, as they do of a sandboxed frame of somebody else: then `Sec-Fetch-Site` alone tells the two apart.
 */
export function isSameOrigin(request: Request, issuer: string): boolean {
  const origin = request.headers.get('origin')
  const site = request.headers.get('sec-fetch-site')
  const own = site === 'same-origin' || site === 'none'
  return (site === null || own) && (origin === null || origin === new URL(issuer).origin || (origin === 'null' && own))
}

/** Refuses a form that another site submitted. @throws PageError */
export function requireSameOrigin(request: Request, issuer: string): void {
  if (!isSameOrigin(request, issuer)) {
    throw new PageError(403, 'This form came from another site', 'Go back to your application and start again from there.', {
      reason: 'cross-site form',
    })
  }
}
