import { PageError } from './errors.ts'

/** Refuses a form that another site submitted: browsers name the origin of every POST. */
export function requireSameOrigin(request: Request, issuer: string): void {
  const origin = request.headers.get('origin')
  const site = request.headers.get('sec-fetch-site')
  const foreign = (origin !== null && origin !== new URL(issuer).origin) || (site !== null && site !== 'same-origin' && site !== 'none')
  if (foreign) {
    throw new PageError(403, 'This form came from another site', 'Go back to your application and start again from there.', {
      reason: 'cross-site form',
    })
  }
}
